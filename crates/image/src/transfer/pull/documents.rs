//! Which documents a name leads to, and what is said in them about the image.

use std::collections::BTreeSet;
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

/// Manifests that are about an image: BuildKit makes one for each.
const ATTACHED_MAX: usize = 16;
/// Bytes of all that is said about an image: lists of what is in large ones have some ten megabytes.
const ATTACHED_BYTES: u64 = 256 << 20;

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
    let (kept, content_type) = repository.document_named(reference).await?;
    let mut document = Document::parse(kept.bytes(), content_type.as_deref()).map_err(manifest_error)?;
    let target = Content {
        media_type: document.media_type(content_type.as_deref()).to_owned(),
        size: kept.bytes().len() as u64,
        digest: kept.digest().clone(),
    };
    let mut source = Source { target, documents: vec![kept] };
    let mut about = Vec::new();
    for _ in 1..DEPTH_MAX {
        let Document::Index(index) = &document else { break };
        let chosen = index.select(&platform);
        let chosen =
            chosen.ok_or_else(|| PullError::Platform { name: name.clone(), platform: platform.clone() })?;
        let attached = index.manifests.iter().filter(|entry| entry.about().as_ref() == Some(&chosen.digest));
        about.extend(attached.cloned());
        let kept = repository.document_at(chosen).await?;
        let next = Document::parse_at(kept.bytes(), chosen).map_err(manifest_error)?;
        source.documents.push(kept);
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

/// Brings the manifests that are about the image's, with all that they name, as they are: so the index goes
/// out again as it came. What the registry does not have, or more than is taken, stays where it is; so does
/// what is not what it should be. None of it is a reason to go without the image.
pub(super) async fn fetch_attached(
    inner: &Arc<Inner>,
    repository: &Repository,
    about: &[Descriptor],
    lease: &mut Lease,
) -> Vec<Kept> {
    let mut seen = BTreeSet::new();
    let about: Vec<&Descriptor> = about.iter().filter(|entry| seen.insert(&entry.digest)).collect();
    if about.len() > ATTACHED_MAX {
        let (has, most) = (about.len(), ATTACHED_MAX);
        tracing::info!(has, most, "not all that is said about an image is kept");
    }
    let mut budget = ATTACHED_BYTES;
    let mut attached = Vec::new();
    for entry in about.into_iter().take(ATTACHED_MAX) {
        match fetch_one(inner, repository, entry, &mut budget, lease).await {
            Ok(kept) => attached.extend(kept),
            Err(error) => {
                let shown = base::error::chain(&error);
                tracing::info!(digest = %entry.digest, error = %shown, "what is said about an image is not kept");
                // The rest would only be waited for as long.
                if is_transient(&error) {
                    break;
                }
            }
        }
    }
    attached
}

/// Brings one of them, within the budget of bytes.
async fn fetch_one(
    inner: &Arc<Inner>,
    repository: &Repository,
    entry: &Descriptor,
    budget: &mut u64,
    lease: &mut Lease,
) -> Result<Option<Kept>, PullError> {
    if !take(budget, entry.size) {
        return Ok(None);
    }
    let kept = repository.document_at(entry).await?;
    let document = Document::parse_at(kept.bytes(), entry).map_err(|source| PullError::Manifest {
        name: format!("{}@{}", repository.name(), entry.digest),
        source,
    })?;
    let Document::Manifest(_) = &document else { return Ok(None) };
    let links = document.links();
    if !take(budget, links.iter().map(|link| link.size).fold(0, u64::saturating_add)) {
        tracing::info!(digest = %entry.digest, "what is said about an image is too large to be kept");
        return Ok(None);
    }
    for link in links {
        lease.content([link.digest.clone()]);
        if !offload::in_place(|| inner.has_blob(link)) {
            fetch_blob(inner, repository, link).await?;
        }
    }
    Ok(Some(kept))
}

/// Takes so many bytes from the budget, if it has them.
fn take(budget: &mut u64, bytes: u64) -> bool {
    let left = budget.checked_sub(bytes);
    *budget = left.unwrap_or(*budget);
    left.is_some()
}

/// Brings a blob as it is.
pub(super) async fn fetch_blob(
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
