//! What mounts of servers and of devices have in common.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::mount::MountFlags;

/// Whether something is mounted at `path`, which is there.
pub(super) fn is_mounted(path: &Path) -> io::Result<bool> {
    let above = path.parent().unwrap_or(Path::new("/"));
    Ok(fs::symlink_metadata(path)?.dev() != fs::symlink_metadata(above)?.dev())
}

/// Removes the directory that something was mounted at; what is mounted there still is not the pod's, and stays.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Text for the kernel.
pub(super) fn text(text: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "it has a NUL in it"))
}

/// What `mount` would make of options: flags, and what is left for the file system.
pub(super) fn options(given: &[String]) -> (MountFlags, Vec<String>) {
    let mut flags = MountFlags::empty();
    let mut left = Vec::new();
    for option in given.iter().flat_map(|options| options.split(',')) {
        match option {
            "" | "rw" | "defaults" | "_netdev" | "auto" | "noauto" | "nofail" => {}
            "ro" => flags |= MountFlags::RDONLY,
            "noexec" => flags |= MountFlags::NOEXEC,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noatime" => flags |= MountFlags::NOATIME,
            "nodiratime" => flags |= MountFlags::NODIRATIME,
            "relatime" => flags |= MountFlags::RELATIME,
            "sync" => flags |= MountFlags::SYNCHRONOUS,
            other => left.push(other.to_owned()),
        }
    }
    (flags, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_flags_or_are_the_file_system_s() {
        let of = |given: &[&str]| {
            options(&given.iter().map(|option| (*option).to_owned()).collect::<Vec<String>>())
        };
        assert_eq!(of(&[]), (MountFlags::empty(), Vec::new()));
        let (flags, left) = of(&["ro,noexec,hard", "rw", "nfsvers=4.1"]);
        assert_eq!(flags, MountFlags::RDONLY | MountFlags::NOEXEC);
        assert_eq!(left, ["hard", "nfsvers=4.1"]);
    }
}
