//! What Deployments and ReplicaSets have in common.

pub(crate) mod columns;
pub(crate) mod rules;
pub(crate) mod share;

use apiserver::{Admitting, Context, Strategy, at_once};
use model::Object;
use serde_json::json;

/// Their status begins empty, and their generations are counted.
pub(crate) struct Workload {
    /// What the writers of their status may not change.
    pub(crate) kept_by_status: &'static [&'static [&'static str]],
}

impl Strategy for Workload {
    fn admit_create<'a>(&'a self, _: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set(&["status"], json!({}));
        at_once(Ok(()))
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn kept_by_status(&self) -> &'static [&'static [&'static str]] {
        self.kept_by_status
    }
}
