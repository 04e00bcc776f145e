//! One hierarchy per controller.

use std::path::Path;

use super::stats::{BlockDeviceStats, CpuStats, MemoryStats, PidsStats, Stats};
use super::{Cgroup, CgroupError, devices, make_directory, read_number, read_pairs, write};
use crate::spec::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};

/// The kernel's way to say "no limit": the largest page-aligned number.
const NO_LIMIT: u64 = i64::MAX as u64 / 4096 * 4096;

pub(super) fn create(cgroup: &Cgroup) -> Result<(), CgroupError> {
    for hierarchy in &cgroup.hierarchies.v1 {
        let directory = cgroup.directory_in(hierarchy);
        make_directory(&directory)?;
        if hierarchy.controllers.iter().any(|controller| controller == "cpuset") {
            fill_cpuset(&hierarchy.mount, &directory)?;
        }
    }
    cgroup.unified_directory().map_or(Ok(()), |directory| make_directory(&directory))
}

pub(super) fn apply(cgroup: &Cgroup, resources: &Resources) -> Result<(), CgroupError> {
    if !resources.devices.is_empty() {
        let directory = controller(cgroup, "devices", "devices")?;
        for line in devices::v1_rules(&resources.devices)? {
            let (file, rule) = line;
            write(&directory, file, &rule)?;
        }
    }
    if let Some(memory) = &resources.memory {
        apply_memory(cgroup, memory)?;
    }
    if let Some(cpu) = &resources.cpu {
        apply_cpu(cgroup, cpu)?;
    }
    if let Some(pids) = &resources.pids {
        let limit = if pids.limit > 0 { pids.limit.to_string() } else { "max".to_owned() };
        write(&controller(cgroup, "pids", "tasks")?, "pids.max", &limit)?;
    }
    if let Some(block) = &resources.block_io {
        apply_block(cgroup, block)?;
    }
    for limit in &resources.hugepage_limits {
        let file = format!("hugetlb.{}.limit_in_bytes", limit.page_size);
        write(&controller(cgroup, "hugetlb", "huge pages")?, &file, &limit.limit.to_string())?;
    }
    if let Some(network) = &resources.network {
        if let Some(class) = network.class_id {
            write(
                &controller(cgroup, "net_cls", "the class of packets")?,
                "net_cls.classid",
                &class.to_string(),
            )?;
        }
        for priority in &network.priorities {
            let directory = controller(cgroup, "net_prio", "the priority of packets")?;
            write(&directory, "net_prio.ifpriomap", &format!("{} {}", priority.name, priority.priority))?;
        }
    }
    if let Some(file) = resources.unified.keys().next() {
        return Err(CgroupError::Invalid(format!(
            "`{file}` is a file of cgroup v2, which this host does not use"
        )));
    }
    Ok(())
}

pub(super) fn stats(cgroup: &Cgroup) -> Stats {
    let mut stats = Stats { oom_kills: super::oom::kills(cgroup), ..Stats::default() };
    if let Some(directory) = cgroup.controller("cpuacct") {
        cpu_usage(&directory, &mut stats.cpu);
    }
    if let Some(directory) = cgroup.controller("cpu") {
        let pairs = read_pairs(&directory, "cpu.stat");
        let value = |name: &str| pairs.get(name).copied().unwrap_or(0);
        stats.cpu.periods = value("nr_periods");
        stats.cpu.throttled_periods = value("nr_throttled");
        stats.cpu.throttled_time = value("throttled_time");
    }
    if let Some(directory) = cgroup.controller("memory") {
        stats.memory = memory(&directory);
    }
    if let Some(directory) = cgroup.controller("pids") {
        stats.pids = PidsStats {
            current: read_number(&directory, "pids.current").unwrap_or(0),
            limit: read_number(&directory, "pids.max"),
        };
    }
    if let Some(directory) = cgroup.controller("blkio") {
        block(&directory, &mut stats.block);
    }
    stats
}

/// The quota and its period.
pub(super) fn cpu_quota(cgroup: &Cgroup) -> Option<(i64, i64)> {
    let directory = cgroup.controller("cpu")?;
    let read = |file| std::fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok();
    Some((read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?))
}

pub(super) fn ask_frozen(cgroup: &Cgroup, frozen: bool) -> Result<bool, CgroupError> {
    let directory = controller(cgroup, "freezer", "running")?;
    let wanted = if frozen { "FROZEN" } else { "THAWED" };
    // Written each time: processes forked meanwhile can keep it from finishing.
    write(&directory, "freezer.state", wanted)?;
    let state = std::fs::read_to_string(directory.join("freezer.state")).unwrap_or_default();
    Ok(state.trim() == wanted)
}

pub(super) fn is_frozen(cgroup: &Cgroup) -> bool {
    let state = cgroup
        .controller("freezer")
        .and_then(|path| std::fs::read_to_string(path.join("freezer.state")).ok());
    state.is_some_and(|state| state.trim() != "THAWED")
}

