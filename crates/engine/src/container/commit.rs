//! Making an image of a container.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::image::{ImageConfig, ImageId};

/// What the image is given besides the container's files.
#[derive(Clone, Debug, Default)]
pub struct CommitSpec {
    /// Its name; none where `None`.
    pub reference: Option<String>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// What the history says of how the layer was made; the container's command where `None`.
    pub created_by: Option<String>,
    /// The configuration; what the container runs with where `None`.
    pub config: Option<ImageConfig>,
    /// Freezes the container meanwhile.
    pub pause: bool,
}

impl Engine {
    /// Makes an image of the container's image plus what it changed.
    pub async fn container_commit(&self, id: &ContainerId, spec: CommitSpec) -> Result<ImageId> {
        let _ = (id, spec);
        todo!()
    }
}
