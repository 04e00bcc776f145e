//! Reading caches, each once in a build, when the first operation is looked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use oci::cache::{CacheConfig, CacheManifest, INLINE, Operation, UNCOMPRESSED};
use oci::{Descriptor, Digest, Document, ImageConfig, Reference};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::{CachedOperation, RemoteCache};
use crate::solve::session::answered;
use crate::solve::shown::Shown;
use crate::solve::source::elsewhere::{Elsewhere, Place};
use crate::solve::{Job, SolveError, now};

/// Caches that one build looks into.
const IMPORTS_MAX: usize = 64;
/// Manifests and indexes that are read for the records of images.
const DOCUMENTS_MAX: usize = 64;

/// The caches that a job looks into.
#[derive(Default)]
pub(crate) struct Imports {
    all: Mutex<Vec<Arc<Import>>>,
}

struct Import {
    cache: RemoteCache,
    known: OnceCell<Known>,
}

/// What a cache has.
#[derive(Default)]
struct Known {
    operations: HashMap<Digest, Arc<CachedOperation>>,
    selections: HashMap<Digest, Digest>,
}

impl Imports {
    /// One more, unless it is among them.
    pub(crate) fn add(&self, cache: RemoteCache) -> Result<(), SolveError> {
        check(&cache)?;
        let mut all = self.all.lock();
        if all.iter().any(|import| import.cache == cache) {
            return Ok(());
        }
        if all.len() >= IMPORTS_MAX {
            return Err(SolveError::Invalid(format!("a build looks into {IMPORTS_MAX} caches and no more")));
        }
        all.push(Arc::new(Import { cache, known: OnceCell::new() }));
        Ok(())
    }

    /// What an operation came to, in the first cache that has it.
    pub(crate) async fn find(&self, job: &Job, key: &Digest) -> Option<Arc<CachedOperation>> {
        self.look(job, |known| known.operations.get(key).cloned()).await
    }

    /// The digest of what is selected of a result, in the first cache that has it.
    pub(crate) async fn selection(&self, job: &Job, remembered: &Digest) -> Option<Digest> {
        self.look(job, |known| known.selections.get(remembered).cloned()).await
    }

    async fn look<T>(&self, job: &Job, find: impl Fn(&Known) -> Option<T>) -> Option<T> {
        let all = self.all.lock().clone();
        for import in all {
            let known = import.known.get_or_init(|| load(job, &import.cache)).await;
            if let Some(found) = find(known) {
                return Some(found);
            }
        }
        None
    }
}

/// Refuses what is no cache that is read here.
fn check(cache: &RemoteCache) -> Result<(), SolveError> {
    let has = |key: &str| cache.attributes.get(key).is_some_and(|value| !value.is_empty());
    cache.refuse_insecure()?;
    match cache.kind.as_str() {
        "registry" => match cache.attributes.get("ref") {
            Some(name) => reference(name).map(drop),
            None => Err(SolveError::Invalid("registry cache importer requires ref".to_owned())),
        },
        "local" if !has("digest") => {
            Err(SolveError::Invalid("local cache importer requires explicit digest".to_owned()))
        }
        "local" if !has("src") => Err(SolveError::Invalid("local cache importer requires src".to_owned())),
        "local" => Ok(()),
        kind => Err(SolveError::Unsupported(format!(
            "cache importer {kind:?} is not supported: caches are read from registries and directories"
        ))),
    }
}

/// A name of a cache in a registry.
pub(super) fn reference(name: &str) -> Result<Reference, SolveError> {
    let parsed = Reference::parse(name)
        .map_err(|error| SolveError::Invalid(format!("failed to parse the cache's ref {name:?}: {error}")))?;
    Ok(if parsed.digest().is_some() { parsed } else { parsed.with_default_tag() })
}

