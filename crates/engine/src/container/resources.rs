//! Limits of a container.

/// Limits of a container; what is `None` or empty is not limited, or left as it is by an update.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory that are left when the host is short of it.
    pub memory_reservation: Option<i64>,
    /// Bytes of memory and swap together; -1 is no limit on swap.
    pub memory_swap: Option<i64>,
    /// Inclination to swap, 0 to 100.
    pub memory_swappiness: Option<i64>,
    /// Processors in billionths; excludes `cpu_quota` and `cpu_period`.
    pub nano_cpus: Option<i64>,
    /// Relative weight, 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// Real-time microseconds per period.
    pub cpu_realtime_runtime: Option<i64>,
    /// The real-time period in microseconds.
    pub cpu_realtime_period: Option<u64>,
    /// Processors that may be used (`0-2,4`).
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used.
    pub cpuset_mems: Option<String>,
    /// Processes; -1 or 0 is no limit.
    pub pids: Option<i64>,
    /// Relative weight of block input and output, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// The same for single devices.
    pub blkio_weights: Vec<DeviceWeight>,
    /// Bytes per second read, by device.
    pub blkio_read_bps: Vec<Throttle>,
    /// Bytes per second written, by device.
    pub blkio_write_bps: Vec<Throttle>,
    /// Reads per second, by device.
    pub blkio_read_iops: Vec<Throttle>,
    /// Writes per second, by device.
    pub blkio_write_iops: Vec<Throttle>,
    /// Does not kill when the memory limit is reached.
    pub oom_kill_disable: bool,
    /// How readily the kernel kills it, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// The kernel kills all its processes where it would kill one; on cgroup v2 only, nothing before.
    pub oom_group: bool,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Further rules of the device cgroup (`c 13:* rwm`).
    pub device_rules: Vec<String>,
    /// Resource limits of the processes.
    pub ulimits: Vec<Ulimit>,
}

/// A limit on one block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// The device's path on the host.
    pub path: String,
    /// The limit.
    pub rate: u64,
}

/// The share of one block device's input and output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceWeight {
    /// The device's path on the host.
    pub path: String,
    /// Relative weight, 10 to 1000.
    pub weight: u16,
}

/// A device of the host inside a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Path on the host.
    pub host_path: String,
    /// Path in the container.
    pub container_path: String,
    /// `r`, `w`, `m` in any combination.
    pub permissions: String,
}

/// A resource limit of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// `nofile`, `nproc`, …
    pub name: String,
    /// -1 is no limit.
    pub soft: i64,
    /// -1 is no limit.
    pub hard: i64,
}
