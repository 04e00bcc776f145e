//! What Deployments and ReplicaSets have in common.

pub(crate) mod columns;
pub(crate) mod rules;

use apiserver::{Admitting, Context, Strategy, at_once};
use model::Object;
use serde_json::json;

/// Their status begins empty, and their generations are counted.
pub(crate) struct Workload;

impl Strategy for Workload {
    fn admit_create<'a>(&'a self, _: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set(&["status"], json!({}));
        at_once(Ok(()))
    }

    fn counts_generations(&self) -> bool {
        true
    }
}
