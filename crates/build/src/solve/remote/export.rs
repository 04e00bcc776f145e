//! Writing caches: to registries, into directories of clients, and into the configurations of images.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use image::{Destination, Layer, MediaTypes, Packed, Packing, StepResult};
use oci::cache::{CACHE_CONFIG, CacheBuilder, CacheManifest, InlineBuilder, Operation, UNCOMPRESSED};
use oci::{Descriptor, Digest, Reference};

use super::import::reference;
use super::{IMPORTED, NotedOperation, RemoteCache};
use crate::solve::reference::{Outcome, Ref};
use crate::solve::session::{Session, SessionError, answered};
use crate::solve::shown::Shown;
use crate::solve::source::elsewhere::Place;
use crate::solve::value::{self, Value};
use crate::solve::{Job, SolveError, blocking};

/// Under which an exporter finds the records that go into an image's configuration.
pub(crate) const INLINE_CACHE: &str = "containerimage.inlinecache";
/// What clients read of the answer: the descriptor of the cache's manifest.
const MANIFEST: &str = "cache.manifest";
/// The sort of what is exported of what a cache said.
const REGULAR: &str = "regular";
/// Layers that are packed, and sent, at a time.
const AT_ONCE: usize = 4;

/// How a cache is written.
#[derive(Debug)]
struct Asked {
    to: To,
    /// What all operations came to, and not just those that the result is made of.
    all: bool,
    as_manifest: bool,
    oci_types: bool,
    packing: Packing,
    may_fail: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum To {
    Registry(Reference),
    /// A store of the client's.
    Store(String),
}

/// Where a cache goes.
enum Target {
    Registry(Destination, Reference),
    Store(Arc<dyn Session>, String),
}

/// A layer of something that is exported, with what it lies on.
#[derive(Clone)]
enum Part {
    Here(Arc<Layer>),
    /// It was not brought here: as it is elsewhere, what is in it, and where.
    Elsewhere(Descriptor, Digest, Place),
}

/// What a form is found by: what is in it, and for a layer that is not here what it is there. That the one is in the
/// other is said by the cache that has it, and by nobody who looked.
type FormOf = (Digest, Option<Digest>);

/// An operation that is exported.
struct Chosen {
    key: Digest,
    noted: NotedOperation,
    /// What is said of it, with its layers; nothing where it is known by what its outputs are called.
    whole: Option<(Vec<Vec<Part>>, Operation)>,
    names: Vec<Option<Digest>>,
}

impl Asked {
    fn read(cache: &RemoteCache) -> Result<Self, SolveError> {
        let of = |key: &str| cache.attributes.get(key).map(String::as_str).filter(|text| !text.is_empty());
        let is_on = |key: &str| cache.is_on(key);
        let to = match cache.kind.as_str() {
            "registry" => {
                let name = of("ref").ok_or_else(|| SolveError::Invalid("missing ref".to_owned()))?;
                let reference = reference(name)?;
                if reference.digest().is_some() {
                    return Err(SolveError::Invalid(format!(
                        "{name}: a cache is not written under a digest"
                    )));
                }
                To::Registry(reference)
            }
            "local" => {
                let missing = || SolveError::Invalid("local cache exporter requires dest".to_owned());
                To::Store(format!("local:{}", of("dest").ok_or_else(missing)?))
            }
            kind => {
                return Err(SolveError::Unsupported(format!(
                    "cache exporter {kind:?} is not supported: caches are written to registries (registry), directories (local) and images (inline)"
                )));
            }
        };
        cache.refuse_insecure()?;
        let all = match of("mode") {
            None | Some("min") => false,
            Some("max") => true,
            Some(other) => return Err(SolveError::Invalid(format!("unknown mode of a cache: {other:?}"))),
        };
        let oci_types = is_on("oci-mediatypes")?.unwrap_or(true);
        let as_manifest = is_on("image-manifest")?.unwrap_or(oci_types);
        if as_manifest && !oci_types {
            return Err(SolveError::Invalid(
                "invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format"
                    .to_owned(),
            ));
        }
        let compression = of("compression").map(str::parse).transpose();
        let level = of("compression-level").map(str::parse::<i32>).transpose();
        let packing = Packing {
            compression: compression.map_err(unsupported)?.unwrap_or_default(),
            level: level.map_err(|error| {
                SolveError::Invalid(format!("failed to parse compression-level: {error}"))
            })?,
            force: is_on("force-compression")?.unwrap_or_default(),
            types: if oci_types { MediaTypes::Oci } else { MediaTypes::Docker },
            ..Packing::default()
        };
        let may_fail = is_on("ignore-error")?.unwrap_or_default();
        Ok(Self { to, all, as_manifest, oci_types, packing, may_fail })
    }
}

/// What is said of a cache that is written and means nothing here, by key.
pub(super) fn without_effect(cache: &RemoteCache) -> Vec<String> {
    match cache.is_inline() {
        // The client has its index under the tag itself.
        false => cache.beside(&[
            "ref",
            "dest",
            "tag",
            "mode",
            "oci-mediatypes",
            "image-manifest",
            "compression",
            "compression-level",
            "force-compression",
            "ignore-error",
            "registry.insecure",
        ]),
        true => cache.beside(&["mode", "ignore-error"]),
    }
}

fn unsupported(error: image::ParseCompressionError) -> SolveError {
    SolveError::Unsupported(error.to_string())
}

impl RemoteCache {
    /// Refuses what is not written here.
    pub fn check_export(&self) -> Result<(), SolveError> {
        if self.is_inline() { Ok(()) } else { Asked::read(self).map(drop) }
    }

