//! Reading caches, each once in a build, when the first operation is looked for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use oci::cache::{CacheConfig, CacheManifest, INLINE, Operation, UNCOMPRESSED};
use oci::{Descriptor, Digest, Document, ImageConfig, Reference};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::{RemoteCache, cut};
use crate::solve::session::answered;
use crate::solve::shown::Shown;
use crate::solve::source::elsewhere::{Elsewhere, Place};
use crate::solve::{Job, SolveError, now};

/// Caches that one build looks into.
const IMPORTS_MAX: usize = 64;
/// Manifests and indexes that are read for the records of images.
const DOCUMENTS_MAX: usize = 64;
/// Bytes of records that one build reads, of all caches.
const RECORDS_MAX: usize = 64 << 20;
/// Bytes of what is said of an operation.
const DESCRIPTION_MAX: usize = 4 << 10;
/// Bytes of the name of a layer's form.
const TYPE_MAX: usize = 256;

/// The caches that a job looks into.
#[derive(Default)]
pub(crate) struct Imports {
    all: Mutex<Vec<Arc<Import>>>,
    /// Operations that are done, whatever caches say of them.
    forgotten: Mutex<HashSet<Digest>>,
    /// Bytes of records that have been read.
    read: AtomicUsize,
}

struct Import {
    cache: RemoteCache,
    known: OnceCell<Known>,
}

/// What a cache has.
#[derive(Default)]
struct Known {
    operations: HashMap<Digest, (Arc<Table>, Arc<Said>)>,
    selections: HashMap<Digest, Digest>,
}

/// The layers that records are about, each once.
struct Table {
    /// As each is there, and what is said to be in it.
    forms: Vec<(Descriptor, Digest)>,
    place: Place,
}

/// What a record says.
struct Said {
    outputs: Box<[Output]>,
    description: Box<str>,
    size: u64,
    created: base::Timestamp,
}

/// What a record says of an output.
#[derive(PartialEq, Eq, Debug)]
enum Output {
    /// Its layers, lowest first, by their places in the table.
    Layers(Box<[u32]>),
    /// What its topmost layer is called, if it has any: the cache does not have it.
    Name(Option<Digest>),
}

/// What an operation came to, as a cache elsewhere says.
pub(crate) struct CachedOperation {
    /// What it is known by.
    pub(crate) key: Digest,
    table: Arc<Table>,
    said: Arc<Said>,
}

impl Imports {
    /// One more, unless it is among them: then nothing is new.
    pub(crate) fn add(&self, cache: RemoteCache) -> Result<bool, SolveError> {
        check(&cache)?;
        let mut all = self.all.lock();
        if all.iter().any(|import| import.cache == cache) {
            return Ok(false);
        }
        if all.len() >= IMPORTS_MAX {
            return Err(SolveError::Invalid(format!("a build looks into {IMPORTS_MAX} caches and no more")));
        }
        all.push(Arc::new(Import { cache, known: OnceCell::new() }));
        Ok(true)
    }

    /// Whether there are any.
    pub(crate) fn are_any(&self) -> bool {
        !self.all.lock().is_empty()
    }

    /// What is said of an operation is asked for no more.
    pub(crate) fn forget(&self, key: &Digest) {
        self.forgotten.lock().insert(key.clone());
    }

    /// What an operation of so many outputs came to, in the first cache that has it; where none has its layers, in
    /// the first that knows what they are called.
    pub(crate) async fn find(&self, job: &Job, key: &Digest, outputs: usize) -> Option<CachedOperation> {
        if self.forgotten.lock().contains(key) {
            return None;
        }
        let known = |known: &Known| known.operation(key).filter(|it| it.outputs() == outputs);
        match self.look(job, |it| known(it).filter(CachedOperation::has_layers)).await {
            Some(found) => Some(found),
            None => self.look(job, known).await,
        }
    }

