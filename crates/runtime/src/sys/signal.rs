//! Signal dispositions, masks, and signals as readable descriptors.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::fd::BorrowedFd;

/// Gives every signal its default effect and blocks none, as a new program expects.
pub(crate) fn reset_all() {
    // SAFETY: all zero bytes are the default action with an empty mask and no flags.
    let action: libc::sigaction = unsafe { std::mem::zeroed() };
    for signal in 1..=64 {
        // SAFETY: the action is whole; for signals that cannot be changed the call fails, which is fine.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
    set_mask(libc::SIG_SETMASK, &[]);
}

/// Makes the given signals have no effect.
pub(crate) fn ignore(signals: &[i32]) {
    // SAFETY: all zero bytes are a valid action with an empty mask and no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = libc::SIG_IGN;
    for &signal in signals {
        // SAFETY: the action is whole and names no handler of ours.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

/// Blocks the given signals and returns a descriptor that becomes readable when one is pending.
pub(crate) fn descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = set_mask(libc::SIG_BLOCK, signals);
    // SAFETY: the set is whole; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes the next pending signal from a [`descriptor`].
pub(crate) fn take(descriptor: BorrowedFd<'_>) -> Option<i32> {
    let mut record = [0u8; size_of::<libc::signalfd_siginfo>()];
    let count = rustix::io::read(descriptor, &mut record).ok()?;
    // The record's first field is the number.
    (count == record.len()).then(|| i32::from_ne_bytes([record[0], record[1], record[2], record[3]]))
}

/// Sends a signal by number, real-time ones included, through a pidfd.
pub(crate) fn send(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: takes a descriptor and numbers; no extra information is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_mask(how: i32, signals: &[i32]) -> libc::sigset_t {
    // SAFETY: all zero bytes are a valid set, and the calls below only change it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(how, &raw const set, std::ptr::null_mut());
        set
    }
}

/// Names by number, without `SIG`.
const NAMES: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

const FIRST_REAL_TIME: i32 = 34;
const LAST: i32 = 64;

/// A signal by its number or its name, with or without `SIG`, real-time ones as `RTMIN+1`.
pub(crate) fn by_name(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (0..=LAST).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |base: i32, offset: &str| {
        let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
        let number = base + offset;
        (FIRST_REAL_TIME..=LAST).contains(&number).then_some(number)
    };
    if let Some(offset) = plain.strip_prefix("RTMIN") {
        return real_time(FIRST_REAL_TIME, offset);
    }
    if let Some(offset) = plain.strip_prefix("RTMAX") {
        return real_time(LAST, offset);
    }
    NAMES.iter().find(|(known, _)| *known == plain).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, number: Option<i32>) {
        assert_eq!(by_name(name), number, "{name}");
    }

    #[test]
    fn signals_have_names_and_numbers() {
        check("TERM", Some(15));
        check("sigkill", Some(9));
        check("9", Some(9));
        check("SIGRTMIN+3", Some(37));
        check("RTMAX-1", Some(63));
        check("RTMAX+1", None);
        check("65", None);
        check("INVENTED", None);
    }
}
