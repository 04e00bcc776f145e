//! Claims of devices that pods have by templates, and whom claims are kept for.
//!
//! A pod that names a template gets a claim of its own, which it owns and its status names; a claim is kept for those
//! pods that are there and have not ended. Source:
//! <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/resourceclaim/controller.go>.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::api::{Patch, PatchOptions, Preconditions};
use client::recorder::{EventType, Recorder};
use client::{
    Action, Api, Controller, DeleteOptions, Error, Freshness, ObjectKey, Reconcile, Resource as _, Store,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimTemplate};
use serde_json::json;

use crate::Context;

mod plan;

use plan::{Keeping, Want, claims_of, keeping, owner, reserved, wants};

/// After a write that somebody else was faster with.
const AGAIN: Duration = Duration::from_millis(20);

/// Runs the controller.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    let (pods, claims) = (context.informers.of::<Pod>(), context.informers.of::<ResourceClaim>());
    let templates = context.informers.of::<ResourceClaimTemplate>();
    let all = pods.store();
    let of_template = move |template: &ResourceClaimTemplate| -> Vec<ObjectKey> {
        let pods = all.list_namespace(template.namespace().unwrap_or_default());
        let names = |pod: &&Arc<Pod>| {
            let claims = pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten());
            claims
                .into_iter()
                .any(|claim| claim.resource_claim_template_name.as_deref() == Some(template.name()))
        };
        pods.iter().filter(names).map(|pod| pod.key()).collect()
    };
    let of_pods = OfPods {
        pods: pods.store(),
        claims: claims.store(),
        fresh: Freshness::new(claims.store()),
        templates: templates.store(),
        recorder,
        context: context.clone(),
    };
    let of_claims = OfClaims { pods: pods.store(), claims: claims.store(), context: context.clone() };
    let of_pod = |pod: &Pod| -> Vec<ObjectKey> {
        let namespace = pod.namespace().unwrap_or_default();
        claims_of(pod).into_iter().map(|(_, claim)| ObjectKey::new(namespace, claim)).collect()
    };
    let asks = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.resource_claims.is_some());
    tokio::join!(
        Controller::of_some("resource_claim", &pods, asks)
            .owns(&claims)
            .watches(&templates, of_template)
            .run_by(of_pods, context.stop.clone()),
        Controller::new("resource_claim_reservations", &claims)
            .watches(&pods, of_pod)
            .run_by(of_claims, context.stop.clone()),
    );
}

/// Gives pods their claims.
struct OfPods {
    context: Context,
    pods: Store<Pod>,
    claims: Store<ResourceClaim>,
    fresh: Freshness<ResourceClaim>,
    templates: Store<ResourceClaimTemplate>,
    recorder: Recorder,
}

impl Reconcile for OfPods {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(pod) = self.pods.get(key) else {
            self.fresh.forget(key);
            return Ok(Action::Done);
        };
        if pod.metadata.deletion_timestamp.is_some() || crate::pods::is_terminal(&pod) {
            return Ok(Action::Done);
        }
        // What was made a moment ago is to be seen before it is made again.
        if !self.fresh.ready(key).await {
            return Ok(Action::After(Duration::from_secs(1)));
        }
        let mut new = BTreeMap::new();
        for want in wants(&pod, &self.claims.by_controller(&key.namespace, pod.uid())) {
            match want {
                Want::Known { name, claim } => {
                    new.insert(name, claim);
                }
                Want::Make { name, template } => {
                    let known =
                        self.templates.get(&ObjectKey::new(key.namespace.as_str(), template.as_str()));
                    let failed = |why: &str| {
                        let message = format!("PodResourceClaim {name}: {why}");
                        self.recorder.event(
                            &*pod,
                            EventType::Warning,
                            "FailedResourceClaimCreation",
                            message,
                        );
                    };
                    let Some(known) = known else {
                        // That it comes brings the pod here again.
                        let missing =
                            format!("resourceclaimtemplate.resource.k8s.io \"{template}\" not found");
                        failed(&format!("resource claim template \"{template}\": {missing}"));
                        continue;
                    };
                    match self.make(key, &pod, &name, &known).await {
                        Ok(claim) => {
                            new.insert(name, claim);
                        }
                        Err(error) => {
                            failed(&format!("create ResourceClaim : {}", base::error::chain(&error)));
                            self.tell(&pod, &new).await?;
                            return Err(error);
                        }
                    }
                }
            }
        }
        self.tell(&pod, &new).await?;
        if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
            return self.reserve(key, &pod).await;
        }
        Ok(Action::Done)
    }
}

