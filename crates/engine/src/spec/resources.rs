//! Limits in OCI's terms.

use runtime::cgroup::{Hierarchies, Version};
use runtime::spec::{self as oci, BlockIo, Cpu, Memory, Pids, Rlimit, ThrottleDevice, WeightDevice};

use super::cpuset;
use crate::container::{Resources, Throttle, Ulimit};
use crate::error::{Error, Result};

/// The scheduling period where only a number of processors is given, in microseconds.
const PERIOD: u64 = 100_000;

/// Limits as the runtime takes them; `devices` gives the numbers of block devices by path.
pub(crate) fn to_oci(resources: &Resources, devices: &[(String, i64, i64)]) -> oci::Resources {
    let memory = Memory {
        limit: resources.memory.filter(|&limit| limit != 0),
        reservation: resources.memory_reservation.filter(|&limit| limit != 0),
        swap: swap(resources),
        // Cgroup v2 has neither, which was said when they were asked for.
        swappiness: resources
            .memory_swappiness
            .and_then(|value| u64::try_from(value).ok())
            .filter(|_| !is_unified()),
        disable_oom_killer: (resources.oom_kill_disable && !is_unified()).then_some(true),
        ..Memory::default()
    };
    let (quota, period) = match resources.nano_cpus.filter(|&cpus| cpus > 0) {
        Some(cpus) => (Some(cpus.saturating_mul(PERIOD as i64) / 1_000_000_000), Some(PERIOD)),
        None => (
            resources.cpu_quota.filter(|&quota| quota != 0),
            resources.cpu_period.filter(|&period| period != 0),
        ),
    };
    let cpu = Cpu {
        shares: resources.cpu_shares.filter(|&shares| shares != 0),
        quota,
        period,
        realtime_runtime: resources.cpu_realtime_runtime.filter(|&time| time != 0),
        realtime_period: resources.cpu_realtime_period.filter(|&time| time != 0),
        cpus: resources.cpuset_cpus.clone().filter(|set| !set.is_empty()),
        mems: resources.cpuset_mems.clone().filter(|set| !set.is_empty()),
        ..Cpu::default()
    };
    let throttles = |throttles: &[Throttle]| -> Vec<ThrottleDevice> {
        let found = |throttle: &Throttle| {
            let (_, major, minor) = devices.iter().find(|(path, ..)| *path == throttle.path)?;
            Some(ThrottleDevice { major: *major, minor: *minor, rate: throttle.rate })
        };
        throttles.iter().filter_map(found).collect()
    };
    let weights = resources.blkio_weights.iter().filter_map(|asked| {
        let (_, major, minor) = devices.iter().find(|(path, ..)| *path == asked.path)?;
        let weight = Some(asked.weight).filter(|&weight| weight != 0);
        Some(WeightDevice { major: *major, minor: *minor, weight, leaf_weight: None })
    });
    let block_io = BlockIo {
        weight: resources.blkio_weight.filter(|&weight| weight != 0),
        weight_device: weights.collect(),
        throttle_read_bps_device: throttles(&resources.blkio_read_bps),
        throttle_write_bps_device: throttles(&resources.blkio_write_bps),
        throttle_read_iops_device: throttles(&resources.blkio_read_iops),
        throttle_write_iops_device: throttles(&resources.blkio_write_iops),
        ..BlockIo::default()
    };
    oci::Resources {
        memory: (memory != Memory::default()).then_some(memory),
        cpu: (cpu != Cpu::default()).then_some(cpu),
        pids: resources.pids.filter(|&limit| limit != 0).map(|limit| Pids { limit }),
        block_io: (block_io != BlockIo::default()).then_some(block_io),
        unified: if resources.oom_group && is_unified() {
            [("memory.oom.group".to_owned(), "1".to_owned())].into()
        } else {
            Default::default()
        },
        ..oci::Resources::default()
    }
}

/// Refuses limits that this host cannot enforce, or gives what is to be said of those that it cannot
/// and that are left out as Docker leaves them out.
pub(crate) fn check(resources: &Resources) -> Result<Vec<String>> {
    rlimits(&resources.ulimits, None)?;
    cpuset::check(resources)?;
    let (runtime, period) = (resources.cpu_realtime_runtime, resources.cpu_realtime_period);
    if runtime.is_some() || period.is_some() {
        if !Hierarchies::detect().is_ok_and(|found| found.has_real_time()) {
            return Err(Error::invalid("kernel does not support CPU real-time scheduler"));
        }
        let most = period.and_then(|period| i64::try_from(period).ok());
        if runtime.zip(most).is_some_and(|(runtime, period)| runtime > period) {
            return Err(Error::invalid("cpu real-time runtime cannot be higher than cpu real-time period"));
        }
    }
    let mut warnings = Vec::new();
    if is_unified() && resources.memory_swappiness.is_some() {
        warnings.push("Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.".to_owned());
    }
    if is_unified() && resources.oom_kill_disable {
        warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
    }
    Ok(warnings)
}

/// Whether this host has cgroup v2 alone; does not change while it is up.
pub(crate) fn is_unified() -> bool {
    use std::sync::OnceLock;
    static UNIFIED: OnceLock<bool> = OnceLock::new();
    let found = || Hierarchies::detect().is_ok_and(|found| found.version() == Version::V2);
    *UNIFIED.get_or_init(found)
}

/// Where only memory is limited, as much swap again may be used.
fn swap(resources: &Resources) -> Option<i64> {
    let memory = resources.memory.filter(|&limit| limit > 0);
    match (resources.memory_swap.filter(|&limit| limit != 0), memory) {
        (Some(limit), _) => Some(limit),
        (None, Some(memory)) => Some(memory.saturating_mul(2)),
        (None, None) => None,
    }
}

/// The paths of all block devices that limits name.
pub(crate) fn throttled(resources: &Resources) -> impl Iterator<Item = &str> {
    [
        &resources.blkio_read_bps,
        &resources.blkio_write_bps,
        &resources.blkio_read_iops,
        &resources.blkio_write_iops,
    ]
    .into_iter()
    .flatten()
    .map(|throttle| throttle.path.as_str())
    .chain(resources.blkio_weights.iter().map(|asked| asked.path.as_str()))
}

/// Limits of a container's processes, those that join it included; `descriptors` (soft, hard) is that
/// of open files where none is asked for.
pub(crate) fn rlimits(ulimits: &[Ulimit], descriptors: Option<(u64, u64)>) -> Result<Vec<Rlimit>> {
    const KNOWN: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    const FILES: &str = "RLIMIT_NOFILE";
    let value = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    let mut limits: Vec<Rlimit> = ulimits
        .iter()
        .map(|limit| {
            let name = limit.name.to_ascii_lowercase();
            if !KNOWN.contains(&name.as_str()) {
                return Err(Error::invalid(format!("invalid ulimit type: {}", limit.name)));
            }
            let kind = format!("RLIMIT_{}", name.to_ascii_uppercase());
            Ok(Rlimit { kind, hard: value(limit.hard), soft: value(limit.soft) })
        })
        .collect::<Result<_>>()?;
    if let Some((soft, hard)) = descriptors.filter(|_| limits.iter().all(|limit| limit.kind != FILES)) {
        limits.push(Rlimit { kind: FILES.to_owned(), hard, soft });
    }
    Ok(limits)
}
