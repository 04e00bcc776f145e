//! Into the image store, and to registries.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base::Timestamp;
use engine::image::Progress as Step;
use image::{Layer, Store};
use oci::{Digest, Reference};

use super::assemble::{Assembled, assemble};
use super::attributes::Attributes;
use super::config::{LayerFact, finish, with_cache};
use super::parts::{Part, parts};
use super::{Exporter, attest, warn_of};
use crate::solve::reference::Outcome;
use crate::solve::remote::IMPORTED;
use crate::solve::schedule::Progress;
use crate::solve::shown::Shown;
use crate::solve::value::Chain;
use crate::solve::{SolveError, now};

/// What clients read of the answer.
pub(super) const CONFIG_DIGEST: &str = "containerimage.config.digest";
pub(super) const IMAGE_DIGEST: &str = "containerimage.digest";
pub(super) const DESCRIPTOR: &str = "containerimage.descriptor";
pub(super) const NAME: &str = "image.name";

pub(super) async fn to_store(
    shown: &Shown,
    outcome: &Outcome,
    exporter: &Exporter,
) -> Result<BTreeMap<String, String>, SolveError> {
    let job = shown.job();
    let mut attributes = read(job, outcome, exporter)?;
    let parts = parts(job, outcome, Some(&attributes))?;
    let said = attest::said(job, outcome, &parts).await?;
    let has_statements = said.iter().any(|said| !said.is_empty());
    let several = !outcome.refs.is_empty();
    // The store knows what it is without a manifest, and a registry gets one when it is pushed.
    if attributes.is_plain()
        && !several
        && !has_statements
        && let [part] = &parts[..]
    {
        return plain(shown, part, &attributes.names).await;
    }
    let names = attributes.names.clone();
    let statements = |manifests: &[oci::Descriptor]| attest::statements(&said, &parts, &names, manifests);
    let assembled = assemble(shown, &parts, several, statements, has_statements, &attributes).await?;
    let digest = assembled.target.digest.clone();
    if let Some(prefix) = &attributes.dangling_prefix
        && (!attributes.dangling_empty_only || attributes.names.is_empty())
    {
        let name = Reference::parse(prefix)
            .map_err(|error| SolveError::Invalid(format!("failed to parse {prefix}: {error}")))?;
        attributes.names.push(name.without_suffix().with_digest(digest.clone()));
    }
    if attributes.name_canonical {
        let tagged: Vec<Reference> =
            attributes.names.iter().filter(|name| name.digest().is_none()).cloned().collect();
        attributes
            .names
            .extend(tagged.into_iter().map(|name| name.without_suffix().with_digest(digest.clone())));
    }
    let assembled = Arc::new(assembled);
    if attributes.store {
        put(shown, &assembled, &attributes).await?;
    }
    if attributes.push {
        push(shown, &assembled, &attributes).await?;
    }
    let mut told = told(&assembled)?;
    if !attributes.names.is_empty() {
        told.insert(NAME.to_owned(), joined(&attributes.names));
    }
    Ok(told)
}

/// What an exporter of images is told, by its client and by the front end.
pub(super) fn read(
    job: &crate::solve::Job,
    outcome: &Outcome,
    exporter: &Exporter,
) -> Result<Attributes, SolveError> {
    let named = outcome.metadata.get(NAME).map(|name| String::from_utf8_lossy(name).into_owned());
    let mut attributes = Attributes::read(exporter, named.as_deref())?;
    attributes.annotations.add_all(&outcome.metadata)?;
    warn_of(job, &attributes);
    Ok(attributes)
}

/// What clients are told of an image.
pub(super) fn told(assembled: &Assembled) -> Result<BTreeMap<String, String>, SolveError> {
    use base64::Engine as _;
    let mut told = BTreeMap::from([(IMAGE_DIGEST.to_owned(), assembled.target.digest.to_string())]);
    if let [image] = &assembled.images[..]
        && oci::media_type::is_manifest(&assembled.target.media_type)
    {
        told.insert(CONFIG_DIGEST.to_owned(), image.config_digest.to_string());
    }
    let descriptor = serde_json::to_vec(&assembled.target).map_err(super::config::broken)?;
    told.insert(DESCRIPTOR.to_owned(), base64::prelude::BASE64_STANDARD.encode(descriptor));
    Ok(told)
}

