//! The way of a layer's bytes: read, hashed, perhaps kept, inflated, hashed, unpacked; on two threads.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use oci::{Digest, Hasher};

use super::LayerError;
use super::inflate::{Compression, Inflated};
use super::unpack::{Climbing, Unpacked, unpack};
use crate::content::BlobFile;
use crate::store::{IngestDir, Inner};

const CHUNK: usize = 256 * 1024;
/// How far reading may run ahead of unpacking.
const CHUNKS_AHEAD: usize = 16;

/// A layer that is unpacked but has no place yet.
#[derive(Debug)]
pub(crate) struct Ingested {
    pub(crate) directory: IngestDir,
    pub(crate) diff_id: Digest,
    /// Length of the stream as it came, which may be compressed.
    pub(crate) blob_size: u64,
    /// The digest of the stream as it came, if it lies as `blob` in the directory.
    pub(crate) blob: Option<Digest>,
    pub(crate) archive_size: u64,
    pub(crate) unpacked: Unpacked,
}

/// What the content has to be, as far as that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) blob: Option<Digest>,
    pub(crate) diff_id: Option<Digest>,
    /// The stream is kept as it comes, if it is compressed: else it can be put together again.
    pub(crate) keep: bool,
    /// What becomes of names in it that lead above its root.
    pub(crate) climbs: Climbing,
}

/// Counts, hashes and keeps what is read.
struct Measured<R> {
    source: R,
    hasher: Hasher,
    size: u64,
    copy: Option<io::Result<BlobFile>>,
}

/// The reading end of the channel between the two threads.
struct ChunkReader {
    chunks: Receiver<Vec<u8>>,
    used: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buffer)?;
        self.hasher.update(&buffer[..got]);
        self.size += got as u64;
        if let Some(Ok(copy)) = &mut self.copy
            && let Err(error) = copy.write_all(&buffer[..got])
        {
            // It is the store's failure, and must not be taken for the stream's.
            self.copy = Some(Err(error));
        }
        Ok(got)
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            let spent = std::mem::take(&mut self.current);
            if spent.capacity() > 0 {
                // Nobody may want it any more, which is fine.
                let _ = self.used.try_send(spent);
            }
            self.at = 0;
            match self.chunks.recv() {
                Ok(chunk) => self.current = chunk,
                Err(_) => return Ok(0),
            }
        }
        let got = buffer.len().min(self.current.len() - self.at);
        buffer[..got].copy_from_slice(&self.current[self.at..self.at + got]);
        self.at += got;
        Ok(got)
    }
}

/// Reads a layer's stream to its end and unpacks it. `told` learns how many bytes of the inflated
/// archive have passed.
pub(crate) fn ingest(
    inner: &Arc<Inner>,
    stream: impl Read,
    expected: &Expected,
    told: &dyn Fn(u64),
) -> Result<Ingested, LayerError> {
    let root = inner.root.join("ingest");
    let directory = IngestDir::new(inner).map_err(|source| LayerError::Store { path: root, source })?;
    let store_error = |path: &Path| {
        let path = path.to_owned();
        move |source| LayerError::Store { path, source }
    };
    let files = directory.path().join("fs");
    let spill = directory.path().join("spill");
    let skeleton_path = directory.path().join("archive");
    fs::create_dir(&files).map_err(store_error(&files))?;
    fs::create_dir(&spill).map_err(store_error(&spill))?;
    let skeleton = BufWriter::new(File::create_new(&skeleton_path).map_err(store_error(&skeleton_path))?);

    let hasher = match &expected.blob {
        Some(blob) => blob.algorithm().hasher(),
        None => Hasher::sha256(),
    };
    let blob_path = directory.path().join("blob");
    let copy = expected.keep.then(|| BlobFile::create(blob_path.clone()));
    let measured = Measured { source: stream, hasher, size: 0, copy };
    let mut inflated = Inflated::new(measured).map_err(LayerError::Read)?;
    let compression = inflated.compression();
    if compression == Compression::None && inflated.source_mut().copy.take().is_some() {
        let _ = fs::remove_file(&blob_path);
    }

    let (chunks, receiver) = sync_channel::<Vec<u8>>(CHUNKS_AHEAD);
    let (used, recycled) = sync_channel::<Vec<u8>>(CHUNKS_AHEAD);
    let reader = ChunkReader { chunks: receiver, used, current: Vec::new(), at: 0 };
    let (read, unpacked) = std::thread::scope(|scope| {
        let unpacking = std::thread::Builder::new()
            .name("image-unpack".into())
            .spawn_scoped(scope, || unpack(reader, expected.climbs, &files, &spill, skeleton));
        let unpacking = match unpacking {
            Ok(thread) => thread,
            Err(error) => {
                return (Err(error), Err(LayerError::Read(io::Error::other("no thread to unpack with"))));
            }
        };
        let read = pump(&mut inflated, compression, chunks, &recycled, told);
        let unpacked = unpacking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (read, unpacked)
    });
    // A reading error makes the unpacker see a short archive, so it is the one to report.
    let (archive_hash, archive_size) = read.map_err(LayerError::Read)?;
    let (unpacked, skeleton) = unpacked?;
    skeleton.into_inner().map_err(|error| store_error(&skeleton_path)(error.into_error()))?;

    let measured = inflated.into_source();
    let is_kept = match measured.copy {
        Some(kept) => kept.map(|_| true).map_err(store_error(&blob_path))?,
        None => false,
    };
    let blob = measured.hasher.finish();
    if let Some(expected) = &expected.blob {
        expected.expect(blob.clone())?;
    }
    let diff_id = match archive_hash {
        Some(hasher) => hasher.finish(),
        None => blob.clone(),
    };
    if let Some(expected) = &expected.diff_id {
        expected.expect(diff_id.clone())?;
    }
    // Most layers replace nothing of their own.
    let _ = fs::remove_dir(&spill);
    let (blob, blob_size) = (is_kept.then_some(blob), measured.size);
    Ok(Ingested { directory, diff_id, blob_size, blob, archive_size, unpacked })
}

/// Inflates and hashes until the end, or until the unpacker gives up. Without compression the
/// stream's own digest is the archive's, so that nothing is hashed twice.
fn pump<R: Read>(
    inflated: &mut Inflated<R>,
    compression: Compression,
    chunks: SyncSender<Vec<u8>>,
    recycled: &Receiver<Vec<u8>>,
    told: &dyn Fn(u64),
) -> io::Result<(Option<Hasher>, u64)> {
    let mut hasher = (compression != Compression::None).then(Hasher::sha256);
    let mut size = 0;
    loop {
        let mut chunk = recycled.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let filled = fill(inflated, &mut chunk)?;
        if filled == 0 {
            break;
        }
        chunk.truncate(filled);
        if let Some(hasher) = &mut hasher {
            hasher.update(&chunk);
        }
        size += filled as u64;
        if chunks.send(chunk).is_err() {
            // The unpacker says why; what else comes is of no use to anybody.
            return Ok((hasher, size));
        }
        told(size);
    }
    drop(chunks);
    inflated.drain_source()?;
    Ok((hasher, size))
}

fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
