//! Sending content to a registry while it is read, put together or compressed.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use oci::{Descriptor, Digest, Hasher};
use reqwest::Url;
use tokio::sync::mpsc;

use super::super::{PullError, PushError};
use crate::image::FindError;
use crate::layer::Layer;
use crate::progress::{Action, Progress};
use crate::registry::{Mount, Repository};
use crate::store::Inner;

const PIECE: usize = 64 * 1024;
const PIECES_AHEAD: usize = 32;
/// Progress is told at most every so many bytes.
const TELL_EVERY: u64 = 1 << 20;

/// In which form a layer is sent.
pub(super) enum Sent {
    /// As it came.
    Blob(Descriptor),
    /// As the archive that it is.
    Archive,
    /// Compressed on the way.
    Compressed,
}

/// Sends a layer; gives digest and size of what was sent.
pub(super) async fn upload(
    inner: &Arc<Inner>,
    repository: &Repository,
    layer: &Layer,
    form: &Sent,
    archive_size: u64,
    progress: &Progress,
) -> Result<(Digest, u64), PushError> {
    let Mount::Upload(url) = repository.upload_begin(None).await? else {
        unreachable!("nothing was offered to mount");
    };
    let held = Layer::hold(inner, layer.chain_id())
        .ok_or_else(|| FindError::NotFound { name: format!("layer {}", layer.chain_id()) })?;
    let total = match form {
        Sent::Blob(blob) => blob.size,
        Sent::Archive | Sent::Compressed => archive_size,
    };
    let (subject, progress) = (layer.diff_id().short().to_owned(), progress.clone());
    let mut told = 0;
    let tell = move |current: u64| {
        if current - told >= TELL_EVERY {
            told = current;
            progress.tell(Some(&subject), Action::Pushing { current, total });
        }
    };
    match form {
        Sent::Blob(blob) => {
            let path = inner.blob_path(&blob.digest);
            let wanted = Some(&blob.digest);
            upload_written(inner, repository, url, layer.diff_id(), wanted, move |out| {
                copy_file(&path, out, tell)
            })
            .await
        }
        Sent::Archive => {
            let wanted = Some(layer.diff_id());
            upload_written(inner, repository, url, layer.diff_id(), wanted, move |out| {
                held.write_archive(&mut Told { out, written: 0, tell })
            })
            .await
        }
        Sent::Compressed => {
            upload_written(inner, repository, url, layer.diff_id(), None, move |out| {
                held.write_compressed(out, tell).map(drop)
            })
            .await
        }
    }
}

/// Sends what `write` writes while it is written; its digest is known at the end. If it is not the `wanted`
/// one, the registry does not keep it. Without a reader, the thread ends with the upload.
pub(in super::super) async fn upload_written(
    inner: &Arc<Inner>,
    repository: &Repository,
    url: Url,
    subject: &Digest,
    wanted: Option<&Digest>,
    write: impl FnOnce(&mut PieceWriter) -> io::Result<()> + Send + 'static,
) -> Result<(Digest, u64), PushError> {
    let (pieces, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES_AHEAD);
    let place = inner.transfers.acquire([repository.domain().to_owned()], repository.limits().queue).await;
    let place = place.map_err(|busy| PullError::Busy { digest: subject.clone(), busy })?;
    let wanted = wanted.cloned();
    let sending = place.run(move || {
        let hasher = wanted.as_ref().map_or_else(Hasher::sha256, |wanted| wanted.algorithm().hasher());
        let mut writer =
            PieceWriter { pieces: pieces.clone(), pending: Vec::with_capacity(PIECE), hasher, size: 0 };
        let finished = write(&mut writer).and_then(|()| writer.finish(wanted.as_ref()));
        if finished.is_err() {
            // Ends the request with a failure, so that nothing cut short or damaged can be taken for whole.
            let _ = pieces.blocking_send(Err(io::Error::other("the layer could not be read")));
        }
        finished
    });
    let layer_error = |source| PushError::Layer { digest: subject.clone(), source };
    let (sent, written) = tokio::join!(repository.upload_stream(url, receiver), sending);
    let (url, (digest, size)) = match (sent, written) {
        (Ok(url), Ok(result)) => (url, result),
        // A registry that hangs up makes the pipe break; what it said is the reason.
        (Err(error), Err(source)) if source.kind() == io::ErrorKind::BrokenPipe => {
            return Err({
                drop(source);
                error.into()
            });
        }
        (_, Err(source)) => return Err(layer_error(source)),
        (Err(error), Ok(_)) => return Err(error.into()),
    };
    repository.upload_end(url, &digest, Vec::new()).await?;
    Ok((digest, size))
}

pub(super) fn copy_file(path: &Path, out: &mut PieceWriter, tell: impl FnMut(u64)) -> io::Result<()> {
    io::copy(&mut File::open(path)?, &mut Told { out, written: 0, tell }).map(drop)
}

/// Hashes and sends on what is written, in pieces.
pub(in super::super) struct PieceWriter {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    pending: Vec<u8>,
    hasher: Hasher,
    size: u64,
}

impl PieceWriter {
    fn finish(mut self, wanted: Option<&Digest>) -> io::Result<(Digest, u64)> {
        self.flush()?;
        let sent = self.hasher.finish();
        if let Some(wanted) = wanted {
            let verified = wanted.expect(sent.clone());
            verified.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok((sent, self.size))
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(&mut self.pending, Vec::with_capacity(PIECE)));
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Tells how much has been written.
struct Told<'a, F> {
    out: &'a mut PieceWriter,
    written: u64,
    tell: F,
}

impl<F: FnMut(u64)> Write for Told<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        (self.tell)(self.written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
