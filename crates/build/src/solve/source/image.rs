//! Images of registries, and those that are here.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use engine::image::{Progress as Step_, RegistryAuth};
use image::{Described, Image, NewResult};
use oci::{Digest, Platform, Reference};
use tokio::sync::OnceCell;

use super::elsewhere::Elsewhere;
use crate::solve::job::{Job, ResolveMode, ResolvedImage};
use crate::solve::remote::Promise;
use crate::solve::schedule::{Done, Progress, Step};
use crate::solve::value::{Chain, Value};
use crate::solve::{SolveError, now};

/// An image that others stand on. Its layers are brought here when they are needed.
pub(crate) struct BaseImage {
    /// As people name it, with its digest.
    name: String,
    chain_id: Option<Digest>,
    origin: Origin,
    /// The vertex that shows how its layers come.
    vertex: Digest,
    chain: OnceCell<Chain>,
}

enum Origin {
    Here,
    Registry {
        described: Described,
        auth: Option<RegistryAuth>,
    },
    Elsewhere(Elsewhere),
    /// It is no image but an output of what a cache elsewhere says that an operation came to.
    Promised(Arc<Promise>, usize),
}

enum Found {
    Here(Image, Digest),
    Registry(Described, Option<RegistryAuth>),
}

impl BaseImage {
    /// One whose layers are elsewhere.
    pub(crate) fn elsewhere(name: String, layers: Elsewhere, vertex: &Digest) -> Self {
        Self {
            name,
            chain_id: layers.chain_id(),
            origin: Origin::Elsewhere(layers),
            vertex: vertex.clone(),
            chain: OnceCell::new(),
        }
    }

    /// What a cache elsewhere says that an operation came to.
    pub(crate) fn promised(promise: &Arc<Promise>, output: usize, chain_id: Digest) -> Self {
        Self {
            name: promise.name().to_owned(),
            chain_id: Some(chain_id),
            origin: Origin::Promised(Arc::clone(promise), output),
            vertex: promise.vertex().clone(),
            chain: OnceCell::new(),
        }
    }

    /// Its layers, lowest first, where they are not here: as they are elsewhere, and what is in them.
    pub(crate) fn layers_elsewhere(&self) -> Option<Elsewhere> {
        match &self.origin {
            Origin::Elsewhere(layers) => Some(layers.clone()),
            Origin::Promised(promise, output) => promise.said.elsewhere(*output),
            Origin::Here | Origin::Registry { .. } => None,
        }
    }

    /// Whether nobody has its layers, and what it is called is all that is known of them.
    pub(crate) fn is_name_alone(&self) -> bool {
        matches!(&self.origin, Origin::Promised(promise, output) if promise.said.elsewhere(*output).is_none())
            && !self.is_brought()
    }

    /// What its topmost layer is called, whether it is here or not. What a cache promised and did not have is called
    /// otherwise once it has been made.
    pub(crate) fn chain_id(&self) -> Option<&Digest> {
        match self.chain.get() {
            Some(chain) => chain.chain_id(),
            None => self.chain_id.as_ref(),
        }
    }

    /// Whether its layers have been brought for it: what it is called is no mere promise any more.
    pub(crate) fn is_brought(&self) -> bool {
        self.chain.get().is_some()
    }

    /// Its layers, which are brought here if they are not.
    pub(crate) async fn chain(&self, job: &Job) -> Result<Chain, SolveError> {
        self.chain.get_or_try_init(|| self.fetch(job)).await.cloned()
    }