    /// Whether it goes into the image.
    pub fn is_inline(&self) -> bool {
        self.kind == "inline"
    }
}

impl Job {
    /// Puts what the results of an outcome were made of beside their configurations, for who exports images.
    pub async fn cache_inline(&self, outcome: &mut Outcome) -> Result<(), SolveError> {
        let results = outcome.single.iter().map(|result| (INLINE_CACHE.to_owned(), result.clone()));
        let several =
            outcome.refs.iter().map(|(id, result)| (format!("{INLINE_CACHE}/{id}"), result.clone()));
        let results: Vec<(String, Ref)> = results.chain(several).collect();
        for (key, result) in results {
            if let Some(records) = self.until_cancelled(inline(self, &result)).await? {
                outcome.metadata.insert(key, records);
            }
        }
        Ok(())
    }

    /// Writes what the build came to into a cache; gives what clients are told of it.
    pub async fn export_cache(
        &self,
        outcome: &Outcome,
        cache: &RemoteCache,
    ) -> Result<BTreeMap<String, String>, SolveError> {
        let asked = Asked::read(cache)?;
        self.warn_of_cache_export(cache);
        let name = match asked.to {
            To::Registry(_) => "exporting cache to registry",
            To::Store(_) => "exporting cache to client directory",
        };
        let id = format!("{name} {:016x}", base::Random::next_u64(&base::SystemRandom));
        let mut shown = Shown::begin(self, &id, name);
        let done = self.until_cancelled(export(&shown, outcome, &asked)).await;
        shown.end(&done);
        match done {
            Err(SolveError::Cancelled) => Err(SolveError::Cancelled),
            // That it failed is shown.
            Err(error) if asked.may_fail => {
                tracing::info!(%error, "a cache is not exported");
                Ok(BTreeMap::new())
            }
            done => done,
        }
    }
}

/// The records of a result's own layers.
async fn inline(job: &Job, result: &Ref) -> Result<Option<Vec<u8>>, SolveError> {
    let parts = parts(job, &result.value().await?).await?;
    let layers: Vec<Digest> = parts.iter().map(Part::diff_id).cloned().collect();
    let mut builder = InlineBuilder::new(&layers);
    for Chosen { key, whole, names, .. } in operations(job, |_, _| true).await? {
        let output = |output: &Vec<Part>| output.iter().map(Part::diff_id).cloned().collect();
        let is_there = whole.is_some_and(|(outputs, said)| {
            let outputs: Vec<Vec<Digest>> = outputs.iter().map(output).collect();
            builder.add(key.clone(), &outputs, said)
        });
        if !is_there {
            builder.add_known(key, Operation::named(names));
        }
    }
    for (key, content) in job.inner.noted.selections.lock().iter() {
        builder.add_known(key.clone(), Operation::selection(content.clone()));
    }
    Ok(builder.finish())
}

async fn export(
    shown: &Shown,
    outcome: &Outcome,
    asked: &Asked,
) -> Result<BTreeMap<String, String>, SolveError> {
    let job = shown.job();
    let target = Target::open(job, &asked.to).await?;
    let mut chosen = {
        let _part = shown.part("preparing build cache for export");
        chosen(job, outcome, asked.all).await?
    };
    let forms = forms(shown, &mut chosen, &target, asked).await?;
    let mut builder = CacheBuilder::default();
    for Chosen { key, whole, names, .. } in chosen {
        let form = |part: &Part| form_of(&forms, part).map(|form| form.descriptor().clone());
        let output = |output: &Vec<Part>| output.iter().filter_map(form).collect();
        match whole {
            Some((outputs, said)) => {
                let outputs: Vec<Vec<Descriptor>> = outputs.iter().map(output).collect();
                builder.add(key, &outputs, said);
            }
            None => builder.add_known(key, Operation::named(names)),
        }
    }
    if builder.is_empty() {
        drop(shown.part("skipping cache export for empty result"));
        return Ok(BTreeMap::new());
    }
    for (key, content) in job.inner.noted.selections.lock().iter() {
        builder.add_known(key.clone(), Operation::selection(content.clone()));
    }
    futures::stream::iter(forms.into_values().map(Ok))
        .try_for_each_concurrent(AT_ONCE, |form| form.send(shown, &target))
        .await?;
    let (config, layers) = builder.finish();
    let config = config.to_bytes();
    let described = Descriptor::of(CACHE_CONFIG, &config);
    {
        let _part = shown.part(format!("writing config {}", described.digest));
        target.put_bytes(&described.digest, config.into()).await?;
    }
    let manifest = CacheManifest { config: Some(described), others: layers };
    let (of, bytes) = manifest.print(asked.as_manifest, asked.oci_types);
    let described = Descriptor::of(of, &bytes);
    let word = if asked.as_manifest { "cache image manifest" } else { "cache manifest" };
    let _part = shown.part(format!("writing {word} {}", described.digest));
    match &target {
        Target::Registry(destination, reference) => {
            destination.put_document(reference.tag(), of, bytes).await?;
        }
        Target::Store(..) => target.put_bytes(&described.digest, bytes.into()).await?,
    }
    let text = serde_json::to_string(&described).map_err(|error| SolveError::Failed(error.to_string()))?;
    Ok(BTreeMap::from([(MANIFEST.to_owned(), text)]))
}

/// The operations that a cache has: all, or those that the results are made of.
async fn chosen(job: &Job, outcome: &Outcome, all: bool) -> Result<Vec<Chosen>, SolveError> {
    let mut own: BTreeSet<Digest> = BTreeSet::new();
    for result in outcome.single.iter().chain(outcome.refs.values()) {
        let parts = parts(job, &result.value().await?).await?;
        own.extend(Digest::chains(parts.iter().map(Part::diff_id)));
    }
    operations(job, |noted, tops| match noted.exported {
        Some(exported) => exported,
        None => all || tops.iter().all(|top| own.contains(top)),
    })
    .await
}

/// What operations of a job came to: those that are wanted, by what they are noted as and their topmost layers, with
/// their layers; the others by name. So what stands on one is found again where that is not.
async fn operations(
    job: &Job,
    is_wanted: impl Fn(&NotedOperation, &[Digest]) -> bool,
) -> Result<Vec<Chosen>, SolveError> {
    let noted = job.inner.noted.operations.lock().clone();
    let store = job.inner.solver.inner.store.clone();
    let known: HashMap<Digest, StepResult> =
        blocking(move || store.result_list().into_iter().map(|it| (it.key.clone(), it)).collect()).await;
    let mut chosen = Vec::new();
    for (key, noted) in noted {
        let Some(names) = noted.outputs.iter().map(Value::chain_id).collect::<Option<Vec<_>>>() else {
            continue;
        };
        let tops: Vec<Digest> = names.iter().flatten().cloned().collect();
        let has_layers = !noted.outputs.iter().any(|output| is_name_alone(job, output));
        if !has_layers || !is_wanted(&noted, &tops) {
            chosen.push(Chosen { key, noted, whole: None, names });
            continue;
        }
        let mut outputs = Vec::new();
        for output in &noted.outputs {
            outputs.push(parts(job, output).await?);
        }
        let said = match (known.get(&noted.row), &noted.found) {
            (Some(known), _) => Operation {
                description: known.description.clone(),
                kind: match known.kind.as_str() {
                    IMPORTED => REGULAR.to_owned(),
                    kind => kind.to_owned(),
                },
                size: known.size,
                created: known.created.to_string(),
                ..Operation::default()
            },
            (None, Some(found)) => Operation {
                description: found.said.description().to_owned(),
                kind: REGULAR.to_owned(),
                size: found.said.size(),
                created: found.said.created().to_string(),
                ..Operation::default()
            },
            // Somebody has pruned it meanwhile.
            (None, None) => continue,
        };
        chosen.push(Chosen { key, noted, whole: Some((outputs, said)), names });
    }
    Ok(chosen)
}

/// Whether no layers of a value are to be had without doing what it is the result of.
fn is_name_alone(job: &Job, value: &Value) -> bool {
    let is_here = |chain_id| job.inner.solver.inner.store.layer_hold(chain_id).is_some();
    match value {
        Value::Image(image) => image.is_name_alone() && !image.chain_id().is_none_or(is_here),
        Value::Chain(_) | Value::Local(_) | Value::Files(_) => false,
    }
}

/// The layers that a value is made of, lowest first; nothing is brought here that is to be had elsewhere.
async fn parts(job: &Job, value: &Value) -> Result<Vec<Part>, SolveError> {
    let store = job.inner.solver.inner.store.clone();
    let chain = match value {
        Value::Chain(chain) => chain.clone(),
        Value::Image(image) => match image.layers_elsewhere() {
            Some(layers) if image.chain_id().is_none_or(|chain_id| store.layer_hold(chain_id).is_none()) => {
                let part = |(form, diff_id): &(Descriptor, Digest)| {
                    Part::Elsewhere(form.clone(), diff_id.clone(), layers.place.clone())
                };
                return Ok(layers.layers.iter().map(part).collect());
            }
            _ => image.chain(job).await?,
        },
        // A client's files are no layers before somebody wants them to be, and no operation of a cache's.
        Value::Local(_) | Value::Files(_) => return Ok(Vec::new()),
    };
    let layers = blocking(move || chain.top().map(|top| store.layer_chain(top)).unwrap_or_default()).await;
    Ok(layers.into_iter().map(|layer| Part::Here(Arc::new(layer))).collect())
}

impl Part {
    /// What is in it.
    fn diff_id(&self) -> &Digest {
        match self {
            Self::Here(layer) => layer.diff_id(),
            Self::Elsewhere(_, diff_id, _) => diff_id,
        }
    }
}

/// A layer in the form in which a cache has it.
enum Form {
    /// It is to be sent, unless it is there.
    Packed(Packed, Descriptor),
    /// It is there.
    There(Descriptor),
}

impl Form {
    fn descriptor(&self) -> &Descriptor {
        match self {
            Self::Packed(_, descriptor) | Self::There(descriptor) => descriptor,
        }
    }

