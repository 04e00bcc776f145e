//! Content by digest, byte for byte as it came: configurations, manifests, indexes, compressed layers.
//!
//! What always holds:
//!
//! - A blob has its name only after its bytes were verified by it, and is never written again: one that is
//!   there and whole is not replaced, not even by the same.
//! - A blob is kept as long as something leads to it: a name, an image, a [`Lease`], through manifests and
//!   indexes. What nothing leads to any more goes with what led to it ([`Inner::content_sweep`]), and when
//!   the store opens.
//! - What a document leads to need not be here: of an index only what was wanted is.

mod kept;
mod lease;
mod stage;
mod tree;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::str::FromStr;

use oci::digest::Algorithm;
use oci::{Descriptor, Digest};

pub(crate) use kept::Kept;
pub(crate) use lease::Lease;
pub(crate) use stage::{BlobFile, StagedBlob};
pub(crate) use tree::{DEPTH_MAX, Leaf, Part, Tree, leaf};

use crate::state::LayerRecord;
use crate::store::{Inner, Store, Tables, WriteError};

/// What becomes of the compressed form in which a layer comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Blobs {
    /// It is kept beside the unpacked files, so that an image goes out as it came in.
    #[default]
    Keep,
    /// It is dropped, and made again when a registry wants the layer: mostly another one, under another
    /// digest, and so is the image's manifest then.
    Remake,
}

/// What is no [`Blobs`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is neither `keep` nor `remake`")]
pub struct ParseBlobsError(String);

impl FromStr for Blobs {
    type Err = ParseBlobsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "keep" => Ok(Blobs::Keep),
            "remake" => Ok(Blobs::Remake),
            _ => Err(ParseBlobsError(text.to_owned())),
        }
    }
}