    async fn fetch(&self, job: &Job) -> Result<Chain, SolveError> {
        let Some(chain_id) = &self.chain_id else { return Ok(Chain::default()) };
        let inner = &job.inner.solver.inner;
        let layer = match (inner.store.layer_hold(chain_id), &self.origin) {
            (Some(layer), _) => layer,
            (None, Origin::Here) => {
                return Err(SolveError::NotFound(format!("{}: its layers are gone", self.name)));
            }
            (None, Origin::Registry { described, auth }) => {
                let (job_, vertex) = (job.clone(), self.vertex.clone());
                let told = move |step: Step_| tell(&job_, &vertex, step);
                let fetched = inner.engine.image_fetch_layers(described, auth.clone(), told).await?;
                fetched.ok_or_else(|| SolveError::NotFound(format!("{} has no layers", self.name)))?
            }
            (None, Origin::Elsewhere(layers)) => {
                let fetched = layers.bring(job, &self.vertex).await?;
                fetched.ok_or_else(|| SolveError::NotFound(format!("{} has no layers", self.name)))?
            }
            (None, Origin::Promised(promise, output)) => {
                let chain = promise.chain(job, *output, chain_id).await?;
                job.inner.noted.remember(job);
                return Ok(chain);
            }
        };
        if let Origin::Promised(..) = self.origin {
            job.inner.noted.remember(job);
            return Ok(Chain::new(Some(layer)));
        }
        let key = Digest::sha256_of(format!("image {chain_id}").as_bytes());
        if inner.store.result_use(&key, now()).is_none() {
            let size = inner.store.layer_chain(&layer).iter().map(image::Layer::size).sum();
            let new = NewResult {
                key,
                outputs: &[Some(&layer)],
                description: &format!("pulled from {}", self.name),
                kind: "regular",
                size,
                created: now(),
                parents: Vec::new(),
            };
            offload::in_place(|| inner.store.result_put(new));
        }
        Ok(Chain::new(Some(layer)))
    }
}

/// Tells of a layer that comes.
pub(super) fn tell(job: &Job, vertex: &Digest, step: Step_) {
    let Step_::Layer { id, status, bytes } = step else { return };
    let word = match status.as_str() {
        "Extracting" => "extracting",
        _ => "sha256:",
    };
    let id = if word == "extracting" { format!("extracting sha256:{id}") } else { format!("sha256:{id}") };
    let is_done = matches!(status.as_str(), "Pull complete" | "Already exists" | "Download complete");
    let (current, total) = bytes.unwrap_or_default();
    if bytes.is_some() || is_done {
        Progress::new(job, vertex, &id).tell(current, total, is_done);
    }
}

/// The source `docker-image://`.
pub(crate) async fn perform(
    step: &Step<'_>,
    name: &str,
    attributes: &BTreeMap<String, String>,
) -> Result<Done, SolveError> {
    let mode = attributes.get("image.resolvemode").map(String::as_str).unwrap_or_default();
    let mode = ResolveMode::parse(mode)?;
    if attributes.contains_key("image.layerlimit") {
        return Err(SolveError::Unsupported("a limit on an image's layers is not supported".to_owned()));
    }
    let reference = parse(name)?;
    let progress = step.status(&format!("resolve {reference}"));
    progress.tell(0, 0, false);
    let found = find(step.job, &reference, Some(&step.platform()), mode).await?;
    progress.tell(0, 0, true);
    let (digest, chain_id, origin) = match found {
        Found::Here(image, digest) => (digest, image.layers.last().cloned(), Origin::Here),
        Found::Registry(described, auth) => {
            let chain_id = described.config.chain_ids().last().cloned();
            (described.digest.clone(), chain_id, Origin::Registry { described, auth })
        }
    };
    // What was asked for by its digest was found by it.
    let is_it = |wanted: &String| {
        [Some(&digest), reference.digest()].into_iter().flatten().any(|is| is.to_string() == *wanted)
    };
    if let Some(wanted) = attributes.get("image.checksum").filter(|wanted| !is_it(wanted)) {
        let problem = format!("the image {reference} is {digest}, not {wanted}, which it has to be");
        return Err(SolveError::Invalid(problem));
    }
    step.job.pin(&step.vertex.digest, digest.algorithm().as_str(), digest.hex());
    let image = BaseImage {
        name: reference.with_digest(digest).to_string(),
        chain_id,
        origin,
        vertex: step.vertex.digest.clone(),
        chain: OnceCell::new(),
    };
    // What is here is held from now on.
    if matches!(image.origin, Origin::Here) {
        image.chain(step.job).await?;
    }
    let cached = image
        .chain_id
        .as_ref()
        .is_none_or(|chain_id| step.job.inner.solver.inner.store.layer_hold(chain_id).is_some());
    Ok(Done { outputs: vec![Value::Image(Arc::new(image))], cached })
}

