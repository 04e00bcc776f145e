//! Deployments.

use model::Object;
use serde_json::json;

use super::{Context, Resource, Strategy};
use crate::error::Result;

pub(super) fn resource() -> Resource {
    Resource::builtin("apps", "v1", "Deployment", "deployments")
        .short(&["deploy"])
        .category("all")
        .status()
        .scale()
        .strategy(Workload)
}

/// What Deployments and ReplicaSets have in common.
pub(super) struct Workload;

impl Strategy for Workload {
    fn admit_create(&self, _: &Context<'_>, object: &mut Object) -> Result<()> {
        object.set(&["status"], json!({}));
        Ok(())
    }

    fn counts_generations(&self) -> bool {
        true
    }
}
