//! Who may do what: pure decisions on an immutable ruleset.
