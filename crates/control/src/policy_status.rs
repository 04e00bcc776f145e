//! Whether the expressions of admission policies fit the kinds that they are asked about: `status.typeChecking`.
//!
//! A policy is taken whatever types its objects have, and evaluated as objects come. What would go wrong then is told
//! beforehand where rules name resources without wildcards, by the schemas that the API publishes of them.

mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cel::Declared;
use client::api::{Patch, PatchOptions};
use client::{Action, Api, Client, Controller, Error, ObjectKey};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use offload::Threads;
use serde_json::{Value, json};

use crate::Context;
use check::Kind;

/// How long it is waited for what the API says of a group and version.
const PATIENCE: Duration = Duration::from_secs(5);
const MANAGER: &str = "validatingadmissionpolicy-status-controller";

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let policies = context.informers.of::<ValidatingAdmissionPolicy>();
    let store = policies.store();
    let client = context.client.clone();
    let threads = Arc::new(Threads::new(1));
    let reconcile = move |key: ObjectKey| {
        let policy = store.get(&key);
        let (client, threads) = (client.clone(), threads.clone());
        async move {
            let Some(policy) = policy else { return Ok(Action::Done) };
            let observed =
                policy.status.as_ref().and_then(|status| status.observed_generation).unwrap_or_default();
            let generation = policy.metadata.generation.unwrap_or_default();
            if generation <= observed {
                return Ok(Action::Done);
            }
            let warnings = warnings(&client, &threads, &policy).await;
            let status = json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
                "metadata": {"name": key.name},
                "status": {"observedGeneration": generation, "typeChecking": checked(warnings)},
            });
            let api: Api<ValidatingAdmissionPolicy> = Api::all(&client);
            let options = PatchOptions::manager(MANAGER).force();
            match api.patch_status(&key.name, &Patch::Apply(status), &options).await {
                Ok(_) | Err(Error::NotFound(_)) => Ok(Action::Done),
                Err(error) => Err(error),
            }
        }
    };
    Controller::new("policy-status", &policies).run(reconcile, context.stop).await;
}

fn checked(warnings: Vec<(String, String)>) -> Value {
    if warnings.is_empty() {
        return json!({});
    }
    let warnings: Vec<Value> =
        warnings.into_iter().map(|(field, warning)| json!({"fieldRef": field, "warning": warning})).collect();
    json!({"expressionWarnings": warnings})
}

/// What is wrong with the expressions of a policy.
async fn warnings(
    client: &Client,
    threads: &Threads,
    policy: &ValidatingAdmissionPolicy,
) -> Vec<(String, String)> {
    let spec = serde_json::to_value(&policy.spec).unwrap_or_default();
    let mut published = Published { client, resources: BTreeMap::new(), schemas: None };
    let mut kinds = Vec::new();
    // Those of a group and version come one after another.
    for kind in published.kinds(&spec).await.into_iter().take(check::MOST_KINDS_OF_ALL) {
        if let Some(declared) = published.declared(&kind).await {
            kinds.push((kind, declared));
        }
    }
    let parameters = match check::parameters(&spec) {
        Some(kind) => published.declared(&kind).await,
        None => None,
    };
    // A source may be long, and is compiled for each kind.
    threads.run(move || check::warnings(&spec, &kinds, parameters.as_ref())).await
}

/// What the API says of itself.
struct Published<'c> {
    client: &'c Client,
    /// By group and version.
    resources: BTreeMap<(String, String), Option<Value>>,
    /// The schemas of one group and version: they are large.
    schemas: Option<((String, String), Option<Value>)>,
}

impl Published<'_> {
    /// The kinds that a policy is asked about.
    async fn kinds(&mut self, spec: &Value) -> BTreeSet<Kind> {
        let mut kinds = BTreeSet::new();
        for rule in check::resources(spec) {
            let mut count = 0;
            for (group, version, resource) in rule {
                let place = (group, version);
                if !self.resources.contains_key(&place) {
                    let list = self.read("", &place.0, &place.1).await;
                    self.resources.insert(place.clone(), list);
                }
                let Some(Some(list)) = self.resources.get(&place) else { continue };
                if let Some(kind) = check::kind_of(list, &place.0, &place.1, &resource) {
                    kinds.insert(kind);
                    count += 1;
                }
                if count == check::MOST_KINDS {
                    return kinds;
                }
            }
        }
        kinds
    }

    /// What is declared about objects of a kind, if that is published.
    async fn declared(&mut self, kind: &Kind) -> Option<Arc<Declared>> {
        let place = (kind.group.clone(), kind.version.clone());
        if self.schemas.as_ref().is_none_or(|(known, _)| *known != place) {
            self.schemas = None;
            let document = self.read("/openapi/v3", &kind.group, &kind.version).await;
            self.schemas = Some((place, document));
        }
        let document = self.schemas.as_ref().and_then(|(_, document)| document.as_ref());
        document.and_then(|document| check::declared(document, kind))
    }

    /// What is at the place of a group and version, if there is one.
    async fn read(&self, below: &str, group: &str, version: &str) -> Option<Value> {
        // What cannot be part of a path is no group and no version.
        let is_word =
            |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        if version.is_empty() || !is_word(group) || !is_word(version) {
            return None;
        }
        let path = match group {
            "" => format!("{below}/api/{version}"),
            _ => format!("{below}/apis/{group}/{version}"),
        };
        // Who serves it may be gone, or slow: what is not known is not checked, and the policy is in force anyway.
        match tokio::time::timeout(PATIENCE, self.client.get(&path)).await {
            Ok(Ok(document)) => Some(document),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}
