//! Something mounted in a container.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::container;

#[derive(Serialize, Deserialize)]
pub(super) struct MountPoint {
    kind: Kind,
    volume: Option<String>,
    driver: Option<String>,
    source: PathBuf,
    target: String,
    writable: bool,
    propagation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Bind,
    Volume,
    Image,
    Tmpfs,
}

base::same_fields!(
    MountPoint =
        container::MountPoint { kind: inner, volume, driver, source, target, writable, propagation, image }
);

base::same_variants!(Kind = container::MountKind { Bind, Volume, Image, Tmpfs });
