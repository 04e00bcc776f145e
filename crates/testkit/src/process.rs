//! What a process holds, as the kernel tells it.

use std::path::PathBuf;

/// The anonymous memory of process `pid` that is in use (`self` for this one), in bytes.
pub fn anonymous_memory(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("read the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("its anonymous memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// What the open descriptors of process `pid` (`self` for this one) lead to.
pub fn descriptors(pid: &str) -> Vec<PathBuf> {
    let directory = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("list the process's descriptors");
    // One that is closed while this looks is not there.
    directory.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect()
}
