//! The pods of the node.

use std::collections::BTreeMap;

use http::StatusCode;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json as value};

use super::{Answer, failed, json, said};
use crate::Agent;
use crate::pod::observe::Observation;

impl Agent {
    /// Those that are bound to it.
    pub(super) fn bound_pods(&self) -> Answer {
        let pods = self.pods.store().list();
        list(pods.iter().map(|pod| value!(&**pod)))
    }

    /// Those of which something runs, as the runtime knows them.
    pub(super) async fn running_pods(&self) -> Answer {
        let runtime = self.shared.runtime();
        let sandboxes = match runtime.list_pod_sandbox(None).await {
            Ok(sandboxes) => sandboxes,
            Err(error) => return failed(&error),
        };
        let known: BTreeMap<String, std::sync::Arc<Pod>> = self
            .pods
            .store()
            .list()
            .into_iter()
            .filter_map(|pod| Some((pod.metadata.uid.clone()?, pod)))
            .collect();
        let mut running = Vec::new();
        for sandbox in sandboxes.iter().filter(|sandbox| sandbox.ready) {
            // What its agent does not know any more is on its way out.
            let Some(pod) = known.get(&sandbox.pod) else { continue };
            let observation = match Observation::new(runtime, &sandbox.pod).await {
                Ok(observation) => observation,
                Err(error) => return failed(&error),
            };
            let containers = observation.running().map(|instance| Container {
                name: instance.name.clone(),
                image: Some(instance.image.clone()),
                ..Container::default()
            });
            let found = Pod {
                metadata: ObjectMeta {
                    name: pod.metadata.name.clone(),
                    namespace: pod.metadata.namespace.clone(),
                    uid: pod.metadata.uid.clone(),
                    ..ObjectMeta::default()
                },
                spec: Some(PodSpec { containers: containers.collect(), ..PodSpec::default() }),
                ..Pod::default()
            };
            running.push(value!(found));
        }
        list(running.into_iter())
    }

    /// A pod of this node; the answer where there is none.
    pub(super) fn pod_named(&self, namespace: &str, name: &str) -> Option<std::sync::Arc<Pod>> {
        let is_it = |pod: &std::sync::Arc<Pod>| {
            pod.metadata.name.as_deref() == Some(name) && pod.metadata.namespace.as_deref() == Some(namespace)
        };
        self.pods.store().list().into_iter().find(is_it)
    }
}

fn list(items: impl Iterator<Item = Value>) -> Answer {
    let items: Vec<Value> = items
        .map(|mut item| {
            // An item of a list does not say again what it is.
            if let Some(fields) = item.as_object_mut() {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            item
        })
        .collect();
    json(&value!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

pub(super) fn no_pod() -> Answer {
    said(StatusCode::NOT_FOUND, "pod does not exist")
}
