//! How the objects of a resource that is served in several versions become those of another.
//!
//! One version is stored. A [`Conversion`] in the entry of each version says which, and has the [`Convert`]
//! that turns objects of any of them into any other: functions for built-in kinds, somebody who is asked
//! (a webhook) for custom ones. What is read is converted once for each version and revision of an object,
//! whoever reads it (`crate::cache::served`).

use std::fmt;
use std::future::ready;
use std::sync::Arc;

use futures::future::{BoxFuture, Either};
use model::field::{Path, aggregate};
use model::object::StringMap;
use model::structural::go_type;
use model::validate::{Errors, metadata as rules};
use model::{GroupVersionKind, Object, Status};
use serde_json::{Map, Value};

use super::{Resource, partition};
use crate::cache::Stored;
use crate::error::{Error, Result};

/// Turns objects of one served version into those of another.
pub trait Convert: Send + Sync + 'static {
    /// What it is, in errors: `conversion webhook`.
    fn name(&self) -> &str {
        "conversion"
    }

    /// Gives `objects` as objects of `to`, in the same order.
    ///
    /// They are of the kind of `to`, each in some other version that is or was served. Of their metadata
    /// labels and annotations may become others. May be asked again about the same ones: where it failed,
    /// where others were faster to write, where memory has forgotten what it said.
    fn convert(&self, objects: Vec<Object>, to: &GroupVersionKind) -> Converting<'_>;

    /// Brings an object in the version that it says to what is stored of that version today: what it may not have
    /// goes, what it leaves out is filled in. It is done before something is stored that was converted, and to what
    /// was stored before [`Conversion::since`]; whoever does something here fills in all there is to fill in.
    fn settle(&self, _object: &mut Object) -> Result<(), ConvertError> {
        Ok(())
    }
}

/// Objects in another version, at once where nobody has to be asked.
pub type Converting<'a> = Either<
    std::future::Ready<Result<Vec<Object>, ConvertError>>,
    BoxFuture<'a, Result<Vec<Object>, ConvertError>>,
>;

/// Why objects could not be converted, in the words of whoever was to do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConvertError(pub String);

/// Which version of a resource is stored, and how the others come from it and go to it.
#[derive(Clone)]
pub struct Conversion {
    stored: GroupVersionKind,
    how: Arc<dyn Convert>,
    since: Option<u64>,
}

/// The conversion of one entry, as those who read and write need it.
#[derive(Clone)]
pub(crate) struct Served {
    conversion: Conversion,
    /// The version of the entry.
    pub(crate) version: Arc<GroupVersionKind>,
    /// What the text of every object of it begins with.
    pub(crate) head: Arc<str>,
}

/// Two functions.
struct Functions {
    stored: GroupVersionKind,
    to_stored: fn(&mut Object),
    from_stored: fn(&mut Object),
}

impl Conversion {
    /// Objects are stored as `stored`, and `how` converts them.
    pub fn new(stored: GroupVersionKind, how: impl Convert) -> Self {
        Self { stored, how: Arc::new(how), since: None }
    }

    /// What is stored up to this version is not as it would be stored today: it is settled when it is read.
    #[must_use]
    pub fn since(self, version: u64) -> Self {
        Self { since: Some(version), ..self }
    }

    /// Objects are stored as `stored`; there is one other version, and functions that say what is different.
    pub fn functions(
        stored: GroupVersionKind,
        to_stored: fn(&mut Object),
        from_stored: fn(&mut Object),
    ) -> Self {
        Self::new(stored.clone(), Functions { stored, to_stored, from_stored })
    }
}

impl Served {
    /// The object as it is to be stored.
    pub(crate) async fn to_stored(&self, object: Object) -> Result<Object> {
        let converted = self.convert(vec![object], &self.conversion.stored).await?;
        let mut object = converted.into_iter().next().expect("as many come back as were given");
        self.settle_now(&mut object)?;
        Ok(object)
    }

    /// Brings an object as it was stored, at a version, to what is stored today; says whether that may have changed
    /// it.
    pub(crate) fn settle(&self, object: &mut Object, version: u64) -> Result<bool> {
        let is_old = self.is_before(version);
        if is_old {
            self.settle_now(object)?;
        }
        Ok(is_old)
    }

