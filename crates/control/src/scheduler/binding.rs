//! Binds the volumes of a pod before the pod itself: says which volume is for which claim, and for which node
//! volumes are to be made, and waits until whoever binds claims is done.

use std::time::Duration;

use client::api::{Patch, PatchOptions};
use client::{Api, Client, Error, ObjectKey, Resource as _, Store};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use serde_json::json;

use super::node::NodeFacts;
use super::volumes::{Plan, SELECTED_NODE, annotation, is_bound, is_usable_on, volume_name};
use crate::Context;

/// Binds volumes.
#[derive(Clone)]
pub(super) struct Binder {
    client: Client,
    claims: Store<PersistentVolumeClaim>,
    volumes: Store<PersistentVolume>,
    nodes: Store<Node>,
}

/// Why volumes were not bound.
#[derive(Debug, thiserror::Error)]
pub(super) enum BindingError {
    #[error("write a volume or a claim")]
    Request(#[source] Error),
    #[error("provisioning failed for PVC \"{claim}\"")]
    NotProvisioned { claim: String },
    #[error("PVC \"{claim}\" is not there any more")]
    Gone { claim: String },
    #[error("pv \"{volume}\" node affinity doesn't match node \"{node}\"")]
    Elsewhere { volume: String, node: String },
    #[error("timed out waiting for the condition")]
    TimedOut,
}

/// How far a claim is.
enum State {
    Bound,
    Waits,
    Failed(BindingError),
}

impl Binder {
    pub(super) fn new(context: &Context) -> Self {
        Self {
            client: context.client.clone(),
            claims: context.informers.of().store(),
            volumes: context.informers.of().store(),
            nodes: context.informers.of().store(),
        }
    }

    /// Does what was planned for a pod on a node, and waits until its claims are bound.
    pub(super) async fn bind(&self, node: &str, plan: &Plan, patience: Duration) -> Result<(), BindingError> {
        let options = PatchOptions::default();
        for (volume, key) in &plan.bind {
            let Some(claim) = self.claims.get(key) else {
                return Err(BindingError::Gone { claim: key.name.clone() });
            };
            let Some(shown) = self.volumes.get(&ObjectKey::new("", volume)) else {
                return Err(BindingError::Gone { claim: key.name.clone() });
            };
            let kept = shown.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            // Whoever kept it for the claim keeps the right to say so.
            let by_whom = match kept {
                Some(_) => json!({}),
                None => json!({"pv.kubernetes.io/bound-by-controller": "yes"}),
            };
            let patch = json!({
                "metadata": {"resourceVersion": shown.resource_version(), "annotations": by_whom},
                "spec": {"claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": key.namespace,
                    "name": key.name, "uid": claim.uid(), "resourceVersion": claim.resource_version(),
                }},
            });
            let api = Api::<PersistentVolume>::all(&self.client);
            api.patch(volume, &Patch::Merge(patch), &options).await.map_err(BindingError::Request)?;
        }
        for key in &plan.provision {
            let Some(claim) = self.claims.get(key) else {
                return Err(BindingError::Gone { claim: key.name.clone() });
            };
            if annotation(&claim, SELECTED_NODE) == Some(node) {
                continue;
            }
            let patch = json!({"metadata": {"uid": claim.uid(), "annotations": {SELECTED_NODE: node}}});
            let api = Api::<PersistentVolumeClaim>::namespaced(&self.client, &key.namespace);
            let written = api.patch(&key.name, &Patch::Merge(patch), &options).await;
            let revision = written.map_err(BindingError::Request)?.revision();
            // What was written is what is looked at from here on.
            if tokio::time::timeout(patience, self.claims.reached(revision)).await.is_err() {
                return Err(BindingError::TimedOut);
            }
        }
        let mut failed = None;
        let settled = self.claims.until(|_| {
            let keys = plan.bind.iter().map(|(_, key)| (key, false));
            let keys = keys.chain(plan.provision.iter().map(|key| (key, true)));
            let mut waits = false;
            for (key, is_made) in keys {
                match self.state(node, key, is_made) {
                    State::Bound => {}
                    State::Waits => waits = true,
                    State::Failed(error) => {
                        failed = Some(error);
                        return true;
                    }
                }
            }
            !waits
        });
        if tokio::time::timeout(patience, settled).await.is_err() {
            return Err(BindingError::TimedOut);
        }
        failed.map_or(Ok(()), Err)
    }

    fn state(&self, node: &str, key: &ObjectKey, is_made: bool) -> State {
        let name = || key.name.clone();
        let Some(claim) = self.claims.get(key) else {
            return State::Failed(BindingError::Gone { claim: name() });
        };
        if is_bound(&claim) {
            let volume = volume_name(&claim).and_then(|name| self.volumes.get(&ObjectKey::new("", name)));
            let facts = self.nodes.get(&ObjectKey::new("", node)).map(|node| NodeFacts::of(&node));
            return match (volume, facts) {
                (Some(volume), Some(facts)) if !is_usable_on(&volume, &facts) => {
                    let (volume, node) = (volume.name().to_owned(), node.to_owned());
                    State::Failed(BindingError::Elsewhere { volume, node })
                }
                _ => State::Bound,
            };
        }
        // Who makes volumes takes the node back if it cannot make one there.
        if is_made && annotation(&claim, SELECTED_NODE) != Some(node) {
            return State::Failed(BindingError::NotProvisioned { claim: name() });
        }
        State::Waits
    }
}
