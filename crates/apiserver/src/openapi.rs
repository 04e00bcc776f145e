//! What the API offers, as OpenAPI: a version 3 document for each group version, and one of version 2.
//!
//! Types come from the schemas that decoding goes by, descriptions from k8s-openapi while a document is
//! made; a document is made when it is first asked for and kept as text. Clients cache documents by the
//! hash in their address, so a hash must be known before its document is made: it covers what the
//! document is made from. `kubectl explain` and the client's check for strict validation read these.

mod components;
mod descriptions;
mod gnostic;
mod merge;
mod operations;
mod paths;
mod v2;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use model::gvk::GroupVersion;
use model::{GroupVersionKind, Schema};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub(crate) use merge::Part;

/// What documents are given as.
pub const JSON: &str = "application/json";
/// What the document of version 2 is given as, too.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A resource, as far as documents tell of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What its objects are.
    pub kind: GroupVersionKind,
    /// What lists of them are.
    pub list_kind: String,
    /// Its name in paths.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be done to its objects; everything where that is empty.
    pub verbs: Vec<&'static str>,
    /// What is below its objects.
    pub subresources: Vec<SubresourceEntry>,
    /// What the fields are for, in words.
    pub description: Option<Describe>,
    /// The types of its fields; without, its objects may hold anything.
    pub schema: Option<Schema>,
    /// What is said of a resource that an object defines.
    pub documented: Option<Arc<dyn Documented>>,
}

/// Which OpenAPI schemas are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Swagger 2.0: `#/definitions/…`.
    V2,
    /// OpenAPI 3.0: `#/components/schemas/…`.
    V3,
}

/// What is said of a resource that an object defines.
pub trait Documented: std::fmt::Debug + Send + Sync {
    /// Changes whenever that does.
    fn revision(&self) -> String;

    /// The schema of its objects. It may refer to those of built-in types by [`reference`](fn@reference).
    fn schema(&self, form: Form) -> Value;
}

/// A reference to the schema of a type of this name.
pub fn reference(name: &str, form: Form) -> Value {
    components::reference(name, form)
}

/// A subresource, as far as documents tell of it.
#[derive(Clone, Debug)]
pub struct SubresourceEntry {
    /// Its name in paths.
    pub name: String,
    /// What it takes and gives; the resource's own kind where absent.
    pub kind: Option<GroupVersionKind>,
    /// What the fields of that kind are for, in words.
    pub description: Option<Describe>,
    /// Verbs, such as `get` and `patch`.
    pub verbs: Vec<&'static str>,
}

/// Gathers what is said of a type, and of all types that it uses.
pub type Describe = fn(&mut SchemaGenerator);

/// Gathers what k8s-openapi says of a type.
pub fn describe<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

/// A document, ready to be sent.
#[derive(Clone, Debug)]
pub struct Document {
    /// As its media type says.
    pub body: Bytes,
    /// The value of its `Content-Type`.
    pub media_type: &'static str,
    /// The hash of its address and the value of its `ETag` (without quotes).
    pub etag: String,
    /// Its compressed form, once somebody has asked for it.
    packed: Arc<OnceLock<Option<Bytes>>>,
}

/// Makes documents and keeps them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// By what each tells of: the newest.
    made: Arc<Mutex<HashMap<String, Document>>>,
}

impl Document {
    fn new(body: Bytes, media_type: &'static str, etag: String) -> Self {
        Self { body, media_type, etag, packed: Arc::default() }
    }

    /// A document of somebody else's making.
    pub(crate) fn of(value: &Value) -> Self {
        let body = Bytes::from(value.to_string());
        let etag = hash(&body);
        Self::new(body, JSON, etag)
    }

    /// Its compressed form, where it is large. Made the first time, which takes a while.
    pub fn packed(&self) -> Option<Bytes> {
        self.packed.get_or_init(|| crate::compress::pack(&self.body)).clone()
    }
}

impl Documents {
    /// Nothing made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The document at `/openapi/v3`: where the others are.
    pub fn index(&self, entries: &[Entry]) -> Document {
        self.index_with(entries, [])
    }

