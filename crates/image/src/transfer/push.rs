//! Push: layers that the registry lacks are compressed while they are sent.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::future::try_join_all;
use oci::{Descriptor, Digest, Hasher, Manifest, Reference, media_type};
use tokio::sync::mpsc;

use super::{PullError, PushError};
use crate::image::{FindError, Image};
use crate::layer::Layer;
use crate::layer::settle::record_rewrite;
use crate::progress::{Action, Progress};
use crate::registry::{Access, Client, Credentials, Mount, Repository};
use crate::state::Origin;
use crate::store::Inner;

/// As many layers as Docker sends at once.
const LAYERS_AT_ONCE: usize = 5;
const PIECE: usize = 64 * 1024;
const PIECES_AHEAD: usize = 32;
/// Origins that are remembered of a layer; the oldest is forgotten.
const ORIGINS_MAX: usize = 16;

pub(super) async fn push(
    inner: &Arc<Inner>,
    client: &Client,
    reference: &Reference,
    credentials: &Credentials,
    progress: &Progress,
) -> Result<Digest, PushError> {
    let repository = Repository::new(client, reference, credentials, Access::Push);
    let mut last = None;
    for name in names(inner, reference)? {
        let id = inner.tables().resolve(&name.to_string())?;
        let image = inner.image(&id)?;
        last = Some(push_image(inner, &repository, &name, &image, progress).await?);
    }
    last.ok_or_else(|| FindError::NotFound { name: reference.familiar() }.into())
}

/// The tags that are meant.
fn names(inner: &Inner, reference: &Reference) -> Result<Vec<Reference>, PushError> {
    if reference.tag().is_some() {
        return Ok(vec![reference.clone()]);
    }
    let tables = inner.tables();
    let same = |name: &&Reference| {
        name.tag().is_some() && name.domain() == reference.domain() && name.path() == reference.path()
    };
    let names: Vec<Reference> = tables.names.keys().filter(same).cloned().collect();
    if names.is_empty() { Err(FindError::NotFound { name: reference.familiar() }.into()) } else { Ok(names) }
}

async fn push_image(
    inner: &Arc<Inner>,
    repository: &Repository,
    name: &Reference,
    image: &Image,
    progress: &Progress,
) -> Result<Digest, PushError> {
    let mut layers = Vec::new();
    for chain_id in &image.layers {
        let layer = Layer::hold(inner, chain_id);
        layers.push(layer.ok_or_else(|| FindError::NotFound { name: format!("layer {chain_id}") })?);
    }
    for layer in layers.iter().rev() {
        progress.tell(Some(layer.chain_id().short()), Action::Preparing);
    }
    // The first request gets the token, so that uploads that cannot be repeated have one.
    let config_known = repository.blob_size(&image.id.0).await?;
    let mut sent: Vec<Descriptor> = Vec::new();
    for some in layers.chunks(LAYERS_AT_ONCE) {
        let pushes: Vec<_> =
            some.iter().map(|layer| push_layer(inner, repository, layer, progress)).collect();
        sent.extend(try_join_all(pushes).await?);
    }
    let config = offload::in_place(|| std::fs::read(inner.blob_path(&image.id.0)))
        .map_err(|source| FindError::Read { id: image.id.0.clone(), source })?;
    let config_size = config.len() as u64;
    if config_known.is_none()
        && let Mount::Upload(url) = repository.upload_begin(None).await?
    {
        repository.upload_end(url, &image.id.0, config).await?;
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::DOCKER_MANIFEST.to_owned(),
        config: Descriptor::new(media_type::DOCKER_CONFIG, image.id.0.clone(), config_size),
        layers: sent,
        annotations: BTreeMap::new(),
    };
    let bytes = serde_json::to_vec_pretty(&manifest).expect("a tree of strings and numbers always prints");
    let descriptor = Descriptor::of(media_type::DOCKER_MANIFEST, &bytes);
    let tag = name.tag().unwrap_or(oci::reference::DEFAULT_TAG).to_owned();
    repository.manifest_put(&tag, &descriptor, &bytes).await?;
    remember_name(inner, image, &name.with_digest(descriptor.digest.clone()))?;
    let size = bytes.len() as u64;
    progress.tell(None, Action::PushedManifest { tag, digest: descriptor.digest.clone(), size });
    Ok(descriptor.digest)
}