    fn settle_now(&self, object: &mut Object) -> Result<()> {
        let from = object.gvk();
        let how = &self.conversion.how;
        how.settle(object).map_err(|error| failure(format!("{} for {from} failed: {error}", how.name())))
    }

    /// Whether what was stored at a version may not be as it would be stored today.
    pub(crate) fn is_before(&self, version: u64) -> bool {
        self.conversion.since.is_some_and(|since| version <= since)
    }

    /// Whether an object is stored in the version that is stored today.
    pub(crate) fn is_of_stored(&self, stored: &Stored) -> bool {
        if self.is_stored() { stored.is_of(&self.head) } else { stored.is_of(&head(&self.conversion.stored)) }
    }

    /// Whether all that is to be filled in is filled in before an object is converted.
    pub(crate) fn settles(&self) -> bool {
        self.conversion.since.is_some()
    }

    /// The version that is stored.
    pub(crate) fn stored(&self) -> &GroupVersionKind {
        &self.conversion.stored
    }

    /// Whether the version of the entry is the one that is stored.
    pub(crate) fn is_stored(&self) -> bool {
        *self.version == self.conversion.stored
    }

    /// Whether another entry means the same conversion into the same version.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.conversion.how, &other.conversion.how) && self.version == other.version
    }

    /// `objects`, which may be of several versions, as those of `to`.
    pub(crate) async fn convert(
        &self,
        mut objects: Vec<Object>,
        to: &GroupVersionKind,
    ) -> Result<Vec<Object>> {
        let version = to.api_version();
        let places: Vec<usize> =
            (0..objects.len()).filter(|place| objects[*place].api_version() != version).collect();
        let Some(first) = places.first() else { return Ok(objects) };
        let (how, from) = (&*self.conversion.how, objects[*first].gvk());
        let mut metadata = Vec::with_capacity(places.len());
        let mut others = Vec::with_capacity(places.len());
        for place in &places {
            let object = std::mem::replace(&mut objects[*place], Object::from_fields(Map::new()));
            metadata.push(object.fields().get("metadata").cloned().unwrap_or_default());
            others.push(object);
        }
        let failed = |why: fmt::Arguments<'_>| failure(format!("{} for {from} {why}", how.name()));
        let converting = base::panics::catch_async(how.convert(others, to)).await;
        let converted = match converting {
            Ok(Ok(converted)) => converted,
            Ok(Err(error)) => return Err(failed(format_args!("failed: {error}"))),
            Err(panic) => {
                tracing::error!(%panic, kind = %from, "a conversion panicked");
                return Err(failed(format_args!("failed: it met a fault of the server")));
            }
        };
        if converted.len() != places.len() {
            let (given, wanted) = (converted.len(), places.len());
            return Err(failed(format_args!("returned {given} objects, expected {wanted}")));
        }
        for (index, (mut object, metadata)) in converted.into_iter().zip(metadata).enumerate() {
            accept(&mut object, metadata, to).map_err(|why| {
                failed(format_args!("returned invalid converted object at index {index}: {why}"))
            })?;
            objects[places[index]] = object;
        }
        Ok(objects)
    }
}

/// What the text of every object of a version begins with.
fn head(version: &GroupVersionKind) -> String {
    format!("{{\"kind\":{:?},\"apiVersion\":{:?},", version.kind, version.api_version())
}

/// Kubernetes gives such failures no reason, and clients look at the message.
fn failure(message: String) -> Error {
    Status::failure(500, "", message).into()
}

/// Checks what was made of an object, and keeps all of its metadata but labels and annotations. Managed
/// fields stay those of the versions that they were written in.
fn accept(object: &mut Object, metadata: Value, to: &GroupVersionKind) -> Result<(), String> {
    if object.gvk() != *to {
        return Err(format!("it is of {}, expected {to}", object.gvk()));
    }
    let before = metadata.as_object().cloned().unwrap_or_default();
    for field in ["name", "namespace", "uid"] {
        let is = object.get(&["metadata", field]).and_then(Value::as_str).unwrap_or_default();
        let was = before.get(field).and_then(Value::as_str).unwrap_or_default();
        if is != was {
            return Err(format!("must have the same {field}: {was} != {is}"));
        }
    }
    let after = std::mem::replace(object.metadata_mut(), before);
    let metadata = object.metadata_mut();
    for field in ["labels", "annotations"] {
        match after.get(field) {
            None | Some(Value::Null) => drop(metadata.shift_remove(field)),
            Some(value) => {
                if metadata.get(field) != Some(value) {
                    check_texts(field, value)?;
                }
                metadata.insert(field.to_owned(), value.clone());
            }
        }
    }
    Ok(())
}

