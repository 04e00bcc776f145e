//! Finding a container by what a user calls it.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

impl Engine {
    /// The container that `reference` names: an id, a name (with or without a leading slash), or a
    /// prefix of an id that no other has. `No such container: …` otherwise.
    pub fn container_find(&self, reference: &str) -> Result<ContainerId> {
        self.inner.registry.find(reference)
    }
}
