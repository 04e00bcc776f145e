//! The real `docker` client against the built `gantry` binary.
//!
//! Each test starts a daemon of its own: on a temporary root, in a network and a mount namespace
//! of its own, so that tests run side by side and nothing of the machine's is touched. The tests
//! need root, a `docker` client, and the binary (`cargo build -p gantry`).
#![forbid(unsafe_code)]

mod client;
mod daemon;
mod raw;
mod registry;
mod terminal;

pub use client::{Ran, Running, run};
pub use daemon::{Daemon, IMAGE};
pub use raw::{Answer, raw};
pub use registry::registry;
pub use terminal::Terminal;
