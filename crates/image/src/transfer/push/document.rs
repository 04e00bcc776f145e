//! Sending a document that was made here, with all that it leads to, as it is.

use std::sync::Arc;

use oci::{Descriptor, Digest, Document, Reference};

use super::super::PushError;
use super::index::upload_leaf;
use crate::content::{Lease, Tree};
use crate::image::FindError;
use crate::progress::{Action, Progress};
use crate::registry::{Access, Client, Credentials, Repository};
use crate::state::Content;
use crate::store::Inner;

/// Sends `target` to the repository of `reference`: under its tag, or, `by_digest`, under none.
pub(in super::super) async fn push_document(
    inner: &Arc<Inner>,
    client: &Client,
    reference: &Reference,
    by_digest: bool,
    target: &Descriptor,
    credentials: &Credentials,
    progress: &Progress,
) -> Result<(), PushError> {
    let repository = Repository::new(client, reference, credentials, Access::Push);
    progress.tell(None, Action::PushingTo(repository.name()));
    let mut lease = Lease::new(inner);
    lease.content([target.digest.clone()]);
    let tree = offload::in_place(|| Tree::read(inner, &Content::from(target)))
        .map_err(|source| FindError::Read { id: target.digest.clone(), source })?;
    let tree = tree.ok_or_else(|| missing(&target.digest))?;
    push_tree(inner, &repository, &tree, progress).await?;
    let place = match reference.tag().filter(|_| !by_digest) {
        Some(tag) => tag.to_owned(),
        None => target.digest.to_string(),
    };
    repository.manifest_put(&place, &target.media_type, &tree.kept).await?;
    let (digest, size) = (target.digest.clone(), target.size);
    progress.tell(None, Action::PushedManifest { tag: place, digest, size });
    Ok(())
}

/// Sends what a document leads to.
async fn push_tree(
    inner: &Arc<Inner>,
    repository: &Repository,
    tree: &Tree,
    progress: &Progress,
) -> Result<(), PushError> {
    if let Document::Index(index) = &tree.document
        && tree.trees().count() != index.manifests.len()
    {
        return Err(missing(&tree.descriptor.digest).into());
    }
    for tree in tree.trees() {
        Box::pin(push_tree(inner, repository, tree, progress)).await?;
        let digest = tree.descriptor.digest.to_string();
        repository.manifest_put(&digest, &tree.descriptor.media_type, &tree.kept).await?;
    }
    for (descriptor, leaf) in tree.leaves() {
        let subject = Some(descriptor.digest.short());
        if repository.blob_size(&descriptor.digest).await?.is_some() {
            progress.tell(subject, Action::LayerAlreadyExists);
            continue;
        }
        if !upload_leaf(inner, repository, descriptor, leaf).await? {
            return Err(missing(&descriptor.digest).into());
        }
        progress.tell(subject, Action::Pushed);
    }
    Ok(())
}

fn missing(digest: &Digest) -> FindError {
    FindError::NotFound { name: digest.to_string() }
}
