//! Mounts, as they are asked for and as they are reported.

use crate::wire::Map;

wire! {
    /// A mount in the long form (`--mount`).
    pub(crate) struct MountSpec {
        #[serde(rename = "Type")]
        kind: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        source: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        target: String,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        read_only: bool,
        #[serde(skip_serializing_if = "String::is_empty")]
        consistency: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        bind_options: Option<BindOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        volume_options: Option<VolumeOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tmpfs_options: Option<TmpfsOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        image_options: Option<ImageOptions>,
    }

    /// What `--mount type=bind` may add.
    pub(crate) struct BindOptions {
        #[serde(skip_serializing_if = "String::is_empty")]
        propagation: String,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        non_recursive: bool,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        create_mountpoint: bool,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        read_only_non_recursive: bool,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        read_only_force_recursive: bool,
    }

    /// What `--mount type=volume` may add.
    pub(crate) struct VolumeOptions {
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        no_copy: bool,
        #[serde(skip_serializing_if = "Map::is_empty")]
        labels: Map<String>,
        #[serde(skip_serializing_if = "String::is_empty")]
        subpath: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        driver_config: Option<DriverConfig>,
    }

    /// Who provides a volume that has to be made first.
    pub(crate) struct DriverConfig {
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        options: Map<String>,
    }

    /// What `--mount type=tmpfs` may add.
    pub(crate) struct TmpfsOptions {
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        size_bytes: i64,
        #[serde(skip_serializing_if = "crate::wire::is_zero")]
        mode: u32,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        options: Vec<Vec<String>>,
    }

    /// What `--mount type=image` may add.
    pub(crate) struct ImageOptions {
        #[serde(skip_serializing_if = "String::is_empty")]
        subpath: String,
    }

    /// A mount that a container has.
    pub(crate) struct MountPoint {
        #[serde(rename = "Type", skip_serializing_if = "String::is_empty")]
        kind: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        source: String,
        destination: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        driver: String,
        mode: String,
        #[serde(rename = "RW")]
        rw: bool,
        propagation: String,
    }
}
