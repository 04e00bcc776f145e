//! What is put together on this host for one operation, and goes with it: snapshots, and mounts below the solver's
//! own directory.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base::cancel::Cancel;
use image::Store;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::SolveError;
use super::value::Chain;

/// A writable copy of layers, which goes away unless it is sealed.
pub(crate) struct Snapshot {
    store: Store,
    id: String,
    /// Whether it still is to be removed.
    is_there: bool,
}

impl Snapshot {
    pub(crate) fn new(store: &Store, below: &Chain) -> Result<Self, SolveError> {
        // An engine that is opened removes what is called so.
        let id = format!("build-{}", random());
        store.snapshot_create_on(&id, below.chain_id())?;
        Ok(Self { store: store.clone(), id, is_there: true })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Makes a layer of what was written, on top of `below`; it must not be mounted.
    pub(crate) fn seal(mut self, below: &Chain, cancel: &Cancel) -> Result<Chain, SolveError> {
        let layer = self.store.snapshot_seal(&self.id, cancel)?;
        self.is_there = false;
        Ok(match layer {
            Some(layer) => Chain::new(Some(layer)),
            None => below.clone(),
        })
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if self.is_there
            && let Err(error) = offload::in_place(|| self.store.snapshot_remove(&self.id))
        {
            tracing::warn!(snapshot = self.id, error = %base::error::chain(&error), "a step's files stay");
        }
    }
}

/// Places at which something is mounted for one operation; all goes when it is dropped.
pub(crate) struct Attached {
    directory: PathBuf,
    next: usize,
}

impl Attached {
    /// Below the solver's own directory.
    pub(crate) fn new(root: &Path) -> Result<Self, SolveError> {
        let directory = root.join("mounts").join(random());
        make(&directory).map_err(SolveError::io("make a place for mounts"))?;
        Ok(Self { directory, next: 0 })
    }

    /// A directory of its own.
    pub(crate) fn place(&mut self) -> Result<PathBuf, SolveError> {
        let place = self.directory.join(self.next.to_string());
        self.next += 1;
        make(&place).map_err(SolveError::io("make a place for a mount"))?;
        Ok(place)
    }

    /// Mounts a tree, and gives where.
    pub(crate) fn mount(&mut self, tree: &OwnedFd) -> Result<PathBuf, SolveError> {
        let place = self.place()?;
        attach(tree, &place).map_err(SolveError::io("mount what a step needs"))?;
        Ok(place)
    }

    /// Mounts a tree at a path in a [place](Self::place).
    pub(crate) fn mount_at(&self, tree: &OwnedFd, path: &Path) -> Result<(), SolveError> {
        make(path).map_err(SolveError::io("make a place for a mount"))?;
        attach(tree, path).map_err(SolveError::io("mount what was built"))
    }

    /// Mounts memory, and gives where.
    pub(crate) fn memory(&mut self) -> Result<PathBuf, SolveError> {
        let place = self.place()?;
        let flags = rustix::mount::MountFlags::NODEV
            | rustix::mount::MountFlags::NOSUID
            | rustix::mount::MountFlags::NOEXEC;
        rustix::mount::mount("tmpfs", &place, "tmpfs", flags, c"mode=0700")
            .map_err(|error| SolveError::io("mount memory for a secret")(error.into()))?;
        Ok(place)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let directory = std::mem::take(&mut self.directory);
        offload::in_place(|| take_away(&directory));
    }
}

/// Takes away what a process before this one left mounted.
pub(crate) fn clear(root: &Path) {
    let mounts = root.join("mounts");
    if mounts.exists() {
        take_away(&mounts);
    }
    if let Err(error) = make(root) {
        tracing::error!(path = %root.display(), %error, "the builder's directory cannot be made");
    }
}

fn take_away(directory: &Path) {
    let taken = base::mounts::take_away(directory).and_then(|()| base::tree::remove(directory));
    if let Err(error) = taken
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %directory.display(), %error, "what a step had mounted stays");
    }
}

/// Attaches a tree at `place`: a mount that is attached nowhere, or a directory.
fn attach(tree: &OwnedFd, place: &Path) -> std::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    match move_mount(tree.as_fd(), c"", CWD, place, flags) {
        Err(Errno::INVAL) => {
            let clone = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::AT_EMPTY_PATH
                | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let copy = open_tree(tree.as_fd(), c"", clone)?;
            Ok(move_mount(copy.as_fd(), c"", CWD, place, flags)?)
        }
        other => Ok(other?),
    }
}

pub(crate) fn make(directory: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

pub(crate) fn random() -> String {
    format!("{:016x}", base::Random::next_u64(&base::SystemRandom))
}