/// Checks labels or annotations that others have changed.
fn check_texts(field: &str, value: &Value) -> Result<(), String> {
    let Some(texts) = value.as_object() else {
        return Err(format!("invalid metadata.{field} of type {} in converted object", go_type(value)));
    };
    if let Some((key, other)) = texts.iter().find(|(_, text)| !text.is_string()) {
        let is = go_type(other);
        return Err(format!("metadata.{field}[{key}] must be a string, but is {is} in converted object"));
    }
    let mut errors = Errors::new();
    let (metadata, texts) = (Path::root("metadata"), StringMap::new(Some(texts)));
    match field {
        "labels" => rules::labels(texts, &metadata.child("labels"), &mut errors),
        _ => rules::annotations(texts, &metadata.child("annotation"), &mut errors),
    }
    if errors.is_empty() { Ok(()) } else { Err(aggregate(&errors)) }
}

impl Convert for Functions {
    fn convert(&self, mut objects: Vec<Object>, to: &GroupVersionKind) -> Converting<'_> {
        let change = if *to == self.stored { self.to_stored } else { self.from_stored };
        objects.iter_mut().for_each(change);
        Either::Left(ready(Ok(objects)))
    }
}

impl Resource {
    /// Objects are stored in one of several versions, which the conversion names: each of the versions has
    /// an entry with the same conversion, the stored one too where it may have been another before. They
    /// have the same kind and the same plural name.
    #[must_use]
    pub fn stored_as(mut self, conversion: Conversion) -> Self {
        self.storage.partition = partition(&conversion.stored.group, &self.plural);
        let version = self.gvk();
        let head = head(&version).into();
        self.storage.served = Some(Served { conversion, version: Arc::new(version), head });
        self
    }

    /// Whether objects are stored in the version of this entry.
    pub(crate) fn is_stored_version(&self) -> bool {
        self.storage.served.as_ref().is_none_or(Served::is_stored)
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Served({})", self.version)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_metadata_labels_and_annotations_may_change_and_are_what_they_must_be() {
        let kind = GroupVersionKind::new("g.io", "v1", "K");
        let before =
            json!({"name": "a", "uid": "u", "finalizers": ["x.io/y"], "labels": {"-odd": "was there"}});
        let check = |after: Value, expected: Result<Value, &str>| {
            let mut after = after;
            (after["name"], after["uid"]) = ("a".into(), "u".into());
            let object = json!({"apiVersion": "g.io/v1", "kind": "K", "metadata": after});
            let mut object = Object::from_value(object).expect("an object");
            let found =
                accept(&mut object, before.clone(), &kind).map(|()| object.value()["metadata"].clone());
            match (found, expected) {
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
                (found, expected) => assert_eq!(found, expected.map_err(str::to_owned)),
            }
        };
        let kept = json!({"name": "a", "uid": "u", "finalizers": ["x.io/y"]});
        let with = |field: &str, value: Value| {
            let mut all = kept.clone();
            all[field] = value;
            all
        };
        check(json!({}), Ok(kept.clone()));
        check(json!({"labels": null, "annotations": null, "finalizers": []}), Ok(kept.clone()));
        check(json!({"annotations": {"a": "b"}}), Ok(with("annotations", json!({"a": "b"}))));
        // What was there goes on.
        check(json!({"labels": {"-odd": "was there"}}), Ok(with("labels", json!({"-odd": "was there"}))));
        check(json!({"labels": {"-odd": "is new"}}), Err("metadata.labels"));
        check(json!({"labels": {"a": "b c"}}), Err("metadata.labels"));
        check(json!({"annotations": {"a b": ""}}), Err("metadata.annotation"));
        check(json!({"annotations": {"a": "x".repeat(300_000)}}), Err("Too long"));
        check(json!({"labels": {"a": 1}}), Err("metadata.labels[a] must be a string, but is int64"));
        check(
            json!({"annotations": {"a": {"b": []}}}),
            Err("must be a string, but is map[string]interface {}"),
        );
        check(json!({"annotations": ["a"]}), Err("invalid metadata.annotations of type []interface {}"));
    }
}
