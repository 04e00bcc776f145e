//! Measuring what a container uses.

use std::collections::BTreeMap;

use base::Timestamp;
use runtime::shim::protocol::{Request, Response};

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::work::in_place;

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
    /// Swap in use.
    pub swap: u64,
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
        let cell = self.inner.registry.get(id)?;
        let shim = match cell.shim() {
            Ok(shim) => shim,
            Err(_) => return Ok(Stats::default()),
        };
        let used = match shim.query(&Request::Stats { container: id.to_string() }).await? {
            Response::Stats(used) => *used,
            other => return Err(crate::shim::unexpected(&other)),
        };
        let host_network = self.is_in_host_network(&cell);
        let mut stats = from_cgroup(used);
        stats.read = Some(self.inner.clock.now());
        stats.cpu.system = system_time();
        stats.cpu.online = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        // The host's traffic is not the container's.
        if !host_network && let Ok(Some(held)) = self.running_process(&cell).await {
            stats.networks = networks(&held.read("net/dev").unwrap_or_default());
        }
        Ok(stats)
    }
}

pub(crate) fn from_cgroup(used: runtime::cgroup::Stats) -> Stats {
    let all = crate::host::memory_total();
    Stats {
        read: None,
        cpu: CpuStats {
            total: used.cpu.total,
            user: used.cpu.user,
            kernel: used.cpu.system,
            system: 0,
            online: 0,
            periods: used.cpu.periods,
            throttled_periods: used.cpu.throttled_periods,
            throttled_time: used.cpu.throttled_time,
        },
        memory: MemoryStats {
            usage: used.memory.usage,
            max_usage: used.memory.max_usage,
            // No limit at all is written as a number that no machine has.
            limit: used.memory.limit.map_or(all, |limit| limit.min(all)),
            inactive_file: used.memory.inactive_file,
            swap: used.memory.swap,
            failures: used.memory.failures,
            details: used.memory.detail,
        },
        pids: PidStats { current: used.pids.current, limit: used.pids.limit },
        block_io: used
            .block
            .into_iter()
            .map(|device| BlockIo {
                major: device.major,
                minor: device.minor,
                read_bytes: device.read_bytes,
                write_bytes: device.write_bytes,
                read_operations: device.reads,
                write_operations: device.writes,
            })
            .collect(),
        networks: BTreeMap::new(),
    }
}

/// The whole machine's processor time in nanoseconds, idle time included.
fn system_time() -> u64 {
    /// The kernel tells it in hundredths of a second.
    const NANOSECONDS_PER_TICK: u64 = 10_000_000;
    let stat = in_place(|| std::fs::read_to_string("/proc/stat")).unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    // The last two fields are counted in the first already.
    line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>()
        * NANOSECONDS_PER_TICK
}

/// Reads `/proc/<pid>/net/dev`, without the loopback.
pub(crate) fn networks(text: &str) -> BTreeMap<String, NetworkStats> {
    let one = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let numbers: Vec<u64> = counters.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let at = |index: usize| numbers.get(index).copied().unwrap_or_default();
        let stats = NetworkStats {
            rx_bytes: at(0),
            rx_packets: at(1),
            rx_errors: at(2),
            rx_dropped: at(3),
            tx_bytes: at(8),
            tx_packets: at(9),
            tx_errors: at(10),
            tx_dropped: at(11),
        };
        Some((name.trim().to_owned(), stats))
    };
    text.lines().filter_map(one).filter(|(name, _)| name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_without_the_loopback() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 3 4 0 0 0 0 20 5 6 7 0 0 0 0\n";
        let read = networks(text);
        assert_eq!(read.keys().collect::<Vec<_>>(), ["eth0"]);
        let eth0 = &read["eth0"];
        assert_eq!((eth0.rx_bytes, eth0.rx_dropped, eth0.tx_bytes, eth0.tx_dropped), (10, 4, 20, 7));
    }
}