    /// Refuses more records than one build reads.
    fn take_up(&self, bytes: usize) -> Result<(), SolveError> {
        match self.read.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > RECORDS_MAX {
            true => Err(SolveError::Invalid(format!(
                "the caches of a build have more than {RECORDS_MAX} bytes of records"
            ))),
            false => Ok(()),
        }
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
            let document = place.blob(job, &config.digest).await?;
            job.inner.imports.take_up(document.len())?;
            let records = CacheConfig::read(&document).map_err(malformed)?;
            let form = |layer: Descriptor| {
                let diff_id = Digest::parse(layer.annotations.get(UNCOMPRESSED)?).ok()?;
                Some((layer, diff_id))
            };
            let mut known = Known::default();
            known.add(records, place, manifest.others.into_iter().filter_map(form));
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
    job.inner.imports.take_up(records.len())?;
    let config = ImageConfig::take(&document)
        .map_err(|error| SolveError::Invalid(base::error::chain(&error).to_string()))?;
    // Layers that are here need no form: they are known by what is in them.
    let diff_ids = config.rootfs.diff_ids;
    let records = CacheConfig::read_inline(&records, &diff_ids).map_err(malformed)?;
    let place = Place::Registry { reference: reference.clone(), auth: None };
    let mut known = Known::default();
    let forms = diff_ids.iter().map(|diff_id| (Descriptor::new("", diff_id.clone(), 0), diff_id.clone()));
    known.add(records, place, forms);
    // Those of another image with the same layers in another order are not here.
    let store = &job.inner.solver.inner.store;
    let is_here = |operation: &CachedOperation| {
        let chain_ids = (0..operation.outputs()).filter_map(|output| operation.chain_id(output));
        !operation.has_layers() || chain_ids.into_iter().all(|chain_id| store.layer_hold(&chain_id).is_some())
    };
    let keys: Vec<Digest> = known.operations.keys().cloned().collect();
    for key in keys {
        if !known.operation(&key).is_some_and(|operation| is_here(&operation)) {
            known.operations.remove(&key);
        }
    }
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
        job.inner.imports.take_up(records.len())?;
        let blobs: Vec<Digest> = manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
        let records = CacheConfig::read_inline(&records, &blobs).map_err(malformed)?;
        known.add(records, place.clone(), manifest.layers.into_iter().zip(config.rootfs.diff_ids));
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
    /// Takes up records about layers of these forms, with what is said to be in each.
    fn add(&mut self, records: CacheConfig, place: Place, forms: impl Iterator<Item = (Descriptor, Digest)>) {
        let mut table = Table { forms: Vec::new(), place };
        let mut places: HashMap<Digest, u32> = HashMap::new();
        for (form, diff_id) in forms.filter(|(form, _)| form.media_type.len() <= TYPE_MAX) {
            let Ok(at) = u32::try_from(table.forms.len()) else { break };
            places.insert(form.digest.clone(), at);
            // What else is said of it is of no use.
            table.forms.push((Descriptor::new(&form.media_type, form.digest, form.size), diff_id));
        }
        let layers: Vec<Option<u32>> =
            records.layers.iter().map(|layer| places.get(&layer.blob).copied()).collect();
        let table = Arc::new(table);
        for record in records.records {
            // Those of others are known in another way.
            let Some(operation) = record.operation else { continue };
            if let Some(content) = operation.content {
                self.selections.insert(record.digest, content);
                continue;
            }
            let Some(said) = Said::read(&operation, &layers) else { continue };
            // One image's records have the layers of what those of another know the name of.
            if said.has_layers() || !self.operations.contains_key(&record.digest) {
                self.operations.insert(record.digest, (Arc::clone(&table), Arc::new(said)));
            }
        }
    }

    fn operation(&self, key: &Digest) -> Option<CachedOperation> {
        let (table, said) = self.operations.get(key)?;
        Some(CachedOperation { key: key.clone(), table: Arc::clone(table), said: Arc::clone(said) })
    }
}

impl Said {
    /// What a record says, whose layers are at these places of a table; nothing if one is not there.
    fn read(operation: &Operation, layers: &[Option<u32>]) -> Option<Self> {
        let output = |output: &Vec<usize>| {
            let places = output.iter().map(|at| layers.get(*at).copied().flatten());
            places.collect::<Option<Box<[u32]>>>().map(Output::Layers)
        };
        let outputs = match operation.names.is_empty() {
            true => operation.outputs.iter().map(output).collect::<Option<Box<[Output]>>>()?,
            false => operation.names.iter().cloned().map(Output::Name).collect(),
        };
        Some(Self {
            outputs,
            description: cut(&operation.description, DESCRIPTION_MAX).into(),
            size: operation.size,
            // Nothing was made later than now.
            created: operation
                .created
                .parse()
                .map_or_else(|_| now(), |made: base::Timestamp| made.min(now())),
        })
    }

    /// Whether the cache has the layers of the outputs.
    fn has_layers(&self) -> bool {
        self.outputs.iter().all(|output| matches!(output, Output::Layers(_)))
    }
}

impl CachedOperation {
    /// How many outputs it has.
    pub(crate) fn outputs(&self) -> usize {
        self.said.outputs.len()
    }

    fn has_layers(&self) -> bool {
        self.said.has_layers()
    }

    fn layers(&self, places: &[u32]) -> impl Iterator<Item = &(Descriptor, Digest)> {
        places.iter().filter_map(|at| self.table.forms.get(usize::try_from(*at).ok()?))
    }

