//! Telling all about one container.

use std::sync::Arc;

use super::view::{Container, ContainerSize};
use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

impl Engine {
    /// Everything that is known of a container.
    pub fn container_inspect(&self, id: &ContainerId) -> Result<Arc<Container>> {
        let _ = id;
        todo!()
    }

    /// How much disk a container takes: walks its files, so it is slow.
    pub async fn container_size(&self, id: &ContainerId) -> Result<ContainerSize> {
        let _ = id;
        todo!()
    }
}
