//! The node's own object in the API, its status, and the lease that shows that it lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::api::{Patch, PatchOptions};
use client::{Api, Error};
use k8s_openapi::api::core::v1::{
    ContainerImage, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::agent::Shared;

mod advertised;
mod lease;

/// How often the status is looked at; it is written when it changed, or after five minutes.
const STATUS_PERIOD: Duration = Duration::from_secs(10);
const STATUS_AT_LEAST: Duration = Duration::from_secs(300);

/// What not every node can do, by the names that Kubernetes has for it: `NodeDeclaredFeatureValidator` asks.
const FEATURES: [&str; 3] = [
    "GuaranteedQoSPodCPUResize",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
];

/// Keeps the node known to the API.
pub(crate) struct Registration {
    shared: Arc<Shared>,
}

impl Registration {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Registers the node, then renews its lease and status until `stop` is cancelled.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let lasting = async {
            self.register().await;
            tokio::join!(self.keep_lease(), self.keep_status());
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = lasting => {}
        }
    }

    /// Makes the node's object or brings its labels up to date; tries until it works.
    async fn register(&self) {
        loop {
            match self.try_register().await {
                Ok(()) => return,
                Err(error) => {
                    warn!(error = %base::error::chain(&error), "cannot register the node; trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }

    async fn try_register(&self) -> Result<(), Error> {
        let api: Api<Node> = Api::all(&self.shared.client);
        let name = &self.shared.config.name;
        let node = Node {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(self.labels()),
                ..ObjectMeta::default()
            },
            ..Node::default()
        };
        match api.create(&node).await {
            Ok(_) => info!(node = name, "registered"),
            Err(error) if error.is_already_exists() => {
                let labels = json!({ "metadata": { "labels": self.labels() } });
                api.patch(name, &Patch::Merge(labels), &PatchOptions::default()).await?;
            }
            Err(error) => return Err(error),
        }
        let current = api.get(name).await?;
        self.write_status(&current).await.map(drop)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let facts = self.shared.machine.host.facts();
        let labels = [
            ("kubernetes.io/hostname", self.shared.config.name.clone()),
            ("kubernetes.io/os", facts.os.clone()),
            ("kubernetes.io/arch", facts.architecture.clone()),
            ("beta.kubernetes.io/os", facts.os),
            ("beta.kubernetes.io/arch", facts.architecture),
        ];
        labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    async fn keep_status(&self) {
        let api: Api<Node> = Api::all(&self.shared.client);
        let mut written_at = self.shared.clock.elapsed();
        let mut written: Option<NodeStatus> = None;
        loop {
            tokio::time::sleep(STATUS_PERIOD).await;
            let current = match api.get(&self.shared.config.name).await {
                Ok(node) => node,
                Err(error) if error.is_not_found() => {
                    self.register().await;
                    continue;
                }
                Err(error) => {
                    warn!(error = %base::error::chain(&error), "cannot read the node");
                    continue;
                }
            };
            let now = self.shared.clock.elapsed();
            let next = self.status(current.status.as_ref()).await;
            let same = written
                .as_ref()
                .is_some_and(|written| without_heartbeats(written) == without_heartbeats(&next));
            // Where nothing was heard of the node for a while, somebody else has said so.
            let same = same && says(current.status.as_ref(), &next);
            if same && now.saturating_sub(written_at) < STATUS_AT_LEAST {
                continue;
            }
            match self.write_status(&current).await {
                Ok(status) => (written_at, written) = (now, Some(status)),
                Err(error) => warn!(error = %base::error::chain(&error), "cannot write the node's status"),
            }
        }
    }

    async fn write_status(&self, current: &Node) -> Result<NodeStatus, Error> {
        let api: Api<Node> = Api::all(&self.shared.client);
        let status = self.status(current.status.as_ref()).await;
        let mut patch = json!({ "status": status });
        let own = status.capacity.clone().unwrap_or_default();
        for name in advertised::advertised(current.status.as_ref(), &own).1 {
            patch["status"]["allocatable"][name] = serde_json::Value::Null;
        }
        api.patch_status(&self.shared.config.name, &Patch::Merge(patch), &PatchOptions::default()).await?;
        Ok(status)
    }

    /// The status as it is now; conditions that did not change keep their times.
    async fn status(&self, old: Option<&NodeStatus>) -> NodeStatus {
        let facts = self.shared.machine.host.facts();
        let (version, features) = (self.shared.runtime().version(), self.shared.runtime().features());
        let images = self.images().await;
        let amounts = self.shared.amounts();
        let capacity = BTreeMap::from([
            ("cpu".to_owned(), Quantity(facts.cpus.to_string())),
            ("memory".to_owned(), Quantity(format!("{}Ki", facts.memory / 1024))),
            ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", amounts.storage / 1024))),
            ("pods".to_owned(), Quantity(self.shared.config.pods.to_string())),
        ]);
        let left = self.shared.config.reserves.allocatable(amounts);
        let mut allocatable = capacity.clone();
        allocatable
            .insert("cpu".to_owned(), Quantity(model::quantity::Quantity::from_millis(left.cpu).to_string()));
        allocatable.insert("memory".to_owned(), Quantity(format!("{}Ki", left.memory / 1024)));
        allocatable.insert("ephemeral-storage".to_owned(), Quantity(left.storage.to_string()));
        // What others advertise stays in the capacity as they have it.
        allocatable.extend(advertised::advertised(old, &capacity).0);
        let now = self.shared.clock.now();
        let condition = |kind: &str, holds: bool, reason: &str, message: &str| {
            let status = if holds { "True" } else { "False" };
            let before =
                old.into_iter().flat_map(|old| old.conditions.iter().flatten()).find(|c| c.type_ == kind);
            let since = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
            NodeCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_heartbeat_time: Some(seconds(now)),
                last_transition_time: since.or_else(|| Some(seconds(now))),
            }
        };
        let found =
            self.shared.config.reserves.thresholds.pressure(&crate::answers::supplies(&self.shared).await);
        let short = self.shared.pressures.observe(self.shared.clock.elapsed(), found);
        let memory = if short.memory {
            condition(
                "MemoryPressure",
                true,
                "KubeletHasInsufficientMemory",
                "kubelet has insufficient memory available",
            )
        } else {
            condition(
                "MemoryPressure",
                false,
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            )
        };
        let disk = if short.disk {
            condition("DiskPressure", true, "KubeletHasDiskPressure", "kubelet has disk pressure")
        } else {
            condition("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure")
        };
        let processes = if short.pids {
            condition(
                "PIDPressure",
                true,
                "KubeletHasInsufficientPID",
                "kubelet has insufficient PID available",
            )
        } else {
            condition("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available")
        };
        NodeStatus {
            addresses: Some(vec![
                address("InternalIP", self.shared.config.address.to_string()),
                address("Hostname", self.shared.config.name.clone()),
            ]),
            allocatable: Some(allocatable),
            capacity: Some(capacity),
            conditions: Some(vec![
                memory,
                disk,
                processes,
                condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
            ]),
            daemon_endpoints: Some(NodeDaemonEndpoints::default()),
            images: Some(images),
            node_info: Some(NodeSystemInfo {
                architecture: facts.architecture,
                boot_id: read("/proc/sys/kernel/random/boot_id"),
                container_runtime_version: format!("{}://{}", version.name, version.version),
                kernel_version: facts.kernel,
                kubelet_version: self.shared.config.kubernetes_version.clone(),
                machine_id: read("/etc/machine-id"),
                operating_system: facts.os,
                os_image: facts.operating_system,
                system_uuid: read("/etc/machine-id"),
                ..NodeSystemInfo::default()
            }),
            runtime_handlers: Some(vec![NodeRuntimeHandler {
                features: Some(NodeRuntimeHandlerFeatures {
                    recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
                    user_namespaces: Some(features.user_namespaces),
                }),
                // The one that a pod gets that names none.
                name: Some(String::new()),
            }]),
            declared_features: Some(FEATURES.map(str::to_owned).to_vec()),
            ..NodeStatus::default()
        }
    }

    /// The largest images, as many as kubelets report.
    async fn images(&self) -> Vec<ContainerImage> {
        const REPORTED: usize = 50;
        let mut images = self.shared.runtime().list_images().await.unwrap_or_default();
        images.sort_by_key(|image| std::cmp::Reverse(image.size));
        let named = images.into_iter().filter(|image| !image.tags.is_empty() || !image.digests.is_empty());
        named
            .take(REPORTED)
            .map(|image| ContainerImage {
                names: Some(image.digests.into_iter().chain(image.tags).collect()),
                size_bytes: i64::try_from(image.size).ok(),
            })
            .collect()
    }
}

fn without_heartbeats(status: &NodeStatus) -> NodeStatus {
    let mut status = status.clone();
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_heartbeat_time = None;
    }
    status
}

/// Whether what the API has says of each condition what the node would say.
fn says(there: Option<&NodeStatus>, next: &NodeStatus) -> bool {
    let there = |kind: &str| {
        let conditions = there.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().find(|condition| condition.type_ == kind)
    };
    let said = |next: &NodeCondition| there(&next.type_).is_some_and(|there| there.status == next.status);
    next.conditions.iter().flatten().all(said)
}

fn address(kind: &str, address: String) -> NodeAddress {
    NodeAddress { type_: kind.to_owned(), address }
}

fn seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).expect("cutting a time stays in range"))
}

fn read(path: &str) -> String {
    offload::in_place(|| std::fs::read_to_string(path)).map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_said_of_the_node_is_not_what_it_says() {
        let status = |ready: &str| NodeStatus {
            conditions: Some(vec![NodeCondition {
                type_: "Ready".to_owned(),
                status: ready.to_owned(),
                ..NodeCondition::default()
            }]),
            ..NodeStatus::default()
        };
        assert!(says(Some(&status("True")), &status("True")));
        assert!(!says(Some(&status("Unknown")), &status("True")));
        assert!(!says(None, &status("True")));
    }
}
