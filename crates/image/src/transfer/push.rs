//! Push: what was pulled or loaded goes out as it came in; layers that the registry lacks and of which no
//! compressed form is kept are compressed while they are sent.

mod document;
mod index;
mod upload;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::try_join_all;
use oci::{Descriptor, Digest, Document, Manifest, Reference, media_type};

use super::PushError;
use crate::content::{Kept, Leaf, Lease, Tree};
use crate::image::{FindError, Image};
use crate::layer::settle::record_rewrite;
use crate::layer::{COMPRESSOR, Layer};
use crate::progress::{Action, Progress};
use crate::registry::{Access, Client, Credentials, Mount, Repository};
use crate::state::{Named, Origin};
use crate::store::Inner;
pub(super) use document::push_document;
use index::push_index;
pub(super) use upload::{PieceWriter, upload_written};
use upload::{Sent, upload};

/// As many layers as Docker sends at once.
const LAYERS_AT_ONCE: usize = 5;
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
    progress.tell(None, Action::PushingTo(repository.name()));
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
    if reference.digest().is_some() {
        return Err(PushError::Digest);
    }
    let tables = inner.tables();
    let same = |name: &&Reference| name.domain() == reference.domain() && name.path() == reference.path();
    let names: Vec<Reference> = tables.names.keys().filter(same).cloned().collect();
    if names.is_empty() {
        return Err(FindError::NotFound { name: reference.familiar() }.into());
    }
    let no_tag = || PushError::NoTag { name: reference.familiar() };
    if reference.tag().is_some() {
        return names.contains(reference).then(|| vec![reference.clone()]).ok_or_else(no_tag);
    }
    let tagged: Vec<Reference> =
        names.into_iter().filter(|name| name.tag().is_some() && name.digest().is_none()).collect();
    if tagged.is_empty() { Err(no_tag()) } else { Ok(tagged) }
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
            return done(inner, repository, name, &image, &tree.descriptor.media_type, &tree.kept, progress)
                .await;
        }
        // As Docker's store of indexes has it.
        let said = "Not all multiplatform-content is present and only the available single-platform image was pushed";
        progress.tell(None, Action::Status(said.to_owned()));
    }
    let manifest = tree.as_ref().and_then(|tree| tree.manifest_of(&image.id));
    let (media_type, document) = push_manifest(inner, repository, &image, manifest, progress).await?;
    if manifest.is_none_or(|manifest| manifest.kept.digest() != document.digest()) {
        tracing::debug!(tag, digest = %document.digest(), "an image goes out under a manifest of its own");
    }
    done(inner, repository, name, &image, &media_type, &document, progress).await
}

/// Points the tag at a document, all that it leads to being there, and remembers it.
async fn done(
    inner: &Arc<Inner>,
    repository: &Repository,
    name: &Reference,
    image: &Image,
    media_type: &str,
    document: &Kept,
    progress: &Progress,
) -> Result<Digest, PushError> {
    let tag = name.tag().unwrap_or(oci::reference::DEFAULT_TAG).to_owned();
    repository.manifest_put(&tag, media_type, document).await?;
    offload::in_place(|| inner.image_pushed(&image.id, name, media_type, document))
        .map_err(|error| PushError::Registry(error.into()))?;
    let (digest, size) = (document.digest().clone(), document.bytes().len() as u64);
    progress.tell(None, Action::PushedManifest { tag, digest: digest.clone(), size });
    Ok(digest)
}

