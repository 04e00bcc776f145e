//! `mount_setattr(2)`, which rustix lacks, and names for its attributes.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Attributes of a mount, as `MOUNT_ATTR_*` names them.
pub(crate) mod attr {
    pub(crate) const RDONLY: u64 = 0x01;
    pub(crate) const NOSUID: u64 = 0x02;
    pub(crate) const NODEV: u64 = 0x04;
    pub(crate) const NOEXEC: u64 = 0x08;
    /// The bits that say how access times are kept; zero is `relatime`.
    pub(crate) const ATIME: u64 = 0x70;
    pub(crate) const NOATIME: u64 = 0x10;
    pub(crate) const STRICTATIME: u64 = 0x20;
    pub(crate) const NODIRATIME: u64 = 0x80;
    pub(crate) const IDMAP: u64 = 0x0010_0000;
    pub(crate) const NOSYMFOLLOW: u64 = 0x0020_0000;
}

/// The kernel's `struct mount_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct MountAttr {
    /// Attributes switched on.
    pub(crate) set: u64,
    /// Attributes switched off.
    pub(crate) clear: u64,
    /// One of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0.
    pub(crate) propagation: u64,
    /// User namespace of an idmapped mount.
    pub(crate) userns_fd: u64,
}

/// Changes the mount that `fd` stands for, and those below it if `recursive`. Does not allocate.
pub(crate) fn set_attributes(fd: &impl AsFd, recursive: bool, attributes: MountAttr) -> io::Result<()> {
    const AT_RECURSIVE: i32 = 0x8000;
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a constant string, the attributes outlive the call and their size is
    // passed; the kernel writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
