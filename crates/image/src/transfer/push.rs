//! Push: what was pulled or loaded goes out as it came in; layers that the registry lacks and of which no
//! compressed form is kept are compressed while they are sent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use oci::{Descriptor, Digest, Document, Hasher, Manifest, Reference, media_type};
use reqwest::Url;
use tokio::sync::mpsc;

use super::{PullError, PushError};
use crate::content::{Leaf, Lease, Part, Tree};
use crate::image::{FindError, Image};
use crate::layer::{COMPRESSOR, Layer};
use crate::layer::settle::record_rewrite;
use crate::progress::{Action, Progress};
use crate::registry::{Access, Client, Credentials, Mount, Repository};
use crate::state::{Named, Origin};
use crate::store::Inner;

/// As many layers as Docker sends at once.
const LAYERS_AT_ONCE: usize = 5;
const PIECE: usize = 64 * 1024;
const PIECES_AHEAD: usize = 32;
/// Progress is told at most every so many bytes.
const TELL_EVERY: u64 = 1 << 20;
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
        let named = inner.tables().name_of(&name.to_string()).cloned();
        let named = named.ok_or_else(|| FindError::NotFound { name: name.familiar() })?;
        last = Some(push_named(inner, &repository, &name, &named, progress).await?);
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

/// Sends what a name leads to: as it came, if all of it is here or there; else what is here of it.
async fn push_named(
    inner: &Arc<Inner>,
    repository: &Repository,
    name: &Reference,
    named: &Named,
    progress: &Progress,
) -> Result<Digest, PushError> {
    let image = inner.image(&named.image)?;
    let mut lease = Lease::new(inner);
    lease.content(named.target.iter().map(|target| target.digest.clone()).chain([image.id.0.clone()]));
    let tree = match &named.target {
        Some(target) => offload::in_place(|| Tree::read(inner, target))
            .map_err(|source| FindError::Read { id: target.digest.clone(), source })?,
        None => None,
    };
    let tag = name.tag().unwrap_or(oci::reference::DEFAULT_TAG);
    if let Some(tree) = &tree
        && let Document::Index(_) = &tree.document
    {
        if push_index(inner, repository, tree, &image, progress).await? {
            return done(inner, repository, name, &image, &tree.descriptor, &tree.bytes, progress).await;
        }
        // As Docker's store of indexes has it.
        let said = "Not all multiplatform-content is present and only the available single-platform image was pushed";
        progress.tell(None, Action::Status(said.to_owned()));
    }
    let manifest = tree.as_ref().and_then(|tree| tree.manifest_of(&image.id));
    let (descriptor, bytes) = push_manifest(inner, repository, &image, manifest, progress).await?;
    if manifest.is_none_or(|manifest| manifest.descriptor.digest != descriptor.digest) {
        tracing::debug!(tag, digest = %descriptor.digest, "an image goes out under a manifest of its own");
    }
    done(inner, repository, name, &image, &descriptor, &bytes, progress).await
}

/// Points the tag at a document, all that it leads to being there, and remembers it.
async fn done(
    inner: &Arc<Inner>,
    repository: &Repository,
    name: &Reference,
    image: &Image,
    descriptor: &Descriptor,
    bytes: &[u8],
    progress: &Progress,
) -> Result<Digest, PushError> {
    let tag = name.tag().unwrap_or(oci::reference::DEFAULT_TAG).to_owned();
    repository.manifest_put(&tag, descriptor, bytes).await?;
    offload::in_place(|| inner.image_pushed(&image.id, name, descriptor, bytes))
        .map_err(|error| PushError::Registry(error.into()))?;
    let size = bytes.len() as u64;
    progress.tell(None, Action::PushedManifest { tag, digest: descriptor.digest.clone(), size });
    Ok(descriptor.digest.clone())
}

/// Sends what an index leads to; its own place is left to the caller. False if something of it is neither
/// here nor there, or is not what it was.
async fn push_index(
    inner: &Arc<Inner>,
    repository: &Repository,
    index: &Tree,
    image: &Image,
    progress: &Progress,
) -> Result<bool, PushError> {
    // Whatever is missing is asked for before anything is sent.
    for part in &index.parts {
        let has = match part {
            Part::Missing(entry) => repository.has_manifest(&entry.digest).await?,
            Part::Tree(tree) => tree.manifest_of(&image.id).is_some() || all_there(repository, tree).await?,
            Part::Leaf(..) => true,
        };
        if !has {
            return Ok(false);
        }
    }
    for tree in index.trees() {
        let whole = match &tree.document {
            Document::Index(_) => Box::pin(push_index(inner, repository, tree, image, progress)).await?,
            Document::Manifest(manifest) if manifest.config.digest == image.id.0 => {
                let (sent, _) = push_manifest(inner, repository, image, Some(tree), progress).await?;
                sent.digest == tree.descriptor.digest
            }
            Document::Manifest(_) => {
                for (descriptor, leaf) in tree.leaves() {
                    if repository.blob_size(&descriptor.digest).await?.is_none() {
                        upload_leaf(inner, repository, descriptor, leaf).await?;
                    }
                }
                true
            }
        };
        if !whole {
            return Ok(false);
        }
        repository.manifest_put(&tree.descriptor.digest.to_string(), &tree.descriptor, &tree.bytes).await?;
    }
    Ok(true)
}

