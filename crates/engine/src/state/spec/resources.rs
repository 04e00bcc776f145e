//! Limits.

use serde::{Deserialize, Serialize};

use crate::container;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::state) struct Resources {
    memory: Option<i64>,
    memory_reservation: Option<i64>,
    memory_swap: Option<i64>,
    memory_swappiness: Option<i64>,
    nano_cpus: Option<i64>,
    cpu_shares: Option<u64>,
    cpu_quota: Option<i64>,
    cpu_period: Option<u64>,
    cpu_realtime_runtime: Option<i64>,
    cpu_realtime_period: Option<u64>,
    cpuset_cpus: Option<String>,
    cpuset_mems: Option<String>,
    pids: Option<i64>,
    blkio_weight: Option<u16>,
    blkio_weights: Vec<DeviceWeight>,
    blkio_read_bps: Vec<Throttle>,
    blkio_write_bps: Vec<Throttle>,
    blkio_read_iops: Vec<Throttle>,
    blkio_write_iops: Vec<Throttle>,
    oom_kill_disable: bool,
    oom_score_adj: Option<i32>,
    oom_group: bool,
    devices: Vec<Device>,
    device_rules: Vec<String>,
    ulimits: Vec<Ulimit>,
}

#[derive(Serialize, Deserialize)]
struct Throttle {
    path: String,
    rate: u64,
}

#[derive(Serialize, Deserialize)]
struct DeviceWeight {
    path: String,
    weight: u16,
}

#[derive(Serialize, Deserialize)]
struct Device {
    host_path: String,
    container_path: String,
    permissions: String,
}

#[derive(Serialize, Deserialize)]
struct Ulimit {
    name: String,
    soft: i64,
    hard: i64,
}

base::same_fields!(
    Resources = container::Resources {
        memory,
        memory_reservation,
        memory_swap,
        memory_swappiness,
        nano_cpus,
        cpu_shares,
        cpu_quota,
        cpu_period,
        cpu_realtime_runtime,
        cpu_realtime_period,
        cpuset_cpus,
        cpuset_mems,
        pids,
        blkio_weight,
        blkio_weights: each,
        blkio_read_bps: each,
        blkio_write_bps: each,
        blkio_read_iops: each,
        blkio_write_iops: each,
        oom_kill_disable,
        oom_score_adj,
        oom_group,
        devices: each,
        device_rules,
        ulimits: each,
    }
);

base::same_fields!(Throttle = container::Throttle { path, rate });

base::same_fields!(DeviceWeight = container::DeviceWeight { path, weight });

base::same_fields!(Device = container::Device { host_path, container_path, permissions });

base::same_fields!(Ulimit = container::Ulimit { name, soft, hard });
