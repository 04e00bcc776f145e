//! The untyped Kubernetes object: what the API serves, the store keeps and every watcher sees.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::gvk::{GroupVersion, GroupVersionKind};
use crate::time;

/// A JSON object with Kubernetes' metadata.
///
/// Cloning is a reference count; changing a shared one copies it first. The encoded form is made
/// once, on first use, and shared by all clones until one of them is changed, so that a hundred
/// watchers cost one encoding. Accessors read straight from the document: a missing or wrongly
/// typed field reads as absent, since what has a wrong type is refused before it gets here (see
/// [`crate::decode`]).
#[derive(Clone)]
pub struct Object(Arc<Inner>);

/// Who owns an object: one entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// The owner's `apiVersion`.
    pub api_version: String,
    /// The owner's kind.
    pub kind: String,
    /// The owner's name, in the same namespace or cluster-wide.
    pub name: String,
    /// The owner's uid: the name alone may have been given to another object since.
    pub uid: String,
    /// Whether this owner manages the object; at most one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    /// Whether the owner waits for this object when it is deleted in the foreground.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

/// A string map of the metadata: labels or annotations.
#[derive(Clone, Copy, Debug)]
pub struct StringMap<'a>(Option<&'a Map<String, Value>>);

/// The text or value is not a JSON object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// It is JSON, but a list or a scalar.
    #[error("a Kubernetes object is a JSON object, not {0}")]
    NotAnObject(&'static str),
    /// It is no JSON.
    #[error("parse a Kubernetes object")]
    Syntax(#[source] serde_json::Error),
}

/// A typed view could not be made.
#[derive(Debug, thiserror::Error)]
#[error("read {kind} {name:?} as {wanted}")]
pub struct TypedError {
    kind: String,
    name: String,
    wanted: &'static str,
    source: serde_json::Error,
}

struct Inner {
    /// Always [`Value::Object`].
    value: Value,
    encoded: OnceLock<Bytes>,
}

impl Object {
    /// An object with nothing but its type and name.
    pub fn new(kind: &GroupVersionKind, name: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("apiVersion".into(), kind.api_version().into());
        fields.insert("kind".into(), kind.kind.clone().into());
        let mut metadata = Map::new();
        if !name.is_empty() {
            metadata.insert("name".into(), name.into());
        }
        fields.insert("metadata".into(), metadata.into());
        Self::from_fields(fields)
    }

    /// Takes the fields of an object.
    pub fn from_fields(fields: Map<String, Value>) -> Self {
        Self(Arc::new(Inner { value: Value::Object(fields), encoded: OnceLock::new() }))
    }

    /// Takes a JSON value, which must be an object.
    pub fn from_value(value: Value) -> Result<Self, ObjectError> {
        match value {
            Value::Object(fields) => Ok(Self::from_fields(fields)),
            Value::Null => Err(ObjectError::NotAnObject("null")),
            Value::Bool(_) => Err(ObjectError::NotAnObject("a boolean")),
            Value::Number(_) => Err(ObjectError::NotAnObject("a number")),
            Value::String(_) => Err(ObjectError::NotAnObject("a string")),
            Value::Array(_) => Err(ObjectError::NotAnObject("a list")),
        }
    }

    /// Reads the JSON text of an object. The text is not kept: see [`Object::from_encoded`].
    pub fn from_slice(text: &[u8]) -> Result<Self, ObjectError> {
        Self::from_value(serde_json::from_slice(text).map_err(ObjectError::Syntax)?)
    }

    /// Reads the JSON text of an object and keeps it as the encoded form: for text that this
    /// program wrote itself, such as what comes back from the store.
    pub fn from_encoded(text: Bytes) -> Result<Self, ObjectError> {
        let object = Self::from_slice(&text)?;
        // A fresh object has no encoded form yet, so this cannot fail.
        let _ = object.0.encoded.set(text);
        Ok(object)
    }

    /// An object from a typed one; `apiVersion` and `kind` are filled in.
    pub fn from_typed<K: k8s_openapi::Resource + Serialize>(typed: &K) -> Result<Self, serde_json::Error> {
        let value = serde_json::to_value(typed)?;
        let mut object =
            Self::from_value(value).map_err(|error| serde::ser::Error::custom(error.to_string()))?;
        let fields = object.fields_mut();
        fields.insert("apiVersion".into(), K::API_VERSION.into());
        fields.insert("kind".into(), K::KIND.into());
        Ok(object)
    }

    /// A typed view: a copy as one of k8s-openapi's types. Fields that the type does not know are left out.
    pub fn typed<K: DeserializeOwned>(&self) -> Result<K, TypedError> {
        K::deserialize(&self.0.value).map_err(|source| TypedError {
            kind: self.kind().to_owned(),
            name: self.name().to_owned(),
            wanted: std::any::type_name::<K>(),
            source,
        })
    }

    /// The JSON text: made once, then shared.
    pub fn encoded(&self) -> Bytes {
        self.0
            .encoded
            .get_or_init(|| {
                serde_json::to_vec(&self.0.value)
                    .expect("a JSON value has string keys and finite numbers, so it always encodes")
                    .into()
            })
            .clone()
    }

    /// The whole document.
    pub fn value(&self) -> &Value {
        &self.0.value
    }

    /// The document, taken out; a copy if other clones live.
    pub fn into_value(self) -> Value {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => inner.value,
            Err(shared) => shared.value.clone(),
        }
    }

    /// Takes the object out, so that it need not be copied to be changed, and leaves an empty one.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::from_fields(Map::new()))
    }

    /// The top-level fields.
    pub fn fields(&self) -> &Map<String, Value> {
        as_map(&self.0.value)
    }

    /// The top-level fields, to be changed: copies the object if it is shared and drops the encoded form.
    pub fn fields_mut(&mut self) -> &mut Map<String, Value> {
        as_map_mut(self.value_mut())
    }

    /// What lies under a chain of field names, as in `object.get(&["spec", "replicas"])`.
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.0.value, |value, name| value.as_object()?.get(*name))
    }

    /// The text under a chain of field names.
    pub fn get_str(&self, path: &[&str]) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// The whole number under a chain of field names.
    pub fn get_i64(&self, path: &[&str]) -> Option<i64> {
        self.get(path)?.as_i64()
    }

    /// The list under a chain of field names; empty where there is none.
    pub fn get_list(&self, path: &[&str]) -> &[Value] {
        self.get(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Puts a value under a chain of field names, making the objects on the way.
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut fields = self.fields_mut();
        for name in parents {
            let entry = fields.entry(*name).or_insert_with(|| Value::Object(Map::new()));
            if !entry.is_object() {
                *entry = Value::Object(Map::new());
            }
            fields = as_map_mut(entry);
        }
        fields.insert((*last).to_owned(), value.into());
    }

    /// Takes away what lies under a chain of field names, keeping the order of the rest.
    pub fn remove(&mut self, path: &[&str]) -> Option<Value> {
        self.get(path)?;
        let (last, parents) = path.split_last()?;
        let mut fields = self.fields_mut();
        for name in parents {
            fields = fields.get_mut(*name)?.as_object_mut()?;
        }
        fields.shift_remove(*last)
    }

    /// `apiVersion`, or nothing.
    pub fn api_version(&self) -> &str {
        self.get_str(&["apiVersion"]).unwrap_or_default()
    }

    /// `kind`, or nothing.
    pub fn kind(&self) -> &str {
        self.get_str(&["kind"]).unwrap_or_default()
    }

    /// Group, version and kind. An `apiVersion` that is malformed counts as all version.
    pub fn gvk(&self) -> GroupVersionKind {
        let version = self.api_version();
        version.parse().unwrap_or_else(|_| GroupVersion::new("", version)).kind(self.kind())
    }

    /// Sets `apiVersion` and `kind`.
    pub fn set_gvk(&mut self, kind: &GroupVersionKind) {
        self.set(&["apiVersion"], kind.api_version());
        self.set(&["kind"], kind.kind.clone());
    }

    fn value_mut(&mut self) -> &mut Value {
        if Arc::get_mut(&mut self.0).is_none() {
            self.0 = Arc::new(Inner { value: self.0.value.clone(), encoded: OnceLock::new() });
        }
        let inner = Arc::get_mut(&mut self.0).expect("just made sure that nobody shares it");
        inner.encoded.take();
        &mut inner.value
    }
}

