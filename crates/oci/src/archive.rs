//! Documents inside image archives: those of `docker save`, and those of an OCI layout.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::serde_shapes::null_default;

/// The file that lists the images of a `docker save` archive.
pub const DOCKER_MANIFEST_FILE: &str = "manifest.json";
/// The file that old Docker versions find tags in.
pub const DOCKER_REPOSITORIES_FILE: &str = "repositories";
/// The file that marks an OCI layout.
pub const OCI_LAYOUT_FILE: &str = "oci-layout";
/// The OCI layout's entry point.
pub const OCI_INDEX_FILE: &str = "index.json";
/// The annotation that carries a tag or name in an OCI layout's index.
pub const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation in which containerd and Docker keep the whole image name.
pub const ANNOTATION_IMAGE_NAME: &str = "io.containerd.image.name";

/// One image of a `docker save` archive: an element of [`DOCKER_MANIFEST_FILE`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerManifestEntry {
    /// Path of the configuration inside the archive.
    pub config: String,
    /// The image's names in familiar form, with tags.
    #[serde(default, deserialize_with = "null_default")]
    pub repo_tags: Vec<String>,
    /// Paths of the layers inside the archive, lowest first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<String>,
}

/// [`DOCKER_REPOSITORIES_FILE`]: repository → tag → id of the topmost layer.
pub type DockerRepositories = BTreeMap<String, BTreeMap<String, String>>;

/// [`OCI_LAYOUT_FILE`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OciLayout {
    /// The layout's version.
    pub image_layout_version: String,
}

impl Default for OciLayout {
    fn default() -> Self {
        Self { image_layout_version: "1.0.0".to_owned() }
    }
}
