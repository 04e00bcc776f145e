//! Images in a layout that the client has: named contexts `oci-layout://…`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use oci::{Digest, Document, ImageConfig, Manifest, Platform};

use super::elsewhere::{Elsewhere, Place};
use super::image::BaseImage;
use crate::solve::SolveError;
use crate::solve::job::{Job, ResolvedImage};
use crate::solve::schedule::{Done, Step};
use crate::solve::value::Value;

/// How deep indexes may lie in indexes, with the manifest.
const DEPTH_MAX: usize = 3;

/// What is in a layout under a digest, for a platform.
struct Found {
    digest: Digest,
    config: Bytes,
    layers: Elsewhere,
}

/// The source `oci-layout://`.
pub(crate) async fn perform(
    step: &Step<'_>,
    name: &str,
    attributes: &BTreeMap<String, String>,
) -> Result<Done, SolveError> {
    if attributes.contains_key("oci.layerlimit") {
        return Err(SolveError::Unsupported("a limit on an image's layers is not supported".to_owned()));
    }
    let text = |key: &str| attributes.get(key).map(String::as_str).unwrap_or_default();
    let progress = step.status(&format!("resolve {name}"));
    progress.tell(0, 0, false);
    let (session, store) = (text("oci.session"), text("oci.store"));
    let found = find(step.job, name, session, store, &step.platform()).await?;
    progress.tell(0, 0, true);
    step.job.pin(&step.vertex.digest, found.digest.algorithm().as_str(), found.digest.hex());
    let image = BaseImage::elsewhere(name.to_owned(), found.layers, &step.vertex.digest);
    let store = &step.job.inner.solver.inner.store;
    let cached = image.chain_id().is_none_or(|chain_id| store.layer_hold(chain_id).is_some());
    Ok(Done { outputs: vec![Value::Image(Arc::new(image))], cached })
}

/// Finds out what a digest leads to in a layout.
pub(crate) async fn resolve(
    job: &Job,
    name: &str,
    session: &str,
    store: &str,
    platform: Option<&Platform>,
) -> Result<ResolvedImage, SolveError> {
    let platform = platform.cloned().unwrap_or_else(|| job.platform());
    let found = find(job, name, session, store, &platform).await?;
    Ok(ResolvedImage { name: name.to_owned(), digest: found.digest, is_manifest: true, config: found.config })
}

async fn find(
    job: &Job,
    name: &str,
    session: &str,
    store: &str,
    platform: &Platform,
) -> Result<Found, SolveError> {
    let invalid = |problem: String| SolveError::Invalid(format!("{name}: {problem}"));
    let digest = name.rsplit_once('@').map(|(_, digest)| digest);
    let digest = digest.ok_or_else(|| SolveError::Invalid(format!("reference {name:?} must have digest")))?;
    let digest = Digest::parse(digest).map_err(|error| invalid(error.to_string()))?;
    // Without a name the image's own is the store's.
    let store = match store {
        "" => name.split(['@', ':']).next().unwrap_or_default(),
        store => store,
    };
    let place = Place::Store { session: job.session_of(session).await?, name: format!("oci:{store}") };
    let manifest = manifest(job, &place, &digest, platform, &invalid).await?;
    let config = place.blob(job, &manifest.config.digest).await?;
    let read = ImageConfig::take(&config).map_err(|error| invalid(format!("its configuration: {error}")))?;
    let (layers, diff_ids) = (manifest.layers, read.rootfs.diff_ids);
    if layers.len() != diff_ids.len() {
        let (has, said) = (layers.len(), diff_ids.len());
        return Err(invalid(format!("{has} layers, but {said} of them configured")));
    }
    let layers = Elsewhere { layers: layers.into_iter().zip(diff_ids).collect(), place };
    Ok(Found { digest, config, layers })
}

/// The manifest that a digest leads to.
async fn manifest(
    job: &Job,
    place: &Place,
    digest: &Digest,
    platform: &Platform,
    invalid: &impl Fn(String) -> SolveError,
) -> Result<Manifest, SolveError> {
    let bytes = place.document(job, digest).await?;
    let mut document =
        Document::parse(&bytes, None).map_err(|error| invalid(base::error::chain(&error).to_string()))?;
    for _ in 1..DEPTH_MAX {
        let Document::Index(index) = &document else { break };
        let chosen = index
            .select(platform)
            .ok_or_else(|| invalid(format!("no match for platform in manifest: {platform} is not there")))?;
        let bytes = place.document(job, &chosen.digest).await?;
        document = Document::parse_at(&bytes, chosen)
            .map_err(|error| invalid(base::error::chain(&error).to_string()))?;
    }
    match document {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(invalid("its indexes are nested too deeply".to_owned())),
    }
}
