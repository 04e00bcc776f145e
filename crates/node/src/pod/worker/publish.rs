//! Telling the API how the pod fares.

use client::api::{Patch, PatchOptions};
use client::{Api, Error};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tracing::{debug, warn};

use super::{AGAIN, DEADLINE_EXCEEDED, Worker};
use crate::pod::admission::Rejection;
use crate::pod::observe::Observation;
use crate::pod::status::{self, View};

impl Worker {
    /// Publishes the status if it differs from what was published last. What the API does not take
    /// is published again after a moment.
    pub(super) async fn publish(&mut self, observation: &Observation) {
        (self.publish_again, self.unsent) = (None, None);
        let mut pod = Pod::clone(&self.pod);
        pod.status = Some(self.merged_status());
        let host_ip = self.shared.config.address.to_string();
        let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
        let pod_ips: Vec<String> = match &observation.sandbox {
            Some(_) if host_network => vec![host_ip.clone()],
            Some(sandbox) => sandbox.addresses.iter().map(ToString::to_string).collect(),
            None => Vec::new(),
        };
        let next = status::status(&View {
            pod: &pod,
            now: self.shared.clock.now(),
            host_ip: &host_ip,
            pod_ips: &pod_ips,
            sandbox_ready: observation.sandbox.is_some(),
            containers: &self.facts(observation),
            ended: self.ended,
            failure: self.overdue.then_some(DEADLINE_EXCEEDED),
        });
        if next != self.published {
            self.send(next).await;
        }
    }

    async fn send(&mut self, next: PodStatus) {
        self.unsent = None;
        if let Err(error) = self.try_send(&next).await {
            warn!(pod = %self.name(), error = %base::error::chain(&error), "cannot publish the status; trying again");
            self.publish_again = self.after(AGAIN);
            self.unsent = Some(next);
        }
    }

    /// Tells the API a status. A pod that is gone has none, which is no error.
    pub(super) async fn try_send(&mut self, next: &PodStatus) -> Result<(), Error> {
        let metadata = &self.pod.metadata;
        let patch = serde_json::json!({ "metadata": { "uid": self.uid }, "status": next });
        let api: Api<Pod> =
            Api::namespaced(&self.shared.client, metadata.namespace.as_deref().unwrap_or_default());
        let name = metadata.name.as_deref().unwrap_or_default();
        match api.patch_status(name, &Patch::Merge(patch), &PatchOptions::default()).await {
            Ok(_) => {
                debug!(pod = %self.name(), phase = next.phase.as_deref(), "status published");
                self.published = next.clone();
                Ok(())
            }
            // Gone, or made anew under the same name: the informer will say so.
            Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells the API that the pod has failed without having been started.
    pub(super) async fn reject(&mut self, rejection: &Rejection) {
        self.ended = true;
        self.publish_again = None;
        if matches!(self.published.phase.as_deref(), Some("Failed" | "Succeeded")) {
            return;
        }
        self.event(true, rejection.reason, rejection.message.clone());
        let next = PodStatus {
            phase: Some("Failed".to_owned()),
            reason: Some(rejection.reason.to_owned()),
            message: Some(format!("Pod was rejected: {}", rejection.message)),
            ..self.merged_status()
        };
        self.send(next).await;
    }

    /// The status as published, with the conditions that others have set since.
    fn merged_status(&self) -> PodStatus {
        let mut merged = self.published.clone();
        let theirs = self.pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let conditions = merged.conditions.get_or_insert_default();
        for condition in theirs {
            match conditions.iter_mut().find(|known| known.type_ == condition.type_) {
                Some(_) if OURS.contains(&condition.type_.as_str()) => {}
                Some(known) => *known = condition.clone(),
                None => conditions.push(condition.clone()),
            }
        }
        merged
    }
}

/// Conditions that this node decides.
const OURS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
