//! From the network to the relay, one file per step of a connection.
