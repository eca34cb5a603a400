//! End to end: real sockets, a scripted upstream, and a gateway between them.

mod commands;
mod dialogues;
mod entry;
mod explain;
mod harness;
mod program;
mod proxy;
mod relay;
mod reload;
mod route;
mod service;
mod shadow;
