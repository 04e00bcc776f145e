//! Extended attributes of files in layers.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::place::Directory;

/// The attribute by which overlayfs knows a directory that hides those below it.
pub(super) const OPAQUE: &str = "trusted.overlay.opaque";

/// Whether a layer may set this attribute. Overlayfs' own could lead a mount to any directory of
/// the host (`redirect`, `metacopy`), so no archive may bring them.
pub(super) fn settable(name: &str) -> bool {
    !name.starts_with("trusted.overlay.") && !name.starts_with("user.overlay.")
}

/// Sets an attribute of what is in `parent` under `name`, without following a link and without
/// opening it, which would hang on a FIFO and act on a device.
pub(super) fn set_xattr_at(
    parent: &Directory,
    name: &OsStr,
    attribute: &str,
    value: &[u8],
) -> io::Result<()> {
    let path = proc_path(parent, name);
    let result = rustix::fs::lsetxattr(path, attribute, value, XattrFlags::empty());
    // Without the opaque mark the image's files would be wrong, so that one must succeed.
    if attribute == OPAQUE { Ok(result?) } else { tolerate(result, attribute) }
}

/// The attributes of what is in `parent` under `name`, sorted, without overlayfs' own.
pub(super) fn list_xattrs_at(parent: &Directory, name: &OsStr) -> io::Result<Vec<(String, Vec<u8>)>> {
    let path = proc_path(parent, name);
    let mut names = vec![0u8; 1024];
    let len = loop {
        match rustix::fs::llistxattr(&path, &mut names[..]) {
            Ok(len) => break len,
            Err(rustix::io::Errno::RANGE) => names.resize(names.len() * 4, 0),
            Err(rustix::io::Errno::OPNOTSUPP) => break 0,
            Err(error) => return Err(error.into()),
        }
    };
    let mut attributes = Vec::new();
    for name in names[..len].split(|&b| b == 0).filter(|name| !name.is_empty()) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        // SELinux labels belong to the host's policy, not to the image.
        if settable(name) && name != "security.selinux" {
            attributes.push((name.to_owned(), read(&path, name)?));
        }
    }
    attributes.sort();
    Ok(attributes)
}

/// Whether the directory `name` in `parent` hides those below it.
pub(super) fn is_opaque_at(parent: &Directory, name: &OsStr) -> io::Result<bool> {
    let mut value = [0u8; 8];
    match rustix::fs::lgetxattr(proc_path(parent, name), OPAQUE, &mut value[..]) {
        Ok(len) => Ok(&value[..len] == b"y"),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn read(path: &PathBuf, name: &str) -> io::Result<Vec<u8>> {
    let mut value = vec![0u8; 256];
    loop {
        match rustix::fs::lgetxattr(path, name, &mut value[..]) {
            Ok(len) => {
                value.truncate(len);
                return Ok(value);
            }
            Err(rustix::io::Errno::RANGE) => value.resize(value.len() * 4, 0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// File systems without room for an attribute lose it; Docker does the same.
pub(super) fn tolerate(result: Result<(), Errno>, name: &str) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) => {
            tracing::debug!(xattr = name, "the file system does not take an extended attribute");
            Ok(())
        }
        other => Ok(other?),
    }
}

fn proc_path(parent: &Directory, name: &OsStr) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", parent.fd.as_raw_fd())).join(name)
}
