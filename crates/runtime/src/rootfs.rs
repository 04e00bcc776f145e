//! Where a container's root file system comes from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a container's root file system comes from.
///
/// Either way it is mounted in the container's own mount namespace and nowhere else: the host
/// sees no mount and has none to clean up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// A directory that is used as it is.
    Path(PathBuf),
    /// Layers put together by the kernel.
    Overlay {
        /// Read-only layers, the uppermost first.
        lower: Vec<PathBuf>,
        /// Where changes go; without it the whole is read-only.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        upper: Option<PathBuf>,
        /// Scratch space on the file system of `upper`; present if and only if `upper` is.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        work: Option<PathBuf>,
        /// Whether changes need not survive a crash of the machine (faster removal and sync).
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        volatile: bool,
        /// Whether files belong to whom they say inside of the container's user namespace, so that
        /// what is on disk is the same for every container (idmapped mounts, Linux 5.19). Else to
        /// whom they say on the host.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        mapped: bool,
    },
}
