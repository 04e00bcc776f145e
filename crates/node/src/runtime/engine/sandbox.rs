//! Sandboxes, in the engine's words and back.

use engine::container::{Dns, PortBinding};
use engine::sandbox::{Sandbox, SandboxNetwork, SandboxSpec};

use super::convert;
use crate::labels;
use crate::runtime::{self, PodNetwork, PodSandbox, PodSandboxConfig, PodSandboxId, PortMapping};

/// What the engine is told to make; `pod_network` is its network of pods.
pub(super) fn spec(config: PodSandboxConfig, pod_network: &str) -> SandboxSpec {
    let PodSandboxConfig {
        metadata,
        hostname,
        network,
        share_pid,
        host_pid,
        host_ipc,
        own_users,
        dns: runtime::Dns { servers, searches, options },
        port_mappings,
        cgroup_parent,
        resources,
        sysctls,
    } = config;
    SandboxSpec {
        labels: labels::of_pod(&metadata),
        name: metadata.name,
        hostname,
        network: match network {
            PodNetwork::Host => SandboxNetwork::Host,
            PodNetwork::Pod => SandboxNetwork::Networks(vec![(pod_network.to_owned(), Default::default())]),
        },
        share_pid,
        host_pid,
        host_ipc,
        own_users,
        dns: Dns { servers, search: searches, options },
        ports: port_mappings.into_iter().map(binding).collect(),
        cgroup_parent: Some(cgroup_parent),
        resources: convert::resources(resources),
        sysctls,
        ..SandboxSpec::default()
    }
}

fn binding(mapping: PortMapping) -> PortBinding {
    let PortMapping { container, host_port, host_address } = mapping;
    PortBinding {
        container: convert::port(container),
        host_address,
        host_port: Some(host_port),
        host_port_end: None,
    }
}

/// A sandbox of a pod.
pub(super) fn listed(sandbox: &Sandbox) -> Option<PodSandbox> {
    let pod = sandbox.spec.labels.get(labels::POD_UID)?.clone();
    Some(PodSandbox { id: PodSandboxId(sandbox.id.to_string()), pod, ready: sandbox.ready })
}