    async fn send(self, shown: &Shown, target: &Target) -> Result<(), SolveError> {
        let Self::Packed(packed, descriptor) = self else { return Ok(()) };
        let _part = shown.part(format!("writing layer {}", descriptor.digest));
        if target.has(&descriptor.digest).await? {
            return Ok(());
        }
        target.put_packed(shown.job(), packed, &descriptor).await
    }
}

/// The form of a layer: of what is here, if it is.
fn form_of<'a>(forms: &'a BTreeMap<FormOf, Form>, part: &Part) -> Option<&'a Form> {
    let here = forms.get(&(part.diff_id().clone(), None));
    match part {
        Part::Here(_) => here,
        Part::Elsewhere(form, diff_id, _) => {
            here.or_else(|| forms.get(&(diff_id.clone(), Some(form.digest.clone()))))
        }
    }
}

/// The layers that are here.
fn here(chosen: &[Chosen]) -> BTreeMap<Digest, Arc<Layer>> {
    let parts =
        chosen.iter().filter_map(|it| it.whole.as_ref()).flat_map(|(outputs, _)| outputs.iter().flatten());
    let here = parts.filter_map(|part| match part {
        Part::Here(layer) => Some((layer.diff_id().clone(), Arc::clone(layer))),
        Part::Elsewhere(..) => None,
    });
    here.collect()
}