    /// What the topmost layer of an output is called, if it has any.
    pub(crate) fn chain_id(&self, output: usize) -> Option<Digest> {
        match self.said.outputs.get(output)? {
            Output::Layers(places) => Digest::chains(self.layers(places).map(|(_, diff_id)| diff_id)).pop(),
            Output::Name(name) => name.clone(),
        }
    }

    /// The layers of an output, to bring them; nothing where the cache does not have them.
    pub(crate) fn elsewhere(&self, output: usize) -> Option<Elsewhere> {
        let Output::Layers(places) = self.said.outputs.get(output)? else { return None };
        Some(Elsewhere { layers: self.layers(places).cloned().collect(), place: self.table.place.clone() })
    }

    /// What it was.
    pub(crate) fn description(&self) -> &str {
        &self.said.description
    }

    /// Bytes that it is said to have added: nobody has looked.
    pub(crate) fn size(&self) -> u64 {
        self.said.size
    }

    /// When it is said to have been made.
    pub(crate) fn created(&self) -> base::Timestamp {
        self.said.created
    }
}

/// What is said of a cache that is read and means nothing here, by key.
pub(super) fn without_effect(cache: &RemoteCache) -> Vec<String> {
    cache.beside(match cache.kind.as_str() {
        "registry" => &["ref", "registry.insecure"],
        // The client has looked for the digest by the tag.
        _ => &["src", "digest", "tag", "registry.insecure"],
    })
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
        assert!(imports.take_up(RECORDS_MAX).is_ok() && imports.take_up(1).is_err());
        for at in 0..IMPORTS_MAX {
            let name = format!("example.org/cache:{at}");
            let added =
                [(); 2].map(|()| imports.add(cache("registry", &[("ref", &name)])).expect("there is room"));
            assert_eq!(added, [true, false]);
        }
        assert!(imports.add(cache("registry", &[("ref", "example.org/cache")])).is_err());
    }

    /// One layer with much to say, which each of many records names as often as it may.
    #[test]
    fn a_layer_is_held_once_however_often_records_name_it_and_without_what_is_said_beside() {
        let (blob, diff_id) = (Digest::sha256_of(b"blob"), Digest::sha256_of(b"what is in it"));
        let mut form = Descriptor::new(oci::media_type::OCI_LAYER, blob.clone(), 7);
        form.annotations.insert("a".to_owned(), "x".repeat(1 << 20));
        form.urls.push("u".repeat(1 << 20));
        let key = |at: usize| Digest::sha256_of(&at.to_le_bytes());
        let record = |at: usize| oci::cache::CacheRecord {
            results: Vec::new(),
            chains: Vec::new(),
            digest: key(at),
            operation: Some(Operation {
                outputs: vec![vec![0; 127]],
                description: "d".repeat(2 * DESCRIPTION_MAX),
                size: u64::MAX,
                created: "9999-01-01T00:00:00Z".to_owned(),
                ..Operation::default()
            }),
        };
        let layers = vec![oci::cache::CacheLayer { blob: blob.clone(), parent: -1 }];
        let records = CacheConfig { layers, records: (0..1000).map(record).collect() };
        let reference = reference("example.org/cache").expect("a name");
        let mut known = Known::default();
        known.add(records, Place::Registry { reference, auth: None }, [(form, diff_id.clone())].into_iter());
        let first = known.operation(&key(0)).expect("it is known");
        assert_eq!(first.table.forms, [(Descriptor::new(oci::media_type::OCI_LAYER, blob, 7), diff_id)]);
        for at in 0..1000 {
            let other = known.operation(&key(at)).expect("it is known");
            assert!(Arc::ptr_eq(&other.table, &first.table));
            assert_eq!(other.said.outputs, [Output::Layers(vec![0; 127].into())].into());
        }
        let layers = first.elsewhere(0).map(|elsewhere| elsewhere.layers.len());
        assert_eq!((first.description().len(), layers), (DESCRIPTION_MAX, Some(127)));
        assert!(first.created() <= now());
        // That another image knows its name takes nothing away.
        let name = Some(Digest::sha256_of(b"top"));
        let record = |at: usize| {
            let operation = Some(Operation::named(vec![name.clone()]));
            oci::cache::CacheRecord { results: Vec::new(), chains: Vec::new(), digest: key(at), operation }
        };
        let records = CacheConfig { layers: Vec::new(), records: [0, 1000].map(record).into() };
        known.add(records, first.table.place.clone(), std::iter::empty());
        assert!(known.operation(&key(0)).expect("it is known").has_layers());
        let named = known.operation(&key(1000)).expect("it is known");
        assert!(named.chain_id(0) == name && named.elsewhere(0).is_none());
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
