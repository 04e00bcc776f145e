//! Pull: documents first, then all missing layers at once, each unpacked while it arrives.

mod describe;
mod documents;

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use oci::{Descriptor, Digest, ImageConfig, Reference};
use offload::Place;
use reqwest::StatusCode;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::{PullError, PullOptions, Pulled};
use crate::content::{Blobs, Lease, leaf};
use crate::image::{ImageId, NewRecord};
use crate::layer::ingest::{Expected, Ingested, ingest};
use crate::layer::settle::{place, settle};
use crate::layer::{Layer, LayerError};
use crate::progress::{Action, Progress};
use crate::registry::{Access, Client, Paced, Repository};
use crate::state::Origin;
use crate::store::{Flight, Inner, Sought};
pub use describe::Described;
use documents::{Resolved, fetch_attached, fetch_blob, resolve};

/// As many layers as Docker fetches at once.
const LAYERS_AT_ONCE: usize = 3;
/// How often a broken connection is taken up again without a byte of progress.
const TRIES: u32 = 5;
/// Pieces that may wait between the network and the disk.
const PIECES_AHEAD: usize = 64;
/// Progress is told at most every so many bytes.
const TELL_EVERY: u64 = 512 * 1024;

/// A piece of a blob, or that it is complete; without that, it is not.
enum Piece {
    Bytes(Bytes),
    End,
}

