//! A container's root file system as the engine looks into it, from outside.
//!
//! A running container is entered through `/proc/<pid>/root`. One that does not run has its layers
//! put together in a mount that is attached nowhere: nobody else sees it, and it goes when its
//! descriptor is closed. Whatever is opened below either is opened by `openat2` confined to it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use base::overlay::Overlay;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::error::{Context, Error, Result};
use crate::state::Layers;

/// A root directory into which paths can be resolved.
#[derive(Debug)]
pub(crate) struct RootFs {
    root: OwnedFd,
}

impl RootFs {
    /// The root of the running process `pid`, mounts included.
    pub(crate) fn of_process(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, &path, flags, Mode::empty()).context(|| format!("open `{path}`"))?;
        Ok(Self { root })
    }

    /// A container's layers, its own on top; nothing can be written.
    pub(crate) fn read_only(layers: &Layers) -> Result<Self> {
        let mut lower: Vec<&Path> = vec![&layers.upper];
        lower.extend(layers.lower.iter().map(PathBuf::as_path));
        Self::overlay(&lower, None)
    }

    /// An image's layers, topmost first; nothing can be written.
    pub(crate) fn of_image(lower: &[PathBuf]) -> Result<Self> {
        match lower {
            [one] => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root =
                    openat(CWD, one, flags, Mode::empty()).context(|| format!("open `{}`", one.display()))?;
                Ok(Self { root })
            }
            _ => Self::overlay(&lower.iter().map(PathBuf::as_path).collect::<Vec<_>>(), None),
        }
    }

    /// A directory of the host, for example a volume's.
    pub(crate) fn of_directory(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            openat(CWD, path, flags, Mode::empty()).context(|| format!("open `{}`", path.display()))?;
        Ok(Self { root })
    }

    /// A container's layers; what is written is the container's. It must not run meanwhile.
    pub(crate) fn writable(layers: &Layers) -> Result<Self> {
        let lower: Vec<&Path> = layers.lower.iter().map(PathBuf::as_path).collect();
        Self::overlay(&lower, Some((&layers.upper, &layers.work)))
    }

    fn overlay(lower: &[&Path], writable: Option<(&Path, &Path)>) -> Result<Self> {
        let root = Overlay { lower, writable, options: &[] }
            .mount()
            .map_err(|error| Error::internal("open the root file system").with_source(error))?;
        Ok(Self { root })
    }

    /// Opens `path` as the container would: no symbolic link leads out.
    pub(crate) fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let relative = path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.root, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Opens the directory that `path` is in, and tells the last part of `path`. The last part is
    /// not followed if it is a symbolic link.
    pub(crate) fn open_parent(&self, path: &str) -> rustix::io::Result<(OwnedFd, String)> {
        let trimmed = path.trim_end_matches('/');
        let (parent, name) = match trimmed.rsplit_once('/') {
            Some((parent, name)) => (parent, name),
            None => ("", trimmed),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match name {
            "" | "." | ".." => Ok((self.open(path, flags)?, ".".to_owned())),
            _ => Ok((self.open(if parent.is_empty() { "/" } else { parent }, flags)?, name.to_owned())),
        }
    }
}

impl AsFd for RootFs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}
