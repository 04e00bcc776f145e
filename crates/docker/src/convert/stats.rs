//! What a container uses.

use engine::ContainerId;
use engine::container::{BlockIo, CpuStats, Stats};

use crate::wire::{self, stats as document};

/// Writes a sample with the sample before it.
pub(crate) fn document(name: &str, id: &ContainerId, sample: &Stats, earlier: &Stats) -> document::Stats {
    let mut memory = sample.memory.details.clone();
    if sample.memory.inactive_file > 0 {
        // Clients subtract it under whichever of these names the kernel's version has.
        memory.entry("inactive_file".to_owned()).or_insert(sample.memory.inactive_file);
    }
    document::Stats {
        name: format!("/{name}"),
        id: id.to_string(),
        read: wire::time_or_zero(sample.read),
        preread: wire::time_or_zero(earlier.read),
        pids_stats: document::Pids {
            current: sample.pids.current,
            limit: sample.pids.limit.unwrap_or_default(),
        },
        blkio_stats: blkio(&sample.block_io),
        num_procs: 0,
        storage_stats: wire::Empty {},
        cpu_stats: cpu(&sample.cpu),
        precpu_stats: cpu(&earlier.cpu),
        memory_stats: document::Memory {
            usage: sample.memory.usage,
            max_usage: sample.memory.max_usage,
            stats: memory,
            failcnt: sample.memory.failures,
            limit: sample.memory.limit,
        },
        networks: sample
            .networks
            .iter()
            .map(|(name, network)| (name.clone(), self::network(network)))
            .collect(),
    }
}

fn cpu(cpu: &CpuStats) -> document::Cpu {
    document::Cpu {
        cpu_usage: document::CpuUsage {
            total_usage: cpu.total,
            percpu_usage: Vec::new(),
            usage_in_kernelmode: cpu.kernel,
            usage_in_usermode: cpu.user,
        },
        system_cpu_usage: cpu.system,
        online_cpus: cpu.online,
        throttling_data: document::Throttling {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled_time,
        },
    }
}

fn blkio(devices: &[BlockIo]) -> document::Blkio {
    let entries = |read: fn(&BlockIo) -> u64, write: fn(&BlockIo) -> u64| {
        let entry = |device: &BlockIo, op: &str, value: u64| document::BlkioEntry {
            major: device.major,
            minor: device.minor,
            op: op.to_owned(),
            value,
        };
        let both = devices
            .iter()
            .flat_map(|device| [entry(device, "read", read(device)), entry(device, "write", write(device))]);
        Some(both.collect())
    };
    document::Blkio {
        io_service_bytes_recursive: entries(|device| device.read_bytes, |device| device.write_bytes),
        io_serviced_recursive: entries(|device| device.read_operations, |device| device.write_operations),
        ..document::Blkio::default()
    }
}

fn network(network: &engine::container::NetworkStats) -> document::Network {
    document::Network {
        rx_bytes: network.rx_bytes,
        rx_packets: network.rx_packets,
        rx_errors: network.rx_errors,
        rx_dropped: network.rx_dropped,
        tx_bytes: network.tx_bytes,
        tx_packets: network.tx_packets,
        tx_errors: network.tx_errors,
        tx_dropped: network.tx_dropped,
    }
}
