//! Pods: from the API's object to a sandbox and containers of a runtime, and back to a status.

use std::path::{Path, PathBuf};

pub mod admission;
pub mod back_off;
pub mod container_spec;
pub mod downward;
pub mod env;
pub mod expand;
pub mod groups;
pub mod observe;
pub mod plan;
pub mod resources;
pub mod sandbox_spec;
pub mod status;
pub mod sysctls;
pub mod volumes;
pub mod waiting;
pub(crate) mod worker;

/// Removes everything that a pod has on this node: its volumes, logs, messages. May take long.
pub(crate) fn remove(directory: &Path) -> std::io::Result<()> {
    volumes::remove(&directory.join("volumes"))?;
    match base::tree::remove(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where the log of instance `number` of a container is, below the pod's directory.
pub fn log_path(directory: &Path, container: &str, number: u32) -> PathBuf {
    directory.join("logs").join(container).join(format!("{number}.log"))
}
