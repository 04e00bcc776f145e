//! Build caches as they lie in registries and directories: BuildKit's manifests and the document that says which
//! layers an operation came to.
//!
//! A cache is an image manifest whose configuration is a [`CacheConfig`], or an index that names one beside its
//! layers; an image has the records of its own layers in its configuration ([`INLINE`]). Others find an operation
//! by its inputs' records; here one is known by its content, which is its record's digest, and what else there is
//! to say of it is in a field that others pass over ([`Operation`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::limits::{DOCUMENT_MAX, LAYERS_MAX, TooMuch, at_most};
use crate::manifest::Descriptor;
use crate::media_type;
use crate::serde_shapes::null_default;

/// The type of a [`CacheConfig`].
pub const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";
/// The key of an image's configuration that has the records of its layers, in base64.
pub const INLINE: &str = "moby.buildkit.cache.v0";
/// The annotation of a layer that says what the digest of the archive in it is.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// Layers of one cache.
const CACHED_LAYERS_MAX: usize = 20_000;
/// Records of one cache.
const RECORDS_MAX: usize = 50_000;
/// What all of them came to.
const RESULTS_MAX: usize = 4 * RECORDS_MAX;

/// Which layers operations came to.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CacheConfig {
    /// The layers, each on the one that it names.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<CacheLayer>,
    /// The operations.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<CacheRecord>,
}

/// A layer on the one below it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CacheLayer {
    /// The digest of its compressed form.
    pub blob: Digest,
    /// The place of the one below it in the list; −1 where there is none, and 0 is not written.
    #[serde(default, rename = "parent", skip_serializing_if = "is_zero")]
    pub parent: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// What an operation came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CacheRecord {
    /// The results whose layers lie on each other as the list has them.
    #[serde(
        default,
        deserialize_with = "null_default",
        rename = "layers",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub results: Vec<CacheResult>,
    /// The results of other layers.
    #[serde(
        default,
        deserialize_with = "null_default",
        rename = "chains",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub chains: Vec<CacheChain>,
    /// What the operation is known by.
    pub digest: Digest,
    /// What is known of it here.
    #[serde(default, rename = "gantry", skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

/// A result by its topmost layer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CacheResult {
    /// Its place in the list of layers.
    pub layer: usize,
    /// When it was made.
    #[serde(default, rename = "createdAt", skip_serializing_if = "String::is_empty")]
    pub created: String,
}

/// A result by all of its layers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CacheChain {
    /// Their places in the list, lowest first.
    #[serde(deserialize_with = "null_default")]
    pub layers: Vec<usize>,
    /// When it was made.
    #[serde(default, rename = "createdAt", skip_serializing_if = "String::is_empty")]
    pub created: String,
}

/// What is known of an operation, or of what is selected of a result.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Operation {
    /// Of each output the places of its layers in the list, lowest first; none where it is empty.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Vec<usize>>,
    /// Instead of them what the topmost layer of each output is called, none where it is empty: of what the cache has
    /// no layers of.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Option<Digest>>,
    /// What it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What sort of thing it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Bytes that it added.
    #[serde(default)]
    pub size: u64,
    /// When it was made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// Instead of all that: the digest of what is selected, where the record is of a selection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
}

/// Why a document is no cache.
#[derive(Debug, thiserror::Error)]
pub enum ReadCacheError {
    /// It is no such JSON document.
    #[error("read the documents of a cache")]
    Json(#[from] serde_json::Error),
    /// It holds more than is taken.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// It names a layer that is not in its list.
    #[error("a cache names layer {0}, which it does not have")]
    NoLayer(usize),
}

/// The manifest of a cache: its layers, and where its records are. None where it is that of an image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CacheManifest {
    /// The document with the records, if it has one.
    pub config: Option<Descriptor>,
    /// What else it names: layers, or the manifests of images.
    pub others: Vec<Descriptor>,
}

