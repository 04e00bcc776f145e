//! Writing into an image's root file system, where no symbolic link may lead out.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use base::beneath::read_regular;
use base::place::Place;
use base::space::{Space, Within};
use base::sparse;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::{Entry, FileError, Tree};

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Databases of an image are read up to this size, and only where they are regular files.
const LONGEST: u64 = 4 << 20;

/// Who owns what is copied, and with which mode.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: Option<u32>,
    /// What is copied belongs to whom it belongs where it is; the above own what is made on the way.
    pub(crate) kept: bool,
}

impl Owner {
    /// Who owns the copy of what this tells of.
    fn of(self, stat: &Stat) -> Self {
        if self.kept { Self { uid: stat.st_uid, gid: stat.st_gid, ..self } } else { self }
    }
}

/// A root file system to copy into.
#[derive(Debug)]
pub(crate) struct Target {
    root: OwnedFd,
}

impl Target {
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// Whether there is a directory at `path`, also by a symbolic link.
    pub(crate) fn is_directory(&self, path: &Path) -> bool {
        self.directory(path).is_ok()
    }

    /// Opens the directory at `path`.
    pub(crate) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open(path, DIRECTORY)
    }

    /// The content of a small file, such as `/etc/passwd`; empty if there is none.
    pub(crate) fn read(&self, path: &Path) -> io::Result<String> {
        match self.open(path, OFlags::PATH | OFlags::CLOEXEC) {
            Ok(fd) => {
                let bytes = read_regular(&Place::of(fd), path, LONGEST).map_err(io::Error::other)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    /// Copies entries of a tree to `path`: a directory's content into it, a file to it.
    pub(crate) fn copy(
        &self,
        tree: &Tree,
        entries: &[Entry],
        path: &Path,
        owner: Owner,
    ) -> Result<(), FileError> {
        let mut times = Vec::new();
        // The first place of each file that has several names.
        let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
        let mut space =
            Space::at(&self.root).map_err(|source| FileError::Write { path: path.to_owned(), source })?;
        for entry in entries {
            let to = if entry.relative.as_os_str().is_empty() {
                path.to_owned()
            } else {
                path.join(&entry.relative)
            };
            let write_error = |source| FileError::Write { path: to.clone(), source };
            space.take_entry().map_err(write_error)?;
            let is_top = entry.relative.as_os_str().is_empty();
            let parent_path = to.parent().unwrap_or(Path::new("/"));
            if is_top {
                make_directories(self, parent_path, owner).map_err(write_error)?;
            }
            if entry.kind() == FileType::Directory {
                let owner = owner.of(&entry.stat);
                let made = self.make_directory(&to, entry, owner, is_top).map_err(write_error)?;
                if made {
                    let attributes = || -> io::Result<()> {
                        Place::of(self.directory(&to)?).take_attributes(&tree.place(entry)?)
                    };
                    attributes().map_err(write_error)?;
                    times.push((to, modified(entry)));
                }
                continue;
            }
            let parent = self.directory(parent_path).map_err(write_error)?;
            let name = to.file_name().ok_or_else(|| write_error(Errno::ISDIR.into()))?.to_owned();
            if entry.stat.st_nlink > 1 && entry.kind() != FileType::Socket {
                match links.entry((entry.stat.st_dev, entry.stat.st_ino)) {
                    Occupied(first) => {
                        self.link(first.get(), parent.as_fd(), &name).map_err(write_error)?;
                        continue;
                    }
                    Vacant(first) => {
                        first.insert(to.clone());
                    }
                }
            }
            let owner = owner.of(&entry.stat);
            match entry.kind() {
                FileType::RegularFile => {
                    let source = tree.file(&entry.path)?;
                    let mut file = create(parent.as_fd(), &name).map_err(write_error)?;
                    sparse::copy(&source, &mut file, |bytes| {
                        tree.cancelled()?;
                        space.take(bytes)
                    })
                    .map_err(write_error)?;
                    let finish = || -> io::Result<()> {
                        finish_file(&file, entry.stat.st_mode & 0o7777, owner)?;
                        let made = Place::of(file);
                        made.take_attributes(&Place::of(source))?;
                        made.set_times(&modified(entry))
                    };
                    finish().map_err(write_error)?;
                }
                FileType::Symlink => {
                    let target = tree.link(&entry.path)?;
                    let make = || -> io::Result<()> {
                        remove_file(parent.as_fd(), &name)?;
                        rustix::fs::symlinkat(&target, &parent, &name)?;
                        own(parent.as_fd(), &name, owner)?;
                        let made = Place::made(&parent, &name, FileType::Symlink)?;
                        made.take_attributes(&tree.place(entry)?)?;
                        made.set_times(&modified(entry))
                    };
                    make().map_err(write_error)?;
                }
                FileType::Socket => {}
                kind => {
                    let make = || -> io::Result<()> {
                        remove_file(parent.as_fd(), &name)?;
                        let mode = Mode::from_raw_mode(owner.mode.unwrap_or(entry.stat.st_mode & 0o7777));
                        rustix::fs::mknodat(&parent, &name, kind, mode, entry.stat.st_rdev)?;
                        own(parent.as_fd(), &name, owner)?;
                        let made = Place::made(&parent, &name, kind)?;
                        made.take_attributes(&tree.place(entry)?)?;
                        made.set_times(&modified(entry))
                    };
                    make().map_err(write_error)?;
                }
            }
        }
        // Making what is inside changed the directories' times.
        for (path, times) in times.into_iter().rev() {
            let set = || -> io::Result<()> {
                Ok(rustix::fs::utimensat(&self.directory(&path)?, ".", &times, AtFlags::empty())?)
            };
            set().map_err(|source| FileError::Write { path, source })?;
        }
        Ok(())
    }

    /// Makes the directory that an entry is; one that is there already keeps what it has, except
    /// that inside the copied tree its mode and owner are the copied ones.
    fn make_directory(&self, path: &Path, entry: &Entry, owner: Owner, is_top: bool) -> io::Result<bool> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(false) };
        if is_top && self.is_directory(path) {
            return Ok(false);
        }
        let parent = self.directory(parent)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let existing = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                match FileType::from_raw_mode(existing.st_mode) {
                    FileType::Directory => {}
                    FileType::Symlink if self.is_directory(path) => return Ok(false),
                    _ => return Err(Errno::EXIST.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
        own(parent.as_fd(), name, owner)?;
        let mode = owner.mode.unwrap_or(entry.stat.st_mode & 0o7777);
        rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        Ok(true)
    }

    /// Gives the file at `first`, which was copied before, another name.
    fn link(&self, first: &Path, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let from = self.directory(first.parent().unwrap_or(Path::new("/")))?;
        let first = first.file_name().ok_or(Errno::ISDIR)?;
        remove_file(parent, name)?;
        Ok(rustix::fs::linkat(&from, first, parent, name, AtFlags::empty())?)
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(self.root.as_fd(), relative, flags, Mode::empty(), resolve)?)
    }
}

/// Symbolic links that are followed on the way to one directory.
const LINKS_MAX: usize = 40;

/// Makes the directory at `path` and those above it, where they are missing, with the permissions that `owner`
/// says. A symbolic link on the way that leads to nothing leads to what is made.
pub(crate) fn make_directories(target: &Target, path: &Path, owner: Owner) -> io::Result<OwnedFd> {
    match target.directory(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mode = Mode::from_raw_mode(owner.mode.unwrap_or(0o755));
    // No part of this is a link.
    let mut here = PathBuf::from("/");
    let mut links = 0;
    let mut pending: Vec<OsString> = parts(path);
    while let Some(part) = pending.pop() {
        if part == ".." {
            here.pop();
            continue;
        }
        let parent = target.directory(&here)?;
        match rustix::fs::mkdirat(&parent, &part, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                rustix::fs::chmodat(&parent, &part, mode, AtFlags::empty())?;
                own(parent.as_fd(), &part, owner)?;
            }
            Err(Errno::EXIST) => {
                let there = rustix::fs::statat(&parent, &part, AtFlags::SYMLINK_NOFOLLOW)?;
                match FileType::from_raw_mode(there.st_mode) {
                    FileType::Directory => {}
                    FileType::Symlink => {
                        links += 1;
                        if links > LINKS_MAX {
                            return Err(Errno::LOOP.into());
                        }
                        let to = rustix::fs::readlinkat(&parent, &part, Vec::new())?;
                        let to = Path::new(OsStr::from_bytes(to.as_bytes()));
                        if to.is_absolute() {
                            here = PathBuf::from("/");
                        }
                        pending.extend(parts(to));
                        continue;
                    }
                    _ => return Err(Errno::NOTDIR.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
        here.push(part);
    }
    target.directory(&here)
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}

/// Writes a file of its own, not copied from a tree; `modified` is the second at which it was changed last.
pub(crate) fn write_file(
    target: &Target,
    path: &Path,
    content: &mut dyn io::Read,
    mode: u32,
    modified: Option<i64>,
    owner: Owner,
) -> Result<(), FileError> {
    let mut write = || -> io::Result<()> {
        let parent = make_directories(target, path.parent().unwrap_or(Path::new("/")), owner)?;
        let name = path.file_name().ok_or(Errno::ISDIR)?;
        let file = create(parent.as_fd(), name)?;
        io::copy(content, &mut Within::new(&file)?)?;
        finish_file(&file, mode, owner)?;
        if let Some(seconds) = modified {
            let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
            rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
        }
        Ok(())
    };
    write().map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// A fresh file in place of whatever file was there.
fn create(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    remove_file(parent, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?))
}

fn remove_file(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}

fn finish_file(file: &File, mode: u32, owner: Owner) -> io::Result<()> {
    rustix::fs::fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(owner.mode.unwrap_or(mode)))?)
}

fn own(parent: BorrowedFd<'_>, name: &OsStr, owner: Owner) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    Ok(rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn modified(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.stat.st_mtime, tv_nsec: entry.stat.st_mtime_nsec.cast_signed() };
    Timestamps { last_access: time, last_modification: time }
}