impl Store {
    /// Opens content by its digest, as it came, and tells how long it is; none if it is not here.
    pub fn content_open(&self, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        match File::open(self.inner.blob_path(digest)) {
            Ok(file) => {
                let size = file.metadata()?.len();
                Ok(Some((file, size)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All content that is here as it came, and how long it is.
    pub fn content_list(&self) -> Vec<(Digest, u64)> {
        self.inner.blobs()
    }
}

impl Inner {
    /// All blobs, and how long they are.
    fn blobs(&self) -> Vec<(Digest, u64)> {
        let mut all = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.root.join("blobs").join(algorithm.as_str());
            for path in base::fs::entries(&directory).unwrap_or_default() {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let digest = Digest::parse(&format!("{}:{name}", algorithm.as_str()));
                // What goes meanwhile is not there.
                if let (Ok(digest), Ok(blob)) = (digest, fs::metadata(&path)) {
                    all.push((digest, blob.len()));
                }
            }
        }
        all
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        crate::store::blob_path(&self.root, digest)
    }

    /// Stores a document: on disk when this returns, or, with `later`, after the next flush of the file
    /// system. Whoever calls this has a lease on it, and not the tables.
    pub(crate) fn blob_put(&self, document: &Kept, later: bool) -> Result<(), WriteError> {
        self.blob_write(document, later)?;
        if later {
            self.tables().set_unflushed(document.digest());
        }
        Ok(())
    }

    /// As [`Self::blob_put`], for a caller that has the tables: with `later` it marks the document there. Also
    /// one that was here, as whoever wrote it may not have waited for the disk.
    pub(crate) fn blob_write(&self, document: &Kept, later: bool) -> Result<(), WriteError> {
        let path = self.blob_path(document.digest());
        // A power cut may have left it empty.
        let is_there = fs::read(&path).is_ok_and(|found| found == document.bytes());
        let written = match (is_there, later) {
            (true, true) => Ok(()),
            (true, false) => File::open(&path).and_then(|file| file.sync_all()),
            (false, true) => base::fs::write_atomic_unsynced(&path, document.bytes(), 0o600),
            (false, false) => base::fs::write_atomic(&path, document.bytes(), 0o600),
        };
        written.map_err(WriteError::io(&path))
    }

    /// Reads a document that was stored, and checks that it is still what it was.
    pub(crate) fn blob_read(&self, digest: &Digest) -> io::Result<Kept> {
        let bytes = base::record::read_plain(&self.blob_path(digest))?;
        Kept::verified(digest, bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Whether content that a descriptor points at is here as a blob, as long as it says and what it says.
    pub(crate) fn has_blob(&self, wanted: &Descriptor) -> bool {
        self.blob_len(&wanted.digest) == Some(wanted.size) && self.blob_is_whole(&wanted.digest)
    }

    /// Whether a blob is here and what its digest says. It is read to its end.
    pub(crate) fn blob_is_whole(&self, digest: &Digest) -> bool {
        File::open(self.blob_path(digest)).is_ok_and(|blob| is_whole(blob, digest))
    }

    /// Takes a blob away that is not what its digest says any more: then it is missed, and made or brought
    /// again. One that is whole stays.
    pub(crate) fn blob_condemn(&self, digest: &Digest) {
        let path = self.blob_path(digest);
        let Ok(blob) = File::open(&path) else { return };
        let Ok(place) = blob.metadata().map(|blob| (blob.dev(), blob.ino())) else { return };
        if is_whole(blob, digest) {
            return;
        }
        let _tables = self.tables();
        // Another may have taken its place meanwhile.
        if fs::metadata(&path).is_ok_and(|found| (found.dev(), found.ino()) == place) {
            tracing::warn!(%digest, "content is damaged: it is taken away");
            let _ = fs::remove_file(&path);
        }
    }

    /// The size of a blob that is here.
    pub(crate) fn blob_len(&self, digest: &Digest) -> Option<u64> {
        let metadata = fs::metadata(self.blob_path(digest)).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// Bytes of all layers, each counted once, and of the blobs that are no documents.
    pub(crate) fn content_size(&self, tables: &Tables) -> u64 {
        let mut seen = BTreeSet::new();
        let own = |layer: &&LayerRecord| layer.files.as_ref().is_none_or(|files| seen.insert(files.clone()));
        // What only builds came to is told as theirs.
        let of_builds = tables.layers_of_results();
        let layers = tables.layers().filter(|layer| !of_builds.contains(&layer.chain_id));
        let size: u64 = layers.filter(own).map(|layer| layer.size).sum();
        let blobs = self.blobs().into_iter().filter(|(digest, _)| !tables.is_document(digest));
        size + blobs.map(|(_, size)| size).sum::<u64>()
    }

    /// Takes away those of `candidates`, with what they lead to, that nothing else leads to.
    pub(crate) fn content_sweep(&self, tables: &mut Tables, candidates: impl IntoIterator<Item = Digest>) {
        let gone = tables.reach(candidates);
        if gone.is_empty() {
            return;
        }
        let used = tables.reached();
        for digest in gone.difference(&used) {
            if let Err(error) = fs::remove_file(self.blob_path(digest))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%digest, %error, "content that nothing needs could not be removed");
            }
            tables.document_forget(digest);
        }
    }
}

/// Whether a file's content is what this digest says; not so where it cannot be read.
fn is_whole(mut file: File, digest: &Digest) -> bool {
    let (mut hasher, mut buffer) = (digest.algorithm().hasher(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return hasher.finish() == *digest,
            Ok(got) => hasher.update(&buffer[..got]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

impl Tables {
    /// Everything that something needs.
    pub(crate) fn reached(&self) -> BTreeSet<Digest> {
        let images = self.images.iter().flat_map(|(id, record)| {
            std::iter::once(&id.0).chain(record.source.as_ref().map(|source| &source.digest))
        });
        let names = self.names.values().filter_map(|named| Some(&named.target.as_ref()?.digest));
        let leases = self.leases.values().flat_map(|lease| &lease.content);
        self.reach(images.chain(names).chain(self.pinned()).chain(leases).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_is_kept_for_later_waits_for_a_flush() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let Store { inner } = Store::open(directory.path()).expect("open");
        let document = Kept::of(b"{}".to_vec());
        let mut lease = Lease::new(&inner);
        lease.content([document.digest().clone()]);
        let is_unflushed = || inner.tables().is_unflushed(document.digest());
        inner.blob_put(&document, false).expect("put");
        assert!(!is_unflushed());
        // Also if somebody had brought it: nobody knows how.
        inner.blob_put(&document, true).expect("put");
        assert!(is_unflushed());
        drop(inner.flushed(&BTreeSet::from([document.digest().clone()]), &BTreeSet::new()).expect("flush"));
        assert!(!is_unflushed());
    }

    #[test]
    fn what_a_lease_names_twice_it_lets_go_of_with_the_rest() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let Store { inner } = Store::open(directory.path()).expect("open");
        let document = Kept::of(b"{}".to_vec());
        let mut lease = Lease::new(&inner);
        lease.content([document.digest().clone(), document.digest().clone()]);
        inner.blob_put(&document, false).expect("put");
        drop(lease);
        assert_eq!(inner.blob_len(document.digest()), None);
    }

    #[test]
    fn what_is_damaged_is_taken_away_and_what_is_whole_is_not() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let Store { inner } = Store::open(directory.path()).expect("open");
        let document = Kept::of(b"{}".to_vec());
        let mut lease = Lease::new(&inner);
        lease.content([document.digest().clone()]);
        inner.blob_put(&document, false).expect("put");
        inner.blob_condemn(document.digest());
        assert_eq!(inner.blob_read(document.digest()).expect("it is here").bytes(), b"{}");
        fs::write(inner.blob_path(document.digest()), b"[]").expect("damage");
        inner.blob_condemn(document.digest());
        assert_eq!(inner.blob_len(document.digest()), None);
    }
}
