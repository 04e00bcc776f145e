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

/// Whether the kernel's table has something at `path` or below it, which is not asked for that. The last part of
/// `path` is no link.
pub(super) fn is_listed(path: &Path) -> io::Result<bool> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let place = match fs::canonicalize(above) {
        Ok(above) => in_table(&above.join(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let is_of = |found: &[u8]| {
        found.strip_prefix(&*place).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    let table = fs::read("/proc/thread-self/mounts")?;
    Ok(table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(1))
        .any(is_of))
}

/// A path as the kernel's table has it: blanks and the like are three octal digits after a backslash.
fn in_table(path: &Path) -> Vec<u8> {
    let byte = |byte: u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        other => vec![other],
    };
    path.as_os_str().as_encoded_bytes().iter().copied().flat_map(byte).collect()
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
    fn what_is_mounted_is_in_the_table_by_its_path_and_nothing_beside_it() {
        testkit::require_root();
        let root = tempfile::tempdir().expect("temporary directory");
        let place = root.path().join("a volume\\x");
        assert!(!is_listed(&place).expect("read"));
        super::super::memory::mount(&place, &super::super::memory::Memory::default()).expect("mount");
        assert!(is_listed(&place).expect("read") && is_listed(root.path()).expect("read"));
        assert!(!is_listed(&root.path().join("a")).expect("read"), "a part of a name is no place above it");
        assert!(!is_listed(&root.path().join("none/v")).expect("read"));
        super::super::memory::unmount(&place);
        assert!(!is_listed(&place).expect("read"));
    }

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
