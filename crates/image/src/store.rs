//! The store: one directory, one process.
//!
//! ```text
//! lock             held while the store is open
//! state.json       images and names; whatever it names was flushed before
//! state.<id>.log   what changed of them since it was written
//! blobs/sha256/    configurations, manifests, indexes, compressed layers: as they came
//! layers/<chain>/  layer.json: a layer on those below it, and where its files are
//! diffs/<diff>/    fs/ (unpacked), archive (how to put the tar together again): of all layers with this
//!                  diff id, whatever they lie on; on-<chain>/ is of one that fits on those below it only
//! l/<key>          short links to diffs/<diff>/fs, for mount options
//! snapshots/<id>/  fs/ (upper), work/, snapshot.json
//! empty/           what there is of nothing
//! ground/          what lies below every image: empty files and directories to mount over
//! ingest/          unfinished work; emptied when the store opens
//! leases/          what pulls that are under way have brought so far
//! reserve          space for the removal of images on a full disk
//! ```
//!
//! A damaged `state.json` is kept as `state.json.damaged-…`, a layer's directory whose record cannot
//! be read as `layers/<chain>.damaged-…` when the layer comes again.

mod flights;
mod janitor;
mod journal;
mod keep;
mod open;
mod reserve;
mod survey;
mod tables;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Clock, SystemClock, Trouble};
use oci::Digest;
use offload::{SharedThreads, Threads};
use parking_lot::{Mutex, MutexGuard};

use crate::content::Blobs;
use crate::error::Kind;
use crate::image::FindError;
use crate::state::LayerRecord;
pub(crate) use flights::{Flight, Flights, Sought};
use janitor::Janitor;
pub(crate) use survey::blob_path;
pub(crate) use tables::Tables;

/// Layers that are moved at a time: from and to one registry, and all together.
const TRANSFERS: (usize, usize) = (12, 36);
/// Threads for the store's own files.
const FILES: usize = 16;

/// Images, layers and snapshots under one directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// How a store is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreOptions {
    /// What becomes of layers' compressed forms.
    pub blobs: Blobs,
}

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) options: StoreOptions,
    /// The boot of the machine: what was not flushed in it is whole until it ends.
    pub(crate) boot: String,
    pub(crate) tables: Arc<Mutex<Tables>>,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) janitor: Janitor,
    pub(crate) flights: Flights,
    /// For layers on their way from and to registries, each of which may be slow.
    pub(crate) transfers: SharedThreads,
    /// For what else pulls do with the store's own files.
    pub(crate) files: Threads,
    /// What could not be taken up when the store was opened.
    troubles: Mutex<Vec<Trouble>>,
    // Last, so that the lock is given back after everything else has ended.
    _lock: File,
}

/// A directory under `ingest/` that goes away unless it is moved into place.
#[derive(Debug)]
pub(crate) struct IngestDir {
    inner: Arc<Inner>,
    path: PathBuf,
    moved: bool,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("image store {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// Its state was written by a later version of this program.
    #[error("image store {} has state of version {version}, this program knows up to {known}", path.display())]
    Version {
        /// The state file.
        path: PathBuf,
        /// The version it has.
        version: u64,
        /// The latest that is known.
        known: u32,
    },
    /// A file or directory could not be used.
    #[error("open image store at {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// Why a change could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The image that it is about is not there.
    #[error(transparent)]
    Find(#[from] FindError),
    /// It would hold more than is taken from others.
    #[error(transparent)]
    TooMuch(#[from] oci::TooMuch),
    /// The configuration that it is to have is none.
    #[error("read the configuration of an image")]
    Config(#[from] oci::ReadConfigError),
    /// That configuration speaks of other layers than the image would have.
    #[error("the configuration of an image names other layers than it has")]
    OtherLayers,
    /// A file could not be written.
    #[error("write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl WriteError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            WriteError::Find(error) => error.kind(),
            WriteError::TooMuch(_) | WriteError::Config(_) | WriteError::OtherLayers => Kind::Invalid,
            WriteError::Io { source, .. } => Kind::of_io(source),
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| WriteError::Io { path, source }
    }
}

impl Store {
    /// Opens the store at `root`, which is made if it is not there, and clears away what an
    /// earlier process left unfinished. What cannot be understood is left alone, and told by
    /// [`Store::troubles`]; a state of a later version is refused before anything is changed.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        Self::open_with(root, StoreOptions::default())
    }

    /// As [`Store::open`], otherwise than usual.
    pub fn open_with(root: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        Ok(Self { inner: open::open(root, options, Box::new(SystemClock::new()))? })
    }

    /// What could not be taken up when the store was opened.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.inner.troubles.lock().clone()
    }

    /// What could not be taken up if the store at `root` were opened now. Changes nothing, and minds
    /// no process that has it open.
    pub fn examine(root: &Path) -> Result<Vec<Trouble>, OpenError> {
        Ok(survey::Survey::of(root)?.troubles)
    }
}

impl Inner {
    /// What the store knows. It may be locked while it is written to disk: that holds up nobody else.
    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.try_lock().unwrap_or_else(|| offload::in_place(|| self.tables.lock()))
    }