/// Reads a cache. One that cannot be read is as good as none: the build says so, and does what there is to do.
async fn load(job: &Job, cache: &RemoteCache) -> Known {
    let of = |key: &str| cache.attributes.get(key).map(String::as_str).unwrap_or_default();
    let what = match cache.kind.as_str() {
        "registry" => of("ref").to_owned(),
        kind => format!("{kind}:{}", of("digest")),
    };
    let name = format!("importing cache manifest from {what}");
    let mut shown =
        Shown::begin(job, &format!("{name} {:016x}", base::Random::next_u64(&base::SystemRandom)), &name);
    let read = job.until_cancelled(read(job, cache, &shown)).await;
    shown.end(&read);
    read.unwrap_or_else(|error| {
        tracing::info!(cache = what, %error, "a build does without a cache");
        Known::default()
    })
}

async fn read(job: &Job, cache: &RemoteCache, shown: &Shown) -> Result<Known, SolveError> {
    let of = |key: &str| cache.attributes.get(key).map(String::as_str).unwrap_or_default();
    let (place, bytes) = match cache.kind.as_str() {
        "registry" => {
            let reference = reference(of("ref"))?;
            if let Some(known) = here(job, &reference).await? {
                let _part = shown.part(format!("found {reference} here"));
                return Ok(known);
            }
            let auth = match &job.inner.options.session {
                Some(session) => answered(session.credentials(reference.domain())).await?,
                None => None,
            };
            let engine = &job.inner.solver.inner.engine;
            let (_, bytes) = engine.registry_document(&reference, auth.clone()).await?;
            (Place::Registry { reference, auth }, bytes)
        }
        _ => {
            let digest = Digest::parse(of("digest"))
                .map_err(|error| SolveError::Invalid(format!("the digest of a cache: {error}")))?;
            let session = Arc::clone(job.session()?);
            let place = Place::Store { session, name: format!("local:{}", of("src")) };
            let bytes = place.document(job, &digest).await?;
            (place, bytes)
        }
    };
    let manifest = CacheManifest::read(&bytes).map_err(malformed)?;
    match &manifest.config {
        Some(config) => {
            let _part = shown.part("inferred cache manifest type: cache");
            let records = CacheConfig::read(&place.blob(job, &config.digest).await?).map_err(malformed)?;
            let forms: HashMap<Digest, Descriptor> =
                manifest.others.into_iter().map(|layer| (layer.digest.clone(), layer)).collect();
            let mut known = Known::default();
            known.add(&records, &place, |blob| {
                let form = forms.get(blob)?;
                let diff_id = Digest::parse(form.annotations.get(UNCOMPRESSED)?).ok()?;
                Some((form.clone(), diff_id))
            });
            Ok(known)
        }
        None => inline(job, &place, bytes).await,
    }
}

/// What an image that is here says of its own layers, if there is one of this name and it says anything.
async fn here(job: &Job, reference: &Reference) -> Result<Option<Known>, SolveError> {
    let (store, name) = (job.inner.solver.inner.store.clone(), reference.to_string());
    let document = job.blocking(move || {
        let image = store.image_get(&name).ok()?;
        store.image_document(&image.id).ok()
    });
    let Some(document) = document.await else { return Ok(None) };
    let Some(records) = records_in(&document)? else { return Ok(None) };
    let config = ImageConfig::take(&document)
        .map_err(|error| SolveError::Invalid(base::error::chain(&error).to_string()))?;
    // Layers that are here need no form: they are known by what is in them.
    let diff_ids = config.rootfs.diff_ids;
    let records = CacheConfig::read_inline(&records, &diff_ids).map_err(malformed)?;
    let place = Place::Registry { reference: reference.clone(), auth: None };
    let mut known = Known::default();
    known.add(&records, &place, |diff_id| Some((Descriptor::new("", diff_id.clone(), 0), diff_id.clone())));
    // Those of another image with the same layers in another order are not here.
    let store = &job.inner.solver.inner.store;
    let is_here =
        |layers: &Elsewhere| layers.chain_id().is_none_or(|chain_id| store.layer_hold(&chain_id).is_some());
    known.operations.retain(|_, operation| operation.outputs.iter().all(is_here));
    Ok(Some(known))
}

