//! For tests: privileges, small root file systems, waiting for a condition, power
//! cuts, a real etcd, documents that were written again.
//!
//! A dev-dependency only. Nothing here stands in for something else: tests have real directories,
//! processes and namespaces, which each crate's own tests make and take away again.
#![forbid(unsafe_code)]

pub mod documents;
pub mod etcd;
mod power;
pub mod privileges;
pub mod process;
pub mod rootfs;
pub mod wait;

pub use power::{PowerCut, Remains};
pub use privileges::require_root;
pub use wait::{wait_until, wait_until_async};