impl OfPods {
    /// Makes a claim as a template says; gives its name.
    async fn make(
        &self,
        key: &ObjectKey,
        pod: &Pod,
        name: &str,
        template: &ResourceClaimTemplate,
    ) -> Result<String, Error> {
        let api: Api<ResourceClaim> = Api::namespaced(&self.context.client, &key.namespace);
        let made = api.create(&plan::claim(pod, name, template)).await?;
        self.fresh.created(key, &made);
        Ok(made.name().to_owned())
    }

    /// Names claims in the status of their pod.
    async fn tell(&self, pod: &Pod, new: &BTreeMap<String, String>) -> Result<(), Error> {
        if new.is_empty() {
            return Ok(());
        }
        let statuses: Vec<_> =
            new.iter().map(|(name, claim)| json!({"name": name, "resourceClaimName": claim})).collect();
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"resourceClaimStatuses": statuses}});
        let api: Api<Pod> = Api::namespaced(&self.context.client, pod.namespace().unwrap_or_default());
        match api.patch_status(pod.name(), &Patch::Strategic(patch), &PatchOptions::default()).await {
            Ok(_) | Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Keeps claims for a pod that is on a node without the scheduler having done so.
    async fn reserve(&self, key: &ObjectKey, pod: &Pod) -> Result<Action, Error> {
        for (_, name) in claims_of(pod) {
            let Some(claim) = self.claims.get(&ObjectKey::new(key.namespace.as_str(), name)) else {
                continue;
            };
            let Some(changed) = reserved(pod, &claim) else { continue };
            let api: Api<ResourceClaim> = Api::namespaced(&self.context.client, &key.namespace);
            match api.update_status(&changed).await {
                Ok(_) | Err(Error::NotFound(_)) => {}
                Err(Error::Conflict(_)) => return Ok(Action::After(AGAIN)),
                Err(error) => return Err(error),
            }
        }
        Ok(Action::Done)
    }
}

/// Lets go of what no pod uses any more.
struct OfClaims {
    context: Context,
    pods: Store<Pod>,
    claims: Store<ResourceClaim>,
}

impl Reconcile for OfClaims {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(claim) = self.claims.get(key) else { return Ok(Action::Done) };
        let mut pods = BTreeMap::new();
        let reserved = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
        let names = reserved.map(|reserved| reserved.name.clone()).chain(owner(&claim).map(|owner| owner.0));
        for name in names {
            let known = self.pods.get(&ObjectKey::new(key.namespace.as_str(), name.as_str()));
            let known = match known {
                Some(pod) => Some(pod),
                // The copy may be behind whoever has reserved it.
                None => Api::<Pod>::namespaced(&self.context.client, &key.namespace)
                    .find(&name)
                    .await?
                    .map(Arc::new),
            };
            pods.insert(name, known);
        }
        let api: Api<ResourceClaim> = Api::namespaced(&self.context.client, &key.namespace);
        let Keeping { status, without_finalizer, delete } = keeping(&claim, &pods);
        let mut current = ResourceClaim::clone(&claim);
        let settled = |error: Error| match error {
            Error::NotFound(_) => Ok(Action::Done),
            Error::Conflict(_) => Ok(Action::After(AGAIN)),
            error => Err(error),
        };
        if let Some(status) = status {
            current.status = Some(status);
            match api.update_status(&current).await {
                Ok(written) => current = written,
                Err(error) => return settled(error),
            }
        }
        if without_finalizer {
            let finalizers = current.metadata.finalizers.get_or_insert_default();
            finalizers.retain(|finalizer| finalizer != plan::FINALIZER);
            if let Err(error) = api.update(&current).await {
                return settled(error);
            }
        }
        if delete {
            let preconditions =
                Preconditions { uid: Some(claim.uid().to_owned()), ..Preconditions::default() };
            let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
            if let Err(error) = api.delete(&key.name, &options).await {
                return settled(error);
            }
        }
        Ok(Action::Done)
    }
}
