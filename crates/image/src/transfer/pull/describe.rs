//! Images that are brought here without becoming images here: what a build stands on.

use std::sync::Arc;

use bytes::Bytes;
use oci::{Descriptor, Digest, ImageConfig, Manifest, Reference};

use super::documents::{Resolved, resolve};
use super::{PullError, PullOptions, fetch_layers};
use crate::content::Lease;
use crate::image::ImageId;
use crate::layer::Layer;
use crate::progress::Progress;
use crate::registry::{Access, Client, Credentials, Repository};
use crate::store::{Inner, Store};

/// What a registry has under a name for a platform: its documents are here, its layers need not be.
#[derive(Clone, Debug)]
pub struct Described {
    /// The name that was asked for.
    pub reference: Reference,
    /// The digest that the name leads to: a manifest's or an index's.
    pub digest: Digest,
    /// The digest of the configuration.
    pub id: ImageId,
    /// The configuration as it came.
    pub document: Bytes,
    /// What it says.
    pub config: Arc<ImageConfig>,
    manifest: Arc<Manifest>,
}

impl Store {
    /// Asks a registry for the documents of an image. Nothing is kept of them.
    pub async fn image_describe(
        &self,
        client: &Client,
        reference: &Reference,
        options: &PullOptions,
    ) -> Result<Described, PullError> {
        let reference = reference.with_default_tag();
        let repository = Repository::new(client, &reference, &options.credentials, Access::Pull);
        let Resolved { source, manifest, .. } = resolve(&repository, &reference, options).await?;
        let document = repository.blob_document(&manifest.config.digest).await?;
        let malformed = |problem: String| PullError::Malformed { name: reference.familiar(), problem };
        let config = ImageConfig::take(document.bytes())
            .map_err(|error| malformed(format!("its configuration: {error}")))?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(malformed(format!("{layers} layers, but {diff_ids} of them configured")));
        }
        Ok(Described {
            digest: source.target.digest,
            id: ImageId(manifest.config.digest.clone()),
            document: Bytes::copy_from_slice(document.bytes()),
            config: Arc::new(config),
            manifest: Arc::new(manifest),
            reference,
        })
    }

    /// Brings the layers of an image that was described; gives the topmost, which keeps the others, unless there
    /// are none. Dropping the future ends it and leaves nothing but what the next goes on with.
    pub async fn image_fetch_layers(
        &self,
        client: &Client,
        described: &Described,
        credentials: &Credentials,
        progress: &Progress,
    ) -> Result<Option<Layer>, PullError> {
        let Described { reference, id, config, manifest, .. } = described;
        let is_known = self.inner.tables().images.contains_key(id);
        let layers = (&manifest.layers[..], &config.rootfs.diff_ids[..]);
        fetch(&self.inner, client, reference, layers, is_known, credentials, progress).await
    }

    /// Brings layers from the repository of `reference`, each with what is in it, lowest first; gives the topmost,
    /// which keeps the others, unless there are none. Dropping the future ends it, as with
    /// [`Store::image_fetch_layers`].
    pub async fn layers_fetch(
        &self,
        client: &Client,
        reference: &Reference,
        layers: &[(Descriptor, Digest)],
        credentials: &Credentials,
        progress: &Progress,
    ) -> Result<Option<Layer>, PullError> {
        let (layers, diff_ids): (Vec<Descriptor>, Vec<Digest>) = layers.iter().cloned().unzip();
        fetch(&self.inner, client, reference, (&layers, &diff_ids), false, credentials, progress).await
    }
}

async fn fetch(
    inner: &Arc<Inner>,
    client: &Client,
    reference: &Reference,
    (layers, diff_ids): (&[Descriptor], &[Digest]),
    is_known: bool,
    credentials: &Credentials,
    progress: &Progress,
) -> Result<Option<Layer>, PullError> {
    let repository = Repository::new(client, reference, credentials, Access::Pull);
    let mut lease = Lease::lasting(inner);
    lease.content(layers.iter().map(|layer| layer.digest.clone()));
    let mut held = fetch_layers(inner, &repository, layers, diff_ids, is_known, &mut lease, progress).await?;
    Ok(held.pop())
}
