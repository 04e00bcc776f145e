//! The real `kubectl` client against the built `gantry` binary.
//!
//! The tests of a file share a daemon, which runs as those of the `docker` tests do: on a temporary
//! root, in a network and a mount namespace of its own. Each test works in a Kubernetes namespace
//! of its own. The tests need root, `kubectl` and `docker` clients, and the binary.
#![forbid(unsafe_code)]

pub mod chaos;
mod cluster;
pub mod history;
pub mod load;
mod namespace;
mod wire;

pub use cluster::Cluster;
pub use docker_tests::{IMAGE, Ran, Running};
pub use namespace::Namespace;
