//! The promise: the only place that grants the 250 after data.
