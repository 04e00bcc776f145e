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
use crate::volume::{Held, Volume};

/// What a mount shows, open as a place (`O_PATH`).
#[derive(Debug)]
pub(super) struct Source {
    /// Where it was found.
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
    /// Keeps the volume that it is of in its place.
    pub(super) held: Option<Held>,
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
            None => Self { path: path.to_owned(), fd, held: None },
            Some(part) => {
                let root = Beneath::of(fd);
                let part = Path::new(part);
                let found =
                    if create { root.find_or_make(part, PART) } else { root.find(part, OFlags::PATH) };
                let whole = path.join(part);
                let fd = found.map_err(|error| outside_of_bind(path, error))?;
                Self { path: whole, fd, held: None }
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

    /// A volume that is in its place, or a part of it, which must be there.
    fn of_volume(volume: &Volume, subpath: Option<&str>) -> Result<Self> {
        let path = volume.path.clone();
        let fd = open(&path).map_err(|error| match error {
            Errno::NOENT => missing(&path),
            error => unopened(&path, error),
        })?;
        let Some(part) = subpath else { return Ok(Self { path, fd, held: None }) };
        let whole = path.join(part);
        let fd = Beneath::of(fd)
            .find(Path::new(part), OFlags::PATH)
            .map_err(|error| outside(&path, part, error))?;
        Ok(Self { path: whole, fd, held: None })
    }

    /// What the mount at `point` shows, if it is a part of the host's tree.
    pub(super) fn of_mount(
        engine: &Engine,
        mount: Option<&Mount>,
        point: &MountPoint,
    ) -> Result<Option<Self>> {
        match mount.map(|mount| &mount.source) {
            Some(MountSource::Tmpfs { .. } | MountSource::Image { .. }) => Ok(None),
            Some(MountSource::Bind { path, subpath, create, must_be, .. }) => {
                Self::of_bind(path, subpath.as_deref(), *create, *must_be).map(Some)
            }
            volume => {
                let subpath = match volume {
                    Some(MountSource::Volume { subpath, .. }) => subpath.as_deref(),
                    _ => None,
                };
                let volume = engine.volume_inspect(point.volume.as_deref().unwrap_or_default())?;
                let held = volume.is_mounted().then(|| engine.volume_hold(&volume.name)).transpose()?;
                Self::of_volume(&volume, subpath).map(|source| Some(Self { held, ..source }))
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

/// The error of a part of a volume or of an image that is not there or not below.
pub(super) fn outside(base: &Path, part: &str, error: BeneathError) -> Error {
    match error {
        BeneathError::Io { source, .. } if source.kind() != std::io::ErrorKind::NotFound => {
            Error::internal(format!("open `{}`", base.join(part).display())).with_source(source)
        }
        BeneathError::Io { source, .. } => {
            Error::not_found(format!("cannot access path {}", base.join(part).display())).with_source(source)
        }
        _ => Error::invalid(format!(
            "path concatenation escapes the base directory, base: {}, subpath: {part}",
            base.display()
        )),
    }
}

/// The same of a part of the host's tree.
fn outside_of_bind(path: &Path, error: BeneathError) -> Error {
    let what = format!("subPath of {}", path.display());
    match error {
        BeneathError::Io { ref source, .. } if source.kind() != std::io::ErrorKind::NotFound => {
            Error::internal(format!("open the {what}")).with_source(error)
        }
        error => Error::invalid(format!("cannot mount the {what}")).with_source(error),
    }
}
