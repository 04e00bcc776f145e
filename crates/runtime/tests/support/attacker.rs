//! What an attacker in a container runs. Speaks on standard output, a line for each find.
//!
//! `trace`: goes for every process that appears in its process namespace, before its program
//! begins: tries to take it over, to open its memory, to look at its descriptors. Whoever still is
//! the runtime's program is a find. Ends when its standard input does.
//!
//! `root`: as whom it runs. Ends when its standard input does.
//!
//! `keyring`: the number of its session's keyring, or of what stands for one.
//!
//! `join NAME`: the number of the session keyring called so, after an attempt to join it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("trace") => trace(),
        Some("keyring") => {
            const KEYCTL_GET_KEYRING_ID: i32 = 0;
            const KEY_SPEC_SESSION_KEYRING: i32 = -3;
            // SAFETY: numbers only; nothing is made that is not there.
            let keyring = unsafe {
                libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)
            };
            println!("{keyring}");
        }
        Some("join") => {
            const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
            let name = std::env::args().nth(2).expect("the name of a keyring");
            let name = std::ffi::CString::new(name).expect("a name without null");
            // SAFETY: the name ends with null and lives through the call.
            let keyring =
                unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
            println!("{keyring}");
        }
        Some("root") => {
            // SAFETY: takes nothing and touches no memory.
            println!("{}", unsafe { libc::geteuid() });
            while !ended() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        _ => panic!("usage: gantry-attacker trace|root|keyring|join NAME"),
    }
}

/// Whether standard input has ended.
fn ended() -> bool {
    let mut poll = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
    // SAFETY: one record, which lives through the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) } > 0;
    ready && std::io::stdin().read(&mut [0u8; 1]).is_ok_and(|count| count == 0)
}

fn trace() {
    let own = std::fs::read_link("/proc/self/exe").expect("read its own program's name");
    let mut highest = std::process::id() as i32;
    let mut done = BTreeSet::new();
    println!("ready");
    while !ended() {
        // Numbers are given in order: who comes next is known before it is there. Who could not be
        // taken over is tried again: it may have given up what protects it.
        for pid in highest - 3..highest + 5 {
            if pid <= 1 || done.contains(&pid) {
                continue;
            }
            if seize(pid) {
                look(pid, "seized", &own);
                // SAFETY: numbers only; the process is this one's tracee.
                unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
                done.insert(pid);
                highest = highest.max(pid);
            } else if Path::new(&format!("/proc/{pid}")).exists() {
                look(pid, "looked", &own);
                highest = highest.max(pid);
            }
        }
    }
}

/// Takes a process over and stops it.
fn seize(pid: i32) -> bool {
    // SAFETY: numbers only.
    if unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) } != 0 {
        return false;
    }
    // SAFETY: numbers only, and a status that is not asked for.
    unsafe {
        libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0);
        libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL);
    }
    true
}

/// Tells of a process whose program has not begun yet: how it was reached and what it holds.
fn look(pid: i32, how: &str, own: &Path) {
    let Ok(program) = std::fs::read_link(format!("/proc/{pid}/exe")) else { return };
    if program.ends_with("busybox") || program == own {
        return;
    }
    let memory = std::fs::File::options().read(true).write(true).open(format!("/proc/{pid}/mem")).is_ok();
    let descriptors: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let of = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or("?").to_owned()
    };
    let root = std::fs::read_link(format!("/proc/{pid}/root")).unwrap_or_default();
    println!(
        "{how} {} memory={memory} capabilities={} filter={} root={} descriptors={}",
        program.display(),
        of("CapPrm:"),
        of("Seccomp:"),
        root.display(),
        descriptors.join(","),
    );
    let _ = std::io::stdout().flush();
}
