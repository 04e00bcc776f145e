//! A repository that content is sent to piece by piece, by whoever makes the document that leads to it.

use std::io::{self, Write};
use std::sync::Arc;

use oci::{Descriptor, Digest, Reference};

use super::PushError;
use super::push::{PieceWriter, upload_written};
use crate::content::Kept;
use crate::registry::{Access, Client, Credentials, Mount, Repository};
use crate::store::{Inner, Store};

/// A repository of a registry, to send content to. Cheap to clone.
#[derive(Clone)]
pub struct Destination {
    inner: Arc<Inner>,
    repository: Repository,
}

impl Store {
    /// The repository of `reference`, to send content to.
    pub fn destination(
        &self,
        client: &Client,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Destination {
        let repository = Repository::new(client, reference, credentials, Access::Push);
        Destination { inner: Arc::clone(&self.inner), repository }
    }
}

impl Destination {
    /// Whether content is there.
    pub async fn has(&self, digest: &Digest) -> Result<bool, PushError> {
        Ok(self.repository.blob_size(digest).await?.is_some())
    }

    /// Has content taken from another repository, if that is of the same registry and has it.
    pub async fn take_from(&self, digest: &Digest, other: &Reference) -> Result<bool, PushError> {
        if other.domain() != self.repository.domain() || other.path() == self.repository.path() {
            return Ok(false);
        }
        let mounted = self.repository.upload_begin(Some((digest, other.path()))).await?;
        Ok(matches!(mounted, Mount::Mounted))
    }

    /// Sends what `write` writes. If its digest is another the registry does not keep it.
    pub async fn put(
        &self,
        wanted: &Digest,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<(), PushError> {
        let Mount::Upload(url) = self.repository.upload_begin(None).await? else {
            unreachable!("nothing was offered to mount");
        };
        let write = move |out: &mut PieceWriter| write(out);
        upload_written(&self.inner, &self.repository, url, wanted, Some(wanted), write).await.map(drop)
    }

    /// Sends a manifest or an index, all that it leads to being there, and points the tag at it; without one it is
    /// known by its digest alone.
    pub async fn put_document(
        &self,
        tag: Option<&str>,
        media_type: &str,
        document: Vec<u8>,
    ) -> Result<Descriptor, PushError> {
        let kept = Kept::of(document);
        let descriptor = Descriptor::new(media_type, kept.digest().clone(), kept.bytes().len() as u64);
        let place = tag.map_or_else(|| kept.digest().to_string(), str::to_owned);
        self.repository.manifest_put(&place, media_type, &kept).await?;
        Ok(descriptor)
    }
}