fn malformed(error: oci::cache::ReadCacheError) -> SolveError {
    SolveError::Invalid(base::error::chain(&error).to_string())
}

/// What the images that a document leads to say of their own layers.
async fn inline(job: &Job, place: &Place, bytes: Bytes) -> Result<Known, SolveError> {
    let invalid = |error: oci::manifest::ParseDocumentError| {
        SolveError::Invalid(base::error::chain(&error).to_string())
    };
    let mut known = Known::default();
    let (mut pending, mut room) = (vec![bytes], DOCUMENTS_MAX);
    while let Some(bytes) = pending.pop() {
        let manifest = match Document::parse(&bytes, None).map_err(invalid)? {
            Document::Index(index) => {
                // What is about others has no layers of a root file system.
                let images = index.manifests.iter().filter(|entry| entry.about().is_none());
                let images: Vec<_> = images.take(room).collect();
                room -= images.len();
                for entry in images {
                    pending.push(place.document(job, &entry.digest).await?);
                }
                continue;
            }
            Document::Manifest(manifest) => manifest,
        };
        let document = place.blob(job, &manifest.config.digest).await?;
        let Some(records) = records_in(&document)? else { continue };
        let config = ImageConfig::take(&document)
            .map_err(|error| SolveError::Invalid(base::error::chain(&error).to_string()))?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            continue;
        }
        let blobs: Vec<Digest> = manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
        let records = CacheConfig::read_inline(&records, &blobs).map_err(malformed)?;
        let pairs = manifest.layers.iter().zip(&config.rootfs.diff_ids);
        let forms: HashMap<&Digest, (&Descriptor, &Digest)> =
            pairs.map(|(form, diff_id)| (&form.digest, (form, diff_id))).collect();
        known.add(&records, place, |blob| {
            let (form, diff_id) = forms.get(blob)?;
            Some(((*form).clone(), (*diff_id).clone()))
        });
    }
    Ok(known)
}

/// The records in an image's configuration.
fn records_in(document: &[u8]) -> Result<Option<Vec<u8>>, SolveError> {
    let read: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(document).map_err(|error| SolveError::Invalid(error.to_string()))?;
    let Some(text) = read.get(INLINE).and_then(serde_json::Value::as_str) else { return Ok(None) };
    let records = BASE64_STANDARD.decode(text);
    records.map(Some).map_err(|error| SolveError::Invalid(format!("the cache in an image: {error}")))
}

impl Known {
    /// Takes up records; `form` gives a layer's descriptor and what is in it.
    fn add(
        &mut self,
        records: &CacheConfig,
        place: &Place,
        form: impl Fn(&Digest) -> Option<(Descriptor, Digest)>,
    ) {
        for record in &records.records {
            // Those of others are known in another way.
            let Some(operation) = &record.operation else { continue };
            if let Some(content) = &operation.content {
                self.selections.insert(record.digest.clone(), content.clone());
                continue;
            }
            let outputs = records.outputs_of(operation).map(|output| {
                let layers = output.into_iter().map(&form).collect::<Option<Vec<_>>>()?;
                Some(Elsewhere { layers, place: place.clone() })
            });
            let Some(outputs) = outputs.collect::<Option<Vec<_>>>() else { continue };
            let cached = CachedOperation::of(record.digest.clone(), outputs, operation);
            self.operations.insert(record.digest.clone(), Arc::new(cached));
        }
    }
}

impl CachedOperation {
    fn of(key: Digest, outputs: Vec<Elsewhere>, operation: &Operation) -> Self {
        Self {
            key,
            outputs,
            description: operation.description.clone(),
            kind: operation.kind.clone(),
            size: operation.size,
            created: operation.created.parse().unwrap_or_else(|_| now()),
            is_here: AtomicBool::new(false),
        }
    }
}

