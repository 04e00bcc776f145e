//! The gantry binary: command line, configuration, and the list of services.
#![forbid(unsafe_code)]
fn main() {}
