//! What is known of the machine.

use std::thread;

/// Architecture and number of CPUs.
pub fn machine() -> String {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cpus} CPUs", std::env::consts::ARCH)
}
