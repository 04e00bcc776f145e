//! Documents about the daemon and its host.

use serde::Serialize;

use super::Map;
use super::container::Summary;
use super::image;
use super::volume::Volume;

/// The answer to `GET /version`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Version {
    pub(crate) platform: Platform,
    pub(crate) components: Vec<Component>,
    pub(crate) version: String,
    pub(crate) api_version: String,
    #[serde(rename = "MinAPIVersion")]
    pub(crate) min_api_version: String,
    pub(crate) git_commit: String,
    pub(crate) go_version: String,
    pub(crate) os: String,
    pub(crate) arch: String,
    pub(crate) kernel_version: String,
    pub(crate) build_time: String,
}

/// What the daemon calls itself.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Platform {
    pub(crate) name: String,
}

/// A part of the daemon.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) details: Map<String>,
}

/// The answer to `GET /info`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Info {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) containers: usize,
    pub(crate) containers_running: usize,
    pub(crate) containers_paused: usize,
    pub(crate) containers_stopped: usize,
    pub(crate) images: usize,
    pub(crate) driver: String,
    pub(crate) driver_status: Vec<[String; 2]>,
    pub(crate) plugins: Plugins,
    pub(crate) memory_limit: bool,
    pub(crate) swap_limit: bool,
    pub(crate) cpu_cfs_period: bool,
    pub(crate) cpu_cfs_quota: bool,
    #[serde(rename = "CPUShares")]
    pub(crate) cpu_shares: bool,
    #[serde(rename = "CPUSet")]
    pub(crate) cpu_set: bool,
    pub(crate) pids_limit: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bridge_nf_iptables: Option<bool>,
    #[serde(rename = "BridgeNfIp6tables", skip_serializing_if = "Option::is_none")]
    pub(crate) bridge_nf_ip6tables: Option<bool>,
    #[serde(rename = "IPv4Forwarding")]
    pub(crate) ipv4_forwarding: bool,
    pub(crate) debug: bool,
    pub(crate) n_fd: usize,
    pub(crate) oom_kill_disable: bool,
    pub(crate) n_goroutines: usize,
    pub(crate) system_time: String,
    pub(crate) logging_driver: String,
    pub(crate) cgroup_driver: String,
    pub(crate) cgroup_version: String,
    pub(crate) n_events_listener: usize,
    pub(crate) kernel_version: String,
    pub(crate) operating_system: String,
    #[serde(rename = "OSVersion")]
    pub(crate) os_version: String,
    #[serde(rename = "OSType")]
    pub(crate) os_type: String,
    pub(crate) architecture: String,
    pub(crate) index_server_address: String,
    pub(crate) registry_config: RegistryConfig,
    #[serde(rename = "NCPU")]
    pub(crate) n_cpu: u32,
    pub(crate) mem_total: u64,
    pub(crate) generic_resources: Option<Vec<serde_json::Value>>,
    pub(crate) docker_root_dir: String,
    pub(crate) http_proxy: String,
    pub(crate) https_proxy: String,
    pub(crate) no_proxy: String,
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
    pub(crate) experimental_build: bool,
    pub(crate) server_version: String,
    pub(crate) runtimes: Map<Runtime>,
    pub(crate) default_runtime: String,
    pub(crate) swarm: Swarm,
    pub(crate) live_restore_enabled: bool,
    pub(crate) isolation: String,
    pub(crate) init_binary: String,
    pub(crate) containerd_commit: Commit,
    pub(crate) runc_commit: Commit,
    pub(crate) init_commit: Commit,
    pub(crate) security_options: Vec<String>,
    pub(crate) default_address_pools: Vec<AddressPool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) firewall_backend: Option<FirewallInfo>,
    #[serde(rename = "CDISpecDirs")]
    pub(crate) cdi_spec_dirs: Vec<String>,
    pub(crate) warnings: Option<Vec<String>>,
}

/// What kinds of drivers there are.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Plugins {
    pub(crate) volume: Vec<String>,
    pub(crate) network: Vec<String>,
    pub(crate) authorization: Option<Vec<String>>,
    pub(crate) log: Vec<String>,
}

/// Where networks without a subnet get theirs from.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AddressPool {
    pub(crate) base: String,
    pub(crate) size: u8,
}

/// What filters packets.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct FirewallInfo {
    pub(crate) driver: String,
}

/// How registries are spoken to.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RegistryConfig {
    #[serde(rename = "InsecureRegistryCIDRs")]
    pub(crate) insecure_registry_cidrs: Vec<String>,
    pub(crate) index_configs: Map<Index>,
    pub(crate) mirrors: Vec<String>,
}

/// How one registry is spoken to.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) mirrors: Vec<String>,
    pub(crate) secure: bool,
    pub(crate) official: bool,
}

/// A runtime's program.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Runtime {
    pub(crate) path: String,
}

/// The state of swarm mode.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Swarm {
    #[serde(rename = "NodeID")]
    pub(crate) node_id: String,
    pub(crate) node_addr: String,
    pub(crate) local_node_state: String,
    pub(crate) control_available: bool,
    pub(crate) error: String,
    pub(crate) remote_managers: Option<Vec<String>>,
}

/// The commit of a part of the daemon.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Commit {
    #[serde(rename = "ID")]
    pub(crate) id: String,
}

/// The answer to `GET /system/df`; a part that was not asked for is left out.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DiskUsage {
    pub(crate) layers_size: u64,
    pub(crate) images: Option<Vec<image::Summary>>,
    pub(crate) containers: Option<Vec<Summary>>,
    pub(crate) volumes: Option<Vec<Volume>>,
    pub(crate) build_cache: Option<Vec<BuildCache>>,
}

/// A part of the build cache.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BuildCache {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) parents: Vec<String>,
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    pub(crate) description: String,
    pub(crate) in_use: bool,
    pub(crate) shared: bool,
    pub(crate) size: u64,
    pub(crate) created_at: String,
    pub(crate) last_used_at: Option<String>,
    pub(crate) usage_count: u64,
}