/// The reading end, for the threads that unpack.
struct PieceReader {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

/// A layer's way here; stopped when the pull is dropped.
struct Fetch {
    download: JoinHandle<Result<Download, PullError>>,
    unpack: JoinHandle<Result<Ingested, LayerError>>,
}

/// How a download ended.
enum Download {
    /// It is here; nobody else fetches the layer until this is dropped.
    Here(Flight),
    /// Another pull had brought it when its turn came.
    Elsewhere(Layer),
}

/// What came of a layer.
enum Fetched {
    /// It has to be given its place, before the others' turn.
    Unpacked(Ingested, Flight),
    /// It has its place.
    Settled(Layer),
}

/// How a layer comes that is not where it should be.
enum Coming {
    /// From the registry.
    Fetch(Fetch),
    /// Its files are here, under another layer.
    Here(Layer),
}

/// A layer that is to be brought here.
struct Wanted {
    /// What the registry has.
    layer: Descriptor,
    /// What is in it.
    diff_id: Digest,
    /// Its name here.
    chain_id: Digest,
}

pub(super) async fn pull(
    inner: &Arc<Inner>,
    client: &Client,
    reference: &Reference,
    options: &PullOptions,
    progress: &Progress,
) -> Result<Pulled, PullError> {
    let reference = reference.with_default_tag();
    let repository = Repository::new(client, &reference, &options.credentials, Access::Pull);
    let tag = reference.tag().map(str::to_owned);
    let resolved = resolve(&repository, &reference, options).await?;
    let Resolved { mut source, manifest, about } = resolved;
    let digest = source.target.digest.clone();
    let repository_path = reference.path().to_owned();
    // As Docker has it: the tag, or all of a name with a digest.
    let shown = match (reference.digest(), &tag) {
        (None, Some(tag)) => tag.clone(),
        _ => reference.to_string(),
    };
    progress.tell(Some(&shown), Action::PullingFrom(repository_path));

    let name = reference.familiar();
    let malformed = |problem: String| PullError::Malformed { name: name.clone(), problem };
    let document = repository.blob_document(&manifest.config.digest).await?;
    if document.bytes().len() as u64 != manifest.config.size {
        let (has, said) = (document.bytes().len(), manifest.config.size);
        return Err(malformed(format!("its configuration has {has} bytes, and {said} were promised")));
    }
    let config = ImageConfig::take(document.bytes())
        .map_err(|error| malformed(format!("its configuration: {error}")))?;
    let (layers, diff_ids) = (&manifest.layers, &config.rootfs.diff_ids);
    if layers.len() != diff_ids.len() {
        return Err(malformed(format!("{} layers, but {} of them configured", layers.len(), diff_ids.len())));
    }
    let mut lease = Lease::lasting(inner);
    lease.content(layers.iter().map(|layer| layer.digest.clone()));
    let mut attached_lease = Lease::new(inner);
    let attached =
        async { Ok::<_, PullError>(fetch_attached(inner, &repository, &about, &mut attached_lease).await) };
    let id = ImageId(manifest.config.digest.clone());
    let is_known = inner.tables().images.contains_key(&id);
    let layers = fetch_layers(inner, &repository, layers, diff_ids, is_known, &mut lease, progress);
    let (held, attached) = tokio::try_join!(layers, attached)?;
    source.documents.extend(attached);

    let mut names = vec![reference.with_digest(digest.clone())];
    if let Some(tag) = tag.as_deref().and_then(|tag| reference.with_tag(tag).ok()) {
        names.push(tag);
    }
    let changed = {
        let asked = names.last().expect("one with the digest, and perhaps one with the tag");
        inner.tables().names.get(asked).is_none_or(|named| named.image != id)
    };
    let store = inner.clone();
    let stored = inner.files.run(move || {
        let _held = held;
        let record = NewRecord {
            document: &document,
            config: &config,
            parent: None,
            names: &names,
            source: Some(&source),
        };
        let stored = store.image_put(&[record]);
        drop((lease, attached_lease));
        store.leases_expire();
        stored
    });
    stored.await?;
    progress.tell(None, Action::Digest(digest.clone()));
    if !options.is_part {
        let status = match changed {
            true => format!("Downloaded newer image for {name}"),
            false => format!("Image is up to date for {name}"),
        };
        progress.tell(None, Action::Status(status));
    }
    Ok(Pulled { id, digest, changed })
}

/// Brings the layers that are not here yet, with these archives in them; gives all, held. Whether the image is known
/// that they are of matters to what is told.
async fn fetch_layers(
    inner: &Arc<Inner>,
    repository: &Repository,
    layers: &[Descriptor],
    diff_ids: &[Digest],
    is_known: bool,
    lease: &mut Lease,
    progress: &Progress,
) -> Result<Vec<Layer>, PullError> {
    let chain_ids = Digest::chains(diff_ids);
    let held: Vec<Layer> = chain_ids.iter().map_while(|chain_id| Layer::hold(inner, chain_id)).collect();
    // Of an image that is here nothing is told, as nothing is done.
    let is_here = held.len() == layers.len() && is_known;
    if !is_here {
        for layer in &layers[..held.len()] {
            progress.tell(Some(layer.digest.short()), Action::AlreadyExists);
        }
    }
    let turns = Arc::new(Semaphore::new(LAYERS_AT_ONCE));
    let mut fetches = Vec::new();
    let missing = layers.iter().zip(diff_ids).zip(&chain_ids).skip(held.len());
    for (at, ((layer, diff_id), chain_id)) in missing.enumerate() {
        let same = inner.tables().loose(diff_id).map(|record| record.chain_id.clone());
        if let Some(same) = same.and_then(|same| Layer::hold(inner, &same)) {
            fetches.push((layer, Coming::Here(same)));
            continue;
        }
        progress.tell(Some(layer.digest.short()), Action::PullingFsLayer);
        if at >= LAYERS_AT_ONCE {
            progress.tell(Some(layer.digest.short()), Action::Waiting);
        }
        let wanted = Wanted { layer: layer.clone(), diff_id: diff_id.clone(), chain_id: chain_id.clone() };
        let fetch = Fetch::start(inner, repository, wanted, &turns, progress);
        fetches.push((layer, Coming::Fetch(fetch)));
    }
    // What is missing is on its way while the forms of those come that are here.
    let here: Vec<_> = layers.iter().zip(&chain_ids).take(held.len()).collect();
    let forms = async {
        for (layer, chain_id) in here {
            fetch_form(inner, repository, layer, chain_id, &turns, progress).await;
        }
        Ok(())
    };
    let placed = place_layers(inner, repository, fetches, held, lease, &turns, progress);
    Ok(tokio::try_join!(forms, placed)?.1)
}

/// Gives the layers that come their place, one on top of the other, as they come.
async fn place_layers(
    inner: &Arc<Inner>,
    repository: &Repository,
    fetches: Vec<(&Descriptor, Coming)>,
    mut held: Vec<Layer>,
    lease: &mut Lease,
    turns: &Semaphore,
    progress: &Progress,
) -> Result<Vec<Layer>, PullError> {
    for (layer, coming) in fetches {
        let subject = layer.digest.short();
        let layer_error = |source| PullError::Layer { digest: layer.digest.clone(), source };
        let fetch = match coming {
            Coming::Fetch(fetch) => fetch,
            Coming::Here(same) => {
                let placed = offload::in_place(|| place(inner, held.last(), same.diff_id(), None));
                let placed = placed.map_err(layer_error)?.ok_or_else(|| broken_off(&layer.digest))?;
                fetch_form(inner, repository, layer, placed.chain_id(), turns, progress).await;
                held.push(placed);
                progress.tell(Some(subject), Action::AlreadyExists);
                continue;
            }
        };
        let (ingested, _flight) = match fetch.finish(&layer.digest).await? {
            Fetched::Unpacked(ingested, flight) => (ingested, flight),
            Fetched::Settled(layer) => {
                held.push(layer);
                progress.tell(Some(subject), Action::AlreadyExists);
                continue;
            }
        };
        progress.tell(Some(subject), Action::Extracting { current: layer.size, total: layer.size });
        let origin = Origin {
            digest: layer.digest.clone(),
            size: ingested.blob_size,
            media_type: layer.media_type.clone(),
            repository: repository.name(),
            compressor: None,
        };
        let (store, parent) = (inner.clone(), held.pop());
        let placed = inner.files.run(move || {
            // The pull may be given up meanwhile, and its lease with it.
            let mut own = Lease::new(&store);
            own.content(ingested.blob.clone());
            let layer = settle(&store, ingested, parent.as_ref(), Some(origin));
            (parent, layer)
        });
        let (parent, layer_placed) = placed.await;
        held.extend(parent);
        let placed = layer_placed.map_err(layer_error)?;
        offload::in_place(|| lease.layer(placed.chain_id()));
        held.push(placed);
        progress.tell(Some(subject), Action::PullComplete);
    }
    Ok(held)
}

/// Brings the form again in which a layer came that is here, if it is kept and lost: without it the image
/// would go out as another. The image runs without.
async fn fetch_form(
    inner: &Arc<Inner>,
    repository: &Repository,
    layer: &Descriptor,
    chain_id: &Digest,
    turns: &Semaphore,
    progress: &Progress,
) {
    let keeps = inner.options.blobs == Blobs::Keep;
    if !keeps || offload::in_place(|| leaf(inner, layer, Some(chain_id)).is_exact()) {
        return;
    }
    let Ok(_turn) = turns.acquire().await else { return };
    let subject = layer.digest.short();
    progress.tell(Some(subject), Action::PullingFsLayer);
    match fetch_blob(inner, repository, layer).await {
        Ok(()) => progress.tell(Some(subject), Action::PullComplete),
        Err(error) => {
            let error = base::error::chain(&error);
            tracing::warn!(digest = %layer.digest, %error, "a layer is here, but not in the form in which it came");
            progress.tell(Some(subject), Action::AlreadyExists);
        }
    }
}

impl Fetch {
    fn start(
        inner: &Arc<Inner>,
        repository: &Repository,
        wanted: Wanted,
        turns: &Arc<Semaphore>,
        progress: &Progress,
    ) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let Wanted { layer, diff_id, chain_id } = wanted;
        let keep = inner.options.blobs == Blobs::Keep;
        let expected = Expected {
            blob: Some(layer.digest.clone()),
            diff_id: Some(diff_id),
            keep,
            ..Expected::default()
        };
        let store = inner.clone();
        let (started, start) = tokio::sync::oneshot::channel::<Place>();
        let unpack = tokio::task::spawn(async move {
            // The thread is taken only when bytes are going to come.
            let Ok(place) = start.await else {
                return Err(LayerError::Read(io::ErrorKind::ConnectionAborted.into()));
            };
            let reader = PieceReader { pieces, current: Bytes::new(), ended: false };
            place.run(move || ingest(&store, reader, &expected, &|_| {})).await
        });
        let (store, repository) = (inner.clone(), repository.clone());
        let (turns, progress) = (turns.clone(), progress.clone());
        let download = tokio::task::spawn(async move {
            let (registry, limits) = (repository.domain().to_owned(), repository.limits());
            let sought =
                Sought { registry: registry.clone(), blob: layer.digest.clone(), chain_id: chain_id.clone() };
            let (flight, place, _turn) = loop {
                let flight = store.flights.begin(&sought, limits.look).await;
                if let Some(layer) = Layer::hold(&store, &chain_id) {
                    return Ok(Download::Elsewhere(layer));
                }
                let turn = turns.clone().acquire_owned().await.map_err(|_| broken_off(&layer.digest))?;
                let place = store.transfers.acquire([registry.clone()], limits.queue).await;
                let place = place.map_err(|busy| PullError::Busy { digest: layer.digest.clone(), busy })?;
                // Somebody may have gone on meanwhile.
                if let Some(layer) = Layer::hold(&store, &chain_id) {
                    return Ok(Download::Elsewhere(layer));
                }
                if store.flights.claim(&sought, &flight) {
                    break (flight, place, turn);
                }
            };
            // If the other side is gone, its error is the one that counts.
            let _ = started.send(place);
            tokio::select! {
                done = download(&repository, &layer, &sender, &flight, &progress) => done?,
                layer = elsewhere(&store, &chain_id, limits.look) => return Ok(Download::Elsewhere(layer)),
            }
            flight.fetched();
            Ok(Download::Here(flight))
        });
        Self { download, unpack }
    }

