//! For tests: privileges, temporary roots, small root file systems, waiting for a condition.
//!
//! A dev-dependency only. Everything here is real: directories on disk, processes, namespaces.
//! What a test makes is taken away again when its guard is dropped, also when the test fails.
#![forbid(unsafe_code)]

pub mod privileges;
pub mod rootfs;
pub mod wait;

pub use privileges::require_root;
pub use wait::{wait_until, wait_until_async};
