//! The group of a pod's volumes: what is in them is given to it, so that all its containers can work there.
//!
//! Containers may have the volume meanwhile, and put links and directories in each other's place: everything is found
//! below the opened volume, and given by its descriptor.

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use base::place::Place;
use rustix::fs::{CWD, FileType, Mode, OFlags, openat};

/// How a volume is opened: what it is called by may be a link of whoever laid it out.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What the group may do: with files, and with directories besides, whose group is given on.
const OF_FILES: u32 = 0o660;
const OF_DIRECTORIES: u32 = 0o2770;

/// Gives what is below `top`, and that, to `group`. With `only_if_needed` nothing is done where `top` is the group's
/// already: it is given last.
pub(super) fn give(top: &Path, group: u32, only_if_needed: bool) -> io::Result<()> {
    let top = openat(CWD, top, DIRECTORY, Mode::empty())?;
    let root = Place::of(top.try_clone()?);
    let stat = root.stat()?;
    let is_given = stat.st_gid == group && stat.st_mode & OF_DIRECTORIES == OF_DIRECTORIES;
    if only_if_needed && is_given {
        return Ok(());
    }
    base::tree::walk(top, |directory, name| match give_one(directory, name, group) {
        Ok(kind) => Ok(kind == FileType::Directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    })?;
    change(&root, group)
}

fn give_one(directory: BorrowedFd<'_>, name: &CStr, group: u32) -> io::Result<FileType> {
    let place = Place::at(directory, name)?;
    change(&place, group)?;
    place.kind()
}

fn change(place: &Place, group: u32) -> io::Result<()> {
    let stat = place.stat()?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if stat.st_gid != group {
        place.set_owner(stat.st_uid, group)?;
    }
    let more = match kind {
        // A link has no permissions.
        FileType::Symlink => return Ok(()),
        FileType::Directory => OF_DIRECTORIES,
        _ => OF_FILES,
    };
    let mode = stat.st_mode & 0o7777;
    if mode | more != mode || stat.st_gid != group {
        place.set_mode(mode | more)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    const GROUP: u32 = 4711;

    fn of(path: &Path) -> (u32, u32) {
        let found = fs::symlink_metadata(path).expect("stat");
        (found.gid(), found.permissions().mode() & 0o7777)
    }

    #[test]
    fn everything_in_a_volume_is_the_group_s_and_nothing_outside() {
        testkit::require_root();
        let root = tempfile::tempdir().expect("temporary directory");
        let (volume, outside) = (root.path().join("volume"), root.path().join("outside"));
        fs::create_dir_all(volume.join("a/b")).expect("create");
        fs::create_dir(&outside).expect("create");
        fs::write(outside.join("file"), "x").expect("write");
        fs::write(volume.join("a/b/file"), "x").expect("write");
        fs::set_permissions(volume.join("a/b/file"), fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::write(volume.join("program"), "x").expect("write");
        fs::set_permissions(volume.join("program"), fs::Permissions::from_mode(0o755)).expect("chmod");
        symlink(&outside, volume.join("link")).expect("link");
        symlink(outside.join("file"), volume.join("a/link")).expect("link");
        let before = (of(&outside), of(&outside.join("file")));
        give(&volume, GROUP, true).expect("given");
        assert_eq!(of(&volume), (GROUP, 0o2775));
        assert_eq!(of(&volume.join("a/b")), (GROUP, 0o2775));
        assert_eq!(of(&volume.join("a/b/file")), (GROUP, 0o660));
        assert_eq!(of(&volume.join("program")), (GROUP, 0o775));
        assert_eq!(of(&volume.join("link")).0, GROUP);
        assert_eq!((of(&outside), of(&outside.join("file"))), before);
        // What a container made since stays as it is, unless it is to be looked at each time.
        fs::write(volume.join("later"), "x").expect("write");
        fs::set_permissions(volume.join("later"), fs::Permissions::from_mode(0o600)).expect("chmod");
        give(&volume, GROUP, true).expect("given");
        assert_eq!(of(&volume.join("later")).1, 0o600);
        give(&volume, GROUP, false).expect("given");
        assert_eq!(of(&volume.join("later")), (GROUP, 0o660));
    }
}
