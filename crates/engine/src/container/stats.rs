//! Measuring what a container uses.

use std::collections::BTreeMap;

use base::Timestamp;

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

/// One sample of what a container uses; counters count from its start.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// When it was taken.
    pub read: Option<Timestamp>,
    /// Processor.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes.
    pub pids: PidStats,
    /// Block devices.
    pub block_io: Vec<BlockIo>,
    /// Network interfaces by name.
    pub networks: BTreeMap<String, NetworkStats>,
}

/// Use of processors, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct CpuStats {
    /// All.
    pub total: u64,
    /// In programs.
    pub user: u64,
    /// In the kernel.
    pub kernel: u64,
    /// The whole machine's, over all processors, idle time included.
    pub system: u64,
    /// Processors online.
    pub online: u32,
    /// Periods in which the quota was in force.
    pub periods: u64,
    /// Periods in which it was used up.
    pub throttled_periods: u64,
    /// Time that was held back.
    pub throttled_time: u64,
}

/// Use of memory, in bytes.
#[derive(Clone, Debug, Default)]
pub struct MemoryStats {
    /// All, page cache included.
    pub usage: u64,
    /// The most that it has been; 0 where unknown.
    pub max_usage: u64,
    /// The limit, or the machine's memory.
    pub limit: u64,
    /// Page cache that could be dropped at once: usage less this is what is really needed.
    pub inactive_file: u64,
    /// How often the limit was reached.
    pub failures: u64,
    /// The kernel's own counters by name.
    pub details: BTreeMap<String, u64>,
}

/// Number of processes.
#[derive(Clone, Debug, Default)]
pub struct PidStats {
    /// Now.
    pub current: u64,
    /// The limit, if any.
    pub limit: Option<u64>,
}

/// Use of one block device.
#[derive(Clone, Debug, Default)]
pub struct BlockIo {
    /// Device major number.
    pub major: u64,
    /// Device minor number.
    pub minor: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub read_operations: u64,
    /// Writes.
    pub write_operations: u64,
}

/// Use of one network interface.
#[derive(Clone, Debug, Default)]
pub struct NetworkStats {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Errors while receiving.
    pub rx_errors: u64,
    /// Packets dropped while receiving.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Errors while sending.
    pub tx_errors: u64,
    /// Packets dropped while sending.
    pub tx_dropped: u64,
}

impl Engine {
    /// One sample; all zero for a container that does not run.
    pub async fn container_stats(&self, id: &ContainerId) -> Result<Stats> {
        let _ = id;
        todo!()
    }
}
