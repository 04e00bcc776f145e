//! Docker's default profile.
//!
//! Source: the behaviour of `github.com/moby/profiles`, the revision of 2026.

use crate::spec::{Seccomp, SeccompAction, SeccompArg, SeccompOperator, SeccompRule};

use super::Architecture;
use super::compile::{CompileError, RET_ALLOW, RET_LOG, compile};

/// Calls that every container may make, by name.
const ALLOWED: &str = include_str!("allowed.txt");

/// Calls that a capability opens.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Execution domains that a program may choose: Linux, 32 bits, no address randomisation, both;
/// and the question which is in force.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The flags of `clone` that make namespaces.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

/// Address families of sockets: those below, and those above, and the one between two that reach
/// past the container (the kernel's cryptography, 38; the hypervisor, 40).
const AF_ALG: u64 = 38;
const AF_NFC: u64 = 39;
const AF_VSOCK: u64 = 40;

/// Requests of `ioctl` that say whose quota a file counts against: its project
/// (`FS_IOC_FSSETXATTR`), and whether what is made in a directory belongs to that directory's
/// (`FS_IOC_SETFLAGS`, and the same from programs of 32 bits). What else these say goes with it: the
/// flags are in memory, where a filter cannot look. The kernel lets whoever owns a file do it.
const PROJECT_REQUESTS: [u64; 3] = [0x401c_5820, 0x4008_6602, 0x4004_6602];

/// The kernel reads so many bits of a request.
const REQUEST: u64 = 0xffff_ffff;

/// As [`docker_default`], for a host whose file systems limit what projects take: whoever is inside can
/// neither move files to another's project, and so to another's limit or to none, nor change limits.
pub fn docker_default_with_quotas(capabilities: &[String]) -> Seccomp {
    let mut profile = docker_default(capabilities);
    for rule in &mut profile.syscalls {
        rule.names.retain(|name| !name.starts_with("quotactl"));
    }
    let forbidden = PROJECT_REQUESTS.map(|request| SeccompRule {
        action: SeccompAction::Errno,
        errno_ret: Some(libc::EPERM as u32),
        args: vec![SeccompArg {
            index: 1,
            value: REQUEST,
            value_two: request,
            op: SeccompOperator::MaskedEqual,
        }],
        ..allow("ioctl")
    });
    profile.syscalls.splice(0..0, forbidden);
    profile
}

/// Whether a container with these capabilities and this filter leaves the quotas of projects as they are,
/// as with [`docker_default_with_quotas`].
pub fn guards_quotas(profile: &Seccomp, capabilities: &[String]) -> Result<bool, CompileError> {
    let filter = compile(profile)?;
    let administers = capabilities.iter().any(|capability| capability == "CAP_SYS_ADMIN");
    let passes = |architecture: &Architecture, name: &str, request: u64| {
        let numbers = architecture.numbers();
        let answer = |number: &u32| filter.answer(architecture.audit(), *number, [0, request, 0, 0, 0, 0]);
        numbers.get(name).map(answer).is_some_and(|answer| matches!(answer, RET_ALLOW | RET_LOG))
    };
    Ok(!Architecture::native().family().iter().any(|architecture| {
        passes(architecture, "file_setattr", 0)
            || (administers && ["quotactl", "quotactl_fd"].iter().any(|name| passes(architecture, name, 0)))
            || PROJECT_REQUESTS.iter().any(|&request| {
                // The upper half of the argument means nothing to the kernel.
                [request, request | 1 << 32].iter().any(|&said| passes(architecture, "ioctl", said))
            })
    }))
}

/// Docker's default profile for a container with the named capabilities.
pub fn docker_default(capabilities: &[String]) -> Seccomp {
    let has = |name: &str| capabilities.iter().any(|capability| capability == name);
    let mut rules = vec![allow(ALLOWED)];
    let arg = |op, value| SeccompArg { index: 0, value, value_two: 0, op };
    for condition in [
        arg(SeccompOperator::Less, AF_ALG),
        arg(SeccompOperator::Equal, AF_NFC),
        arg(SeccompOperator::Greater, AF_VSOCK),
    ] {
        rules.push(SeccompRule { args: vec![condition], ..allow("socket") });
    }
    for domain in PERSONALITIES {
        rules.push(SeccompRule { args: vec![arg(SeccompOperator::Equal, domain)], ..allow("personality") });
    }
    let architecture = Architecture::native();
    rules.push(allow(match architecture {
        Architecture::Aarch64 => {
            "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"
        }
        _ => "arch_prctl modify_ldt",
    }));
    for (_, names) in BY_CAPABILITY.iter().filter(|(capability, _)| has(capability)) {
        rules.push(allow(names));
    }
    if !has("CAP_SYS_ADMIN") {
        rules.push(SeccompRule {
            args: vec![arg(SeccompOperator::MaskedEqual, CLONE_NAMESPACES)],
            ..allow("clone")
        });
        // Its flags are in memory, where a filter cannot look: programs are sent back to `clone`.
        let enosys = Some(libc::ENOSYS as u32);
        rules.push(SeccompRule { action: SeccompAction::Errno, errno_ret: enosys, ..allow("clone3") });
    }
    Seccomp {
        default_action: SeccompAction::Errno,
        default_errno_ret: Some(libc::EPERM as u32),
        architectures: architecture
            .family()
            .iter()
            .map(|architecture| architecture.name().to_owned())
            .collect(),
        flags: Vec::new(),
        listener_path: None,
        syscalls: rules,
    }
}

fn allow(names: &str) -> SeccompRule {
    SeccompRule {
        names: names.split_whitespace().map(ToOwned::to_owned).collect(),
        action: SeccompAction::Allow,
        errno_ret: None,
        args: Vec::new(),
    }
}
