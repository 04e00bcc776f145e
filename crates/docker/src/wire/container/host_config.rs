//! What a container asks of its host: mounts, limits, ports, privileges.

use serde::{Deserialize, Serialize};

use super::config::Words;
use super::mount::MountSpec;
use crate::wire::Map;

/// The host's half of a container's configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HostConfig {
    #[serde(flatten)]
    pub(crate) general: General,
    #[serde(flatten)]
    pub(crate) resources: Resources,
    #[serde(flatten)]
    pub(crate) rest: Rest,
}

/// The body of `POST /containers/{id}/update`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Update {
    #[serde(flatten)]
    pub(crate) resources: Resources,
    #[serde(rename = "RestartPolicy", default, deserialize_with = "crate::wire::null_is_default")]
    pub(crate) restart_policy: RestartPolicy,
}

wire! {
    /// The part of [`HostConfig`] that comes before the limits.
    pub(crate) struct General {
        binds: Option<Vec<String>>,
        #[serde(rename = "ContainerIDFile")]
        container_id_file: String,
        log_config: LogConfig,
        network_mode: String,
        port_bindings: Map<Option<Vec<PortBinding>>>,
        restart_policy: RestartPolicy,
        auto_remove: bool,
        volume_driver: String,
        volumes_from: Option<Vec<String>>,
        console_size: [u32; 2],
        #[serde(skip_serializing_if = "Map::is_empty")]
        annotations: Map<String>,
        cap_add: Option<Words>,
        cap_drop: Option<Words>,
        cgroupns_mode: String,
        dns: Vec<String>,
        dns_options: Vec<String>,
        dns_search: Vec<String>,
        extra_hosts: Option<Vec<String>>,
        group_add: Option<Vec<String>>,
        ipc_mode: String,
        cgroup: String,
        links: Option<Vec<String>>,
        oom_score_adj: i64,
        pid_mode: String,
        privileged: bool,
        publish_all_ports: bool,
        readonly_rootfs: bool,
        security_opt: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        storage_opt: Map<String>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        tmpfs: Map<String>,
        #[serde(rename = "UTSMode")]
        uts_mode: String,
        userns_mode: String,
        shm_size: i64,
        #[serde(skip_serializing_if = "Map::is_empty")]
        sysctls: Map<String>,
        #[serde(skip_serializing_if = "String::is_empty")]
        runtime: String,
        isolation: String,
    }

    /// Limits on what a container may use.
    pub(crate) struct Resources {
        cpu_shares: i64,
        memory: i64,
        nano_cpus: i64,
        cgroup_parent: String,
        blkio_weight: u16,
        blkio_weight_device: Option<Vec<WeightDevice>>,
        blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
        blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
        #[serde(rename = "BlkioDeviceReadIOps")]
        blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
        #[serde(rename = "BlkioDeviceWriteIOps")]
        blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
        cpu_period: i64,
        cpu_quota: i64,
        cpu_realtime_period: i64,
        cpu_realtime_runtime: i64,
        cpuset_cpus: String,
        cpuset_mems: String,
        devices: Option<Vec<DeviceMapping>>,
        device_cgroup_rules: Option<Vec<String>>,
        device_requests: Option<Vec<DeviceRequest>>,
        memory_reservation: i64,
        memory_swap: i64,
        memory_swappiness: Option<i64>,
        oom_kill_disable: Option<bool>,
        pids_limit: Option<i64>,
        ulimits: Option<Vec<Ulimit>>,
        cpu_count: i64,
        cpu_percent: i64,
        #[serde(rename = "IOMaximumIOps")]
        io_maximum_iops: u64,
        #[serde(rename = "IOMaximumBandwidth")]
        io_maximum_bandwidth: u64,
    }

    /// The part of [`HostConfig`] that comes after the limits.
    pub(crate) struct Rest {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        mounts: Vec<MountSpec>,
        masked_paths: Option<Vec<String>>,
        readonly_paths: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        init: Option<bool>,
        #[serde(skip_serializing)]
        capabilities: Option<Vec<String>>,
    }

    /// Where a container's output goes.
    pub(crate) struct LogConfig {
        #[serde(rename = "Type")]
        kind: String,
        config: Map<String>,
    }

    /// When a container is started again.
    pub(crate) struct RestartPolicy {
        name: String,
        maximum_retry_count: i64,
    }

    /// One address of the host that leads to a container's port.
    pub(crate) struct PortBinding {
        host_ip: String,
        host_port: String,
    }

    /// A host's device given to a container.
    pub(crate) struct DeviceMapping {
        path_on_host: String,
        path_in_container: String,
        cgroup_permissions: String,
    }

    /// Devices that a driver is to choose, for example processors of graphics.
    pub(crate) struct DeviceRequest {
        driver: String,
        count: i64,
        #[serde(rename = "DeviceIDs")]
        device_ids: Option<Vec<String>>,
        capabilities: Option<Vec<Vec<String>>>,
        options: Map<String>,
    }

    /// A device's share of block I/O.
    pub(crate) struct WeightDevice {
        path: String,
        weight: u16,
    }

    /// A device's limit of block I/O, per second.
    pub(crate) struct ThrottleDevice {
        path: String,
        rate: u64,
    }

    /// A limit of the process, as `setrlimit` takes it.
    pub(crate) struct Ulimit {
        name: String,
        hard: i64,
        soft: i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(request: &str, expected: &str) {
        let config: HostConfig = serde_json::from_str(request).expect("a host configuration");
        let text = serde_json::to_string(&config).expect("JSON");
        assert!(text.contains(expected), "{expected} is not in {text}");
    }

    #[test]
    fn every_part_of_the_document_reaches_its_struct() {
        check(r#"{"Binds":["/a:/b"],"Memory":5,"Init":true}"#, r#""Binds":["/a:/b"]"#);
        check(r#"{"Binds":["/a:/b"],"Memory":5,"Init":true}"#, r#""Memory":5"#);
        check(r#"{"Binds":["/a:/b"],"Memory":5,"Init":true}"#, r#""Init":true"#);
        check(r#"{"HostIp":"x","PortBindings":{"80/tcp":null}}"#, r#""PortBindings":{"80/tcp":null}"#);
    }

    #[test]
    fn acronyms_keep_their_spelling() {
        check("{}", r#""UTSMode":"""#);
        check("{}", r#""BlkioDeviceReadIOps":null"#);
        check("{}", r#""IOMaximumIOps":0"#);
    }

    #[test]
    fn an_update_is_limits_and_a_restart_policy() {
        let update: Update =
            serde_json::from_str(r#"{"Memory":7,"RestartPolicy":{"Name":"always"}}"#).expect("an update");
        assert_eq!((update.resources.memory, update.restart_policy.name.as_str()), (7, "always"));
    }
}