/// Makes sure that the registry has a layer; gives its compressed form.
async fn push_layer(
    inner: &Arc<Inner>,
    repository: &Repository,
    layer: &Layer,
    progress: &Progress,
) -> Result<Descriptor, PushError> {
    let subject = layer.chain_id().short();
    let (origins, archive_size) = {
        let tables = inner.tables();
        let record = tables.layer(layer.chain_id());
        record.map(|record| (record.origins.clone(), record.archive_size)).unwrap_or_default()
    };
    let origins: Vec<Origin> = origins.into_iter().filter(is_gzip).collect();
    let mut tried = Vec::new();
    for origin in &origins {
        if !tried.contains(&&origin.digest) && repository.blob_size(&origin.digest).await?.is_some() {
            progress.tell(Some(subject), Action::LayerAlreadyExists);
            return Ok(Descriptor::new(media_type::DOCKER_LAYER_GZIP, origin.digest.clone(), origin.size));
        }
        tried.push(&origin.digest);
    }
    let same_registry = origins.iter().find_map(|origin| {
        let (domain, path) = origin.repository.split_once('/')?;
        (repository.name().split('/').next() == Some(domain)).then_some((origin, path))
    });
    if let Some((origin, path)) = same_registry
        && let Mount::Mounted = repository.upload_begin(Some((&origin.digest, path))).await?
    {
        progress.tell(Some(subject), Action::MountedFrom(path.to_owned()));
        let mut here = origin.clone();
        here.repository = repository.name();
        remember_origin(inner, layer, here);
        return Ok(Descriptor::new(media_type::DOCKER_LAYER_GZIP, origin.digest.clone(), origin.size));
    }
    let (digest, size) = upload(inner, repository, layer, archive_size, progress).await?;
    progress.tell(Some(subject), Action::Pushed);
    let media_type = media_type::DOCKER_LAYER_GZIP.to_owned();
    remember_origin(
        inner,
        layer,
        Origin { digest: digest.clone(), size, media_type, repository: repository.name() },
    );
    Ok(Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest, size))
}

/// Zstd layers cannot be named by a Docker manifest.
fn is_gzip(origin: &Origin) -> bool {
    matches!(origin.media_type.as_str(), media_type::DOCKER_LAYER_GZIP | media_type::OCI_LAYER_GZIP)
}

/// Compresses and sends a layer at the same time; its digest is known at the end. Without a reader, the
/// thread ends with the upload.
async fn upload(
    inner: &Arc<Inner>,
    repository: &Repository,
    layer: &Layer,
    archive_size: u64,
    progress: &Progress,
) -> Result<(Digest, u64), PushError> {
    let Mount::Upload(url) = repository.upload_begin(None).await? else {
        unreachable!("nothing was offered to mount");
    };
    let (pieces, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES_AHEAD);
    let held = Layer::hold(inner, layer.chain_id())
        .ok_or_else(|| FindError::NotFound { name: format!("layer {}", layer.chain_id()) })?;
    let (subject, progress) = (layer.chain_id().short().to_owned(), progress.clone());
    let place = inner.transfers.acquire([repository.domain().to_owned()], repository.limits().queue).await;
    let place = place.map_err(|busy| PullError::Busy { digest: layer.diff_id().clone(), busy })?;
    let compress = place.run(move || {
        let sender = PieceWriter {
            pieces: pieces.clone(),
            pending: Vec::with_capacity(PIECE),
            hasher: Hasher::sha256(),
            size: 0,
        };
        let mut counted = Counted {
            out: GzEncoder::new(sender, Compression::default()),
            written: 0,
            told: 0,
            tell: |current| progress.tell(Some(&subject), Action::Pushing { current, total: archive_size }),
        };
        let finished = held
            .write_archive(&mut counted)
            .and_then(|()| counted.out.finish())
            .and_then(PieceWriter::finish);
        if finished.is_err() {
            // Ends the request with a failure, so that nothing cut short can be taken for whole.
            let _ = pieces.blocking_send(Err(io::Error::other("the layer could not be read")));
        }
        finished
    });
    let layer_error = |source| PushError::Layer { digest: layer.diff_id().clone(), source };
    let (sent, compressed) = tokio::join!(repository.upload_stream(url, receiver), compress);
    let url = match (sent, compressed) {
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
    let (url, (digest, size)) = url;
    repository.upload_end(url, &digest, Vec::new()).await?;
    Ok((digest, size))
}

/// Remembers the digest by which the registry knows an image.
fn remember_name(inner: &Inner, image: &Image, name: &Reference) -> Result<(), PushError> {
    let mut tables = inner.tables();
    if tables.images.contains_key(&image.id) && tables.names.get(name) != Some(&image.id) {
        tables.name_put(name, &image.id);
        offload::in_place(|| inner.persist(&tables)).map_err(|error| PushError::Registry(error.into()))?;
    }
    Ok(())
}

/// Remembers a layer's form in a registry. Losing this costs an upload, so failure is no error.
fn remember_origin(inner: &Inner, layer: &Layer, origin: Origin) {
    let mut tables = inner.tables();
    let Some(record) = tables.layer_mut(layer.chain_id()) else { return };
    record.origins.retain(|known| known.repository != origin.repository);
    record.origins.push(origin);
    if record.origins.len() > ORIGINS_MAX {
        record.origins.remove(0);
    }
    let directory = inner.layer_dir(layer.chain_id());
    if let Err(error) = offload::in_place(|| record_rewrite(&directory, record)) {
        tracing::debug!(%error, "a layer's place in a registry could not be remembered");
    }
}

/// Hashes and sends on what is written, in pieces.
struct PieceWriter {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    pending: Vec<u8>,
    hasher: Hasher,
    size: u64,
}

impl PieceWriter {
    fn finish(mut self) -> io::Result<(Digest, u64)> {
        self.flush()?;
        Ok((self.hasher.finish(), self.size))
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
struct Counted<W, F> {
    out: W,
    written: u64,
    told: u64,
    tell: F,
}

impl<W: Write, F: Fn(u64)> Write for Counted<W, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        if self.written - self.told >= 1024 * 1024 {
            self.told = self.written;
            (self.tell)(self.written);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
