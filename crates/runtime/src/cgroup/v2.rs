//! One unified hierarchy.

use std::path::Path;

use super::stats::{CpuStats, MemoryStats, PidsStats, Stats};
use super::{Cgroup, CgroupError, devices, lacking, make_directory, read_number, read_pairs, write};
use crate::spec::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};

/// Controllers that are handed down to a container's group where the host has them.
const CONTROLLERS: [&str; 6] = ["cpuset", "cpu", "io", "memory", "pids", "hugetlb"];

/// Where processes of the outermost group are moved to.
const LEAF: &str = "init";

/// How often the outermost group is looked at for processes to move.
const VACATE_ROUNDS: u32 = 16;

pub(super) fn create(cgroup: &Cgroup) -> Result<(), CgroupError> {
    let directory = directory(cgroup)?;
    let Some(mount) = cgroup.hierarchies.unified.as_deref() else { return Ok(()) };
    let mut above: Vec<&Path> =
        directory.ancestors().skip(1).take_while(|path| path.starts_with(mount)).collect();
    above.reverse();
    for parent in above {
        make_directory(parent)?;
        hand_down(parent, parent == mount)?;
    }
    make_directory(&directory)
}

pub(super) fn apply(cgroup: &Cgroup, resources: &Resources) -> Result<(), CgroupError> {
    let directory = directory(cgroup)?;
    if !resources.devices.is_empty() {
        devices::attach_filter(&directory, &resources.devices)?;
    }
    if let Some(memory) = &resources.memory {
        apply_memory(&directory, memory).map_err(lacking("memory", "memory"))?;
    }
    if let Some(cpu) = &resources.cpu {
        apply_cpu(&directory, cpu).map_err(lacking("cpu", "processor time"))?;
    }
    if let Some(pids) = &resources.pids {
        let limit = if pids.limit > 0 { pids.limit.to_string() } else { "max".to_owned() };
        write(&directory, "pids.max", &limit).map_err(lacking("pids", "processes"))?;
    }
    if let Some(block) = &resources.block_io {
        apply_block(&directory, block).map_err(lacking("io", "disk access"))?;
    }
    for limit in &resources.hugepage_limits {
        write(&directory, &format!("hugetlb.{}.max", limit.page_size), &limit.limit.to_string())?;
    }
    for (file, value) in &resources.unified {
        if file.contains('/') {
            return Err(CgroupError::Invalid(format!("`{file}` is not the name of a cgroup file")));
        }
        write(&directory, file, value)?;
    }
    Ok(())
}

pub(super) fn stats(cgroup: &Cgroup) -> Stats {
    let Ok(directory) = directory(cgroup) else { return Stats::default() };
    let mut stats = Stats { oom_kills: super::oom::kills(cgroup), ..Stats::default() };
    let pairs = read_pairs(&directory, "cpu.stat");
    let micros = |name: &str| pairs.get(name).copied().unwrap_or(0) * 1000;
    stats.cpu = CpuStats {
        total: micros("usage_usec"),
        user: micros("user_usec"),
        system: micros("system_usec"),
        per_cpu: Vec::new(),
        periods: pairs.get("nr_periods").copied().unwrap_or(0),
        throttled_periods: pairs.get("nr_throttled").copied().unwrap_or(0),
        throttled_time: micros("throttled_usec"),
    };
    let detail = read_pairs(&directory, "memory.stat");
    let usage = read_number(&directory, "memory.current").unwrap_or(0);
    stats.memory = MemoryStats {
        usage,
        max_usage: read_number(&directory, "memory.peak").unwrap_or(usage),
        limit: read_number(&directory, "memory.max"),
        swap: read_number(&directory, "memory.swap.current").unwrap_or(0),
        failures: read_pairs(&directory, "memory.events").get("max").copied().unwrap_or(0),
        inactive_file: detail.get("inactive_file").copied().unwrap_or(0),
        detail,
    };
    stats.pids = PidsStats {
        current: read_number(&directory, "pids.current").unwrap_or(0),
        limit: read_number(&directory, "pids.max"),
    };
    let text = std::fs::read_to_string(directory.join("io.stat")).unwrap_or_default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        let entry = super::stats::device(&mut stats.block, major, minor);
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            match name {
                "rbytes" => entry.read_bytes = value,
                "wbytes" => entry.write_bytes = value,
                "rios" => entry.reads = value,
                "wios" => entry.writes = value,
                _ => {}
            }
        }
    }
    stats
}

