//! Sending an index: what is here of it as it came, if the registry has or gets the rest.

use std::sync::Arc;

use oci::{Descriptor, Document};

use super::super::{PullError, PushError};
use super::push_manifest;
use super::upload::{PieceWriter, copy_file, upload_written};
use crate::content::{Leaf, Part, Tree};
use crate::image::{FindError, Image};
use crate::progress::Progress;
use crate::registry::{Mount, Repository};
use crate::store::Inner;

/// Sends what an index leads to; its own place is left to the caller. False if something of it is neither
/// here nor there, or is not what it was.
pub(super) async fn push_index(
    inner: &Arc<Inner>,
    repository: &Repository,
    index: &Tree,
    image: &Image,
    progress: &Progress,
) -> Result<bool, PushError> {
    // Whatever is missing is asked for before anything is sent.
    let mut elsewhere = Vec::new();
    for part in &index.parts {
        let has = match part {
            Part::Missing(entry) if repository.has_manifest(&entry.digest).await? => true,
            Part::Missing(entry) => match other_place(inner, repository, index, entry).await? {
                Some(place) => {
                    elsewhere.push((entry, place));
                    true
                }
                None => false,
            },
            Part::Tree(tree) => tree.manifest_of(&image.id).is_some() || all_there(repository, tree).await?,
            Part::Leaf(..) => true,
        };
        if !has {
            return Ok(false);
        }
    }
    for (entry, place) in elsewhere {
        if !copy_within(repository, &place, entry).await? {
            return Ok(false);
        }
    }
    for tree in index.trees() {
        let whole = match &tree.document {
            Document::Index(_) => Box::pin(push_index(inner, repository, tree, image, progress)).await?,
            Document::Manifest(manifest) if manifest.config.digest == image.id.0 => {
                let (_, sent) = push_manifest(inner, repository, image, Some(tree), progress).await?;
                *sent.digest() == tree.descriptor.digest
            }
            Document::Manifest(_) => {
                for (descriptor, leaf) in tree.leaves() {
                    let is_there = repository.blob_size(&descriptor.digest).await?.is_some();
                    if !is_there && !upload_leaf(inner, repository, descriptor, leaf).await? {
                        return Ok(false);
                    }
                }
                true
            }
        };
        if !whole {
            return Ok(false);
        }
        let digest = tree.descriptor.digest.to_string();
        repository.manifest_put(&digest, &tree.descriptor.media_type, &tree.kept).await?;
    }
    Ok(true)
}

/// Another repository of the registry that has an entry of an index: one from which the index came.
async fn other_place(
    inner: &Inner,
    repository: &Repository,
    index: &Tree,
    entry: &Descriptor,
) -> Result<Option<Repository>, PushError> {
    let paths: Vec<String> = {
        let tables = inner.tables();
        let names = tables.names.keys().filter(|name| {
            name.digest() == Some(&index.descriptor.digest)
                && name.domain() == repository.domain()
                && name.path() != repository.path()
        });
        names.map(|name| name.path().to_owned()).collect()
    };
    for path in paths {
        let other = repository.sibling(&path);
        match other.has_manifest(&entry.digest).await {
            Ok(true) => return Ok(Some(other)),
            // Who may write here need not be able to read there.
            Ok(false) | Err(PullError::Denied { .. } | PullError::Unauthorized { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Has the registry take a manifest from another of its repositories, with what that names. False if it does
/// not mount.
async fn copy_within(
    repository: &Repository,
    from: &Repository,
    entry: &Descriptor,
) -> Result<bool, PushError> {
    let kept = from.document_at(entry).await?;
    let document = Document::parse_at(kept.bytes(), entry).map_err(|source| PullError::Manifest {
        name: format!("{}@{}", from.name(), entry.digest),
        source,
    })?;
    if let Document::Index(_) = document {
        return Ok(false);
    }
    for link in document.links() {
        if repository.blob_size(&link.digest).await?.is_none() {
            let Mount::Mounted = repository.upload_begin(Some((&link.digest, from.path()))).await? else {
                return Ok(false);
            };
        }
    }
    repository.manifest_put(&entry.digest.to_string(), &entry.media_type, &kept).await?;
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

/// Sends content that is no layer of an image here. False if it is not what it was.
pub(super) async fn upload_leaf(
    inner: &Arc<Inner>,
    repository: &Repository,
    wanted: &Descriptor,
    leaf: &Leaf,
) -> Result<bool, PushError> {
    let Leaf::Blob = leaf else {
        return Err(FindError::NotFound { name: wanted.digest.to_string() }.into());
    };
    let Mount::Upload(url) = repository.upload_begin(None).await? else {
        unreachable!("nothing was offered to mount");
    };
    let path = inner.blob_path(&wanted.digest);
    let sent = upload_written(
        inner,
        repository,
        url,
        &wanted.digest,
        Some(&wanted.digest),
        move |out: &mut PieceWriter| copy_file(&path, out, |_| {}),
    );
    match sent.await {
        Ok(_) => Ok(true),
        Err(PushError::Layer { .. }) => {
            offload::in_place(|| inner.blob_condemn(&wanted.digest));
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