impl CacheManifest {
    /// Reads a manifest or an index that a cache may be.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadCacheError> {
        #[derive(Deserialize)]
        struct Either {
            config: Option<Descriptor>,
            #[serde(default, deserialize_with = "null_default")]
            layers: Vec<Descriptor>,
            #[serde(default, deserialize_with = "null_default")]
            manifests: Vec<Descriptor>,
        }
        at_most("bytes in its manifest", bytes.len(), DOCUMENT_MAX)?;
        let Either { config, layers, manifests } = serde_json::from_slice(bytes)?;
        at_most("layers in its cache", layers.len().max(manifests.len()), CACHED_LAYERS_MAX)?;
        let is_records = |descriptor: &Descriptor| descriptor.media_type == CACHE_CONFIG;
        let (records, others): (Vec<_>, Vec<_>) = layers.into_iter().chain(manifests).partition(is_records);
        Ok(Self { config: config.filter(is_records).or(records.into_iter().next()), others })
    }

    /// Prints it, as an image manifest or as an index, in types of OCI's or of Docker's; with its type.
    pub fn print(&self, as_manifest: bool, oci_types: bool) -> (&'static str, Vec<u8>) {
        let mut others = self.others.clone();
        for layer in &mut others {
            let of = &layer.media_type;
            let typed = match oci_types {
                true => media_type::layer_as_oci(of),
                // What Docker has no name for keeps its own.
                false => media_type::layer_as_docker(of).unwrap_or(of),
            };
            layer.media_type = typed.to_owned();
        }
        let of = match (as_manifest, oci_types) {
            (true, _) => media_type::OCI_MANIFEST,
            (false, true) => media_type::OCI_INDEX,
            (false, false) => media_type::DOCKER_LIST,
        };
        let document = match as_manifest {
            true => serde_json::json!({
                "schemaVersion": 2, "mediaType": of, "config": self.config, "layers": others,
            }),
            false => {
                others.extend(self.config.clone());
                serde_json::json!({ "schemaVersion": 2, "mediaType": of, "manifests": others })
            }
        };
        (of, document.to_string().into_bytes())
    }
}

impl CacheConfig {
    /// Reads the document with the records of a cache.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadCacheError> {
        at_most("bytes in its cache", bytes.len(), DOCUMENT_MAX)?;
        let config: Self = serde_json::from_slice(bytes)?;
        at_most("layers in its cache", config.layers.len(), CACHED_LAYERS_MAX)?;
        Self::check(config.records, config.layers)
    }

    /// Reads the records that the configuration of an image has, whose layers have these forms.
    pub fn read_inline(records: &[u8], blobs: &[Digest]) -> Result<Self, ReadCacheError> {
        at_most("bytes in its cache", records.len(), DOCUMENT_MAX)?;
        let records: Option<Vec<CacheRecord>> = serde_json::from_slice(records)?;
        let layer = |(place, blob): (usize, &Digest)| CacheLayer {
            blob: blob.clone(),
            parent: i64::try_from(place).unwrap_or(i64::MAX) - 1,
        };
        Self::check(records.unwrap_or_default(), blobs.iter().enumerate().map(layer).collect())
    }

    fn check(records: Vec<CacheRecord>, layers: Vec<CacheLayer>) -> Result<Self, ReadCacheError> {
        at_most("records in its cache", records.len(), RECORDS_MAX)?;
        let operations = || records.iter().filter_map(|record| record.operation.as_ref());
        let outputs = operations().map(|it| it.outputs.len() + it.names.len()).sum();
        at_most("results in its cache", outputs, RESULTS_MAX)?;
        let mut places = 0;
        for output in operations().flat_map(|it| &it.outputs) {
            at_most("layers in a result of its cache", output.len(), LAYERS_MAX)?;
            places += output.len();
            if let Some(place) = output.iter().find(|place| **place >= layers.len()) {
                return Err(ReadCacheError::NoLayer(*place));
            }
        }
        at_most("layers in all results of its cache", places, RECORDS_MAX * LAYERS_MAX)?;
        Ok(Self { layers, records })
    }

    /// Prints it.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a tree of strings and numbers always prints")
    }
}

