//! Claims that ask for more than they have: whoever made their volume makes it larger, and is waited for.

use client::recorder::{EventType, Recorder};
use client::{Action, Controller, Error, ObjectKey};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::facts;
use crate::Context;

/// What is said of a claim that somebody else is to make larger.
const WAITS: &str = "Ignoring the PVC: didn't find a plugin capable of expanding the volume; waiting for an external \
                     controller to process this PVC.";

/// Runs the controller.
pub(crate) async fn run(context: Context, events: Recorder) {
    let claims = context.informers.of::<PersistentVolumeClaim>();
    let store = claims.store();
    let reconcile = move |key: ObjectKey| {
        let (store, events) = (store.clone(), events.clone());
        async move {
            if let Some(claim) = store.get(&key).filter(|claim| wants_more(claim)) {
                events.event(&*claim, EventType::Normal, "ExternalExpanding", WAITS);
            }
            Ok::<_, Error>(Action::Done)
        }
    };
    Controller::new("pvc-expand", &claims).run(reconcile, context.stop).await;
}

/// Whether a claim asks for more than it has, and nobody has begun to give it that.
fn wants_more(claim: &PersistentVolumeClaim) -> bool {
    let status = claim.status.as_ref();
    let is_bound = status.and_then(|status| status.phase.as_deref()) == Some("Bound");
    let has_begun = status.is_some_and(|status| status.allocated_resource_statuses.is_some());
    is_bound && !has_begun && facts::request(claim) > facts::has(claim)
}
