//! Which documents a name leads to, and what is said in them about the image.

use std::io::Write;
use std::sync::Arc;

use oci::{Descriptor, Document, Manifest, Platform, Reference, media_type};

use super::super::{PullError, PullOptions};
use super::is_transient;
use crate::content::{DEPTH_MAX, Kept, Lease, StagedBlob};
use crate::image::Source;
use crate::registry::{Paced, Repository};
use crate::state::Content;
use crate::store::{Inner, WriteError};

/// Bytes of what is said about an image: lists of what is in large ones have some ten megabytes.
const ATTACHED_MAX: u64 = 256 << 20;

/// What the name led to.
pub(super) struct Resolved {
    /// As what the image comes.
    pub(super) source: Source,
    /// The platform's manifest.
    pub(super) manifest: Manifest,
    /// Entries of the index that are about that manifest: where it comes from, what is in it.
    pub(super) about: Vec<Descriptor>,
}

/// Follows the name to the manifest for the platform.
pub(super) async fn resolve(
    repository: &Repository,
    reference: &Reference,
    options: &PullOptions,
) -> Result<Resolved, PullError> {
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let name = reference.familiar();
    let manifest_error = |source| PullError::Manifest { name: name.clone(), source };
    let (bytes, content_type, digest) = repository.document_named(reference).await?;
    let mut document = Document::parse(&bytes, content_type.as_deref()).map_err(manifest_error)?;
    let target = Content {
        media_type: document.media_type(content_type.as_deref()).to_owned(),
        size: bytes.len() as u64,
        digest: digest.clone(),
    };
    let mut source = Source { target, documents: vec![Kept { digest, bytes }] };
    let mut about = Vec::new();
    for _ in 1..DEPTH_MAX {
        let Document::Index(index) = &document else { break };
        let chosen = index.select(&platform);
        let chosen =
            chosen.ok_or_else(|| PullError::Platform { name: name.clone(), platform: platform.clone() })?;
        let attached = index.manifests.iter().filter(|entry| entry.about().as_ref() == Some(&chosen.digest));
        about.extend(attached.cloned());
        let bytes = repository.document_at(chosen).await?;
        let next = Document::parse_at(&bytes, chosen).map_err(manifest_error)?;
        source.documents.push(Kept { digest: chosen.digest.clone(), bytes });
        document = next;
    }
    match document {
        Document::Manifest(manifest) => {
            let malformed = |problem| PullError::Malformed { name: name.clone(), problem };
            let of = &manifest.config.media_type;
            if !media_type::is_config(of) {
                return Err(malformed(format!("it is no image: its configuration is of type `{of}`")));
            }
            let others = manifest.layers.iter().find(|layer| !media_type::is_layer(&layer.media_type));
            if let Some(layer) = others {
                let of = &layer.media_type;
                return Err(malformed(format!("its layer {} is no layer, but of type `{of}`", layer.digest)));
            }
            Ok(Resolved { source, manifest, about })
        }
        Document::Index(_) => {
            Err(PullError::Malformed { name, problem: "its indexes are nested too deeply".into() })
        }
    }
}

/// Brings a manifest that is about the image's, with all that it names, as it is: so the index goes out again
/// as it came. One that the registry does not have, or that is very large, stays where it is.
pub(super) async fn fetch_attached(
    inner: &Arc<Inner>,
    repository: &Repository,
    entry: &Descriptor,
    lease: &mut Lease,
) -> Result<Vec<Kept>, PullError> {
    let bytes = match repository.document_at(entry).await {
        Ok(bytes) => bytes,
        Err(PullError::NotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let document = Document::parse_at(&bytes, entry).map_err(|source| PullError::Manifest {
        name: format!("{}@{}", repository.name(), entry.digest),
        source,
    })?;
    let Document::Manifest(_) = &document else { return Ok(Vec::new()) };
    let links = document.links();
    if links.iter().map(|link| link.size).fold(0, u64::saturating_add) > ATTACHED_MAX {
        tracing::info!(digest = %entry.digest, "what is said about an image is too large to be kept");
        return Ok(Vec::new());
    }
    for link in links {
        lease.content([link.digest.clone()]);
        if offload::in_place(|| inner.blob_len(&link.digest)) == Some(link.size) {
            continue;
        }
        match fetch_blob(inner, repository, link).await {
            Ok(()) => {}
            Err(PullError::NotFound { .. }) => return Ok(Vec::new()),
            // It is no reason to go without the image.
            Err(error) if is_transient(&error) => {
                let error = base::error::chain(&error);
                tracing::info!(digest = %entry.digest, %error, "what is said about an image did not come");
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(vec![Kept { digest: entry.digest.clone(), bytes }])
}

/// Brings a blob as it is.
async fn fetch_blob(
    inner: &Arc<Inner>,
    repository: &Repository,
    wanted: &Descriptor,
) -> Result<(), PullError> {
    let what = format!("{}@{}", repository.name(), wanted.digest);
    let failed = |source| PullError::Write(WriteError::io(&inner.blob_path(&wanted.digest))(source));
    let mut staged = offload::in_place(|| StagedBlob::new(inner, &wanted.digest)).map_err(failed)?;
    let response = repository.blob(&wanted.digest, 0).await?;
    let mut body = Paced::new(&what, response, repository.limits());
    while let Some(piece) = body.next().await? {
        if staged.size() + piece.len() as u64 > wanted.size {
            let problem = format!("{} is longer than its {} bytes", wanted.digest, wanted.size);
            return Err(PullError::Malformed { name: repository.name(), problem });
        }
        offload::in_place(|| staged.write_all(&piece)).map_err(failed)?;
    }
    if staged.size() < wanted.size {
        return Err(PullError::CutOff { what, have: staged.size(), want: wanted.size });
    }
    let kept = offload::in_place(|| staged.keep(inner, &wanted.digest));
    kept.map_err(|error| match error.downcast::<oci::digest::Mismatch>() {
        Ok(source) => PullError::Mismatch { what, source },
        Err(error) => failed(error),
    })
}
