//! Lists of other programs, in and out.
