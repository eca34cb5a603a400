//! To the upstream: profile, pool, connection.
