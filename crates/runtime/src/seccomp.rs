//! System call filters: Docker's default as data, and any profile compiled for the kernel.

use crate::spec::Seccomp;

/// Docker's default profile for a container with the named capabilities.
pub fn docker_default(capabilities: &[String]) -> Seccomp {
    todo!()
}
