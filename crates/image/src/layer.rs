//! Layers: made from archives or from what a container changed.

mod attributes;
mod compress;
pub(crate) mod entries;
pub(crate) mod header;
pub(crate) mod inflate;
pub(crate) mod ingest;
mod pack;
mod place;
pub(crate) mod settle;
mod skeleton;
mod unpack;

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use base::cancel::Cancel;
use oci::{Descriptor, Digest, Hasher};

use crate::error::Kind;
use crate::store::{Inner, Store, Tables};
use ingest::{Expected, ingest};
use settle::settle;

pub(crate) use compress::{COMPRESSOR, Compressor};
pub(crate) use pack::{changes, pack, seal};
pub(crate) use place::clean;
pub(crate) use skeleton::reassemble;
pub(crate) use unpack::{Climbing, Unpacked, fuzz as fuzz_unpack, unpack_plain};

/// A layer in the store. While it is held it is not collected.
#[derive(Debug)]
pub struct Layer {
    inner: Arc<Inner>,
    chain_id: Digest,
    diff_id: Digest,
    size: u64,
    /// Where its files are.
    directory: PathBuf,
}

/// Why a layer could not be unpacked or made.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The archive could not be read: it is cut off or malformed.
    #[error("read layer archive")]
    Read(#[source] io::Error),
    /// An entry would land outside the layer's root.
    #[error("layer entry `{}` leaves the layer's root", path.display())]
    Escape {
        /// The entry's name in the archive.
        path: PathBuf,
    },
    /// An entry is of a kind that no root file system has.
    #[error("layer entry `{}` has unsupported type {kind:?}", path.display())]
    EntryType {
        /// The entry's name in the archive.
        path: PathBuf,
        /// The type byte of its header.
        kind: char,
    },
    /// A hard link's target is not there.
    #[error("layer entry `{}` links to `{}`, which is not there", path.display(), target.display())]
    LinkTarget {
        /// The entry's name in the archive.
        path: PathBuf,
        /// What it links to.
        target: PathBuf,
    },
    /// An archive makes its reader remember more than any real one does.
    #[error("layer has more than {most} bytes of {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much is taken.
        most: u64,
    },
    /// A sparse file that is longer than anybody could want.
    #[error("layer entry `{}` is a sparse file, and with it the holes are larger than the file system", path.display())]
    Holes {
        /// The entry's name in the archive.
        path: PathBuf,
    },
    /// What a container wrote cannot become a layer.
    #[error("make a layer of what was written")]
    Pack(#[source] io::Error),
    /// An entry could not be made on disk.
    #[error("unpack layer entry `{}`", path.display())]
    Entry {
        /// The entry's name in the archive.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The content is not what its digest promised.
    #[error("verify layer")]
    Mismatch(#[from] oci::digest::Mismatch),
    /// There are too many below it.
    #[error("a layer on {below} others: there can be {max} (max depth exceeded)")]
    Depth {
        /// How many there are.
        below: usize,
        /// How many layers there can be.
        max: usize,
    },
    /// There is no such snapshot to make a layer of.
    #[error("no such snapshot: {0}")]
    Snapshot(String),
    /// The layer to build on is not in the store.
    #[error("layer {0} is not in the store")]
    MissingParent(Digest),
    /// The store's own files could not be written.
    #[error("store layer at {}", path.display())]
    Store {
        /// The file or directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl Layer {
    /// Holds the layer `chain_id`, if it is there.
    pub(crate) fn hold(inner: &Arc<Inner>, chain_id: &Digest) -> Option<Layer> {
        Self::hold_in(inner, &mut inner.tables(), chain_id)
    }

    /// As [`Layer::hold`], for a caller that has the tables.
    pub(crate) fn hold_in(inner: &Arc<Inner>, tables: &mut Tables, chain_id: &Digest) -> Option<Layer> {
        let record = tables.layer(chain_id)?;
        let (diff_id, size) = (record.diff_id.clone(), record.size);
        let directory = inner.files_dir(record);
        tables.acquire(chain_id);
        Some(Layer { inner: inner.clone(), chain_id: chain_id.clone(), diff_id, size, directory })
    }

    /// Writes the layer's uncompressed archive, and checks that it is still what it was.
    pub(crate) fn write_archive(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut hashed = Hashed { out, hasher: self.diff_id.algorithm().hasher() };
        skeleton::reassemble(&self.directory, &mut hashed)?;
        let actual = hashed.hasher.finish();
        self.diff_id.expect(actual).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// The layer's place: what it is and all that it lies on.
    pub fn chain_id(&self) -> &Digest {
        &self.chain_id
    }

    /// The digest of the layer's uncompressed archive.
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }

    /// Bytes of the files in it.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl LayerError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            LayerError::Pack(source) if source.kind() == io::ErrorKind::FileTooLarge => Kind::Invalid,
            LayerError::Entry { source, .. }
            | LayerError::Store { source, .. }
            | LayerError::Pack(source) => Kind::of_io(source),
            LayerError::Snapshot(_) | LayerError::MissingParent(_) => Kind::NotFound,
            _ => Kind::Invalid,
        }
    }
}

impl Store {
    /// Holds the layer `chain_id`, if it is in the store.
    pub fn layer_hold(&self, chain_id: &Digest) -> Option<Layer> {
        Layer::hold(&self.inner, chain_id)
    }

    /// Puts the files of a layer with this diff id on top of `parent`, where it may lie on other layers
    /// elsewhere: nothing is copied. `None` if there is none whose files fit on any.
    pub fn layer_place(&self, parent: Option<&Layer>, diff_id: &Digest) -> Result<Option<Layer>, LayerError> {
        settle::place(&self.inner, parent, diff_id, None)
    }

    /// Puts a layer on top of `parent`, where it lies on other layers elsewhere. Its files are shared where they fit
    /// on any, and else written once more. Given up soon after `cancel` was set.
    pub fn layer_stack_on(
        &self,
        parent: Option<&Layer>,
        layer: &Layer,
        cancel: &Cancel,
    ) -> Result<Layer, LayerError> {
        if let Some(placed) = self.layer_place(parent, &layer.diff_id)? {
            return Ok(placed);
        }
        let (reader, writer) = io::pipe().map_err(LayerError::Read)?;
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let writer = Wanted { out: writer, cancel };
                let mut writer = io::BufWriter::with_capacity(256 * 1024, writer);
                cancel.check()?;
                layer.write_archive(&mut writer)?;
                writer.flush()
            });
            let unpacked = self.layer_unpack(parent.map(Layer::chain_id), reader);
            let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (unpacked, written) {
                (Ok(layer), Ok(())) => Ok(layer),
                // What was given up looks like an archive that is cut off.
                (Err(_), Err(source)) if cancel.check().is_err() => Err(LayerError::Read(source)),
                (Err(error), _) => Err(error),
                (Ok(_), Err(source)) => Err(LayerError::Read(source)),
            }
        })
    }

    /// The layers that `top` lies on, and itself, lowest first. All are held.
    pub fn layer_chain(&self, top: &Layer) -> Vec<Layer> {
        let mut chain = Vec::new();
        let mut next = Some(top.chain_id.clone());
        while let Some(chain_id) = next {
            let mut tables = self.inner.tables();
            next = tables.layer(&chain_id).and_then(|record| record.parent.clone());
            // What lies under a layer that is held is there.
            let Some(layer) = Layer::hold_in(&self.inner, &mut tables, &chain_id) else { break };
            drop(tables);
            chain.push(layer);
        }
        chain.reverse();
        chain
    }

    /// Unpacks a layer archive (plain, or compressed by gzip, bzip2, xz or zstd) on top of the layer `parent`.
    pub fn layer_unpack(
        &self,
        parent: Option<&Digest>,
        archive: impl Read + Send,
    ) -> Result<Layer, LayerError> {
        let parent = match parent {
            Some(chain_id) => Some(
                Layer::hold(&self.inner, chain_id)
                    .ok_or_else(|| LayerError::MissingParent(chain_id.clone()))?,
            ),
            None => None,
        };
        let ingested = ingest(&self.inner, archive, &Expected::default(), &|_| {})?;
        settle(&self.inner, ingested, parent.as_ref(), None)
    }

    /// Unpacks a layer that comes from somewhere in the form `wanted`, with the archive `diff_id` in it, on top of
    /// `parent`; it is that, or is not taken. One that is here is not read.
    pub fn layer_receive(
        &self,
        parent: Option<&Layer>,
        wanted: &Descriptor,
        diff_id: &Digest,
        stream: impl Read + Send,
    ) -> Result<Layer, LayerError> {
        if let Some(here) = self.layer_place(parent, diff_id)? {
            return Ok(here);
        }
        let expected = Expected {
            blob: Some(wanted.digest.clone()),
            diff_id: Some(diff_id.clone()),
            ..Expected::default()
        };
        // Of what is longer than it should be, so much that it is not what it should be.
        let stream = stream.take(wanted.size.saturating_add(1));
        let ingested = ingest(&self.inner, stream, &expected, &|_| {})?;
        settle(&self.inner, ingested, parent, None)
    }

    /// As [`Store::layer_unpack`], on top of nothing, of an archive that somebody packed for something else: names
    /// that climb lead to the root and no further.
    pub(crate) fn layer_import(&self, archive: impl Read + Send) -> Result<Layer, LayerError> {
        let expected = Expected { climbs: Climbing::Stopped, ..Expected::default() };
        let ingested = ingest(&self.inner, archive, &expected, &|_| {})?;
        settle(&self.inner, ingested, None, None)
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        let mut tables = self.inner.tables();
        self.inner.layer_release(&mut tables, Some(&self.chain_id));
    }
}

/// Writes as long as somebody wants it.
struct Wanted<'a, W> {
    out: W,
    cancel: &'a Cancel,
}

impl<W: Write> Write for Wanted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cancel.check()?;
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What is written goes on, and into a digest.
pub(crate) struct Hashed<W> {
    pub(crate) out: W,
    pub(crate) hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_wants_any_more_is_not_written_on() {
        let cancel = Cancel::default();
        let mut writer = Wanted { out: Vec::new(), cancel: &cancel };
        writer.write_all(b"one").expect("write");
        cancel.set();
        let error = writer.write_all(b"two").expect_err("nobody wants it");
        assert_eq!((error.kind(), writer.out.as_slice()), (io::ErrorKind::ConnectionAborted, &b"one"[..]));
    }
}
