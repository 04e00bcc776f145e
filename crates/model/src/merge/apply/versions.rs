//! Objects in the versions of those who manage their fields.
//!
//! A manager's fields are in the version in which they were written: to find what a change means to it, the
//! object before and after is looked at in that version. Converting may have to ask somebody, and here
//! nobody is asked: what is missing is told ([`Wanted`]), and the operation is done again once it is known.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Manager;
use super::field_set::FieldSet;
use super::managed::Managed;
use super::typed;
use crate::object::Object;
use crate::schema::{Schema, TypeRef};

/// What is known of objects in other versions.
#[derive(Debug, Default)]
pub struct Versions(Option<Vec<Known>>);

/// An object that is wanted in another version.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The object.
    pub object: Object,
    /// `GROUP/VERSION`.
    pub version: String,
}

#[derive(Debug)]
struct Known {
    wanted: Wanted,
    /// None where that version is not served.
    form: Option<(Option<Schema>, Object)>,
}

/// An object as seen from one version.
pub(super) type Seen<'a> = (Option<TypeRef<'a>>, &'a Value);

/// The version of a request, and what is known of others.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) ty: Option<TypeRef<'a>>,
    pub(super) version: &'a str,
    pub(super) versions: &'a Versions,
}

/// What a change means in each version that somebody manages fields in.
pub(super) struct Changes<'a> {
    version: &'a str,
    /// What was added or modified, and what was removed, in the version of the request.
    pub(super) changed: FieldSet,
    pub(super) removed: FieldSet,
    /// The same in other versions; none for one that is not served.
    others: BTreeMap<String, Option<(FieldSet, FieldSet)>>,
}

impl Versions {
    /// Of a kind that may have several: nothing is known yet. The default is that of a kind with one.
    pub fn several() -> Self {
        Self(Some(Vec::new()))
    }

    /// An object in another version, with what its fields mean there; none where that is not served.
    pub fn learn(&mut self, wanted: Wanted, form: Option<(Option<Schema>, Object)>) {
        self.0.get_or_insert_default().push(Known { wanted, form });
    }
}

impl<'a> View<'a> {
    /// A value of any version in a version; none where that is not served.
    pub(super) fn to(&self, value: &'a Value, version: &str) -> Result<Option<Seen<'a>>, Wanted> {
        let Some(known) = &self.versions.0 else { return Ok(Some((self.ty, value))) };
        let is = value.get("apiVersion").and_then(Value::as_str).unwrap_or(self.version);
        if is == version {
            return Ok(Some((self.type_in(known, version), value)));
        }
        let found = known.iter().find(|k| k.wanted.version == version && k.wanted.object.value() == value);
        match found {
            Some(Known { form: Some((schema, object)), .. }) => {
                let ty = if version == self.version { self.ty } else { schema.as_ref().map(Schema::root) };
                Ok(Some((ty, object.value())))
            }
            Some(Known { form: None, .. }) => Ok(None),
            None => {
                let fields = value.as_object().cloned().unwrap_or_default();
                Err(Wanted { object: Object::from_fields(fields), version: version.to_owned() })
            }
        }
    }

    /// Whether fields may be managed in several versions.
    pub(super) fn has_several(&self) -> bool {
        self.versions.0.is_some()
    }

    fn type_in(&self, known: &'a [Known], version: &str) -> Option<TypeRef<'a>> {
        if version == self.version {
            return self.ty;
        }
        let mut forms = known.iter().filter(|known| known.wanted.version == version);
        forms.find_map(|known| known.form.as_ref()?.0.as_ref()).map(Schema::root)
    }

    /// What becomes of each manager's fields between two values.
    pub(super) fn changes(
        &self,
        old: &'a Value,
        new: &'a Value,
        managers: &Managed,
        manager: Manager<'_>,
    ) -> Result<Changes<'a>, Wanted> {
        let compare = |ty, old, new| {
            let difference = typed::compare(ty, old, new);
            let mut changed = difference.modified;
            changed.absorb(difference.added);
            (changed.without(manager.ignored), difference.removed.without(manager.ignored))
        };
        let (changed, removed) = compare(self.ty, old, new);
        let mut others = BTreeMap::new();
        if self.versions.0.is_some() {
            for owned in managers.0.values() {
                let version = &owned.api_version;
                if version == self.version || others.contains_key(version) {
                    continue;
                }
                let difference = match (self.to(old, version)?, self.to(new, version)?) {
                    (Some((ty, old)), Some((_, new))) => Some(compare(ty, old, new)),
                    _ => None,
                };
                others.insert(version.clone(), difference);
            }
        }
        Ok(Changes { version: self.version, changed, removed, others })
    }
}

impl Changes<'_> {
    /// What was added or modified, and removed, as a manager of that version sees it; none where it is not
    /// served any more.
    pub(super) fn seen_in(&self, version: &str) -> Option<(&FieldSet, &FieldSet)> {
        let own = Some((&self.changed, &self.removed));
        if version == self.version {
            return own;
        }
        match self.others.get(version) {
            None => own,
            Some(other) => other.as_ref().map(|(changed, removed)| (changed, removed)),
        }
    }
}