/// The quota and its period.
pub(super) fn cpu_quota(cgroup: &Cgroup) -> Option<(i64, i64)> {
    let text = std::fs::read_to_string(directory(cgroup).ok()?.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some((quota.parse().ok()?, period.parse().ok()?))
}

pub(super) fn ask_frozen(cgroup: &Cgroup, frozen: bool) -> Result<bool, CgroupError> {
    let directory = directory(cgroup)?;
    write(&directory, "cgroup.freeze", if frozen { "1" } else { "0" })?;
    Ok(read_pairs(&directory, "cgroup.events").get("frozen").copied().unwrap_or(0) == u64::from(frozen))
}

pub(super) fn is_frozen(cgroup: &Cgroup) -> bool {
    directory(cgroup).is_ok_and(|directory| read_pairs(&directory, "cgroup.events").get("frozen") == Some(&1))
}

pub(super) fn kill_all(cgroup: &Cgroup) -> Result<(), CgroupError> {
    let directory = directory(cgroup)?;
    if directory.join("cgroup.kill").exists() {
        return write(&directory, "cgroup.kill", "1");
    }
    // Before Linux 5.14: frozen processes cannot fork away, and die while they are frozen.
    let frozen = cgroup.ask_frozen(true).is_ok();
    let killed = cgroup.kill_by_number();
    if frozen {
        cgroup.ask_frozen(false)?;
    }
    killed
}

fn directory(cgroup: &Cgroup) -> Result<std::path::PathBuf, CgroupError> {
    cgroup
        .unified_directory()
        .ok_or(CgroupError::Controller { controller: "unified hierarchy", limit: "anything" })
}

/// Lets the groups below `parent` use the controllers that it has itself.
///
/// Where the outermost group is not the host's but that of a container, as for a Gantry in one, its
/// processes are moved to a leaf first, as the init systems of containers do: a group with processes
/// may not hand controllers down. Those that it may, one by one, would make its groups threaded, in
/// which nothing can be started.
fn hand_down(parent: &Path, outermost: bool) -> Result<(), CgroupError> {
    let read = |file| std::fs::read_to_string(parent.join(file)).unwrap_or_default();
    let (available, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    let missing: Vec<_> =
        CONTROLLERS.into_iter().filter(|name| has(&available, name) && !has(&enabled, name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let all = missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    let hand_down = |names: &str| write(parent, "cgroup.subtree_control", names);
    let is_busy = |result: &Result<(), CgroupError>| match result {
        Err(CgroupError::Write { source, .. }) => source.raw_os_error() == Some(libc::EBUSY),
        _ => false,
    };
    let mut done = hand_down(&all);
    if is_busy(&done) && outermost {
        vacate(parent)?;
        done = hand_down(&all);
    }
    if done.is_ok() || is_busy(&done) {
        // Where it is busy all the same, a limit that needs a controller fails later.
        return Ok(());
    }
    // One that cannot be handed down must not keep the others back; a limit that needs it fails later.
    for name in missing {
        let _ = hand_down(&format!("+{name}"));
    }
    Ok(())
}

/// Moves the processes of a group to a leaf of it.
fn vacate(group: &Path) -> Result<(), CgroupError> {
    let leaf = group.join(LEAF);
    make_directory(&leaf)?;
    let path = group.join("cgroup.procs");
    // Again, since what is moved may have forked; but not for ever.
    for _ in 0..VACATE_ROUNDS {
        let text = std::fs::read_to_string(&path).map_err(|source| CgroupError::File {
            what: "read",
            path: path.clone(),
            source,
        })?;
        let mut moved = false;
        // 0 is a process of another namespace: it cannot be moved from here.
        for pid in text.lines().filter(|&pid| pid != "0") {
            // One that has ended meanwhile is gone from the group too.
            moved |= write(&leaf, "cgroup.procs", pid).is_ok();
        }
        if !moved {
            break;
        }
    }
    Ok(())
}

fn apply_memory(directory: &Path, memory: &Memory) -> Result<(), CgroupError> {
    let set = |file: &str, value: i64| {
        let value = if value < 0 { "max".to_owned() } else { value.to_string() };
        write(directory, file, &value)
    };
    if memory.check_before_update == Some(true)
        && let Some(limit) = memory.limit.and_then(|limit| u64::try_from(limit).ok())
    {
        let usage = read_number(directory, "memory.current").unwrap_or(0);
        if usage > limit {
            return Err(CgroupError::Invalid(format!(
                "memory limit {limit} is below the present use, {usage}"
            )));
        }
    }
    if let Some(swap) = swap_limit(memory)? {
        set("memory.swap.max", swap)?;
    }
    if let Some(limit) = memory.limit.filter(|&limit| limit != 0) {
        set("memory.max", limit)?;
    }
    if let Some(reservation) = memory.reservation.filter(|&reservation| reservation != 0) {
        set("memory.low", reservation)?;
    }
    Ok(())
}

/// The specification's limit is of memory and swap together, v2's of swap alone.
fn swap_limit(memory: &Memory) -> Result<Option<i64>, CgroupError> {
    match (memory.limit.unwrap_or(0), memory.swap.unwrap_or(0)) {
        (limit, 0) if limit < 0 => Ok(Some(-1)),
        (_, 0) => Ok(None),
        (_, swap) if swap < 0 => Ok(Some(-1)),
        (limit, _) if limit <= 0 => {
            Err(CgroupError::Invalid("a limit of memory and swap needs a limit of memory".to_owned()))
        }
        (limit, swap) if swap < limit => Err(CgroupError::Invalid(format!(
            "limit of memory and swap {swap} is below that of memory, {limit}"
        ))),
        (limit, swap) => Ok(Some(swap - limit)),
    }
}

fn apply_cpu(directory: &Path, cpu: &Cpu) -> Result<(), CgroupError> {
    if let Some(idle) = cpu.idle {
        write(directory, "cpu.idle", &idle.to_string())?;
    }
    // An idle group has no weight.
    if let Some(shares) = cpu.shares.filter(|&shares| shares != 0 && cpu.idle != Some(1)) {
        write(directory, "cpu.weight", &weight_of_shares(shares).to_string())?;
    }
    let period = cpu.period.filter(|&period| period != 0);
    if cpu.quota.is_some_and(|quota| quota != 0) || period.is_some() {
        let quota = match cpu.quota {
            Some(quota) if quota > 0 => quota.to_string(),
            _ => "max".to_owned(),
        };
        let value = period.map_or(quota.clone(), |period| format!("{quota} {period}"));
        write(directory, "cpu.max", &value)?;
    }
    if let Some(burst) = cpu.burst {
        write(directory, "cpu.max.burst", &burst.to_string())?;
    }
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            write(directory, file, value)?;
        }
    }
    Ok(())
}

/// 2 to 262144 becomes 1 to 10000, as runc and crun before 2025 and Kubernetes convert it.
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn apply_block(directory: &Path, block: &BlockIo) -> Result<(), CgroupError> {
    if let Some(weight) = block.weight.filter(|&weight| weight != 0) {
        if directory.join("io.bfq.weight").exists() {
            write(directory, "io.bfq.weight", &weight.to_string())?;
        } else {
            write(directory, "io.weight", &weight_of_block_weight(weight).to_string())?;
        }
    }
    for device in &block.weight_device {
        if let Some(weight) = device.weight {
            write(directory, "io.bfq.weight", &format!("{}:{} {weight}", device.major, device.minor))
                .map_err(lacking("io with the BFQ scheduler", "the disk weight of single devices"))?;
        }
    }
    let throttle = |name: &str, devices: &[ThrottleDevice]| {
        devices.iter().try_for_each(|device| {
            write(directory, "io.max", &format!("{}:{} {name}={}", device.major, device.minor, device.rate))
        })
    };
    throttle("rbps", &block.throttle_read_bps_device)?;
    throttle("wbps", &block.throttle_write_bps_device)?;
    throttle("riops", &block.throttle_read_iops_device)?;
    throttle("wiops", &block.throttle_write_iops_device)
}

/// 10 to 1000 becomes 1 to 10000.
fn weight_of_block_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Hierarchies;
    use crate::spec::{HugepageLimit, Pids};

    /// A directory that looks like a v2 hierarchy; the kernel's files are ordinary ones.
    fn check(resources: &Resources, expected: &[(&str, &str)]) {
        let root = tempfile::tempdir().expect("temporary directory");
        let directory = root.path().join("gantry/c1");
        let hierarchies =
            Hierarchies { v1: Vec::new(), unified: Some(root.path().to_owned()), delegates: true };
        std::fs::write(root.path().join("cgroup.controllers"), "cpu memory pids io\n").expect("write");
        std::fs::write(root.path().join("cgroup.subtree_control"), "").expect("write");
        let cgroup = Cgroup::within(hierarchies, Path::new("/gantry/c1")).expect("good path");
        cgroup.create().expect("create");
        let control = std::fs::read_to_string(root.path().join("cgroup.subtree_control")).expect("read");
        assert_eq!(control, "+cpu +io +memory +pids");
        for (file, _) in expected {
            std::fs::write(directory.join(file), "").expect("make a file of the kernel's");
        }
        cgroup.apply(resources).expect("apply");
        for (file, value) in expected {
            assert_eq!(&std::fs::read_to_string(directory.join(file)).expect("read"), value, "{file}");
        }
    }

    #[test]
    fn memory_and_swap_together_become_swap_alone() {
        let memory = Memory { limit: Some(100), swap: Some(150), reservation: Some(50), ..Memory::default() };
        let resources = Resources { memory: Some(memory), ..Resources::default() };
        check(&resources, &[("memory.max", "100"), ("memory.swap.max", "50"), ("memory.low", "50")]);
    }

    #[test]
    fn a_limit_without_its_controller_says_which_is_missing() {
        let root = tempfile::tempdir().expect("temporary directory");
        let hierarchies =
            Hierarchies { v1: Vec::new(), unified: Some(root.path().to_owned()), delegates: true };
        let cgroup = Cgroup::within(hierarchies, Path::new("/x")).expect("good path");
        cgroup.create().expect("create");
        let memory = Memory { limit: Some(100), ..Memory::default() };
        let resources = Resources { memory: Some(memory), ..Resources::default() };
        let error = cgroup.apply(&resources).expect_err("no such file").to_string();
        assert_eq!(error, "this host has no cgroup controller `memory`, which the limit on memory needs");
    }

    #[test]
    fn no_limit_is_called_max() {
        let memory = Memory { limit: Some(-1), ..Memory::default() };
        let resources =
            Resources { memory: Some(memory), pids: Some(Pids { limit: -1 }), ..Resources::default() };
        check(&resources, &[("memory.max", "max"), ("memory.swap.max", "max"), ("pids.max", "max")]);
    }

    #[test]
    fn shares_become_a_weight_and_a_quota_keeps_its_period() {
        let cpu = Cpu { shares: Some(1024), quota: Some(50_000), period: Some(100_000), ..Cpu::default() };
        let resources = Resources { cpu: Some(cpu), ..Resources::default() };
        check(&resources, &[("cpu.weight", "39"), ("cpu.max", "50000 100000")]);
    }

    #[test]
    fn unified_files_are_written_as_they_are_and_after_all_others() {
        let unified = [("memory.high".to_owned(), "77".to_owned())].into();
        let hugepages = vec![HugepageLimit { page_size: "2MB".to_owned(), limit: 4 }];
        let resources = Resources { unified, hugepage_limits: hugepages, ..Resources::default() };
        check(&resources, &[("memory.high", "77"), ("hugetlb.2MB.max", "4")]);
    }

    #[test]
    fn a_unified_name_that_leaves_the_group_is_refused() {
        let root = tempfile::tempdir().expect("temporary directory");
        let hierarchies =
            Hierarchies { v1: Vec::new(), unified: Some(root.path().to_owned()), delegates: true };
        let cgroup = Cgroup::within(hierarchies, Path::new("/x")).expect("good path");
        let unified = [("../cgroup.procs".to_owned(), "1".to_owned())].into();
        assert!(cgroup.apply(&Resources { unified, ..Resources::default() }).is_err());
    }

    #[test]
    fn statistics_are_read_from_the_unified_files() {
        let root = tempfile::tempdir().expect("temporary directory");
        let hierarchies =
            Hierarchies { v1: Vec::new(), unified: Some(root.path().to_owned()), delegates: true };
        let cgroup = Cgroup::within(hierarchies, Path::new("/x")).expect("good path");
        cgroup.create().expect("create");
        let write =
            |file: &str, text: &str| std::fs::write(root.path().join("x").join(file), text).expect("write");
        write("cpu.stat", "usage_usec 12\nuser_usec 7\nsystem_usec 5\nnr_periods 3\n");
        write("memory.current", "4096\n");
        write("memory.max", "max\n");
        write("memory.stat", "anon 1\ninactive_file 99\n");
        write("memory.events", "low 0\nmax 4\noom 2\noom_kill 2\n");
        write("pids.current", "2\n");
        write("pids.max", "64\n");
        write("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0\n");
        let stats = cgroup.stats().expect("stats");
        assert_eq!((stats.cpu.total, stats.cpu.periods), (12_000, 3));
        assert_eq!((stats.memory.usage, stats.memory.limit, stats.memory.inactive_file), (4096, None, 99));
        assert_eq!((stats.memory.failures, stats.oom_kills), (4, 2));
        assert_eq!(stats.pids, PidsStats { current: 2, limit: Some(64) });
        assert_eq!((stats.block[0].major, stats.block[0].write_bytes, stats.block[0].reads), (8, 20, 1));
    }
}
