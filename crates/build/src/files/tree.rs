//! A tree of files to copy from: a build context, or an image's root file system.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use base::cancel::Cancel;
use base::place::Place;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};

use super::FileError;
use crate::ignore::{self, Ignore};

/// A tree of files. No symbolic link in it leads out of it.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    ignore: Ignore,
    cancel: Cancel,
    /// Files belong to nobody here, but to somebody on another machine: to root as soon as they are copied.
    foreign: bool,
}

/// A file, directory or the like of a tree.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where it is in the tree.
    pub(crate) path: PathBuf,
    /// Where it goes, below the target directory; empty for the source itself.
    pub(crate) relative: PathBuf,
    pub(crate) stat: Stat,
}

impl Entry {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

impl Tree {
    /// The tree at `root`. Reading it ends soon after `cancel` was set.
    pub(crate) fn new(root: OwnedFd, ignore: Ignore, cancel: &Cancel) -> Self {
        Self { root, ignore, cancel: cancel.clone(), foreign: false }
    }

    /// The same, of another machine: whom its files belong to says nothing here.
    pub(crate) fn of_another_machine(self) -> Self {
        Self { foreign: true, ..self }
    }

    /// Fails if nobody waits any more for what is read at `path`.
    pub(crate) fn check(&self, path: &Path) -> Result<(), FileError> {
        self.cancelled().map_err(|source| FileError::Read { path: path.to_owned(), source })
    }

    pub(crate) fn cancelled(&self) -> io::Result<()> {
        self.cancel.check()
    }

    /// The paths that a source of COPY means: itself, or what its wildcards match, if anything, sorted.
    pub(crate) fn select(&self, source: &str) -> Result<Vec<PathBuf>, FileError> {
        let path = ignore::clean(source);
        if !ignore::has_wildcard(&path) {
            return Ok(vec![PathBuf::from(path)]);
        }
        let pattern = ignore::wildcard(&path).map_err(FileError::Pattern)?;
        // What comes before the first wildcard need not be searched.
        let fixed: Vec<&str> = path.split('/').take_while(|part| !ignore::has_wildcard(part)).collect();
        let depth = path.split('/').count();
        let mut matched = Vec::new();
        let mut pending = vec![PathBuf::from(fixed.join("/"))];
        while let Some(directory) = pending.pop() {
            for (name, stat) in self.list(&directory)? {
                let path = directory.join(name);
                let Some(text) = path.to_str() else { continue };
                if self.ignore.excludes(text) {
                    continue;
                }
                if pattern.matches(text) {
                    matched.push(path);
                } else if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                    && path.components().count() < depth
                {
                    pending.push(path);
                }
            }
        }
        matched.sort();
        Ok(matched)
    }

