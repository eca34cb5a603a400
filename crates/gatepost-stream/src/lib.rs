//! The byte stream under both sides of the relay.
