//! Images that builds stand on, which become no images here.

use ::image::{Described, Destination, Layer};
use bytes::Bytes;
use oci::{Descriptor, Digest, Reference};

use super::{Platform, Progress, RegistryAuth, convert, transfer};
use crate::engine::Engine;
use crate::error::Result;

impl Engine {
    /// Asks a registry for the documents of an image. Nothing is kept of them.
    pub async fn image_describe(
        &self,
        reference: &str,
        platform: Option<&Platform>,
        auth: Option<RegistryAuth>,
    ) -> Result<Described> {
        let wanted = convert::reference(reference)?.with_default_tag();
        let options = ::image::PullOptions {
            platform: platform.cloned(),
            credentials: transfer::credentials(auth),
            is_part: true,
        };
        let described = self.inner.images.image_describe(&self.registries()?, &wanted, &options).await;
        described.map_err(|source| transfer::pull_error(&wanted, source))
    }

    /// Brings the layers of an image that was described; gives the topmost, unless there are none. Dropping the
    /// future ends it.
    pub async fn image_fetch_layers(
        &self,
        described: &Described,
        auth: Option<RegistryAuth>,
        told: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Option<Layer>> {
        let progress = ::image::Progress::new(move |event| told(transfer::from_store(event)));
        let credentials = transfer::credentials(auth);
        let registries = self.registries()?;
        let fetched =
            self.inner.images.image_fetch_layers(&registries, described, &credentials, &progress).await;
        fetched.map_err(|source| transfer::pull_error(&described.reference, source))
    }

    /// Brings layers from the repository of `reference`, each with what is in it, lowest first; gives the topmost,
    /// unless there are none. Dropping the future ends it.
    pub async fn layers_fetch(
        &self,
        reference: &Reference,
        layers: &[(Descriptor, Digest)],
        auth: Option<RegistryAuth>,
        told: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Option<Layer>> {
        let progress = ::image::Progress::new(move |event| told(transfer::from_store(event)));
        let credentials = transfer::credentials(auth);
        let registries = self.registries()?;
        let fetched =
            self.inner.images.layers_fetch(&registries, reference, layers, &credentials, &progress).await;
        fetched.map_err(|source| transfer::pull_error(reference, source))
    }

    /// The document that a name leads to in its registry, and what that says it is.
    pub async fn registry_document(
        &self,
        reference: &Reference,
        auth: Option<RegistryAuth>,
    ) -> Result<(Descriptor, Bytes)> {
        let found = self.registries()?.document(reference, &transfer::credentials(auth)).await;
        found.map_err(|source| transfer::pull_error(reference, source))
    }

    /// A small blob of the repository of a name in its registry.
    pub async fn registry_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        auth: Option<RegistryAuth>,
    ) -> Result<Bytes> {
        let found = self.registries()?.blob(reference, digest, &transfer::credentials(auth)).await;
        found.map_err(|source| transfer::pull_error(reference, source))
    }

    /// The repository of a name, to send content to.
    pub fn registry_destination(
        &self,
        reference: &Reference,
        auth: Option<RegistryAuth>,
    ) -> Result<Destination> {
        Ok(self.inner.images.destination(&self.registries()?, reference, &transfer::credentials(auth)))
    }
}
