//! Content on its way into the store: written beside it, and moved there once it is what it should be.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use base::space::Space;
use oci::{Digest, Hasher};

use crate::store::{IngestDir, Inner};

/// A blob that is being written. It goes away unless it is [kept](StagedBlob::keep).
#[derive(Debug)]
pub(crate) struct StagedBlob {
    directory: IngestDir,
    copy: BlobFile,
    hasher: Hasher,
    size: u64,
}

/// A file that is written within the space that there is.
#[derive(Debug)]
pub(crate) struct BlobFile {
    file: File,
    space: Space,
}

impl StagedBlob {
    /// Begins one that is going to have this digest.
    pub(crate) fn new(inner: &Arc<Inner>, expected: &Digest) -> io::Result<Self> {
        let directory = IngestDir::new(inner)?;
        let copy = BlobFile::create(directory.path().join("blob"))?;
        Ok(Self { directory, copy, hasher: expected.algorithm().hasher(), size: 0 })
    }

    /// Begins one whose digest is known when all is written.
    pub(crate) fn anew(inner: &Arc<Inner>) -> io::Result<Self> {
        let directory = IngestDir::new(inner)?;
        let copy = BlobFile::create(directory.path().join("blob"))?;
        Ok(Self { directory, copy, hasher: Hasher::sha256(), size: 0 })
    }

    /// How much has been written.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Gives the blob its place if it is what it should be; it is on disk after the next flush of the file
    /// system. Whoever calls this has a lease on it.
    pub(crate) fn keep(self, inner: &Inner, expected: &Digest) -> io::Result<()> {
        let Self { directory, hasher, .. } = self;
        let verified = expected.expect(hasher.finish());
        verified.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        inner.blob_settle(&directory, expected)
    }

    /// As [`Self::keep`], whatever it is: `hold` takes a lease on that, which is given back.
    pub(crate) fn keep_as(self, inner: &Inner, hold: impl FnOnce(&Digest)) -> io::Result<Digest> {
        let Self { directory, hasher, .. } = self;
        let digest = hasher.finish();
        hold(&digest);
        inner.blob_settle(&directory, &digest)?;
        Ok(digest)
    }
}

impl Write for StagedBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.copy.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.copy.flush()
    }
}

impl BlobFile {
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::create_new(path)?;
        let space = Space::at(&file)?;
        Ok(Self { file, space })
    }
}

impl Write for BlobFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.space.take(bytes.len() as u64)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Inner {
    /// Moves the file `blob` of unfinished work, which was verified, to where content of this digest is. One
    /// that is there and whole stays in its place: it may be on disk, and images rely on it; this one is not
    /// before the next flush.
    pub(crate) fn blob_settle(&self, directory: &IngestDir, digest: &Digest) -> io::Result<()> {
        let (new, path) = (directory.path().join("blob"), self.blob_path(digest));
        let placed = {
            let mut tables = self.tables();
            let placed = fs::hard_link(&new, &path);
            if placed.is_ok() {
                tables.set_unflushed(digest);
            }
            placed
        };
        match placed {
            Ok(()) => fs::remove_file(&new),
            // Moved before, for another image that has it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.exists() => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let is_whole = self.blob_is_whole(digest);
                if !is_whole {
                    // A power cut or the disk has been at it.
                    File::open(&new)?.sync_all()?;
                }
                let mut tables = self.tables();
                match is_whole {
                    true => fs::remove_file(&new)?,
                    false => fs::rename(&new, &path)?,
                }
                // Also one that was there: whoever brought it may not have waited for the disk.
                tables.set_unflushed(digest);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