/// The caches that a front end's options name.
pub(crate) fn of_options(options: &BTreeMap<String, String>) -> Result<Vec<RemoteCache>, SolveError> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(rename = "Type")]
        kind: String,
        #[serde(default, rename = "Attrs")]
        attributes: Option<BTreeMap<String, String>>,
    }
    let mut all = Vec::new();
    if let Some(text) = options.get("cache-imports").filter(|text| !text.is_empty()) {
        let entries: Vec<Entry> = serde_json::from_str(text)
            .map_err(|error| SolveError::Invalid(format!("failed to unmarshal cache-imports: {error}")))?;
        let cache = |it: Entry| RemoteCache { kind: it.kind, attributes: it.attributes.unwrap_or_default() };
        all.extend(entries.into_iter().map(cache));
    }
    let names = options.get("cache-from").map(String::as_str).unwrap_or_default();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let attributes = BTreeMap::from([("ref".to_owned(), name.to_owned())]);
        all.push(RemoteCache { kind: "registry".to_owned(), attributes });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(kind: &str, attributes: &[(&str, &str)]) -> RemoteCache {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        RemoteCache { kind: kind.to_owned(), attributes: attributes.collect() }
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        let checked = |kind: &str, attributes: &[(&str, &str)]| {
            check(&cache(kind, attributes)).map_err(|error| error.to_string())
        };
        assert_eq!(checked("registry", &[("ref", "example.org/cache")]), Ok(()));
        assert_eq!(checked("local", &[("src", "/cache"), ("digest", "sha256:x")]), Ok(()));
        for (kind, attributes, expected) in [
            ("registry", &[][..], "registry cache importer requires ref"),
            ("local", &[("src", "/cache")][..], "local cache importer requires explicit digest"),
            ("local", &[("digest", "sha256:x")][..], "local cache importer requires src"),
            (
                "registry",
                &[("ref", "example.org/c"), ("registry.insecure", "true")][..],
                "registry.insecure of a cache is not supported: the daemon is told of such registries",
            ),
            (
                "gha",
                &[][..],
                "cache importer \"gha\" is not supported: caches are read from registries and directories",
            ),
        ] {
            assert_eq!(checked(kind, attributes), Err(expected.to_owned()));
        }
        let imports = Imports::default();
        for at in 0..IMPORTS_MAX {
            let name = format!("example.org/cache:{at}");
            (0..2).for_each(|_| imports.add(cache("registry", &[("ref", &name)])).expect("there is room"));
        }
        assert!(imports.add(cache("registry", &[("ref", "example.org/cache")])).is_err());
    }

    #[test]
    fn front_ends_name_caches_in_two_ways() {
        let options = BTreeMap::from([
            ("cache-from".to_owned(), "one,two".to_owned()),
            ("cache-imports".to_owned(), r#"[{"Type":"local","Attrs":{"src":"/c"}}]"#.to_owned()),
        ]);
        let expected = [
            cache("local", &[("src", "/c")]),
            cache("registry", &[("ref", "one")]),
            cache("registry", &[("ref", "two")]),
        ];
        assert_eq!(of_options(&options).expect("caches"), expected);
        let wrong = BTreeMap::from([("cache-imports".to_owned(), "x".to_owned())]);
        assert!(of_options(&wrong).is_err());
    }

    #[test]
    fn the_records_of_an_image_are_in_its_configuration() {
        let with = format!(r#"{{"os":"linux","{INLINE}":"W10="}}"#);
        assert_eq!(records_in(with.as_bytes()).expect("read"), Some(b"[]".to_vec()));
        assert_eq!(records_in(b"{}").expect("read"), None);
        assert!(records_in(format!(r#"{{"{INLINE}":"?"}}"#).as_bytes()).is_err());
    }
}
