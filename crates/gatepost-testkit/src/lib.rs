//! The outside world for tests: upstreams, clients, dialogues.