    /// Where a layer's files are: `fs/`, and what is needed to put its archive together.
    pub(crate) fn files_dir(&self, record: &LayerRecord) -> PathBuf {
        files_dir(&self.root, record)
    }

    pub(crate) fn layer_dir(&self, chain_id: &Digest) -> PathBuf {
        self.root.join("layers").join(chain_id.hex())
    }

    pub(crate) fn link_path(&self, key: &str) -> PathBuf {
        self.root.join("l").join(key)
    }

    /// A directory that has nothing in it.
    pub(crate) fn empty(&self) -> PathBuf {
        self.root.join("empty")
    }

    pub(crate) fn snapshot_dir(&self, id: &str) -> PathBuf {
        self.root.join("snapshots").join(id)
    }

    /// Writes images and names to disk.
    pub(crate) fn persist(&self, tables: &mut Tables) -> Result<(), WriteError> {
        keep::persist(&self.root, tables)?;
        reserve::keep(&self.root, tables.list_bytes());
        Ok(())
    }

    /// As [`Self::persist`], for a change that gives space back and must be possible on a full disk.
    pub(crate) fn persist_removal(&self, tables: &mut Tables) -> Result<(), WriteError> {
        let mut persisted = self.persist(tables);
        if persisted.as_ref().is_err_and(|error| error.kind() == Kind::NoSpace) {
            reserve::give_up(&self.root);
            persisted = self.persist(tables);
            if persisted.is_err() {
                reserve::keep(&self.root, tables.list_bytes());
            }
        }
        persisted
    }

    /// What was told of `path` has been seen to.
    pub(crate) fn trouble_over(&self, path: &Path) {
        self.troubles.lock().retain(|trouble| trouble.path != path);
    }

    /// Moves `path` out of the way and leaves its removal to the janitor.
    pub(crate) fn discard(&self, path: &Path) -> io::Result<()> {
        let trash = self.root.join("ingest").join(unique_name());
        fs::rename(path, &trash)?;
        self.janitor.remove(trash);
        Ok(())
    }

    /// Calls `then` once what was discarded until now takes no room any more.
    pub(crate) fn when_removed(&self, then: impl FnOnce() + Send + 'static) {
        self.janitor.tell(then);
    }

    /// Gives up one use of a layer; layers that nobody uses any more go away, lowest last.
    pub(crate) fn layer_release(&self, tables: &mut Tables, chain_id: Option<&Digest>) {
        let mut next = chain_id.cloned();
        while let Some(chain_id) = next {
            let Some(layer) = tables.release(&chain_id) else { return };
            let _ = fs::remove_file(self.link_path(&layer.key));
            let mut unused = vec![self.layer_dir(&chain_id)];
            if layer.files.as_ref().is_some_and(|files| tables.is_free(files)) {
                unused.push(self.files_dir(&layer));
            }
            for path in unused {
                if let Err(error) = self.discard(&path) {
                    tracing::warn!(path = %path.display(), %error, "an unused layer could not be removed");
                }
            }
            next = layer.parent;
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.root).finish_non_exhaustive()
    }
}

impl IngestDir {
    /// A fresh directory for unfinished work.
    pub(crate) fn new(inner: &Arc<Inner>) -> io::Result<Self> {
        let path = inner.root.join("ingest").join(unique_name());
        fs::create_dir(&path)?;
        Ok(Self { inner: inner.clone(), path, moved: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the directory to its final place.
    pub(crate) fn move_to(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.moved = true;
        Ok(())
    }
}

impl Drop for IngestDir {
    fn drop(&mut self) {
        if !self.moved {
            self.inner.janitor.remove(std::mem::take(&mut self.path));
        }
    }
}

/// Where a layer's files are, in the store at `root`.
fn files_dir(root: &Path, record: &LayerRecord) -> PathBuf {
    match &record.files {
        Some(files) => root.join("diffs").join(files),
        None => root.join("layers").join(record.chain_id.hex()),
    }
}

/// What a layer's short link leads to.
pub(crate) fn link_target(record: &LayerRecord) -> PathBuf {
    files_dir(Path::new(".."), record).join("fs")
}

pub(crate) fn unique_name() -> String {
    format!("{:016x}", base::Random::next_u64(&base::SystemRandom))
}
