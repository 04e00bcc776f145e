//! Making files, directories and links, and removing what is there.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use llb::pb::{FileActionMkDir, FileActionMkFile, FileActionRm, FileActionSymlink};
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::copy::remove_at;
use crate::files::{Owner, Target, Tree, make_directories, write_file};
use crate::ignore::Ignore;
use crate::solve::SolveError;

/// Makes a file with content.
pub(super) fn file(target: &Target, action: &FileActionMkFile, owner: Owner) -> Result<(), SolveError> {
    let (path, _, _) = place(target, "mkfile", &action.path)?;
    let mode = u32::try_from(action.mode).unwrap_or(0o644) & 0o7777;
    let modified = (action.timestamp >= 0).then(|| time(action.timestamp).0);
    Ok(write_file(target, &path, &mut &action.data[..], mode, modified, owner)?)
}

/// Makes a directory, with those above it where that is said.
pub(super) fn directory(target: &Target, action: &FileActionMkDir, owner: Owner) -> Result<(), SolveError> {
    let failed = |error| SolveError::io(format_args!("mkdir {}", action.path))(error);
    let path = absolute(&action.path);
    if target.is_directory(&path) {
        return Ok(());
    }
    if action.make_parents {
        make_directories(target, path.parent().unwrap_or(Path::new("/")), owner).map_err(failed)?;
    }
    let (_, parent, name) = place(target, "mkdir", &action.path)?;
    let mode = Mode::from_raw_mode(u32::try_from(action.mode).unwrap_or(0o755) & 0o7777);
    let make = || -> std::io::Result<()> {
        rustix::fs::mkdirat(&parent, &name, mode)?;
        own(&parent, &name, owner)?;
        // What the process that makes it leaves out of permissions is not left out.
        rustix::fs::chmodat(&parent, &name, mode, AtFlags::empty())?;
        stamp(&parent, &name, action.timestamp)
    };
    make().map_err(failed)
}

/// Makes a symbolic link.
pub(super) fn link(target: &Target, action: &FileActionSymlink, owner: Owner) -> Result<(), SolveError> {
    let (_, parent, name) = place(target, "symlink", &action.newpath)?;
    let make = || -> std::io::Result<()> {
        rustix::fs::symlinkat(&action.oldpath, &parent, &name)?;
        own(&parent, &name, owner)?;
        stamp(&parent, &name, action.timestamp)
    };
    make().map_err(SolveError::io(format_args!("symlink {}", action.newpath)))
}

/// Removes what is at a path, with all in it.
pub(super) fn remove(target: &Target, action: &FileActionRm) -> Result<(), SolveError> {
    let missing = || match action.allow_not_found {
        true => Ok(()),
        false => Err(SolveError::NotFound(format!("rm {}: no such file or directory", action.path))),
    };
    let clean = crate::ignore::clean(&action.path);
    if clean.is_empty() {
        return Err(SolveError::Invalid("the root cannot be removed".to_owned()));
    }
    let paths = match action.allow_wildcard && crate::ignore::has_wildcard(&clean) {
        true => {
            let root = target.directory(Path::new("/")).map_err(SolveError::io("open the root"))?;
            Tree::new(root, Ignore::default(), &base::cancel::Cancel::default()).select(&clean)?
        }
        false => vec![PathBuf::from(&clean)],
    };
    if paths.is_empty() {
        return missing();
    }
    for path in paths {
        let path = Path::new("/").join(path);
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let parent = match target.directory(above) {
            Ok(parent) => parent,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return missing(),
            Err(error) => return Err(SolveError::io(format_args!("rm {}", action.path))(error)),
        };
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return missing(),
            _ => remove_at(&parent, name)?,
        }
    }
    Ok(())
}

/// Seconds and nanoseconds of a time in nanoseconds.
pub(super) fn time(nanoseconds: i64) -> (i64, u64) {
    (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000).unsigned_abs())
}

fn absolute(path: &str) -> PathBuf {
    PathBuf::from(format!("/{}", crate::ignore::clean(path)))
}

/// The directory that something is to be made in, which is there, and the name.
fn place(
    target: &Target,
    what: &str,
    path: &str,
) -> Result<(PathBuf, OwnedFd, std::ffi::OsString), SolveError> {
    let path = absolute(path);
    let name = path.file_name().map(OsStr::to_owned);
    let name = name.ok_or_else(|| SolveError::Invalid(format!("{what} /: it is the root")))?;
    let parent = target.directory(path.parent().unwrap_or(Path::new("/")));
    let parent = parent.map_err(SolveError::io(format_args!("{what} {}", path.display())))?;
    Ok((path, parent, name))
}

fn own(parent: &OwnedFd, name: &OsStr, owner: Owner) -> std::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    Ok(rustix::fs::chownat(parent.as_fd(), name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn stamp(parent: &OwnedFd, name: &OsStr, timestamp: i64) -> std::io::Result<()> {
    if timestamp < 0 {
        return Ok(());
    }
    let (seconds, nanoseconds) = time(timestamp);
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanoseconds).unwrap_or_default() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
