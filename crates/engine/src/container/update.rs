//! Changing a container's limits and restart policy.

use super::resources::Resources;
use super::spec::RestartPolicy;
use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

/// What to change; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ContainerUpdate {
    /// Limits.
    pub resources: Resources,
    /// What happens when the program ends.
    pub restart: Option<RestartPolicy>,
}

impl Engine {
    /// Changes limits (of the running container too) and the restart policy; returns warnings.
    pub async fn container_update(&self, id: &ContainerId, update: ContainerUpdate) -> Result<Vec<String>> {
        let _ = (id, update);
        todo!()
    }
}
