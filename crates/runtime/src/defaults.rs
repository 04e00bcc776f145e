//! What a container has when nobody says otherwise: Docker's defaults, as data.
//!
//! Source: the behaviour of Docker Engine 28 (`docker run` without options), observed from inside.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::spec::{
    Capabilities, DeviceRule, Linux, Mount, Namespace, NamespaceKind, Process, Resources, Root, Spec, VERSION,
};

/// Capabilities of a container's processes.
pub const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Paths that cannot be read inside.
pub const MASKED_PATHS: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// Further masked paths, which tell of the machine's power.
pub const MASKED_POWER_PATHS: [&str; 1] = ["/sys/devices/virtual/powercap"];

/// Paths that cannot be written inside.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Search path of programs in an image that names none.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Size of `/dev/shm`, bytes.
pub const SHM_SIZE: u64 = 64 << 20;

/// Every capability that this runtime knows, by name.
pub fn all_capabilities() -> Vec<String> {
    crate::capability::NAMES.iter().map(|&name| name.to_owned()).collect()
}

/// [`CAPABILITIES`] as owned names.
pub fn capabilities() -> Vec<String> {
    CAPABILITIES.iter().map(|&name| name.to_owned()).collect()
}

/// [`MASKED_PATHS`], [`MASKED_POWER_PATHS`], and what each processor of this host tells of its heat
/// (GHSA-6fw5-f8r9-fgfm), as owned paths.
pub fn masked_paths() -> Vec<PathBuf> {
    static THERMAL: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let thermal = THERMAL.get_or_init(|| thermal_paths(Path::new("/sys/devices/system/cpu")));
    MASKED_PATHS.iter().chain(&MASKED_POWER_PATHS).map(PathBuf::from).chain(thermal.iter().cloned()).collect()
}

/// The directories with the counters of throttling, below that of the processors.
fn thermal_paths(processors: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(processors).into_iter().flatten().flatten();
    let is_processor = |name: &str| name.strip_prefix("cpu").is_some_and(|rest| rest.parse::<u32>().is_ok());
    let mut paths: Vec<_> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_processor))
        .map(|entry| entry.path().join("thermal_throttle"))
        .filter(|path| path.exists())
        .collect();
    paths.sort_unstable();
    paths
}

/// [`READONLY_PATHS`] as owned paths.
pub fn readonly_paths() -> Vec<PathBuf> {
    READONLY_PATHS.iter().map(PathBuf::from).collect()
}

/// The mounts of a container, `/dev/shm` of `shm_size` bytes included.
pub fn mounts(shm_size: u64) -> Vec<Mount> {
    let shm_size = format!("size={shm_size}");
    vec![
        Mount::filesystem("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        Mount::filesystem("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        Mount::filesystem(
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        Mount::filesystem("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
        Mount::filesystem("cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "ro"]),
        Mount::filesystem("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        Mount::filesystem("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm_size]),
    ]
}

/// Device rules: all forbidden, then those of the default devices, terminals and `mknod` allowed.
pub fn device_rules() -> Vec<DeviceRule> {
    let rule = |kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| DeviceRule {
        allow: true,
        kind: Some(kind.to_owned()),
        major,
        minor,
        access: Some(access.to_owned()),
    };
    let mut rules =
        vec![DeviceRule { allow: false, access: Some("rwm".to_owned()), ..DeviceRule::default() }];
    rules.push(rule("c", None, None, "m"));
    rules.push(rule("b", None, None, "m"));
    for minor in [3, 5, 7, 8, 9] {
        rules.push(rule("c", Some(1), Some(minor), "rwm"));
    }
    for minor in [0, 1, 2] {
        rules.push(rule("c", Some(5), Some(minor), "rwm"));
    }
    rules.push(rule("c", Some(136), None, "rwm"));
    rules
}

/// The limits that a new container's cgroup gets: those asked for, and behind them, so that they
/// hold whatever came before, the rules for the default devices. Without rules all other devices
/// are forbidden.
pub(crate) fn limits(spec: &Spec) -> Resources {
    let mut resources = spec.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
    // The first of them forbids everything, which only makes sense at the beginning.
    let forbids_first = usize::from(!resources.devices.is_empty());
    resources.devices.extend(device_rules().into_iter().skip(forbids_first));
    resources
}

/// The namespaces of a container that is its own sandbox; its network, host name and the like are
/// new too.
pub fn namespaces() -> Vec<Namespace> {
    use NamespaceKind::{Ipc, Mount, Network, Pid, Uts};
    [Mount, Network, Uts, Pid, Ipc].into_iter().map(Namespace::new).collect()
}

/// A whole configuration that runs `sh` in the bundle's `rootfs`, to be changed as needed.
pub fn spec() -> Spec {
    let names = capabilities();
    Spec {
        oci_version: VERSION.to_owned(),
        root: Some(Root { path: "rootfs".into(), readonly: false }),
        process: Some(Process {
            args: vec!["sh".to_owned()],
            env: vec![format!("PATH={PATH}")],
            cwd: "/".into(),
            capabilities: Some(Capabilities::of(&names)),
            ..Process::default()
        }),
        mounts: mounts(SHM_SIZE),
        linux: Some(Linux {
            namespaces: namespaces(),
            masked_paths: masked_paths(),
            readonly_paths: readonly_paths(),
            resources: Some(Resources { devices: device_rules(), ..Resources::default() }),
            seccomp: Some(crate::seccomp::docker_default(&names)),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_and_read_only_paths_are_those_of_docker_and_kubernetes() {
        let mut masked: Vec<_> = MASKED_PATHS.into_iter().chain(MASKED_POWER_PATHS).collect();
        masked.sort_unstable();
        let expected = [
            "/proc/acpi",
            "/proc/asound",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/sys/devices/virtual/powercap",
            "/sys/firmware",
        ];
        assert_eq!(masked, expected);
        assert_eq!(
            READONLY_PATHS,
            ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        );
    }

    #[test]
    fn every_processor_s_heat_is_hidden() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in
            ["cpu0/thermal_throttle", "cpu12/thermal_throttle", "cpu3/cache", "cpufreq/thermal_throttle"]
        {
            std::fs::create_dir_all(dir.path().join(name)).expect("make directories");
        }
        let expected = ["cpu0", "cpu12"].map(|name| dir.path().join(name).join("thermal_throttle"));
        assert_eq!(thermal_paths(dir.path()), expected);
        // What there is on this host is among the defaults.
        let there = thermal_paths(Path::new("/sys/devices/system/cpu"));
        assert!(there.iter().all(|path| masked_paths().contains(path)));
    }
}
