//! Giving a container another name.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

impl Engine {
    /// Names a container `name`, which no other may have.
    pub async fn container_rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let _ = (id, name);
        todo!()
    }
}