pub(super) fn kill_all(cgroup: &Cgroup) -> Result<(), CgroupError> {
    // A process that waits for memory with the killer switched off could wait on while it dies.
    if let Some(memory) = cgroup.controller("memory") {
        let _ = allow_oom_kills(&memory);
    }
    // Frozen processes cannot fork away; the signal takes effect when they are let go. Whether all
    // stand still does not matter, so nobody waits for it: one that waits for memory never does.
    let frozen = cgroup.ask_frozen(true).is_ok();
    let killed = cgroup.kill_by_number();
    if frozen {
        cgroup.ask_frozen(false)?;
    }
    killed
}

/// Lets the kernel kill for want of memory in a group and those below it.
fn allow_oom_kills(directory: &Path) -> Result<(), CgroupError> {
    if read_pairs(directory, "memory.oom_control").get("oom_kill_disable") == Some(&1) {
        write(directory, "memory.oom_control", "0")?;
    }
    super::children(directory).iter().try_for_each(|child| allow_oom_kills(child))
}

/// A new cpuset allows nothing until it is filled from the one above.
fn fill_cpuset(mount: &Path, directory: &Path) -> Result<(), CgroupError> {
    let mut above: Vec<&Path> = directory.ancestors().take_while(|path| *path != mount).collect();
    above.reverse();
    for directory in above {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
            if !own.trim().is_empty() {
                continue;
            }
            let Some(parent) = directory.parent() else { continue };
            let value = std::fs::read_to_string(parent.join(file)).unwrap_or_default();
            if !value.trim().is_empty() {
                write(directory, file, value.trim())?;
            }
        }
    }
    Ok(())
}

fn controller(
    cgroup: &Cgroup,
    controller: &'static str,
    limit: &'static str,
) -> Result<std::path::PathBuf, CgroupError> {
    cgroup.controller(controller).ok_or(CgroupError::Controller { controller, limit })
}

fn apply_memory(cgroup: &Cgroup, memory: &Memory) -> Result<(), CgroupError> {
    let directory = controller(cgroup, "memory", "memory")?;
    let set = |file: &str, value: i64| write(&directory, file, &value.to_string());
    if memory.check_before_update == Some(true)
        && let Some(limit) = memory.limit.and_then(|limit| u64::try_from(limit).ok())
    {
        let usage = read_number(&directory, "memory.usage_in_bytes").unwrap_or(0);
        if usage > limit {
            return Err(CgroupError::Invalid(format!(
                "memory limit {limit} is below the present use, {usage}"
            )));
        }
    }
    let swap_file = "memory.memsw.limit_in_bytes";
    let has_swap = directory.join(swap_file).exists();
    // The limit of memory and swap together may never be the smaller one, so when both grow it
    // goes first, and when both shrink it goes last.
    let present = read_number(&directory, swap_file).unwrap_or(u64::MAX);
    let swap = memory.swap.filter(|&swap| swap != 0 && (has_swap || swap > 0));
    let swap_first = swap.is_some_and(|swap| u64::try_from(swap).is_err() || swap as u64 > present);
    if let Some(swap) = swap.filter(|_| swap_first && has_swap) {
        set(swap_file, swap)?;
    }
    if let Some(limit) = memory.limit.filter(|&limit| limit != 0) {
        if limit == -1 && memory.swap.is_none() && has_swap {
            set(swap_file, -1)?;
        }
        set("memory.limit_in_bytes", limit)?;
    }
    if let Some(swap) = swap.filter(|_| !swap_first) {
        if !has_swap {
            return Err(CgroupError::Controller { controller: "memory with swap accounting", limit: "swap" });
        }
        set(swap_file, swap)?;
    }
    if let Some(reservation) = memory.reservation.filter(|&reservation| reservation != 0) {
        set("memory.soft_limit_in_bytes", reservation)?;
    }
    if let Some(limit) = memory.kernel_tcp.filter(|&limit| limit != 0) {
        set("memory.kmem.tcp.limit_in_bytes", limit)?;
    }
    if let Some(swappiness) = memory.swappiness {
        write(&directory, "memory.swappiness", &swappiness.to_string())?;
    }
    if memory.disable_oom_killer == Some(true) {
        write(&directory, "memory.oom_control", "1")?;
    }
    Ok(())
}

