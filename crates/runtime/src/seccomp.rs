//! System call filters: Docker's default as data, and any profile compiled for the kernel.
//!
//! The filters are compiled here and not by `seccompiler`, which knows one architecture per filter
//! and one action per filter: Docker's profile covers three architectures and answers `clone3`
//! with another error than the rest.

mod compile;
mod docker;
mod evaluate;
mod numbers;
mod profile;

pub use compile::CompileError;
pub(crate) use compile::{Filter, compile};
pub use docker::{docker_default, docker_default_with_quotas, guards_quotas};
pub(crate) use numbers::Architecture;
pub use profile::{ProfileError, from_docker, kernel};
