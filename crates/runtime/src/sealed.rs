//! The running binary, made impossible to write to from inside a container (CVE-2019-5736).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::sys::mount::{self, MountAttr};

/// A program that can be executed but not opened for writing.
///
/// A read-only mount of its own that is attached nowhere, so nobody can make it writable again.
pub(crate) struct Sealed {
    fd: OwnedFd,
}

impl Sealed {
    /// A path by which this process, and one it has just forked, can execute the program.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd()).into()
    }
}

/// Seals `program`, or the running binary (also if its file has been replaced or removed).
pub(crate) fn program(program: Option<&Path>) -> io::Result<Sealed> {
    let path = program.unwrap_or(Path::new("/proc/self/exe"));
    let fd = match open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC) {
        Ok(fd) => fd,
        // The running binary may itself come from such a mount, which cannot be cloned; it is
        // read-only already.
        Err(Errno::INVAL) if program.is_none() && is_sealed()? => {
            return Ok(Sealed { fd: File::open(path)?.into() });
        }
        Err(error) => return Err(error.into()),
    };
    mount::set_attributes(&fd, false, MountAttr { set: mount::attr::RDONLY, ..MountAttr::default() })?;
    Ok(Sealed { fd })
}

/// Whether the running binary is on a read-only mount.
pub(crate) fn is_sealed() -> io::Result<bool> {
    let stat = rustix::fs::statvfs("/proc/self/exe")?;
    Ok(stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}
