//! What HorizontalPodAutoscalers are in both of their versions: autoscaling/v2, which is what is stored, and
//! autoscaling/v1, which has a field for the use of processors alone and keeps all else in annotations.

pub(crate) mod columns;
pub(crate) mod conversion;
pub(crate) mod rules;

use apiserver::{Admitting, Context, Strategy, at_once};
use model::Object;
use serde_json::json;

/// Their status begins empty.
pub(crate) struct Autoscalers;

impl Strategy for Autoscalers {
    fn admit_create<'a>(&'a self, _: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set(&["status"], json!({"desiredReplicas": 0, "currentReplicas": 0}));
        at_once(Ok(()))
    }
}
