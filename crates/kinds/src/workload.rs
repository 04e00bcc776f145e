//! What Deployments and ReplicaSets have in common.

pub(crate) mod columns;
pub(crate) mod rules;

use apiserver::{Context, Result, Strategy};
use model::Object;
use serde_json::json;

/// Their status begins empty, and their generations are counted.
pub(crate) struct Workload;

impl Strategy for Workload {
    fn admit_create(&self, _: &Context<'_>, object: &mut Object) -> Result<()> {
        object.set(&["status"], json!({}));
        Ok(())
    }

    fn counts_generations(&self) -> bool {
        true
    }
}
