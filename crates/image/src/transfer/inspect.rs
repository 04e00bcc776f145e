//! What a registry has under a name, without bringing it here.

use bytes::Bytes;
use oci::{Descriptor, Digest, Document, ImageConfig, Platform, Reference};

use super::PullError;
use crate::registry::{Access, Client, Credentials, Repository};

/// An image in a registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    /// The document that the name leads to: a manifest or an index.
    pub descriptor: Descriptor,
    /// The platforms that it is there for.
    pub platforms: Vec<Platform>,
}

impl Client {
    /// Asks the registry what `reference` leads to.
    pub async fn inspect(
        &self,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Result<Remote, PullError> {
        let reference = reference.with_default_tag();
        let repository = Repository::new(self, &reference, credentials, Access::Pull);
        let name = reference.familiar();
        let (kept, content_type) = repository.document_named(&reference).await?;
        let document = Document::parse(kept.bytes(), content_type.as_deref())
            .map_err(|source| PullError::Manifest { name: name.clone(), source })?;
        let (media_type, platforms) = match document {
            Document::Manifest(manifest) => {
                let config = repository.blob_document(&manifest.config.digest).await?;
                let config = ImageConfig::take(config.bytes()).map_err(|error| PullError::Malformed {
                    name,
                    problem: format!("its configuration: {error}"),
                })?;
                (manifest.media_type, vec![config.platform()])
            }
            Document::Index(index) => {
                let platforms = index.manifests.into_iter().filter_map(|manifest| manifest.platform);
                (index.media_type, platforms.collect())
            }
        };
        let media_type = if media_type.is_empty() { content_type.unwrap_or_default() } else { media_type };
        let descriptor = Descriptor::new(&media_type, kept.digest().clone(), kept.bytes().len() as u64);
        Ok(Remote { descriptor, platforms })
    }

    /// The document that `reference` leads to, whatever it is, and what the registry says that it is.
    pub async fn document(
        &self,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Result<(Descriptor, Bytes), PullError> {
        let reference = reference.with_default_tag();
        let repository = Repository::new(self, &reference, credentials, Access::Pull);
        let (kept, content_type) = repository.document_named(&reference).await?;
        let media_type = content_type.unwrap_or_default();
        let descriptor = Descriptor::new(&media_type, kept.digest().clone(), kept.bytes().len() as u64);
        Ok((descriptor, Bytes::copy_from_slice(kept.bytes())))
    }

    /// A small blob of the repository of `reference`, verified.
    pub async fn blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        credentials: &Credentials,
    ) -> Result<Bytes, PullError> {
        let repository = Repository::new(self, reference, credentials, Access::Pull);
        Ok(Bytes::copy_from_slice(repository.blob_document(digest).await?.bytes()))
    }
}
