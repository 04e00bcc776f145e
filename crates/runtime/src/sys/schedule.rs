//! Scheduling policies, and the disk priority of the calling process.

use std::io;

/// The kernel's `struct sched_attr`, first version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Schedule {
    pub(crate) size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

/// Sets the scheduling policy of a process, or of the calling one (0). Does not allocate.
pub(crate) fn set_policy(pid: u32, schedule: &Schedule) -> io::Result<()> {
    let schedule = Schedule { size: size_of::<Schedule>() as u32, ..*schedule };
    // SAFETY: the structure is whole and says its own size; the rest are numbers.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const schedule, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets class and level of disk access. Does not allocate.
pub(crate) fn set_io_priority(class: u16, level: u16) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    let value = i32::from(class) << 13 | i32::from(level);
    // SAFETY: takes numbers only; 0 is the calling process.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
