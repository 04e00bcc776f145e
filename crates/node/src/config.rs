//! What the binary tells the node agent.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::pod::sysctls::AllowedSysctls;
use crate::reserves::Reserves;

/// Where and as what a node agent runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name in the cluster.
    pub name: String,
    /// The node's own address, as other nodes and pods reach it.
    pub address: IpAddr,
    /// Durable state of pods: volumes, logs, termination messages. This crate alone writes to it.
    pub root: PathBuf,
    /// Volumes of this node that outlive pods. This crate alone writes to it.
    pub volumes: PathBuf,
    /// The cluster's DNS server.
    pub cluster_dns: IpAddr,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// Version text that the node reports for its components, such as `v1.36.0`.
    pub kubernetes_version: String,
    /// So many pods at most.
    pub pods: u32,
    /// What is kept for other things than pods.
    pub reserves: Reserves,
    /// Kernel parameters that pods may set besides the safe ones.
    pub allowed_sysctls: AllowedSysctls,
}

impl Config {
    /// The directory of one pod.
    pub fn pod_directory(&self, uid: &str) -> PathBuf {
        self.root.join(uid)
    }

    /// Where `Localhost` seccomp profiles are.
    pub fn seccomp_directory(&self) -> PathBuf {
        self.root.join("seccomp")
    }
}
