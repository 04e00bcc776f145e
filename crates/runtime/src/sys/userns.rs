//! Whose a namespace is.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `_IO(0xb7, 0x1)` of `linux/nsfs.h`.
const NS_GET_USERNS: u64 = 0xb701;

/// The user namespace that owns a namespace; an error if that is none below this process's own.
pub(crate) fn owner_of(namespace: &impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: takes a descriptor and no argument.
    let owner = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_USERNS as libc::Ioctl) };
    if owner < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(owner) })
}