/// The forms of all layers. Those that are elsewhere are brought here only where the target does not have them.
async fn forms(
    shown: &Shown,
    chosen: &mut [Chosen],
    target: &Target,
    asked: &Asked,
) -> Result<BTreeMap<FormOf, Form>, SolveError> {
    let job = shown.job();
    let mut forms: BTreeMap<FormOf, Form> = BTreeMap::new();
    let held = here(chosen);
    for Chosen { whole, noted, .. } in &mut *chosen {
        let outputs = whole.iter_mut().flat_map(|(outputs, _)| outputs);
        for (output, value) in outputs.zip(&noted.outputs) {
            let mut is_there = true;
            for part in output.iter() {
                let Part::Elsewhere(form, diff_id, place) = part else { continue };
                let of = (diff_id.clone(), Some(form.digest.clone()));
                if held.contains_key(diff_id) || forms.contains_key(&of) {
                    continue;
                }
                if !asked.packing.force && target.has_or_takes(&form.digest, place).await? {
                    forms.insert(of, Form::There(annotated(form.clone(), diff_id)));
                } else {
                    is_there = false;
                    break;
                }
            }
            if !is_there {
                let chain = value::chain(job, value).await?;
                *output = parts(job, &Value::Chain(chain)).await?;
            }
        }
    }
    let packing = asked.packing;
    let pack = |(diff_id, layer): (Digest, Arc<Layer>)| async move {
        let (store, cancel) = (job.inner.solver.inner.store.clone(), job.inner.cancel.clone());
        let packed = job.blocking(move || store.layer_blob(&layer, &packing, &cancel)).await?;
        let descriptor = annotated(packed.descriptor().clone(), &diff_id);
        Ok::<_, SolveError>(((diff_id, None), Form::Packed(packed, descriptor)))
    };
    let packed: Vec<(FormOf, Form)> =
        futures::stream::iter(here(chosen)).map(pack).buffer_unordered(AT_ONCE).try_collect().await?;
    forms.extend(packed);
    Ok(forms)
}

