//! A sandbox that was made as such.

use std::collections::BTreeMap;

use base::Timestamp;
use base::record::Record;
use serde::{Deserialize, Serialize};

use super::spec::{Dns, Endpoint, HostEntry, PortBinding, Resources};
use crate::id::SandboxId;
use crate::sandbox;

/// `sandboxes/<id>/state.json`.
///
/// Version 2 has users of its own: who does not know what that is must not run its containers as the
/// host's users. Others are written as version 1.
#[derive(Serialize, Deserialize)]
pub(crate) struct SandboxFile {
    id: SandboxId,
    created: Timestamp,
    spec: Spec,
    /// The first id of its block of the host's user ids, if it has users of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_id: Option<u32>,
}

impl Record for SandboxFile {
    const KNOWN: u32 = 2;

    fn version(&self) -> u32 {
        if self.spec.own_users { Self::KNOWN } else { 1 }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Spec {
    name: String,
    hostname: String,
    network: Network,
    share_pid: bool,
    host_pid: bool,
    host_ipc: bool,
    own_users: bool,
    dns: Dns,
    hosts: Vec<HostEntry>,
    ports: Vec<PortBinding>,
    cgroup_parent: Option<String>,
    resources: Resources,
    sysctls: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Network {
    #[default]
    None,
    Host,
    Networks(Vec<(String, Endpoint)>),
}

base::same_fields!(SandboxFile = sandbox::SandboxRecord { id, created, spec: inner, first_id });

base::same_fields!(
    Spec = sandbox::SandboxSpec {
        name,
        hostname,
        network: inner,
        share_pid,
        host_pid,
        host_ipc,
        own_users,
        dns: inner,
        hosts: each,
        ports: each,
        cgroup_parent,
        resources: inner,
        sysctls,
        labels,
        annotations,
    }
);

base::same_variants!(Network = sandbox::SandboxNetwork { None, Host, Networks(networks: named) });
