//! Signal dispositions, masks, and signals as readable descriptors.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

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

/// Blocks every signal that can be.
pub(crate) fn block_all() {
    set_mask(libc::SIG_BLOCK, &Vec::from_iter(1..=64));
}

/// Takes the next of the given signals, which are blocked, and waits for it: `timeout` at most.
pub(crate) fn wait_for(signals: &[i32], timeout: Option<Duration>) -> Option<i32> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let set = set_of(signals);
    // SAFETY: the set is whole, and so is the time, or null, which waits for ever; nothing is written.
    let signal = unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), timeout) };
    (signal > 0).then_some(signal)
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: all zero bytes are a valid set, and the calls below only change it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
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
    let set = set_of(signals);
    // SAFETY: the set is whole; the former mask is not asked for.
    unsafe { libc::sigprocmask(how, &raw const set, std::ptr::null_mut()) };
    set
}
