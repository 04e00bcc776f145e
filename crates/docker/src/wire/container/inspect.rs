//! Everything about one container.

use super::config::Config;
use super::host_config::{HostConfig, PortBinding};
use super::mount::MountPoint;
use crate::wire::Map;
use crate::wire::network::EndpointSettings;

wire! {
    /// The answer to `GET /containers/{id}/json`.
    pub(crate) struct Inspect {
        id: String,
        created: String,
        path: String,
        args: Vec<String>,
        state: State,
        image: String,
        resolv_conf_path: String,
        hostname_path: String,
        hosts_path: String,
        log_path: String,
        name: String,
        restart_count: i64,
        driver: String,
        platform: String,
        mount_label: String,
        process_label: String,
        app_armor_profile: String,
        #[serde(rename = "ExecIDs")]
        exec_ids: Option<Vec<String>>,
        host_config: HostConfig,
        graph_driver: GraphDriver,
        #[serde(skip_serializing_if = "Option::is_none")]
        size_rw: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        size_root_fs: Option<i64>,
        mounts: Vec<MountPoint>,
        config: Config,
        network_settings: NetworkSettings,
    }

    /// What a container is doing.
    pub(crate) struct State {
        status: String,
        running: bool,
        paused: bool,
        restarting: bool,
        #[serde(rename = "OOMKilled")]
        oom_killed: bool,
        dead: bool,
        pid: u32,
        exit_code: i64,
        error: String,
        started_at: String,
        finished_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        health: Option<Health>,
    }

    /// How the checks of a container went.
    pub(crate) struct Health {
        status: String,
        failing_streak: i64,
        log: Vec<HealthLog>,
    }

    /// One run of a check.
    pub(crate) struct HealthLog {
        start: String,
        end: String,
        exit_code: i64,
        output: String,
    }

    /// Where a root file system comes from.
    pub(crate) struct GraphDriver {
        data: Option<Map<String>>,
        name: String,
    }

    /// The networks and addresses of a container.
    pub(crate) struct NetworkSettings {
        bridge: String,
        #[serde(rename = "SandboxID")]
        sandbox_id: String,
        sandbox_key: String,
        ports: Map<Option<Vec<PortBinding>>>,
        hairpin_mode: bool,
        #[serde(rename = "LinkLocalIPv6Address")]
        link_local_ipv6_address: String,
        #[serde(rename = "LinkLocalIPv6PrefixLen")]
        link_local_ipv6_prefix_len: u8,
        #[serde(rename = "SecondaryIPAddresses")]
        secondary_ip_addresses: Option<Vec<serde_json::Value>>,
        #[serde(rename = "SecondaryIPv6Addresses")]
        secondary_ipv6_addresses: Option<Vec<serde_json::Value>>,
        #[serde(rename = "EndpointID")]
        endpoint_id: String,
        gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        global_ipv6_prefix_len: u8,
        #[serde(rename = "IPAddress")]
        ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        ip_prefix_len: u8,
        #[serde(rename = "IPv6Gateway")]
        ipv6_gateway: String,
        mac_address: String,
        networks: Map<EndpointSettings>,
    }
}