    /// As [`Documents::index`], with documents of group versions that somebody else serves, and their hashes.
    pub(crate) fn index_with<'a>(
        &self,
        entries: &[Entry],
        others: impl IntoIterator<Item = (&'a GroupVersion, &'a str)>,
    ) -> Document {
        let mut paths = Map::new();
        for (version, entries) in by_version(entries) {
            let path = version_path(&version);
            let url = format!("/openapi/v3/{path}?hash={}", etag("v3", &entries));
            paths.insert(path, json!({ "serverRelativeURL": url }));
        }
        for (version, hash) in others {
            let path = version_path(version);
            // Without a hash, it is asked for each time.
            let hash = if hash.is_empty() { String::new() } else { format!("?hash={hash}") };
            let url = format!("/openapi/v3/{path}{hash}");
            paths.insert(path, json!({ "serverRelativeURL": url }));
        }
        paths.sort_keys();
        let body = json!({ "paths": paths }).to_string();
        let etag = hash(body.as_bytes());
        Document::new(body.into(), JSON, etag)
    }

    /// The document of one group version; [`None`] if it has no resources.
    pub fn group_version(&self, version: &GroupVersion, entries: &[Entry]) -> Option<Document> {
        let mut all = by_version(entries);
        // What was made of group versions that are gone goes too.
        let is_there = |of: &str| match of.strip_prefix("v3 ") {
            Some(of) => of.parse().is_ok_and(|of: GroupVersion| all.contains_key(&of)),
            None => true,
        };
        self.made.lock().retain(|of, _| is_there(of));
        let entries = all.remove(version)?;
        let (of, etag) = (format!("v3 {version}"), etag("v3", &entries));
        Some(self.get_or_make(of, etag, JSON, || document(version, &entries).to_string().into()))
    }

    /// The document of version 2, which has all group versions in one, as JSON.
    pub fn v2(&self, entries: &[Entry]) -> Document {
        self.v2_with(entries, &[])
    }

    /// The document of version 2 in protocol buffers.
    pub fn v2_protobuf(&self, entries: &[Entry]) -> Document {
        self.v2_protobuf_with(entries, &[])
    }

    /// As [`Documents::v2`], with what others say of what they serve.
    pub(crate) fn v2_with(&self, entries: &[Entry], others: &[Arc<Part>]) -> Document {
        let all: Vec<&Entry> = entries.iter().collect();
        let etag = etag_with(etag("v2", &all), others);
        self.get_or_make("v2".to_owned(), etag, JSON, || v2_of(&all, others).to_string().into())
    }

    /// As [`Documents::v2_protobuf`], with what others say of what they serve.
    pub(crate) fn v2_protobuf_with(&self, entries: &[Entry], others: &[Arc<Part>]) -> Document {
        let all: Vec<&Entry> = entries.iter().collect();
        let etag = etag_with(etag("v2 protobuf", &all), others);
        self.get_or_make("v2 protobuf".to_owned(), etag, V2_PROTOBUF, || {
            gnostic::encode(&v2_of(&all, others)).into()
        })
    }

    /// The document that is called `of`, as it is known by `etag`: of each, only the newest is kept.
    fn get_or_make(
        &self,
        of: String,
        etag: String,
        media_type: &'static str,
        make: impl FnOnce() -> Bytes,
    ) -> Document {
        if let Some(known) = self.made.lock().get(&of).filter(|known| known.etag == etag) {
            return known.clone();
        }
        // Made outside the lock: two callers at once cost a little work, a held lock would cost both their time.
        let document = Document::new(make(), media_type, etag);
        let mut made = self.made.lock();
        match made.get(&of).filter(|known| known.etag == document.etag) {
            Some(known) => known.clone(),
            None => {
                made.insert(of, document.clone());
                document
            }
        }
    }
}

fn v2_of(entries: &[&Entry], others: &[Arc<Part>]) -> Value {
    let mut document = v2::document(entries);
    others.iter().for_each(|part| part.merge_into(&mut document));
    document
}

fn etag_with(etag: String, others: &[Arc<Part>]) -> String {
    if others.is_empty() {
        return etag;
    }
    let all = others.iter().fold(etag, |all, part| format!("{all} {}", part.etag));
    hash(all.as_bytes())
}

/// The part of a path that names a group version: `api/v1`, `apis/apps/v1`.
pub fn version_path(version: &GroupVersion) -> String {
    if version.group.is_empty() { format!("api/{version}") } else { format!("apis/{version}") }
}

/// Reads what [`version_path`] writes.
pub fn parse_version_path(path: &str) -> Option<GroupVersion> {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some(GroupVersion::new("", *version)),
        ["apis", group, version] => Some(GroupVersion::new(*group, *version)),
        _ => None,
    }
}

fn document(version: &GroupVersion, entries: &[&Entry]) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": model::release::VERSION},
        "paths": paths::of(version, entries),
        "components": {
            "schemas": components::of(entries, Form::V3),
            "securitySchemes": {
                "BearerToken": {
                    "type": "apiKey",
                    "description": "Bearer Token authentication",
                    "name": "authorization",
                    "in": "header",
                },
            },
        },
    })
}

fn by_version(entries: &[Entry]) -> BTreeMap<GroupVersion, Vec<&Entry>> {
    let mut versions: BTreeMap<GroupVersion, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        versions.entry(entry.kind.group_version()).or_default().push(entry);
    }
    versions
}

fn etag(form: &str, entries: &[&Entry]) -> String {
    let mut inputs = format!("{form} {}", env!("CARGO_PKG_VERSION"));
    for entry in entries {
        let Entry { kind, plural, namespaced, subresources, documented, .. } = entry;
        let revision = documented.as_ref().map(|documented| documented.revision()).unwrap_or_default();
        inputs.push_str(&format!("\n{kind} {plural} {namespaced} {revision}"));
        for SubresourceEntry { name, kind, verbs, .. } in subresources {
            inputs.push_str(&format!(" {name} {kind:?} {verbs:?}"));
        }
    }
    hash(inputs.as_bytes())
}

fn hash(bytes: &[u8]) -> String {
    hex::encode_upper(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