    async fn finish(mut self, digest: &Digest) -> Result<Fetched, PullError> {
        let downloaded = (&mut self.download).await.map_err(|_| broken_off(digest))?;
        let unpacked = (&mut self.unpack).await.map_err(|_| broken_off(digest))?;
        match (downloaded, unpacked) {
            (Err(error), _) => Err(error),
            (Ok(Download::Elsewhere(layer)), _) => Ok(Fetched::Settled(layer)),
            (Ok(Download::Here(flight)), Ok(ingested)) => Ok(Fetched::Unpacked(ingested, flight)),
            (Ok(Download::Here(_)), Err(LayerError::Mismatch(source))) => {
                Err(PullError::Mismatch { what: format!("layer {digest}"), source })
            }
            (Ok(Download::Here(_)), Err(source)) => Err(PullError::Layer { digest: digest.clone(), source }),
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        // The unpacking thread sees the end of its stream without the word that it is complete.
        self.download.abort();
    }
}

/// Waits until the layer has come another way.
async fn elsewhere(store: &Arc<Inner>, chain_id: &Digest, look: Duration) -> Layer {
    loop {
        tokio::time::sleep(look).await;
        if let Some(layer) = Layer::hold(store, chain_id) {
            return layer;
        }
    }
}

/// Sends a blob's bytes on; takes a broken connection up again where it broke.
async fn download(
    repository: &Repository,
    layer: &Descriptor,
    pieces: &mpsc::Sender<Piece>,
    flight: &Flight,
    progress: &Progress,
) -> Result<(), PullError> {
    let subject = layer.digest.short();
    let mut offset = 0;
    let mut failures = 0;
    loop {
        let before = offset;
        match download_once(repository, layer, pieces, flight, progress, &mut offset).await {
            Ok(()) => break,
            Err(error) if !is_transient(&error) => return Err(error),
            Err(error) => {
                // The few bytes of one that was given up as too slow are no headway.
                let is_slow = matches!(error, PullError::Slow { .. });
                failures = if offset > before && !is_slow { 1 } else { failures + 1 };
                if failures >= TRIES {
                    return Err(error);
                }
                let seconds = 1 << failures;
                tracing::debug!(layer = %layer.digest, offset, error = %base::error::chain(&error), "a download broke");
                progress.tell(Some(subject), Action::Retrying { seconds });
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
        }
    }
    progress.tell(Some(subject), Action::Verifying);
    progress.tell(Some(subject), Action::DownloadComplete);
    // Without a reader there is an error that says more.
    let _ = pieces.send(Piece::End).await;
    Ok(())
}

async fn download_once(
    repository: &Repository,
    layer: &Descriptor,
    pieces: &mpsc::Sender<Piece>,
    flight: &Flight,
    progress: &Progress,
    offset: &mut u64,
) -> Result<(), PullError> {
    let what = format!("{}@{}", repository.name(), layer.digest);
    let response = repository.blob(&layer.digest, *offset).await?;
    // A registry that knows no ranges begins again at the start.
    let mut skip = if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { *offset };
    let mut told = *offset;
    let mut body = Paced::new(&what, response, repository.limits());
    while let Some(piece) = body.next().await? {
        flight.come(piece.len());
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
        skip -= skipped as u64;
        let piece = piece.slice(skipped..);
        *offset += piece.len() as u64;
        if *offset > layer.size {
            let problem = format!("layer {} is longer than its {} bytes", layer.digest, layer.size);
            return Err(PullError::Malformed { name: repository.name(), problem });
        }
        if !piece.is_empty() && pieces.send(Piece::Bytes(piece)).await.is_err() {
            return Ok(());
        }
        if *offset - told >= TELL_EVERY || *offset == layer.size {
            told = *offset;
            let action = Action::Downloading { current: *offset, total: layer.size };
            progress.tell(Some(layer.digest.short()), action);
        }
    }
    if *offset < layer.size {
        let (have, want) = (*offset, layer.size);
        return Err(PullError::CutOff { what, have, want });
    }
    Ok(())
}

fn is_transient(error: &PullError) -> bool {
    match error {
        PullError::Unreachable { .. } | PullError::CutOff { .. } | PullError::Slow { .. } => true,
        PullError::Status { status, .. } => *status == 429 || *status >= 500,
        _ => false,
    }
}

fn broken_off(digest: &Digest) -> PullError {
    PullError::Malformed { name: format!("layer {digest}"), problem: "its transfer was broken off".into() }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the transfer was broken off",
                    ));
                }
            }
        }
        let got = buffer.len().min(self.current.len());
        buffer[..got].copy_from_slice(&self.current.split_to(got));
        Ok(got)
    }
}