/// Names in one line.
pub(super) fn joined(names: &[Reference]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// An image without a manifest.
async fn plain(
    shown: &Shown,
    part: &Part,
    names: &[Reference],
) -> Result<BTreeMap<String, String>, SolveError> {
    let job = shown.job();
    let chain = {
        let _part = shown.part("exporting layers");
        match &part.reference {
            Some(reference) => reference.chain().await?,
            None => Chain::default(),
        }
    };
    let (platform, written) = (part.platform.clone(), part.config.clone());
    let (base, epoch, cache) = (part.base_config.clone(), part.epoch, part.cache.clone());
    let (store, known_as) = (job.solver().inner.store.clone(), names.to_vec());
    let image = job
        .blocking(move || {
            let layers = chain.top().map(|top| store.layer_chain(top)).unwrap_or_default();
            let facts = facts(&store, layers.iter());
            let config = finish(written.as_deref(), base.as_deref(), &platform, &facts, epoch, now())?;
            let config = with_cache(config, cache.as_deref())?;
            store.image_create_of(config, chain.top(), &known_as).map_err(SolveError::from)
        })
        .await?;
    drop(shown.part(format!("writing image {}", image.id)));
    for name in names {
        drop(shown.part(format!("naming to {name}")));
    }
    let mut told = BTreeMap::from([
        (CONFIG_DIGEST.to_owned(), image.id.to_string()),
        (IMAGE_DIGEST.to_owned(), image.id.to_string()),
    ]);
    if !names.is_empty() {
        told.insert(NAME.to_owned(), joined(names));
    }
    Ok(told)
}

/// Puts an image into the store, with all its documents.
async fn put(shown: &Shown, assembled: &Arc<Assembled>, attributes: &Attributes) -> Result<(), SolveError> {
    let job = shown.job();
    let (store, cancel) = (job.solver().inner.store.clone(), job.inner.cancel.clone());
    let (made, names) = (Arc::clone(assembled), attributes.names.clone());
    let put = job.blocking(move || -> Result<(), SolveError> {
        let Some(image) = made.chosen() else { return Ok(()) };
        let top = image.chain(&store, &cancel)?;
        store.image_create_as(image.config.clone(), top.as_ref(), &names, Some(&made.made_as()))?;
        Ok(())
    });
    put.await?;
    for name in &attributes.names {
        drop(shown.part(format!("naming to {name}")));
    }
    Ok(())
}

/// Sends an image to the registries of its names.
async fn push(shown: &Shown, assembled: &Arc<Assembled>, attributes: &Attributes) -> Result<(), SolveError> {
    let job = shown.job();
    let engine = &job.solver().inner.engine;
    let documents: Vec<Vec<u8>> = assembled.documents.iter().map(|(_, bytes)| bytes.clone()).collect();
    let store = job.solver().inner.store.clone();
    let _held = job.blocking(move || store.documents_put(&documents)).await?;
    for name in attributes.names.iter().filter(|name| attributes.push_by_digest || name.digest().is_none()) {
        let _part = shown.part(format!("pushing {name}"));
        let auth = match &job.options().session {
            Some(session) => crate::solve::session::answered(session.credentials(name.domain())).await?,
            None => None,
        };
        let (job_, vertex) = (job.clone(), shown.digest().clone());
        let told = move |step: Step| {
            let Step::Layer { id, status, bytes } = step else { return };
            let is_done = bytes.is_none();
            let (current, total) = bytes.unwrap_or_default();
            Progress::new(&job_, &vertex, &format!("{} {id}", status.to_lowercase()))
                .tell(current, total, is_done);
        };
        let pushed =
            engine.image_push_document(name, attributes.push_by_digest, &assembled.target, auth, told).await;
        pushed.map_err(|error| {
            let problem = format!("failed to push {name}: {}", base::error::chain(&error));
            SolveError::Engine(Arc::new(engine::Error::new(error.kind(), problem)))
        })?;
    }
    Ok(())
}

/// What is said of layers in a configuration: when they were made is known of those that steps came to.
pub(super) fn facts<'a>(store: &Store, layers: impl Iterator<Item = &'a Layer>) -> Vec<LayerFact> {
    let mut made: HashMap<Digest, Timestamp> = HashMap::new();
    // Oldest first: who made a layer first made it. What caches say of layers counts after what was done here.
    let (said, done): (Vec<_>, Vec<_>) =
        store.result_list().into_iter().partition(|result| result.kind == IMPORTED);
    for result in done.into_iter().chain(said) {
        for top in result.outputs.into_iter().flatten() {
            made.entry(top).or_insert(result.created);
        }
    }
    let fact = |layer: &Layer| LayerFact {
        diff_id: layer.diff_id().clone(),
        created: made.get(layer.chain_id()).copied(),
    };
    layers.map(fact).collect()
}