/// Makes the documents of a cache: layers that lie on each other are named once.
#[derive(Debug, Default)]
pub struct CacheBuilder {
    config: CacheConfig,
    /// By the forms from the lowest on.
    places: BTreeMap<Vec<Digest>, usize>,
    /// The forms, as the manifest names them.
    forms: Vec<Descriptor>,
    named: BTreeSet<Digest>,
}

impl CacheBuilder {
    /// An operation, with what its outputs are made of, lowest first; `operation.outputs` is filled in.
    pub fn add(&mut self, digest: Digest, outputs: &[Vec<Descriptor>], operation: Operation) {
        let outputs: Vec<Vec<usize>> = outputs.iter().map(|layers| self.stack(layers)).collect();
        let created = operation.created.clone();
        let tops = outputs.iter().filter_map(|output| output.last());
        let results = tops.map(|layer| CacheResult { layer: *layer, created: created.clone() }).collect();
        let operation = Some(Operation { outputs, ..operation });
        self.config.records.push(CacheRecord { results, chains: Vec::new(), digest, operation });
    }

    /// What else is known: an operation by the names of its outputs, or what is selected of a result and comes to a
    /// content.
    pub fn add_known(&mut self, digest: Digest, operation: Operation) {
        self.config.records.push(known(digest, operation));
    }

    fn stack(&mut self, layers: &[Descriptor]) -> Vec<usize> {
        let (mut below, mut output) = (Vec::new(), Vec::new());
        for layer in layers {
            let parent = output.last().map_or(-1, |place: &usize| i64::try_from(*place).unwrap_or(i64::MAX));
            below.push(layer.digest.clone());
            let next = self.config.layers.len();
            let place = *self.places.entry(below.clone()).or_insert(next);
            if place == next {
                self.config.layers.push(CacheLayer { blob: layer.digest.clone(), parent });
            }
            if self.named.insert(layer.digest.clone()) {
                self.forms.push(layer.clone());
            }
            output.push(place);
        }
        output
    }

    /// Whether no layer is in it: then there is nothing that anybody could use.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The document with the records, and the forms that they are about.
    pub fn finish(self) -> (CacheConfig, Vec<Descriptor>) {
        (self.config, self.forms)
    }
}

/// The records of an image's own layers, for its configuration.
#[derive(Debug)]
pub struct InlineBuilder<'a> {
    /// What is in the image's layers, lowest first.
    layers: &'a [Digest],
    records: Vec<CacheRecord>,
}

impl<'a> InlineBuilder<'a> {
    /// Records for an image of these layers, known by the digests of what is in them.
    pub fn new(layers: &'a [Digest]) -> Self {
        Self { layers, records: Vec::new() }
    }

    /// An operation whose outputs are made of these, lowest first; false if the image does not have them all.
    pub fn add(&mut self, digest: Digest, outputs: &[Vec<Digest>], operation: Operation) -> bool {
        let place = |layer: &Digest| self.layers.iter().position(|own| own == layer);
        let places = |output: &Vec<Digest>| match self.layers.starts_with(output) {
            true => Some((0..output.len()).collect()),
            false => output.iter().map(place).collect::<Option<Vec<usize>>>(),
        };
        let Some(outputs) = outputs.iter().map(places).collect::<Option<Vec<Vec<usize>>>>() else {
            return false;
        };
        let created = || operation.created.clone();
        let (mut results, mut chains) = (Vec::new(), Vec::new());
        for output in outputs.iter().filter(|output| !output.is_empty()) {
            match output.iter().copied().eq(0..output.len()) {
                true => results.push(CacheResult { layer: output.len() - 1, created: created() }),
                false => chains.push(CacheChain { layers: output.clone(), created: created() }),
            }
        }
        let operation = Some(Operation { outputs, ..operation });
        self.records.push(CacheRecord { results, chains, digest, operation });
        true
    }