/// Metadata: what every object has.
impl Object {
    /// `metadata`, empty where there is none.
    pub fn metadata(&self) -> StringMap<'_> {
        StringMap(self.metadata_fields())
    }

    /// `metadata`, to be changed; made where there is none.
    pub fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        let entry = self.fields_mut().entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if !entry.is_object() {
            *entry = Value::Object(Map::new());
        }
        as_map_mut(entry)
    }

    /// `metadata.name`, or nothing.
    pub fn name(&self) -> &str {
        self.metadata().get("name").unwrap_or_default()
    }

    /// Sets `metadata.name`.
    pub fn set_name(&mut self, name: &str) {
        self.metadata_mut().insert("name".into(), name.into());
    }

    /// `metadata.generateName`, or nothing.
    pub fn generate_name(&self) -> &str {
        self.metadata().get("generateName").unwrap_or_default()
    }

    /// `metadata.namespace`; [`None`] for what is cluster-wide.
    pub fn namespace(&self) -> Option<&str> {
        self.metadata().get("namespace").filter(|namespace| !namespace.is_empty())
    }

    /// Sets `metadata.namespace`, or takes it away.
    pub fn set_namespace(&mut self, namespace: Option<&str>) {
        match namespace {
            Some(namespace) => {
                self.metadata_mut().insert("namespace".into(), namespace.into());
            }
            None => {
                self.remove(&["metadata", "namespace"]);
            }
        }
    }

    /// `metadata.uid`, or nothing.
    pub fn uid(&self) -> &str {
        self.metadata().get("uid").unwrap_or_default()
    }

    /// Sets `metadata.uid`.
    pub fn set_uid(&mut self, uid: &str) {
        self.metadata_mut().insert("uid".into(), uid.into());
    }

    /// `metadata.resourceVersion`, or nothing.
    pub fn resource_version(&self) -> &str {
        self.metadata().get("resourceVersion").unwrap_or_default()
    }

    /// `metadata.resourceVersion` as the revision that it stands for; [`None`] where it is absent or no number.
    pub fn revision(&self) -> Option<u64> {
        self.resource_version().parse().ok()
    }

    /// Sets `metadata.resourceVersion`; an empty one takes it away.
    pub fn set_resource_version(&mut self, version: &str) {
        if version.is_empty() {
            self.remove(&["metadata", "resourceVersion"]);
        } else {
            self.metadata_mut().insert("resourceVersion".into(), version.into());
        }
    }

    /// `metadata.generation`, or 0.
    pub fn generation(&self) -> i64 {
        self.get_i64(&["metadata", "generation"]).unwrap_or_default()
    }

    /// Sets `metadata.generation`.
    pub fn set_generation(&mut self, generation: i64) {
        self.metadata_mut().insert("generation".into(), generation.into());
    }

    /// `metadata.labels`.
    pub fn labels(&self) -> StringMap<'_> {
        StringMap(self.get(&["metadata", "labels"]).and_then(Value::as_object))
    }

    /// One label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().get(key)
    }

    /// Sets one label.
    pub fn set_label(&mut self, key: &str, value: &str) {
        self.set(&["metadata", "labels", key], value);
    }

    /// `metadata.annotations`.
    pub fn annotations(&self) -> StringMap<'_> {
        StringMap(self.get(&["metadata", "annotations"]).and_then(Value::as_object))
    }

    /// One annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations().get(key)
    }

    /// Sets one annotation.
    pub fn set_annotation(&mut self, key: &str, value: &str) {
        self.set(&["metadata", "annotations", key], value);
    }

    /// `metadata.ownerReferences`; malformed entries are left out.
    pub fn owner_references(&self) -> Vec<OwnerReference> {
        let entries = self.get_list(&["metadata", "ownerReferences"]);
        entries.iter().filter_map(|entry| OwnerReference::deserialize(entry).ok()).collect()
    }

    /// Sets `metadata.ownerReferences`; none take the field away.
    pub fn set_owner_references(&mut self, owners: &[OwnerReference]) {
        if owners.is_empty() {
            self.remove(&["metadata", "ownerReferences"]);
            return;
        }
        let owners = serde_json::to_value(owners).expect("texts and booleans always encode");
        self.metadata_mut().insert("ownerReferences".into(), owners);
    }

    /// The owner that manages this object.
    pub fn controller(&self) -> Option<OwnerReference> {
        self.owner_references().into_iter().find(|owner| owner.controller == Some(true))
    }

    /// A reference by which another object can name this one as its managing owner.
    pub fn as_controller_reference(&self) -> OwnerReference {
        OwnerReference {
            controller: Some(true),
            block_owner_deletion: Some(true),
            ..self.as_owner_reference()
        }
    }

    /// A reference by which another object can name this one as an owner.
    pub fn as_owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version().to_owned(),
            kind: self.kind().to_owned(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            controller: None,
            block_owner_deletion: None,
        }
    }

    /// `metadata.finalizers`.
    pub fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.get_list(&["metadata", "finalizers"]).iter().filter_map(Value::as_str)
    }

    /// Sets `metadata.finalizers`; none take the field away.
    pub fn set_finalizers<S: Into<String>>(&mut self, finalizers: impl IntoIterator<Item = S>) {
        let finalizers: Vec<Value> = finalizers.into_iter().map(|one| Value::String(one.into())).collect();
        if finalizers.is_empty() {
            self.remove(&["metadata", "finalizers"]);
        } else {
            self.metadata_mut().insert("finalizers".into(), finalizers.into());
        }
    }

    /// `metadata.creationTimestamp`.
    pub fn creation_timestamp(&self) -> Option<Timestamp> {
        time::parse(self.metadata().get("creationTimestamp")?)
    }

    /// Sets `metadata.creationTimestamp`, cut to the second.
    pub fn set_creation_timestamp(&mut self, at: Timestamp) {
        self.metadata_mut().insert("creationTimestamp".into(), time::format(at).into());
    }

    /// `metadata.deletionTimestamp`: when it is, or was, to be gone. Set means that it is being deleted.
    pub fn deletion_timestamp(&self) -> Option<Timestamp> {
        time::parse(self.metadata().get("deletionTimestamp")?)
    }

    /// Sets `metadata.deletionTimestamp`, cut to the second.
    pub fn set_deletion_timestamp(&mut self, at: Timestamp) {
        self.metadata_mut().insert("deletionTimestamp".into(), time::format(at).into());
    }

    /// `metadata.deletionGracePeriodSeconds`.
    pub fn deletion_grace_period_seconds(&self) -> Option<i64> {
        self.get_i64(&["metadata", "deletionGracePeriodSeconds"])
    }

    /// Whether deletion has begun.
    pub fn is_being_deleted(&self) -> bool {
        self.metadata().get("deletionTimestamp").is_some()
    }

    /// `metadata.managedFields`, as it stands.
    pub fn managed_fields(&self) -> &[Value] {
        self.get_list(&["metadata", "managedFields"])
    }

    fn metadata_fields(&self) -> Option<&Map<String, Value>> {
        self.fields().get("metadata")?.as_object()
    }
}

impl<'a> StringMap<'a> {
    /// A view of a JSON object; values that are no text read as absent.
    pub fn new(fields: Option<&'a Map<String, Value>>) -> Self {
        Self(fields)
    }

    /// The text under `key`.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.0?.get(key)?.as_str()
    }

    /// Whether `key` is there.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// All entries, in the document's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.0
            .into_iter()
            .flat_map(|fields| fields.iter())
            .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_none_or(Map::is_empty)
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.value)
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::from_fields)
    }
}

fn as_map(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an Object is made from a JSON object only")
}

fn as_map_mut(value: &mut Value) -> &mut Map<String, Value> {
    value.as_object_mut().expect("an Object is made from a JSON object only")
}

#[cfg(test)]
mod tests;
