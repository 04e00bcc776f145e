//! Files on their way from a build context or another stage into an image.

mod copy;
mod hash;
mod tree;

use std::io;
use std::path::PathBuf;

pub(crate) use copy::{Owner, Target, make_directories, write_file};
#[cfg(test)]
pub(crate) use hash::hash_entries;
pub(crate) use hash::{hash_entries_by, read_into};
pub(crate) use tree::{Entry, Tree};

/// Why files could not be copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// There is no such file to copy.
    #[error("file not found in build context or excluded by .dockerignore: stat {0}: file does not exist")]
    Missing(String),
    /// There is no such file in the image to copy from.
    #[error("stat {0}: file does not exist")]
    NoFile(String),
    /// A pattern is malformed.
    #[error("{0}")]
    Pattern(String),
    /// A file could not be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl FileError {
    /// Whether the disk is full.
    pub(crate) fn is_full_disk(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, FileError::Write { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

#[cfg(test)]
mod tests;