    /// The file at `path`, or the directory with everything in it, parents first, sorted. A symbolic
    /// link at `path` itself is followed, those inside are not.
    pub(crate) fn entries(&self, path: &Path, exclude: &Ignore) -> Result<Vec<Entry>, FileError> {
        let mut entries = Vec::new();
        let mut pending = vec![self.entry(path)?];
        while let Some(entry) = pending.pop() {
            if entry.kind() == FileType::Directory {
                let mut inside = self.list(&entry.path)?;
                // The last to be pushed is the next to be popped.
                inside.sort_by(|a, b| b.0.cmp(&a.0));
                for (name, stat) in inside {
                    let path = entry.path.join(&name);
                    let text = path.to_string_lossy();
                    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                    let left_out = self.ignore.excludes(&text) || exclude.excludes(&text);
                    if !left_out || (is_directory && self.may_keep_inside(&path)?) {
                        let relative = entry.relative.join(&name);
                        pending.push(Entry { path, relative, stat: self.seen(stat) });
                    }
                }
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The file or directory at `path` alone; a symbolic link there is followed.
    pub(crate) fn entry(&self, path: &Path) -> Result<Entry, FileError> {
        let missing = || FileError::Missing(path.display().to_string());
        if self.ignore.excludes(&path.to_string_lossy()) && !self.may_keep_inside(path)? {
            return Err(missing());
        }
        let read_error = |source: io::Error| FileError::Read { path: path.to_owned(), source };
        let fd = match self.open(path, OFlags::PATH) {
            Ok(fd) => fd,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(missing());
            }
            Err(error) => return Err(read_error(error)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|error| read_error(error.into()))?;
        Ok(Entry { path: path.to_owned(), relative: PathBuf::new(), stat: self.seen(stat) })
    }

    /// What is told of a file.
    fn seen(&self, mut stat: Stat) -> Stat {
        if self.foreign {
            (stat.st_uid, stat.st_gid) = (0, 0);
        }
        stat
    }

    /// What is at `path`, if it is a symbolic link.
    pub(crate) fn symbolic_link(&self, path: &Path) -> Result<Option<Entry>, FileError> {
        let look = || -> io::Result<Option<Stat>> {
            match self.open(path, OFlags::PATH | OFlags::NOFOLLOW) {
                Ok(fd) => Ok(Some(rustix::fs::fstat(&fd)?)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        };
        let stat = look().map_err(|source| FileError::Read { path: path.to_owned(), source })?;
        let stat = stat.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
        Ok(stat.map(|stat| Entry { path: path.to_owned(), relative: PathBuf::new(), stat: self.seen(stat) }))
    }

    /// Opens a directory, to look into.
    pub(crate) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Whether something below an excluded directory may be kept by a later rule.
    fn may_keep_inside(&self, path: &Path) -> Result<bool, FileError> {
        if self.ignore.is_empty() {
            return Ok(true);
        }
        if !self.ignore.keeps_some() {
            return Ok(false);
        }
        self.check(path)?;
        let Ok(listed) = self.list(path) else { return Ok(false) };
        for (name, stat) in listed {
            let inside = path.join(name);
            if !self.ignore.excludes(&inside.to_string_lossy()) {
                return Ok(true);
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && self.may_keep_inside(&inside)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens a regular file for reading. Nothing else is ever opened: whoever sends a context may put a
    /// device of this machine there, or a pipe.
    pub(crate) fn file(&self, path: &Path) -> Result<File, FileError> {
        let open = || -> io::Result<File> {
            let place = Place::of(self.open(path, OFlags::PATH)?);
            match place.kind()? {
                FileType::RegularFile => place.read(),
                _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
            }
        };
        open().map_err(|source| FileError::Read { path: path.to_owned(), source })
    }

    /// Holds what an entry is, without opening it.
    pub(crate) fn place(&self, entry: &Entry) -> io::Result<Place> {
        // The source itself may have been found by a link.
        let follow = if entry.kind() == FileType::Symlink { OFlags::NOFOLLOW } else { OFlags::empty() };
        Ok(Place::of(self.open(&entry.path, OFlags::PATH | follow)?))
    }

    /// Where a symbolic link points.
    pub(crate) fn link(&self, path: &Path) -> Result<OsString, FileError> {
        let read = || -> io::Result<OsString> {
            let fd = self.open(path, OFlags::PATH | OFlags::NOFOLLOW)?;
            let target = rustix::fs::readlinkat(&fd, "", Vec::new())?;
            Ok(OsString::from_vec(target.into_bytes()))
        };
        read().map_err(|source| FileError::Read { path: path.to_owned(), source })
    }

    fn list(&self, path: &Path) -> Result<Vec<(OsString, Stat)>, FileError> {
        self.check(path)?;
        let list = || -> io::Result<Vec<(OsString, Stat)>> {
            let fd = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let mut listed = Vec::new();
            for entry in rustix::fs::Dir::read_from(&fd)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    let stat = rustix::fs::statat(&fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                    listed.push((OsString::from_vec(name.to_vec()), stat));
                }
            }
            Ok(listed)
        };
        match list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|source| FileError::Read { path: path.to_owned(), source }),
        }
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(self.root.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }
}
