//! Reading facts about the host from its own files.

use std::fs;
use std::path::Path;

use runtime::cgroup::{Hierarchies, Version};

use super::HostLimits;

/// The distribution's name and version.
pub(super) fn distribution() -> (String, String) {
    let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    let text = text.unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim().trim_matches(['"', '\'']).to_owned())
    };
    (value("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()), value("VERSION_ID").unwrap_or_default())
}

/// The version of the control groups, and which limits they enforce.
pub(super) fn limits() -> (u8, HostLimits) {
    let ipv4_forwarding =
        fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1");
    let (version, controllers) = match Hierarchies::detect().map(|found| found.version()) {
        Ok(Version::V2) => (2, fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default()),
        _ => (1, enabled(&fs::read_to_string("/proc/cgroups").unwrap_or_default())),
    };
    let has = |name: &str| controllers.split_whitespace().any(|controller| controller == name);
    let file = |path: &str| Path::new(path).exists();
    let limits = HostLimits {
        memory: has("memory"),
        swap: match version {
            2 => has("memory") && file("/proc/swaps"),
            _ => file("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"),
        },
        cpu_quota: has("cpu"),
        cpu_shares: has("cpu"),
        cpuset: has("cpuset"),
        pids: has("pids"),
        oom_kill_disable: version == 1 && file("/sys/fs/cgroup/memory/memory.oom_control"),
        ipv4_forwarding,
    };
    (version, limits)
}

/// The controllers that `/proc/cgroups` says are enabled.
fn enabled(text: &str) -> String {
    let one = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next().filter(|name| !name.starts_with('#'))?.to_owned();
        (fields.nth(2)? == "1").then_some(name)
    };
    text.lines().filter_map(one).collect::<Vec<_>>().join(" ")
}

/// The security features that containers are held by: what the kernel has and is not applied is not among
/// them.
pub(super) fn security() -> Vec<String> {
    let mut features = Vec::new();
    if Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        features.push("seccomp".to_owned());
    }
    if crate::apparmor::Host::get().is_applied() {
        features.push("apparmor".to_owned());
    }
    if Path::new("/proc/self/ns/cgroup").exists() {
        features.push("cgroupns".to_owned());
    }
    features
}

/// What is known of the disk that `root` is on.
pub(super) fn storage(root: &Path) -> Vec<(&'static str, String)> {
    let kind = rustix::fs::statfs(root).map_or("unknown", |stat| filesystem(stat.f_type as u64));
    let mut known = vec![("Backing Filesystem", kind.to_owned())];
    // No layer is kept where directories do not say what is in them, and none by its metadata alone.
    for (name, value) in [
        ("Supports d_type", "true"),
        ("Using metacopy", "false"),
        ("Native Overlay Diff", "true"),
        ("userxattr", "false"),
    ] {
        known.push((name, value.to_owned()));
    }
    known
}

/// A file system by the number that `statfs` has for it, see statfs(2).
fn filesystem(number: u64) -> &'static str {
    match number {
        0xef53 => "extfs",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x794c_7630 => "overlayfs",
        0x6969 => "nfs",
        0x6573_5546 => "fuse",
        _ => "unknown",
    }
}

/// Whether the kernel has SELinux in force.
pub(super) fn has_selinux() -> bool {
    std::path::Path::new("/sys/fs/selinux/enforce").exists()
}

/// Whether the kernel has user namespaces, and idmapped mounts of memory too.
pub(super) fn has_own_users() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or(0));
    let is_new = (numbers.next(), numbers.next()) >= (Some(6), Some(3));
    is_new && std::path::Path::new("/proc/self/ns/user").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enabled_controllers_count() {
        let text =
            "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t1\t1\nmemory\t4\t2\t0\npids\t5\t2\t1\n";
        assert_eq!(enabled(text), "cpu pids");
    }
}