/// Whether what a document leads to is here as it came, or in the registry.
async fn all_there(repository: &Repository, tree: &Tree) -> Result<bool, PushError> {
    for part in &tree.parts {
        let has = match part {
            Part::Missing(entry) => repository.has_manifest(&entry.digest).await?,
            Part::Leaf(_, leaf) if leaf.is_exact() => true,
            Part::Leaf(descriptor, _) => repository.blob_size(&descriptor.digest).await?.is_some(),
            Part::Tree(tree) => Box::pin(all_there(repository, tree)).await?,
        };
        if !has {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Sends an image's layers and configuration; gives the manifest that fits what the registry has then: the
/// one by which the image is known, if the layers went out as they came. It is not sent.
async fn push_manifest(
    inner: &Arc<Inner>,
    repository: &Repository,
    image: &Image,
    known: Option<&Tree>,
    progress: &Progress,
) -> Result<(Descriptor, Vec<u8>), PushError> {
    let mut layers = Vec::new();
    for chain_id in &image.layers {
        let layer = Layer::hold(inner, chain_id);
        layers.push(layer.ok_or_else(|| FindError::NotFound { name: format!("layer {chain_id}") })?);
    }
    for layer in layers.iter().rev() {
        progress.tell(Some(layer.chain_id().short()), Action::Preparing);
    }
    // The first leaf is the configuration.
    let wanted: Vec<(&Descriptor, &Leaf)> = known.map_or(Vec::new(), |tree| tree.leaves().skip(1).collect());
    // The first request gets the token, so that uploads that cannot be repeated have one.
    let config_known = repository.blob_size(&image.id.0).await?;
    let mut sent: Vec<Descriptor> = Vec::new();
    for (at, some) in layers.chunks(LAYERS_AT_ONCE).enumerate() {
        let pushes: Vec<_> = some
            .iter()
            .enumerate()
            .map(|(in_some, layer)| {
                let wanted = wanted.get(at * LAYERS_AT_ONCE + in_some).copied();
                push_layer(inner, repository, layer, wanted, progress)
            })
            .collect();
        sent.extend(try_join_all(pushes).await?);
    }
    let config = offload::in_place(|| inner.blob_read(&image.id.0))
        .map_err(|source| FindError::Read { id: image.id.0.clone(), source })?;
    let config_size = config.len() as u64;
    if config_known.is_none()
        && let Mount::Upload(url) = repository.upload_begin(None).await?
    {
        repository.upload_end(url, &image.id.0, config).await?;
    }
    if let Some(known) = known
        && wanted.iter().map(|(wanted, _)| &wanted.digest).eq(sent.iter().map(|sent| &sent.digest))
    {
        return Ok((known.descriptor.clone(), known.bytes.clone()));
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::DOCKER_MANIFEST.to_owned(),
        config: Descriptor::new(media_type::DOCKER_CONFIG, image.id.0.clone(), config_size),
        layers: sent,
        annotations: BTreeMap::new(),
    };
    let bytes = serde_json::to_vec_pretty(&manifest).expect("a tree of strings and numbers always prints");
    Ok((Descriptor::of(media_type::DOCKER_MANIFEST, &bytes), bytes))
}

/// Makes sure that the registry has a layer, in the `wanted` form if that can be had; gives the form.
async fn push_layer(
    inner: &Arc<Inner>,
    repository: &Repository,
    layer: &Layer,
    wanted: Option<(&Descriptor, &Leaf)>,
    progress: &Progress,
) -> Result<Descriptor, PushError> {
    let subject = layer.chain_id().short();
    let (mut origins, archive_size) = {
        let tables = inner.tables();
        let record = tables.layer(layer.chain_id());
        record.map(|record| (record.origins.clone(), record.archive_size)).unwrap_or_default()
    };
    match wanted {
        // In another form it would be another image.
        Some((wanted, _)) => {
            origins.retain(|origin| origin.digest == wanted.digest);
            if origins.is_empty() {
                origins.push(Origin {
                    digest: wanted.digest.clone(),
                    size: wanted.size,
                    media_type: wanted.media_type.clone(),
                    repository: String::new(),
                    compressor: None,
                });
            }
        }
        None => origins.retain(is_gzip),
    }
    let form = |origin: &Origin| match wanted {
        Some((wanted, _)) => wanted.clone(),
        None => Descriptor::new(media_type::DOCKER_LAYER_GZIP, origin.digest.clone(), origin.size),
    };
    let mut tried = Vec::new();
    for origin in &origins {
        if !tried.contains(&&origin.digest) && repository.blob_size(&origin.digest).await?.is_some() {
            progress.tell(Some(subject), Action::LayerAlreadyExists);
            return Ok(form(origin));
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
        return Ok(form(origin));
    }
    let blob = match wanted {
        Some((wanted, Leaf::Blob)) => Sent::Blob(wanted.clone()),
        Some((_, Leaf::Archive(_))) => Sent::Archive,
        _ => Sent::Compressed,
    };
    let compressor = matches!(blob, Sent::Compressed).then(|| COMPRESSOR.to_owned());
    let (digest, size) = upload(inner, repository, layer, blob, archive_size, progress).await?;
    progress.tell(Some(subject), Action::Pushed);
    let as_wanted = wanted.map(|(wanted, _)| wanted).filter(|wanted| wanted.digest == digest).cloned();
    let sent = as_wanted.unwrap_or_else(|| Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest, size));
    let origin = Origin {
        digest: sent.digest.clone(),
        size: sent.size,
        media_type: sent.media_type.clone(),
        repository: repository.name(),
        compressor,
    };
    remember_origin(inner, layer, origin);
    Ok(sent)
}

/// Sends content that is no layer of an image here.
async fn upload_leaf(
    inner: &Arc<Inner>,
    repository: &Repository,
    wanted: &Descriptor,
    leaf: &Leaf,
) -> Result<(), PushError> {
    let Leaf::Blob = leaf else {
        return Err(FindError::NotFound { name: wanted.digest.to_string() }.into());
    };
    let Mount::Upload(url) = repository.upload_begin(None).await? else {
        unreachable!("nothing was offered to mount");
    };
    let path = inner.blob_path(&wanted.digest);
    let write = move |out: &mut PieceWriter| copy_file(&path, out, |_| {});
    send(inner, repository, url, &wanted.digest, write).await.map(drop)
}

/// Zstd layers cannot be named by a Docker manifest.
fn is_gzip(origin: &Origin) -> bool {
    matches!(origin.media_type.as_str(), media_type::DOCKER_LAYER_GZIP | media_type::OCI_LAYER_GZIP)
}

/// In which form a layer is sent.
enum Sent {
    /// As it came.
    Blob(Descriptor),
    /// As the archive that it is.
    Archive,
    /// Compressed on the way.
    Compressed,
}

/// Sends a layer; gives digest and size of what was sent.
async fn upload(
    inner: &Arc<Inner>,
    repository: &Repository,
    layer: &Layer,
    form: Sent,
    archive_size: u64,
    progress: &Progress,
) -> Result<(Digest, u64), PushError> {
    let Mount::Upload(url) = repository.upload_begin(None).await? else {
        unreachable!("nothing was offered to mount");
    };
    let held = Layer::hold(inner, layer.chain_id())
        .ok_or_else(|| FindError::NotFound { name: format!("layer {}", layer.chain_id()) })?;
    let total = match &form {
        Sent::Blob(blob) => blob.size,
        Sent::Archive | Sent::Compressed => archive_size,
    };
    let (subject, progress) = (layer.chain_id().short().to_owned(), progress.clone());
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
            let write = move |out: &mut PieceWriter| copy_file(&path, out, tell);
            send(inner, repository, url, layer.diff_id(), write).await
        }
        Sent::Archive => {
            let write = move |out: &mut PieceWriter| held.write_archive(&mut Told { out, written: 0, tell });
            send(inner, repository, url, layer.diff_id(), write).await
        }
        Sent::Compressed => {
            let write = move |out: &mut PieceWriter| held.write_compressed(out, tell).map(drop);
            send(inner, repository, url, layer.diff_id(), write).await
        }
    }
}

/// Sends what `write` writes while it is written; its digest is known at the end. Without a reader, the
/// thread ends with the upload.
async fn send(
    inner: &Arc<Inner>,
    repository: &Repository,
    url: Url,
    subject: &Digest,
    write: impl FnOnce(&mut PieceWriter) -> io::Result<()> + Send + 'static,
) -> Result<(Digest, u64), PushError> {
    let (pieces, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES_AHEAD);
    let place = inner.transfers.acquire([repository.domain().to_owned()], repository.limits().queue).await;
    let place = place.map_err(|busy| PullError::Busy { digest: subject.clone(), busy })?;
    let sending = place.run(move || {
        let mut writer = PieceWriter {
            pieces: pieces.clone(),
            pending: Vec::with_capacity(PIECE),
            hasher: Hasher::sha256(),
            size: 0,
        };
        let finished = write(&mut writer).and_then(|()| writer.finish());
        if finished.is_err() {
            // Ends the request with a failure, so that nothing cut short can be taken for whole.
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

fn copy_file(path: &Path, out: &mut PieceWriter, tell: impl FnMut(u64)) -> io::Result<()> {
    io::copy(&mut File::open(path)?, &mut Told { out, written: 0, tell }).map(drop)
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