/// Sends an image's layers and configuration; gives the manifest that fits what the registry has then, and its
/// type: the one by which the image is known, if the layers went out as they came. It is not sent.
async fn push_manifest(
    inner: &Arc<Inner>,
    repository: &Repository,
    image: &Image,
    known: Option<&Tree>,
    progress: &Progress,
) -> Result<(String, Kept), PushError> {
    let mut layers = Vec::new();
    for chain_id in &image.layers {
        let layer = Layer::hold(inner, chain_id);
        layers.push(layer.ok_or_else(|| FindError::NotFound { name: format!("layer {chain_id}") })?);
    }
    for layer in layers.iter().rev() {
        progress.tell(Some(layer.diff_id().short()), Action::Preparing);
    }
    for layer in layers.iter().skip(LAYERS_AT_ONCE).rev() {
        progress.tell(Some(layer.diff_id().short()), Action::Waiting);
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
    let config_size = config.bytes().len() as u64;
    if config_known.is_none()
        && let Mount::Upload(url) = repository.upload_begin(None).await?
    {
        repository.upload_end(url, &image.id.0, config.bytes().to_vec()).await?;
    }
    if let Some(known) = known
        && wanted.iter().map(|(wanted, _)| &wanted.digest).eq(sent.iter().map(|sent| &sent.digest))
    {
        return Ok((known.descriptor.media_type.clone(), known.kept.clone()));
    }
    let manifest = manifest_of(Descriptor::new("", image.id.0.clone(), config_size), sent);
    let bytes = serde_json::to_vec_pretty(&manifest).expect("a tree of strings and numbers always prints");
    Ok((manifest.media_type, Kept::of(bytes)))
}

/// A manifest of this configuration and these layers, which may have come as anybody's: it is Docker's, and so
/// are the types in it, unless one of the layers is something that Docker has no name for.
fn manifest_of(mut config: Descriptor, mut layers: Vec<Descriptor>) -> Manifest {
    let types: Option<Vec<&str>> =
        layers.iter().map(|layer| media_type::layer_as_docker(&layer.media_type)).collect();
    let (own, of_config, types) = match types {
        Some(types) => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG, types),
        None => {
            let types = layers.iter().map(|layer| media_type::layer_as_oci(&layer.media_type)).collect();
            (media_type::OCI_MANIFEST, media_type::OCI_CONFIG, types)
        }
    };
    let types: Vec<String> = types.into_iter().map(str::to_owned).collect();
    for (layer, of) in layers.iter_mut().zip(types) {
        layer.media_type = of;
    }
    config.media_type = of_config.to_owned();
    Manifest { schema_version: 2, media_type: own.to_owned(), config, layers, annotations: BTreeMap::new() }
}

/// Makes sure that the registry has a layer, in the `wanted` form if that can be had; gives the form.
async fn push_layer(
    inner: &Arc<Inner>,
    repository: &Repository,
    layer: &Layer,
    wanted: Option<(&Descriptor, &Leaf)>,
    progress: &Progress,
) -> Result<Descriptor, PushError> {
    let subject = layer.diff_id().short();
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
    let mut sent_as = match wanted {
        Some((wanted, Leaf::Blob)) => Sent::Blob(wanted.clone()),
        Some((_, Leaf::Archive(_))) => Sent::Archive,
        _ => Sent::Compressed,
    };
    let (digest, size) = loop {
        let sent = upload(inner, repository, layer, &sent_as, archive_size, progress).await;
        match (sent, &sent_as) {
            (Err(PushError::Layer { source, .. }), Sent::Blob(blob)) => {
                // The registry did not keep it. The layer itself is here.
                tracing::warn!(digest = %blob.digest, error = %base::error::chain(&source), "a layer is damaged as it came");
                let said = format!(
                    "{} is damaged here as it came: the layer is compressed again, and the image goes out under another digest",
                    blob.digest
                );
                progress.tell(None, Action::Status(said));
                offload::in_place(|| inner.blob_condemn(&blob.digest));
                sent_as = Sent::Compressed;
            }
            (sent, _) => break sent?,
        }
    };
    let compressor = matches!(sent_as, Sent::Compressed).then(|| COMPRESSOR.to_owned());
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

/// Zstd layers cannot be named by a Docker manifest.
fn is_gzip(origin: &Origin) -> bool {
    matches!(origin.media_type.as_str(), media_type::DOCKER_LAYER_GZIP | media_type::OCI_LAYER_GZIP)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(layers: &[&str], own: &str, config: &str, expected: &[&str]) {
        let layers = layers.iter().map(|of| Descriptor::of(of, of.as_bytes())).collect();
        let manifest = manifest_of(Descriptor::of("", b"{}"), layers);
        let types: Vec<&str> = manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
        assert_eq!(
            (&*manifest.media_type, &*manifest.config.media_type, &types[..]),
            (own, config, expected)
        );
    }

    #[test]
    fn a_manifest_has_types_of_one_kind() {
        use media_type::{
            DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER,
            OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST,
        };
        check(
            &[OCI_LAYER, DOCKER_LAYER_GZIP, OCI_LAYER_GZIP],
            DOCKER_MANIFEST,
            DOCKER_CONFIG,
            &[DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_LAYER_GZIP],
        );
        check(
            &[OCI_LAYER_ZSTD, DOCKER_LAYER_GZIP, DOCKER_LAYER],
            OCI_MANIFEST,
            OCI_CONFIG,
            &[OCI_LAYER_ZSTD, OCI_LAYER_GZIP, OCI_LAYER],
        );
    }
}
