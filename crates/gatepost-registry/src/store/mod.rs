//! Items and revisions in SQLite.