/// Finds out what a name leads to.
pub(crate) async fn resolve(
    job: &Job,
    name: &str,
    platform: Option<&Platform>,
    mode: ResolveMode,
) -> Result<ResolvedImage, SolveError> {
    let reference = parse(name)?;
    let platform = platform.cloned().unwrap_or_else(|| job.platform());
    let found = find(job, &reference, Some(&platform), mode).await?;
    let name = reference.to_string();
    match found {
        Found::Here(image, digest) => {
            let store = job.inner.solver.inner.store.clone();
            let is_manifest = digest != image.id.0;
            let config = super::super::blocking(move || store.image_document(&image.id)).await?;
            Ok(ResolvedImage { name, is_manifest, digest, config })
        }
        Found::Registry(described, _) => {
            let (digest, config) = (described.digest, Bytes::clone(&described.document));
            Ok(ResolvedImage { name, is_manifest: true, digest, config })
        }
    }
}

async fn find(
    job: &Job,
    reference: &Reference,
    platform: Option<&Platform>,
    mode: ResolveMode,
) -> Result<Found, SolveError> {
    let inner = &job.inner.solver.inner;
    let platform = platform.cloned().unwrap_or_else(|| job.platform());
    if mode != ResolveMode::Pull
        && let Some(image) = here(&inner.store, reference)
        && inner.store.image_fits(&image, &platform)
    {
        let digest = match reference.digest() {
            Some(digest) => digest.clone(),
            None => known_as(&image, reference),
        };
        return Ok(Found::Here(image, digest));
    }
    let auth = match &job.inner.options.session {
        Some(session) => crate::solve::session::answered(session.credentials(reference.domain())).await?,
        None => None,
    };
    // With a digest the tag says nothing.
    let known_by = |reference: &Reference| {
        let name = match reference.digest() {
            Some(digest) => format!("{}@{digest}", reference.name()),
            None => reference.to_string(),
        };
        (name, platform.to_string())
    };
    let known = job.inner.described.lock().get(&known_by(reference)).cloned();
    if let Some(known) = known {
        return Ok(Found::Registry(known, auth));
    }
    let described =
        inner.engine.image_describe(&reference.to_string(), Some(&platform), auth.clone()).await?;
    // Front ends ask by name, and then want what they were told.
    let pinned = reference.with_digest(described.digest.clone());
    let mut all = job.inner.described.lock();
    all.insert(known_by(&pinned), described.clone());
    all.insert(known_by(reference), described.clone());
    drop(all);
    Ok(Found::Registry(described, auth))
}

/// The image that is here under a name; also under the digest that [`known_as`] gave of it.
fn here(store: &image::Store, reference: &Reference) -> Option<Image> {
    if let Ok(image) = store.image_get(&reference.to_string()) {
        return Some(image);
    }
    let digest = reference.digest()?;
    let image = store.image_get(&digest.to_string()).ok()?;
    let is_of = |tag: &Reference| tag.domain() == reference.domain() && tag.path() == reference.path();
    (image.id.0 == *digest && image.tags.iter().any(is_of)).then_some(image)
}

/// The digest that an image is known by in the repository of a name; its own where no registry has it.
fn known_as(image: &Image, reference: &Reference) -> Digest {
    let same = |name: &&Reference| name.domain() == reference.domain() && name.path() == reference.path();
    let digest = image.digests.iter().find(same).and_then(Reference::digest);
    digest.cloned().unwrap_or_else(|| image.id.0.clone())
}

fn parse(name: &str) -> Result<Reference, SolveError> {
    let parsed = Reference::parse(name).map_err(|error| {
        SolveError::Invalid(format!("failed to parse docker reference {name:?}: {error}"))
    })?;
    Ok(if parsed.digest().is_some() { parsed } else { parsed.with_default_tag() })
}
