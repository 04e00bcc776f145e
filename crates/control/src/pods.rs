//! What several controllers ask about pods, and what is kept of each for it.

use base::Timestamp;
use client::{Informer, Outline, Outlined};
use k8s_openapi::api::core::v1::{Pod, PodCondition};

/// What controllers look at of the pods of a set or a service, of which there may be very many.
#[derive(Debug)]
pub(crate) struct PodOutline {
    pub(crate) uid: Box<str>,
    pub(crate) phase: Phase,
    /// Whether it is being deleted.
    pub(crate) is_ending: bool,
    /// Whether its condition `Ready` holds.
    pub(crate) is_ready: bool,
    /// Since when, by the time of day, where that is told.
    pub(crate) ready_since: Option<Timestamp>,
    pub(crate) created: Option<Timestamp>,
    /// What it costs to delete it, as somebody has written on it.
    pub(crate) deletion_cost: i32,
    pub(crate) restarts: i64,
    pub(crate) address: Option<Box<str>>,
    pub(crate) node: Option<Box<str>>,
    pub(crate) names: Option<Box<Names>>,
    /// The ports that have names.
    pub(crate) ports: Box<[Port]>,
}

/// How far a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits for a node or for what it needs.
    Pending,
    Running,
    Succeeded,
    Failed,
    /// Nobody can tell.
    Other,
}

/// The names that a pod has asked for.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) hostname: String,
    pub(crate) subdomain: String,
}

/// A port that has a name.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: Box<str>,
    pub(crate) protocol: Box<str>,
    pub(crate) number: i32,
}

/// The index of pods by the names of their nodes.
pub(crate) const ON_NODE: &str = "node";

/// Has the copy of all pods keep the index [`ON_NODE`].
pub(crate) fn index_nodes(pods: &Informer<Pod>) {
    pods.index(ON_NODE, |pod: &Pod| node_of(pod).into_iter().map(str::to_owned).collect());
}

/// The node that a pod is on.
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// A pod by its outline.
pub(crate) type OutlinedPod = Outlined<PodOutline>;

impl PodOutline {
    /// Whether all containers of the pod ended for good.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Whether the pod counts towards what is wanted: neither ended nor being deleted.
    pub(crate) fn is_active(&self) -> bool {
        !self.is_terminal() && !self.is_ending
    }
}

impl Outline<Pod> for PodOutline {
    fn of(pod: &Pod) -> Self {
        let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
        let ready = condition(pod, "Ready").filter(|condition| condition.status == "True");
        let annotations = pod.metadata.annotations.as_ref();
        let cost = annotations.and_then(|all| all.get("controller.kubernetes.io/pod-deletion-cost"));
        let restarts = status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let text =
            |text: Option<&String>| text.filter(|text| !text.is_empty()).map(|text| text.as_str().into());
        let hostname = spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
        let names = hostname.map(|hostname| {
            let subdomain = spec.and_then(|spec| spec.subdomain.clone()).unwrap_or_default();
            Box::new(Names { hostname, subdomain })
        });
        Self {
            uid: pod.metadata.uid.as_deref().unwrap_or_default().into(),
            phase: match status.and_then(|status| status.phase.as_deref()).unwrap_or_default() {
                "Pending" | "" => Phase::Pending,
                "Running" => Phase::Running,
                "Succeeded" => Phase::Succeeded,
                "Failed" => Phase::Failed,
                _ => Phase::Other,
            },
            is_ending: pod.metadata.deletion_timestamp.is_some(),
            is_ready: ready.is_some(),
            ready_since: ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            deletion_cost: cost.and_then(|text| text.parse().ok()).unwrap_or(0),
            restarts: restarts.map(|status| i64::from(status.restart_count)).sum(),
            address: text(status.and_then(|status| status.pod_ip.as_ref())),
            node: text(spec.and_then(|spec| spec.node_name.as_ref())),
            names,
            ports: named_ports(pod),
        }
    }
}

/// The named ports of containers, then those of sidecars.
fn named_ports(pod: &Pod) -> Box<[Port]> {
    let Some(spec) = &pod.spec else { return Box::default() };
    let inits = spec.init_containers.iter().flatten();
    let sidecars = inits.filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let named = ports.filter_map(|port| {
        Some(Port {
            name: port.name.as_deref()?.into(),
            protocol: port.protocol.as_deref().unwrap_or("TCP").into(),
            number: port.container_port,
        })
    });
    named.collect()
}

/// Whether all containers of the pod ended for good.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod counts towards what is wanted: neither ended nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// `Pending`, `Running`, `Succeeded` or `Failed`; nothing for a pod that no node has taken yet.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// A condition of the pod by its type.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}
