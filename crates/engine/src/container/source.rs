//! Opening what a mount shows.
//!
//! What comes back is a descriptor: it is what was looked at, what is mounted, what is copied from
//! and into, whatever others do to its path meanwhile.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use base::beneath::{Beneath, BeneathError};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::spec::{FileKind, Mount, MountSource};
use super::view::MountPoint;
use crate::engine::Engine;
use crate::error::{Context, Error, Fact, Result};
use crate::state;
use crate::volume::Volume;

/// What a mount shows, open as a place (`O_PATH`).
#[derive(Debug)]
pub(super) struct Source {
    /// Where it was found.
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
}

/// Permissions of the directories that are made above and at a missing part of a bind mount.
const PART: Mode = Mode::from_raw_mode(0o750);

impl Source {
    /// A part of the host's tree. With `create` it is made as a directory where it is missing.
    pub(super) fn of_bind(
        path: &Path,
        subpath: Option<&str>,
        create: bool,
        must_be: Option<FileKind>,
    ) -> Result<Self> {
        let fd = match open(path) {
            Err(Errno::NOENT) if create && subpath.is_none() => {
                state::make_directory(path, 0o755).map_err(|error| {
                    Error::new(
                        error.kind(),
                        format!("error while creating mount source path '{}'", path.display()),
                    )
                    .with_source(error)
                })?;
                open(path)
            }
            other => other,
        };
        let fd = fd.map_err(|error| match error {
            Errno::NOENT => missing(path),
            error => unopened(path, error),
        })?;
        let source = match subpath {
            None => Self { path: path.to_owned(), fd },
            Some(part) => {
                let root = Beneath::of(fd);
                let part = Path::new(part);
                let found =
                    if create { root.find_or_make(part, PART) } else { root.find(part, OFlags::PATH) };
                let whole = path.join(part);
                let fd = found.map_err(|error| outside(&format!("subPath of {}", path.display()), error))?;
                Self { path: whole, fd }
            }
        };
        if let Some(kind) = must_be
            && source.kind()? != kind.file_type()
        {
            return Err(Error::invalid(format!(
                "{} is not {}",
                source.path.display(),
                kind.with_its_article()
            )));
        }
        Ok(source)
    }

    /// A volume that is a directory of the host, or a part of it, which must be there.
    pub(super) fn of_volume(volume: &Volume, subpath: Option<&str>) -> Result<Self> {
        let device = volume.options.get("device").map(String::as_str).filter(|device| !device.is_empty());
        let path = device.map_or_else(|| volume.path.clone(), PathBuf::from);
        let fd = open(&path).map_err(|error| match error {
            Errno::NOENT => missing(&path),
            error => unopened(&path, error),
        })?;
        let Some(part) = subpath else { return Ok(Self { path, fd }) };
        let whole = path.join(part);
        let fd = Beneath::of(fd)
            .find(Path::new(part), OFlags::PATH)
            .map_err(|error| outside(&format!("subpath of volume {}", volume.name), error))?;
        Ok(Self { path: whole, fd })
    }

    /// What the mount at `point` shows, if it is a part of the host's tree.
    pub(super) fn of_mount(
        engine: &Engine,
        mount: Option<&Mount>,
        point: &MountPoint,
    ) -> Result<Option<Self>> {
        match mount.map(|mount| &mount.source) {
            Some(MountSource::Tmpfs { .. }) => Ok(None),
            Some(MountSource::Bind { path, subpath, create, must_be, .. }) => {
                Self::of_bind(path, subpath.as_deref(), *create, *must_be).map(Some)
            }
            volume => {
                let subpath = match volume {
                    Some(MountSource::Volume { subpath, .. }) => subpath.as_deref(),
                    _ => None,
                };
                let volume = engine.volume_inspect(point.volume.as_deref().unwrap_or_default())?;
                if volume.filesystem().is_some() {
                    return Ok(None);
                }
                Self::of_volume(&volume, subpath).map(Some)
            }
        }
    }

    /// What kind of file it is.
    pub(super) fn kind(&self) -> Result<FileType> {
        let stat = fstat(&self.fd).context(|| format!("look at `{}`", self.path.display()))?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl FileKind {
    fn file_type(self) -> FileType {
        match self {
            Self::Directory => FileType::Directory,
            Self::File => FileType::RegularFile,
            Self::Socket => FileType::Socket,
            Self::CharDevice => FileType::CharacterDevice,
            Self::BlockDevice => FileType::BlockDevice,
        }
    }

    fn with_its_article(self) -> &'static str {
        match self {
            Self::Directory => "a directory",
            Self::File => "a file",
            Self::Socket => "a socket file",
            Self::CharDevice => "a character device",
            Self::BlockDevice => "a block device",
        }
    }
}

pub(super) fn missing(path: &Path) -> Error {
    Fact::NoBindSource { path: path.to_owned() }.into()
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn unopened(path: &Path, error: Errno) -> Error {
    Error::internal(format!("open `{}`", path.display())).with_source(std::io::Error::from(error))
}

/// The error of a part that is not there or not below.
fn outside(what: &str, error: BeneathError) -> Error {
    match error {
        BeneathError::Io { ref source, .. } if source.kind() != std::io::ErrorKind::NotFound => {
            Error::internal(format!("open the {what}")).with_source(error)
        }
        error => Error::invalid(format!("cannot mount the {what}")).with_source(error),
    }
}
