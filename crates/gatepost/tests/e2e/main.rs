//! End to end: real sockets, a scripted upstream, and a gateway between them.

mod dialogues;
mod harness;
mod program;
mod relay;
mod service;
