//! Creating a container.

use super::spec::ContainerSpec;
use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

/// A container that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What the user should know: wishes that this host cannot fulfil and that were left out.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Makes a container of `spec`, ready to be started. The image must be present
    /// ([`crate::Kind::NotFound`], `No such image: …`, otherwise).
    pub async fn container_create(&self, spec: ContainerSpec) -> Result<Created> {
        let _ = spec;
        todo!()
    }
}
