//! A container's root file system as the engine looks into it, from outside.
//!
//! A running container is entered through the root of its first process, which is held meanwhile. One that does not run has its layers
//! put together in a mount that is attached nowhere: nobody else sees it, and it goes when its
//! descriptor is closed. Whatever is opened below either is opened by `openat2` confined to it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use base::overlay::Overlay;
use runtime::held::HeldProcess;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen, move_mount,
};

use crate::error::{Context, Error, Result};
use crate::id_blocks::IdBlock;
use crate::volume::Held;

/// How often a path is resolved anew that the kernel gave up because of a rename.
const TRIES: usize = 64;

/// The directories of a container's root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layers {
    /// Those of its image, topmost first.
    pub(crate) lower: Vec<PathBuf>,
    /// Its own.
    pub(crate) upper: PathBuf,
    /// The kernel's, for the overlay.
    pub(crate) work: PathBuf,
}

/// A root directory into which paths can be resolved.
#[derive(Debug)]
pub(crate) struct RootFs {
    root: OwnedFd,
    /// The users that files belong to as seen from here, where those inside count otherwise.
    users: Option<IdBlock>,
    /// Keeps the volume that it is in its place.
    _held: Option<Held>,
}

impl RootFs {
    /// The root of a running process, mounts included, and the users that it has for itself.
    pub(crate) fn of_process(held: &HeldProcess, users: Option<IdBlock>) -> Result<Self> {
        let root = held.root().context(|| "open the container's root".to_owned())?;
        Ok(Self { root, users, _held: None })
    }

    /// Whom a file belongs to inside, as user or group.
    pub(crate) fn inside(&self, id: u32) -> u32 {
        self.users.map_or(id, |users| users.inside(id))
    }

    /// The root itself, of something that need not be kept in its place.
    pub(crate) fn into_root(self) -> OwnedFd {
        self.root
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
                Ok(Self { root, users: None, _held: None })
            }
            _ => Self::overlay(&lower.iter().map(PathBuf::as_path).collect::<Vec<_>>(), None),
        }
    }

    /// A file system in memory that is empty, small, and goes with this.
    pub(crate) fn in_memory() -> Result<Self> {
        let mounted = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).and_then(|context| {
            fsconfig_set_string(&context, "size", "64m")?;
            fsconfig_create(&context)?;
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        });
        let root = mounted.context(|| "make a file system in memory".to_owned())?;
        Ok(Self { root, users: None, _held: None })
    }

    /// A directory of the host, for example a volume's, which is kept in its place.
    pub(crate) fn of_directory(root: OwnedFd, held: Option<Held>) -> Self {
        Self { root, users: None, _held: held }
    }

    /// The directory of the host at `path`, which is trusted.
    pub(crate) fn at(path: &Path) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::of_directory(openat(CWD, path, flags, Mode::empty())?, None))
    }

    /// Attaches it at `place`, if it is a mount that is attached nowhere.
    pub(crate) fn attach(&self, place: &Path) -> std::io::Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        Ok(move_mount(&self.root, c"", CWD, place, flags)?)
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
        Ok(Self { root, users: None, _held: None })
    }

    /// Opens `path` as the container would: no symbolic link leads out.
    pub(crate) fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let relative = path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            match openat2(&self.root, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // Something was renamed meanwhile; one who renames all the time is not served.
                Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
                result => return result,
            }
        }
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