    /// What else is known: an operation by the names of its outputs, or what is selected of a result and comes to a
    /// content.
    pub fn add_known(&mut self, digest: Digest, operation: Operation) {
        self.records.push(known(digest, operation));
    }

    /// The records, as the configuration has them before base64; none where there are none.
    pub fn finish(self) -> Option<Vec<u8>> {
        let bytes =
            || serde_json::to_vec(&self.records).expect("a tree of strings and numbers always prints");
        (!self.records.is_empty()).then(bytes)
    }
}

/// A record of something that no layers are of.
fn known(digest: Digest, operation: Operation) -> CacheRecord {
    CacheRecord { results: Vec::new(), chains: Vec::new(), digest, operation: Some(operation) }
}

impl Operation {
    /// One that came to outputs of these names.
    pub fn named(names: Vec<Option<Digest>>) -> Self {
        Self { names, ..Self::default() }
    }

    /// What is selected of a result, and comes to `content`.
    pub fn selection(content: Digest) -> Self {
        Self { content: Some(content), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(name: &str) -> Descriptor {
        Descriptor::of(media_type::OCI_LAYER_GZIP, name.as_bytes())
    }

    fn key(name: &str) -> Digest {
        Digest::sha256_of(name.as_bytes())
    }

    /// The forms of the layers of each output of an operation, lowest first.
    fn outputs_of(config: &CacheConfig, operation: &Operation) -> Vec<Vec<Digest>> {
        let blob = |place: &usize| config.layers[*place].blob.clone();
        operation.outputs.iter().map(|output| output.iter().map(blob).collect()).collect()
    }

    fn built() -> (CacheConfig, Vec<Descriptor>) {
        let mut builder = CacheBuilder::default();
        assert!(builder.is_empty());
        let (base, one, two) = (form("base"), form("one"), form("two"));
        let said = Operation { description: "RUN one".to_owned(), ..Operation::default() };
        builder.add(key("run one"), &[vec![base.clone(), one.clone()], Vec::new()], said);
        builder.add(key("run two"), &[vec![base, one.clone(), two]], Operation::default());
        builder.add(key("copy"), &[vec![one]], Operation::default());
        builder.add_known(key("selection"), Operation::selection(key("content")));
        builder.add_known(key("elsewhere"), Operation::named(vec![Some(key("top")), None]));
        builder.finish()
    }

    #[test]
    fn layers_that_lie_on_each_other_are_named_once() {
        let (config, forms) = built();
        assert_eq!(forms, [form("base"), form("one"), form("two")]);
        let parents: Vec<i64> = config.layers.iter().map(|layer| layer.parent).collect();
        // `one` alone is another place than `one` on `base`.
        assert_eq!(parents, [-1, 0, 1, -1]);
        let text = String::from_utf8(config.to_bytes()).expect("text");
        assert!(text.contains("\"parent\":-1") && !text.contains("\"parent\":0"), "{text}");
        let read = CacheConfig::read(text.as_bytes()).expect("a cache");
        assert_eq!(read, config);
        let of = |at: usize| {
            let operation = read.records[at].operation.as_ref().expect("an operation");
            outputs_of(&read, operation)
        };
        assert_eq!(of(0), [vec![form("base").digest, form("one").digest], Vec::new()]);
        assert_eq!(of(2), [vec![form("one").digest]]);
        assert_eq!(
            read.records[3].operation.as_ref().and_then(|it| it.content.clone()),
            Some(key("content"))
        );
        let names = read.records[4].operation.as_ref().map(|it| it.names.clone());
        assert_eq!(names, Some(vec![Some(key("top")), None]));
    }

    #[test]
    fn manifests_and_indexes_of_caches_are_read_as_they_are_printed() {
        let (config, forms) = built();
        let records = Descriptor::of(CACHE_CONFIG, &config.to_bytes());
        let manifest = CacheManifest { config: Some(records), others: forms };
        for (as_manifest, oci_types, expected) in [
            (true, true, media_type::OCI_MANIFEST),
            (false, true, media_type::OCI_INDEX),
            (false, false, media_type::DOCKER_LIST),
        ] {
            let (of, bytes) = manifest.print(as_manifest, oci_types);
            assert_eq!(of, expected);
            let read = CacheManifest::read(&bytes).expect("a cache");
            assert_eq!(read.config, manifest.config);
            let digests =
                |it: &CacheManifest| it.others.iter().map(|it| it.digest.clone()).collect::<Vec<_>>();
            assert_eq!(digests(&read), digests(&manifest));
            let docker = read.others.iter().all(|layer| layer.media_type == media_type::DOCKER_LAYER_GZIP);
            assert_eq!(docker, !oci_types);
        }
        // That of an image has no records.
        let image =
            format!(r#"{{"config":{0},"layers":[{0}]}}"#, serde_json::to_string(&form("x")).expect("JSON"));
        assert_eq!(CacheManifest::read(image.as_bytes()).expect("a manifest").config, None);
    }

    #[test]
    fn an_image_s_own_records_are_about_its_layers() {
        let (layers, other) = ([key("base"), key("one"), key("two")], key("other"));
        let mut builder = InlineBuilder::new(&layers);
        assert!(builder.add(key("a"), &[layers[..2].to_vec()], Operation::default()));
        assert!(builder.add(key("b"), &[vec![layers[2].clone()]], Operation::default()));
        assert!(!builder.add(key("c"), &[vec![other]], Operation::default()));
        let records = builder.finish().expect("records");
        let blobs: Vec<Digest> = layers.iter().map(|layer| key(&layer.to_string())).collect();
        let read = CacheConfig::read_inline(&records, &blobs).expect("a cache");
        assert_eq!(read.records.len(), 2);
        assert_eq!(
            (read.records[0].results[0].layer, read.records[1].chains[0].layers.clone()),
            (1, vec![2])
        );
        let second = read.records[1].operation.as_ref().expect("an operation");
        assert_eq!(outputs_of(&read, second), [vec![blobs[2].clone()]]);
        assert_eq!(InlineBuilder::new(&layers).finish(), None);
    }

    #[test]
    fn what_is_no_cache_or_too_much_is_refused() {
        let refused =
            |text: &str| CacheConfig::read(text.as_bytes()).map(drop).map_err(|error| error.to_string());
        let digest = key("x");
        let record = |places: &str| {
            format!(
                r#"{{"layers":[],"records":[{{"digest":"{digest}","gantry":{{"outputs":[[{places}]]}}}}]}}"#
            )
        };
        assert_eq!(refused(&record("0")), Err("a cache names layer 0, which it does not have".to_owned()));
        assert_eq!(refused(&record("")), Ok(()));
        let many = vec!["0"; 128].join(",");
        let problem = "the image has 128 layers in a result of its cache, and at most 127 are taken";
        assert_eq!(refused(&record(&many)), Err(problem.to_owned()));
        let many = vec!["[]"; RESULTS_MAX].join(",");
        let many = format!(
            r#"{{"records":[{{"digest":"{digest}","gantry":{{"outputs":[{many}],"names":[null]}}}}]}}"#
        );
        let problem = "the image has 200001 results in its cache, and at most 200000 are taken";
        assert_eq!(refused(&many), Err(problem.to_owned()));
        assert_eq!(refused("\"x\""), Err("read the documents of a cache".to_owned()));
        // As BuildKit writes it: operations that are known in another way are passed over.
        let theirs = format!(
            r#"{{"layers":[{{"blob":"{digest}","parent":-1}}],"records":[{{"digest":"{digest}"}},{{"layers":[{{"layer":0,"createdAt":"2026-01-01T00:00:00Z"}}],"digest":"{digest}","inputs":[[{{"link":0}}]]}}]}}"#
        );
        let read = CacheConfig::read(theirs.as_bytes()).expect("a cache");
        assert!(read.records.iter().all(|record| record.operation.is_none()) && read.layers.len() == 1);
    }
}
