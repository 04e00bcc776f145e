//! Directories for unfinished work beside the store, and files unpacked into them.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::layer::inflate::Inflated;
use crate::layer::{LayerError, unpack_plain};
use crate::store::{IngestDir, Store};

/// A tar header.
const BLOCK: u64 = 512;

/// A directory that goes away when this is dropped, and after a crash when the store opens again.
#[derive(Debug)]
pub struct Scratch {
    directory: IngestDir,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Store {
    /// A fresh scratch directory, on the file system of the layers.
    pub fn scratch(&self) -> io::Result<Scratch> {
        Ok(Scratch { directory: offload::in_place(|| IngestDir::new(&self.inner))? })
    }
}

/// Unpacks an archive (plain, or compressed by gzip, bzip2, xz or zstd) of ordinary files into a directory, under the rules that
/// hold for layers: nothing gets out of it. Whiteouts are files like any other, and names that climb (`../foo`) lead
/// no further than the directory.
pub fn unpack_files(archive: impl Read, directory: BorrowedFd<'_>) -> Result<(), LayerError> {
    let inflated = Inflated::new(archive).map_err(LayerError::Read)?;
    unpack_plain(io::BufReader::with_capacity(256 * 1024, inflated), directory)
}

/// Whether a stream is an archive that [`unpack_files`] takes.
pub fn is_archive(stream: impl Read) -> bool {
    let start = || -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        Inflated::new(stream)?.take(BLOCK).read_to_end(&mut start)?;
        Ok(start)
    };
    start().is_ok_and(|start| crate::load::looks_like_tar(&start))
}