fn annotated(mut form: Descriptor, diff_id: &Digest) -> Descriptor {
    form.annotations.insert(UNCOMPRESSED.to_owned(), diff_id.to_string());
    form
}

impl Target {
    async fn open(job: &Job, to: &To) -> Result<Self, SolveError> {
        match to {
            To::Registry(reference) => {
                let auth = match &job.inner.options.session {
                    Some(session) => answered(session.credentials(reference.domain())).await?,
                    None => None,
                };
                let engine = &job.inner.solver.inner.engine;
                Ok(Self::Registry(engine.registry_destination(reference, auth)?, reference.clone()))
            }
            To::Store(name) => {
                let session = Arc::clone(job.session()?);
                // One that is not there is told of before anything is packed.
                answered(session.content_size(name, &Digest::sha256_of(b""))).await?;
                Ok(Self::Store(session, name.clone()))
            }
        }
    }

    async fn has(&self, digest: &Digest) -> Result<bool, SolveError> {
        match self {
            Self::Registry(destination, _) => Ok(destination.has(digest).await?),
            Self::Store(session, name) => Ok(answered(session.content_size(name, digest)).await?.is_some()),
        }
    }

    /// Whether content is there, or can be taken from where else it is.
    async fn has_or_takes(&self, digest: &Digest, place: &Place) -> Result<bool, SolveError> {
        if self.has(digest).await? {
            return Ok(true);
        }
        match (self, place) {
            (Self::Registry(destination, _), Place::Registry { reference, .. }) => {
                Ok(destination.take_from(digest, reference).await?)
            }
            _ => Ok(false),
        }
    }

