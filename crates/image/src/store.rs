//! The store: one directory, one process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Kind;
use crate::image::FindError;

/// Images, layers and snapshots under one directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    #[expect(dead_code, reason = "the fields come with the implementation")]
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {}

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
        version: u32,
        /// The latest that is known.
        known: u32,
    },
    /// Its state cannot be understood.
    #[error("read state {}", path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
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
            WriteError::Io { source, .. } => Kind::of_io(source),
        }
    }
}

impl Store {
    /// Opens the store at `root`, which is made if it is not there, and clears away what an
    /// earlier process left unfinished.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        let _ = root;
        todo!()
    }
}
