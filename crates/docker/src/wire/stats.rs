//! What a container uses, as `GET /containers/{id}/stats` streams it.

use serde::Serialize;

use super::Map;

/// One sample, with the processor's part of the sample before it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Stats {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) read: String,
    pub(crate) preread: String,
    pub(crate) pids_stats: Pids,
    pub(crate) blkio_stats: Blkio,
    pub(crate) num_procs: u32,
    pub(crate) storage_stats: super::Empty,
    pub(crate) cpu_stats: Cpu,
    pub(crate) precpu_stats: Cpu,
    pub(crate) memory_stats: Memory,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) networks: Map<Network>,
}

/// Processes and threads.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Pids {
    #[serde(skip_serializing_if = "crate::wire::is_zero")]
    pub(crate) current: u64,
    #[serde(skip_serializing_if = "crate::wire::is_zero")]
    pub(crate) limit: u64,
}

/// Block I/O by device and operation.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Blkio {
    pub(crate) io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
    pub(crate) io_serviced_recursive: Option<Vec<BlkioEntry>>,
    pub(crate) io_queue_recursive: Option<Vec<BlkioEntry>>,
    pub(crate) io_service_time_recursive: Option<Vec<BlkioEntry>>,
    pub(crate) io_wait_time_recursive: Option<Vec<BlkioEntry>>,
    pub(crate) io_merged_recursive: Option<Vec<BlkioEntry>>,
    pub(crate) io_time_recursive: Option<Vec<BlkioEntry>>,
    pub(crate) sectors_recursive: Option<Vec<BlkioEntry>>,
}

/// One device's counter.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct BlkioEntry {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) op: String,
    pub(crate) value: u64,
}

/// Processor time in nanoseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Cpu {
    pub(crate) cpu_usage: CpuUsage,
    #[serde(skip_serializing_if = "crate::wire::is_zero")]
    pub(crate) system_cpu_usage: u64,
    #[serde(skip_serializing_if = "crate::wire::is_zero")]
    pub(crate) online_cpus: u32,
    pub(crate) throttling_data: Throttling,
}

/// Processor time of the container.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct CpuUsage {
    pub(crate) total_usage: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) percpu_usage: Vec<u64>,
    pub(crate) usage_in_kernelmode: u64,
    pub(crate) usage_in_usermode: u64,
}

/// How often the limit of processor time was met.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Throttling {
    pub(crate) periods: u64,
    pub(crate) throttled_periods: u64,
    pub(crate) throttled_time: u64,
}

/// Memory in bytes.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Memory {
    #[serde(skip_serializing_if = "crate::wire::is_zero")]
    pub(crate) usage: u64,
    #[serde(skip_serializing_if = "crate::wire::is_zero")]
    pub(crate) max_usage: u64,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) stats: Map<u64>,
    #[serde(skip_serializing_if = "crate::wire::is_zero")]
    pub(crate) failcnt: u64,
    #[serde(skip_serializing_if = "crate::wire::is_zero")]
    pub(crate) limit: u64,
}

/// Counters of one interface.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Network {
    pub(crate) rx_bytes: u64,
    pub(crate) rx_packets: u64,
    pub(crate) rx_errors: u64,
    pub(crate) rx_dropped: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) tx_packets: u64,
    pub(crate) tx_errors: u64,
    pub(crate) tx_dropped: u64,
}
