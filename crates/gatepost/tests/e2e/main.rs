//! End to end: real sockets, a scripted upstream, and a gateway between them.

mod auth;
mod candidate;
mod chunk_trouble;
mod chunking;
mod commands;
mod denied;
mod dialogues;
mod doctor;
mod entry;
mod expect;
mod explain;
mod harness;
mod hostile;
mod import;
mod place;
mod program;
mod proxy;
mod relay;
mod reload;
mod route;
mod service;
mod shadow;
mod store;
mod storm;
mod tls;
mod usage;
