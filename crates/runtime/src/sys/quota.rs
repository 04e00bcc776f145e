//! Disk quotas of projects: which project a directory belongs to, and how much a project may use.
//!
//! Source: quotactl(2), quotactl_fd(2), `linux/dqblk_xfs.h`, `linux/fs.h`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const PROJECT: u32 = 2;
const GET_LIMIT: u32 = (b'X' as u32) << 8 | 3;
const SET_LIMIT: u32 = (b'X' as u32) << 8 | 4;
const GET_STATE: u32 = (b'X' as u32) << 8 | 5;
const GET_NEXT: u32 = (b'X' as u32) << 8 | 9;
const VERSION: i8 = 1;
const FLAG_PROJECT: i8 = 2;
const FIELD_SOFT: u16 = 1 << 2;
const FIELD_HARD: u16 = 1 << 3;
const PROJECTS_COUNTED: u16 = 1 << 4;
const PROJECTS_ENFORCED: u16 = 1 << 5;
/// Bytes of the units in which limits are given.
const UNIT: u64 = 512;
const GET_ATTRIBUTES: u64 = 0x801c_581f;
const SET_ATTRIBUTES: u64 = 0x401c_5820;
/// What is made in a directory belongs to its project.
const INHERIT: u32 = 0x200;

/// The kernel's `struct fs_disk_quota`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct DiskQuota {
    version: i8,
    flags: i8,
    fields: u16,
    id: u32,
    blocks_hard: u64,
    blocks_soft: u64,
    files_hard: u64,
    files_soft: u64,
    blocks_used: u64,
    files_used: u64,
    /// Times and warnings, of which none is set.
    rest: [u64; 7],
}

/// The kernel's `struct fsxattr`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Attributes {
    flags: u32,
    extent: u32,
    extents: u32,
    project: u32,
    rest: [u32; 3],
}

impl DiskQuota {
    fn usage(&self) -> Usage {
        Usage {
            limit: self.blocks_hard.saturating_mul(UNIT),
            bytes: self.blocks_used.saturating_mul(UNIT),
            files: self.files_used,
        }
    }
}

/// The file system whose quotas are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Disk<'a> {
    /// That of an open file.
    Of(BorrowedFd<'a>),
    /// That of a block device, for kernels before 5.14.
    Device(&'a CString),
}

/// What a project uses and may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes that it may use; 0 is no limit.
    pub(crate) limit: u64,
    /// Bytes that its files take.
    pub(crate) bytes: u64,
    /// Files that belong to it.
    pub(crate) files: u64,
}

/// Whether what projects use is counted and limited.
pub(crate) fn is_enforced(disk: Disk<'_>) -> io::Result<bool> {
    // `struct fs_quota_stat`, of which two bytes matter; the kernel writes less than this.
    let mut state = [0u64; 32];
    // SAFETY: the kernel fills in a structure that is smaller than the buffer.
    unsafe { call(disk, GET_STATE, 0, (&raw mut state).cast()) }?;
    let flags = (state[0] >> 16) as u16;
    let wanted = PROJECTS_COUNTED | PROJECTS_ENFORCED;
    Ok(if cfg!(target_endian = "little") { flags & wanted == wanted } else { false })
}

/// What a project uses and may use.
pub(crate) fn usage(disk: Disk<'_>, project: u32) -> io::Result<Usage> {
    let mut quota = DiskQuota::default();
    // SAFETY: the structure is a whole `fs_disk_quota`.
    let read = unsafe { call(disk, GET_LIMIT, project, (&raw mut quota).cast()) };
    match read {
        Ok(()) => Ok(quota.usage()),
        // Nobody has ever asked for this one.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
            Ok(Usage::default())
        }
        Err(error) => Err(error),
    }
}

/// The first project from `project` on that the file system knows of, and what it uses.
pub(crate) fn next(disk: Disk<'_>, project: u32) -> io::Result<Option<(u32, Usage)>> {
    let mut quota = DiskQuota::default();
    // SAFETY: the structure is a whole `fs_disk_quota`.
    let read = unsafe { call(disk, GET_NEXT, project, (&raw mut quota).cast()) };
    match read {
        Ok(()) => Ok(Some((quota.id, quota.usage()))),
        // None, or a file system that does not say.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::ENOSYS)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Limits the bytes that a project may use; 0 is no limit.
pub(crate) fn set_limit(disk: Disk<'_>, project: u32, bytes: u64) -> io::Result<()> {
    let blocks = bytes.div_ceil(UNIT);
    let mut quota = DiskQuota {
        version: VERSION,
        flags: FLAG_PROJECT,
        fields: FIELD_SOFT | FIELD_HARD,
        id: project,
        blocks_hard: blocks,
        blocks_soft: blocks,
        ..DiskQuota::default()
    };
    // SAFETY: the structure is a whole `fs_disk_quota`.
    unsafe { call(disk, SET_LIMIT, project, (&raw mut quota).cast()) }
}

/// Makes a directory, and what is made in it from now on, belong to a project.
pub(crate) fn set_project(directory: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    let mut attributes = attributes(directory)?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    // SAFETY: the structure is a whole `fsxattr`.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), SET_ATTRIBUTES as _, &raw const attributes) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn attributes(directory: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the structure is a whole `fsxattr`.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), GET_ATTRIBUTES as _, &raw mut attributes) };
    if result == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

/// # Safety
/// `address` points to what the kernel reads or writes for `command`.
unsafe fn call(disk: Disk<'_>, command: u32, id: u32, address: *mut libc::c_void) -> io::Result<()> {
    let command = command << 8 | PROJECT;
    // SAFETY: the caller answers for the address; the rest are numbers, and a path that ends with null.
    let result = unsafe {
        match disk {
            Disk::Of(fd) => libc::syscall(libc::SYS_quotactl_fd, fd.as_raw_fd(), command, id, address),
            Disk::Device(path) => libc::syscall(libc::SYS_quotactl, command, path.as_ptr(), id, address),
        }
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_large_as_the_kernel_s() {
        assert_eq!(size_of::<DiskQuota>(), 112);
        assert_eq!(size_of::<Attributes>(), 28);
    }
}
