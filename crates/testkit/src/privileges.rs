//! What the machine must allow before a privileged test makes sense.

/// Fails the test unless it runs as root with the capability to administer the system.
///
/// Privileged tests live in targets of their own and refuse to run rather than skip: a test that
/// did not run must not look like one that passed.
#[track_caller]
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root() && has_sys_admin(),
        "this test makes namespaces and mounts: run it as root with CAP_SYS_ADMIN (for example `sudo make test`)"
    );
}

fn has_sys_admin() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs is mounted");
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|caps| caps & CAP_SYS_ADMIN != 0)
}
