//! Copying files of one tree into another.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use base::cancel::Cancel;
use llb::pb::FileActionCopy;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::filter::{Filter, entries};
use super::mode::Change;
use super::{Work, make};
use crate::context::directory;
use crate::files::{Entry, Owner, Target, Tree, make_directories};
use crate::ignore::Ignore;
use crate::solve::SolveError;

/// Copies what an action says.
pub(super) fn copy(
    work: &Work,
    target: &Target,
    source: &Tree,
    action: &FileActionCopy,
    owner: Option<Owner>,
) -> Result<(), SolveError> {
    let to = PathBuf::from(format!("/{}", crate::ignore::clean(&action.dest)));
    let into = action.dest.ends_with('/') || action.dest.ends_with("/.") || action.dest == ".";
    // What is said in letters changes what is copied; a number is what all that is made has.
    let mode = u32::try_from(action.mode).ok().filter(|_| action.mode_str.is_empty());
    // What is made on the way belongs to whom what is copied is given to.
    let above = Owner { mode, ..owner.unwrap_or_default() };
    let parent = if into { to.as_path() } else { to.parent().unwrap_or(Path::new("/")) };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| SolveError::io(format_args!("failed to copy to {}", path.display()))(error)
    };
    match action.create_dest_path {
        true => drop(make_directories(target, parent, above).map_err(failed(parent))?),
        false if !target.is_directory(to.parent().unwrap_or(Path::new("/"))) => {
            return Err(SolveError::NotFound(format!("failed to stat {}: no such directory", action.dest)));
        }
        false => {}
    }
    let filter = Filter::new(&action.include_patterns, &action.exclude_patterns)?;
    let paths = match action.allow_wildcard {
        true => source.select(&action.src)?,
        false => vec![PathBuf::from(crate::ignore::clean(&action.src))],
    };
    // A name that is written out is there, or that is an error; so is a pattern that nothing is like.
    if paths.is_empty() {
        return match action.allow_empty_wildcard {
            true => Ok(()),
            false => Err(SolveError::NotFound(format!("{} not found", action.src))),
        };
    }
    for path in paths {
        let mut found = entries(source, &path, action.follow_symlink, &filter)?;
        check_required(action, &found)?;
        if action.attempt_unpack_docker_compatibility && unpack(work, target, source, &found, &to, owner)? {
            continue;
        }
        change(&mut found, action)?;
        let Some(first) = found.first() else { continue };
        let is_directory = first.kind() == FileType::Directory;
        let goes_below = target.is_directory(&to) && !(is_directory && action.dir_copy_contents);
        let place = match path.file_name() {
            Some(name) if goes_below => to.join(name),
            _ => to.clone(),
        };
        if action.always_replace_existing_dest_paths {
            make_way(target, &found, &place)?;
        }
        if is_directory && action.dir_copy_contents {
            // The directory that the content goes into is none of what is copied.
            make_directories(target, &place, above).map_err(failed(&place))?;
        }
        let owner = match owner {
            Some(owner) => Owner { mode, ..owner },
            None => Owner { mode, kept: true, ..Owner::default() },
        };
        target.copy(source, &found, &place, owner)?;
    }
    Ok(())
}

/// Patterns that have to be of something.
fn check_required(action: &FileActionCopy, found: &[Entry]) -> Result<(), SolveError> {
    for required in &action.required_paths {
        let wanted = crate::ignore::wildcard(required).map_err(SolveError::Invalid)?;
        if !found.iter().any(|entry| wanted.matches(&entry.path.to_string_lossy())) {
            return Err(SolveError::NotFound(format!("{required:?}: not found")));
        }
    }
    Ok(())
}

/// Unpacks an archive instead of copying it, if it is one.
fn unpack(
    work: &Work,
    target: &Target,
    source: &Tree,
    found: &[Entry],
    to: &Path,
    owner: Option<Owner>,
) -> Result<bool, SolveError> {
    let [one] = found else { return Ok(false) };
    if one.kind() != FileType::RegularFile || !image::is_archive(source.file(&one.path)?) {
        return Ok(false);
    }
    let failed = |error| SolveError::io(format_args!("unpack to {}", to.display()))(error);
    let into = make_directories(target, to, owner.unwrap_or_default()).map_err(failed)?;
    let Some(owner) = owner else {
        image::unpack_files(source.file(&one.path)?, into.as_fd())?;
        return Ok(true);
    };
    // Somebody is to have all of it, whomever the archive names.
    let scratch = work.store.scratch().map_err(failed)?;
    let root = directory(scratch.path()).map_err(failed)?;
    image::unpack_files(source.file(&one.path)?, root.as_fd())?;
    let unpacked = Tree::new(root, Ignore::default(), &Cancel::default());
    let all = unpacked.entries(Path::new(""), &Ignore::default())?;
    target.copy(&unpacked, &all, to, owner)?;
    Ok(true)
}

/// What is said of permissions and times goes for all that is copied.
fn change(found: &mut [Entry], action: &FileActionCopy) -> Result<(), SolveError> {
    let text = action.mode_str.as_str();
    let change = match text.is_empty() {
        true => None,
        false => Some(Change::parse(text).map_err(SolveError::Invalid)?),
    };
    for entry in found {
        if let Some(change) = &change {
            let is_directory = entry.kind() == FileType::Directory;
            let mode = change.apply(entry.stat.st_mode, is_directory);
            entry.stat.st_mode = (entry.stat.st_mode & !0o7777) | mode;
        }
        if action.timestamp >= 0 {
            (entry.stat.st_mtime, entry.stat.st_mtime_nsec) = make::time(action.timestamp);
        }
    }
    Ok(())
}

/// Takes away what is where something else is to be.
fn make_way(target: &Target, found: &[Entry], place: &Path) -> Result<(), SolveError> {
    for entry in found {
        let to = if entry.relative.as_os_str().is_empty() {
            place.to_owned()
        } else {
            place.join(&entry.relative)
        };
        let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else { continue };
        let Ok(parent) = target.directory(parent) else { continue };
        let there = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
        let Ok(there) = there else { continue };
        let both = |kind: FileType| entry.kind() == kind && FileType::from_raw_mode(there.st_mode) == kind;
        if !both(FileType::Directory) {
            remove_at(&parent, name)?;
        }
    }
    Ok(())
}

/// Removes what is called so in a directory, with all in it.
pub(crate) fn remove_at(parent: &OwnedFd, name: &OsStr) -> Result<(), SolveError> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        removed => {
            return removed
                .map_err(|error| SolveError::io(format_args!("remove {}", name.display()))(error.into()));
        }
    }
    let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
    base::tree::remove(&path).map_err(SolveError::io(format_args!("remove {}", name.display())))
}
