//! Listing containers.

use std::sync::Arc;

use super::view::{Container, ContainerFilter};
use crate::engine::Engine;
use crate::error::Result;

impl Engine {
    /// The containers that `filter` lets through, newest first.
    pub fn container_list(&self, filter: &ContainerFilter) -> Result<Vec<Arc<Container>>> {
        let _ = filter;
        todo!()
    }
}