fn apply_cpu(cgroup: &Cgroup, cpu: &Cpu) -> Result<(), CgroupError> {
    let directory = || controller(cgroup, "cpu", "processor time");
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0) {
        write(&directory()?, "cpu.shares", &shares.to_string())?;
    }
    if let Some(idle) = cpu.idle {
        write(&directory()?, "cpu.idle", &idle.to_string())?;
    }
    if let Some(period) = cpu.period.filter(|&period| period != 0) {
        write(&directory()?, "cpu.cfs_period_us", &period.to_string())?;
    }
    if let Some(quota) = cpu.quota.filter(|&quota| quota != 0) {
        write(&directory()?, "cpu.cfs_quota_us", &quota.to_string())?;
    }
    if let Some(burst) = cpu.burst {
        write(&directory()?, "cpu.cfs_burst_us", &burst.to_string())?;
    }
    if let Some(period) = cpu.realtime_period.filter(|&period| period != 0) {
        write(&directory()?, "cpu.rt_period_us", &period.to_string())?;
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|&runtime| runtime != 0) {
        write(&directory()?, "cpu.rt_runtime_us", &runtime.to_string())?;
    }
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            write(&controller(cgroup, "cpuset", "processors")?, file, value)?;
        }
    }
    Ok(())
}

fn apply_block(cgroup: &Cgroup, block: &BlockIo) -> Result<(), CgroupError> {
    let directory = controller(cgroup, "blkio", "disk access")?;
    // The weights belong to a scheduler that may not be in use; newer kernels know them by its name.
    let file =
        |plain: &'static str, bfq: &'static str| if directory.join(plain).exists() { plain } else { bfq };
    if let Some(weight) = block.weight.filter(|&weight| weight != 0) {
        write(&directory, file("blkio.weight", "blkio.bfq.weight"), &weight.to_string())
            .map_err(super::lacking("blkio with the CFQ or BFQ scheduler", "the disk weight"))?;
    }
    if let Some(weight) = block.leaf_weight.filter(|&weight| weight != 0) {
        write(&directory, "blkio.leaf_weight", &weight.to_string())?;
    }
    for device in &block.weight_device {
        if let Some(weight) = device.weight {
            let value = format!("{}:{} {weight}", device.major, device.minor);
            write(&directory, file("blkio.weight_device", "blkio.bfq.weight_device"), &value).map_err(
                super::lacking("blkio with the CFQ or BFQ scheduler", "the disk weight of single devices"),
            )?;
        }
    }
    let throttle = |file: &str, devices: &[ThrottleDevice]| {
        devices.iter().try_for_each(|device| {
            write(&directory, file, &format!("{}:{} {}", device.major, device.minor, device.rate))
        })
    };
    throttle("blkio.throttle.read_bps_device", &block.throttle_read_bps_device)?;
    throttle("blkio.throttle.write_bps_device", &block.throttle_write_bps_device)?;
    throttle("blkio.throttle.read_iops_device", &block.throttle_read_iops_device)?;
    throttle("blkio.throttle.write_iops_device", &block.throttle_write_iops_device)
}

fn cpu_usage(directory: &Path, cpu: &mut CpuStats) {
    cpu.total = read_number(directory, "cpuacct.usage").unwrap_or(0);
    cpu.user = read_number(directory, "cpuacct.usage_user").unwrap_or(0);
    cpu.system = read_number(directory, "cpuacct.usage_sys").unwrap_or(0);
    let per_cpu = std::fs::read_to_string(directory.join("cpuacct.usage_percpu")).unwrap_or_default();
    cpu.per_cpu = per_cpu.split_whitespace().filter_map(|value| value.parse().ok()).collect();
}

fn memory(directory: &Path) -> MemoryStats {
    let number = |file| read_number(directory, file);
    let detail = read_pairs(directory, "memory.stat");
    let usage = number("memory.usage_in_bytes").unwrap_or(0);
    MemoryStats {
        usage,
        max_usage: number("memory.max_usage_in_bytes").unwrap_or(0),
        limit: number("memory.limit_in_bytes").filter(|&limit| limit < NO_LIMIT),
        swap: number("memory.memsw.usage_in_bytes").map_or(0, |both| both.saturating_sub(usage)),
        failures: number("memory.failcnt").unwrap_or(0),
        inactive_file: detail.get("total_inactive_file").copied().unwrap_or(0),
        detail,
    }
}

fn block(directory: &Path, devices: &mut Vec<BlockDeviceStats>) {
    for (file, bytes) in [("blkio.throttle.io_service_bytes", true), ("blkio.throttle.io_serviced", false)] {
        let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
        for line in text.lines() {
            let mut words = line.split(' ');
            let (Some(device), Some(operation), Some(value)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Some((major, minor)) = device.split_once(':') else { continue };
            let (Ok(major), Ok(minor), Ok(value)) = (major.parse(), minor.parse(), value.parse()) else {
                continue;
            };
            let entry = super::stats::device(devices, major, minor);
            match (operation, bytes) {
                ("Read", true) => entry.read_bytes = value,
                ("Write", true) => entry.write_bytes = value,
                ("Read", false) => entry.reads = value,
                ("Write", false) => entry.writes = value,
                _ => {}
            }
        }
    }
}
