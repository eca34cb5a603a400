//! `gatepost queue`, the real program: on a spool that nobody has open, and by the control socket of a
//! gateway that has one.

mod place;
mod running;
mod stopped;
