//! What a control group has used.

use serde::{Deserialize, Serialize};

/// What a control group has used. What the host does not count is zero or absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Processor.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Tasks.
    pub pids: PidsStats,
    /// Disk access, by device.
    pub block: Vec<BlockDeviceStats>,
    /// How often the kernel killed a process of the group for want of memory.
    pub oom_kills: u64,
}

/// Processor time, nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    /// All of it.
    pub total: u64,
    /// In programs.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// All of it, by processor; empty on v2.
    pub per_cpu: Vec<u64>,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// In how many of them the group had to wait.
    pub throttled_periods: u64,
    /// For how long.
    pub throttled_time: u64,
}

/// Memory, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    /// In use, the page cache included.
    pub usage: u64,
    /// The most that ever was.
    pub max_usage: u64,
    /// The limit; `None` is none.
    pub limit: Option<u64>,
    /// Swap in use.
    pub swap: u64,
    /// How often the limit was hit.
    pub failures: u64,
    /// Page cache that has not been used lately: subtract it from `usage` for the working set.
    pub inactive_file: u64,
    /// All of the kernel's `memory.stat`.
    pub detail: std::collections::BTreeMap<String, u64>,
}

/// Number of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// The limit; `None` is none.
    pub limit: Option<u64>,
}

/// What was read and written on one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockDeviceStats {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// The entry of one device, made if it is not there.
pub(super) fn device(devices: &mut Vec<BlockDeviceStats>, major: u64, minor: u64) -> &mut BlockDeviceStats {
    let index = devices
        .iter()
        .position(|device| (device.major, device.minor) == (major, minor))
        .unwrap_or_else(|| {
            devices.push(BlockDeviceStats { major, minor, ..BlockDeviceStats::default() });
            devices.len() - 1
        });
    &mut devices[index]
}