    async fn put_packed(&self, job: &Job, packed: Packed, descriptor: &Descriptor) -> Result<(), SolveError> {
        match self {
            Self::Registry(destination, _) => {
                Ok(destination.put(&descriptor.digest, move |out| packed.write_to(out)).await?)
            }
            Self::Store(session, name) => put_packed(job, session, name, packed, descriptor).await,
        }
    }

    async fn put_bytes(&self, digest: &Digest, bytes: Bytes) -> Result<(), SolveError> {
        if self.has(digest).await? {
            return Ok(());
        }
        match self {
            Self::Registry(destination, _) => {
                Ok(destination.put(digest, move |out| out.write_all(&bytes)).await?)
            }
            Self::Store(session, name) => {
                let size = bytes.len() as u64;
                let content = futures::stream::iter([Ok(bytes)]).boxed();
                Ok(session.content_write(name, digest, size, content).await?)
            }
        }
    }
}

/// Sends a layer into a store of the client's.
async fn put_packed(
    job: &Job,
    session: &Arc<dyn Session>,
    store: &str,
    packed: Packed,
    descriptor: &Descriptor,
) -> Result<(), SolveError> {
    let engine = &job.inner.solver.inner.engine;
    let pieces = engine.archive_stream("build", move |out| packed.write_to(out)).await?;
    let content = pieces.map(|piece| piece.map_err(|error| SessionError::Failed(error.to_string())));
    Ok(session.content_write(store, &descriptor.digest, descriptor.size, content.boxed()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, attributes: &[(&str, &str)]) -> Result<Asked, String> {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let cache = RemoteCache { kind: kind.to_owned(), attributes: attributes.collect() };
        Asked::read(&cache).map_err(|error| error.to_string())
    }

    #[test]
    fn what_clients_say_of_a_cache_is_read() {
        let asked = read("registry", &[("ref", "example.org/c"), ("mode", "max")]).expect("a registry's");
        let expected = Reference::parse("example.org/c:latest").expect("a name");
        assert_eq!(asked.to, To::Registry(expected));
        assert!(asked.all && asked.as_manifest && asked.oci_types && !asked.may_fail);
        let attributes = [
            ("dest", "/c"),
            ("oci-mediatypes", "false"),
            ("compression", "zstd"),
            ("compression-level", "3"),
            ("force-compression", "true"),
            ("ignore-error", "true"),
            ("tag", "t"),
        ];
        let asked = read("local", &attributes).expect("a directory's");
        assert_eq!(asked.to, To::Store("local:/c".to_owned()));
        assert!(!asked.all && !asked.as_manifest && asked.may_fail && asked.packing.force);
        assert_eq!((asked.packing.compression, asked.packing.level), (image::Compression::Zstd, Some(3)));
    }

    #[test]
    fn what_is_not_done_is_refused_in_words() {
        for (kind, attributes, expected) in [
            ("registry", &[][..], "missing ref"),
            ("local", &[][..], "local cache exporter requires dest"),
            ("local", &[("dest", "/c"), ("mode", "some")][..], "unknown mode of a cache: \"some\""),
            (
                "local",
                &[("dest", "/c"), ("image-manifest", "x")][..],
                "failed to parse image-manifest: \"x\"",
            ),
            (
                "local",
                &[("dest", "/c"), ("compression", "estargz")][..],
                "unsupported layer compression type estargz",
            ),
            (
                "local",
                &[("dest", "/c"), ("image-manifest", "true"), ("oci-mediatypes", "false")][..],
                "invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format",
            ),
            (
                "registry",
                &[("ref", "example.org/c"), ("registry.insecure", "true")][..],
                "registry.insecure of a cache is not supported: the daemon is told of such registries",
            ),
            (
                "gha",
                &[][..],
                "cache exporter \"gha\" is not supported: caches are written to registries (registry), directories (local) and images (inline)",
            ),
        ] {
            assert_eq!(read(kind, attributes).err().as_deref(), Some(expected));
        }
    }
}
