//! Pods: from the API's object to a sandbox and containers of a runtime, and back to a status.

use std::path::{Path, PathBuf};

pub mod admission;
pub mod allocation;
pub mod back_off;
pub mod container_spec;
pub mod downward;
pub mod env;
pub mod ephemeral;
pub mod expand;
pub mod groups;
pub mod hosts;
pub mod observe;
pub mod plan;
pub mod resize;
pub mod resources;
pub mod sandbox_spec;
pub mod status;
pub mod sysctls;
pub mod volumes;
pub mod waiting;
pub(crate) mod worker;

/// The uids of the pods that have a directory below `root`. What is called otherwise is somebody else's.
pub(crate) fn directories(root: &Path) -> std::io::Result<Vec<String>> {
    let entries = base::fs::entries(root)?;
    let name = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    Ok(entries.iter().filter(|path| path.is_dir()).filter_map(name).filter(|name| is_uid(name)).collect())
}

/// Whether this is how uids are written: hexadecimal digits, 8-4-4-4-12.
fn is_uid(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// Whether a pod has ended for good.
pub(crate) fn is_over(pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase.is_some_and(status::is_last)
}

/// Where the log of instance `number` of a container is, below the pod's directory.
pub fn log_path(directory: &Path, container: &str, number: u32) -> PathBuf {
    directory.join("logs").join(container).join(format!("{number}.log"))
}
