//! Who manages which fields: `metadata.managedFields` in memory.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::field_set::{Element, FieldSet};
use super::versions::{Changes, View};
use crate::field::quote;
use crate::object::Object;
use crate::time;

/// How many managers by update an object keeps apart; older ones are put together.
const MAX_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Managed(pub(super) BTreeMap<ManagerId, Owned>);

/// What tells one manager from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ManagerId {
    pub(super) applied: bool,
    pub(super) name: String,
    /// Left empty for appliers, who stay the same when they move to another version.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

/// What a manager owns, and since when.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Owned {
    pub(super) set: FieldSet,
    pub(super) api_version: String,
    /// As it is written, since it is never computed with.
    pub(super) time: Option<String>,
}

impl Managed {
    /// Reads an object's managers; malformed ones count as none at all.
    pub(super) fn of(object: &Object) -> Self {
        Self::decode(object.managed_fields()).unwrap_or_default()
    }

    fn decode(entries: &[Value]) -> Option<Self> {
        let mut managed = Self::default();
        for entry in entries {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let applied = match text("operation").as_str() {
                "Apply" => true,
                "Update" => false,
                _ => return None,
            };
            if !matches!(text("fieldsType").as_str(), "FieldsV1" | "") {
                return None;
            }
            let api_version = text("apiVersion");
            let id = ManagerId {
                applied,
                name: text("manager"),
                api_version: if applied { String::new() } else { api_version.clone() },
                subresource: text("subresource"),
            };
            let set = match entry.get("fieldsV1") {
                Some(fields) => FieldSet::decode(fields).ok()?,
                None => FieldSet::default(),
            };
            let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
            managed.0.insert(id, Owned { set, api_version, time });
        }
        Some(managed)
    }

    /// Whether a request asks to forget all managers: an empty list, or one empty entry.
    pub(super) fn is_reset(object: &Object) -> bool {
        match object.get(&["metadata", "managedFields"]) {
            Some(Value::Array(entries)) => match entries.as_slice() {
                [] => true,
                [one] => one.as_object().is_none_or(Map::is_empty),
                _ => false,
            },
            _ => false,
        }
    }

    /// Writes the managers into an object; none take the field away.
    pub(super) fn write(&self, object: &mut Object) {
        let mut entries: Vec<(&ManagerId, &Owned)> = self.0.iter().collect();
        entries.sort_by(|(a, a_owned), (b, b_owned)| {
            // Appliers first, then by time.
            let key = |id: &ManagerId| (id.name.clone(), id.api_version.clone(), id.subresource.clone());
            b.applied
                .cmp(&a.applied)
                .then_with(|| a_owned.time.cmp(&b_owned.time))
                .then_with(|| key(a).cmp(&key(b)))
        });
        if entries.is_empty() {
            object.remove(&["metadata", "managedFields"]);
            return;
        }
        let entries: Vec<Value> = entries.into_iter().map(|(id, owned)| encode(id, owned)).collect();
        object.metadata_mut().insert("managedFields".into(), entries.into());
    }

    /// Takes what a change concerns away from all managers but one. Who manages fields in a version that
    /// is not served any more manages nothing.
    pub(super) fn take(&mut self, keeper: Option<&ManagerId>, changes: &Changes<'_>) {
        self.0.retain(|id, owned| {
            if Some(id) == keeper {
                return true;
            }
            let Some((changed, removed)) = changes.seen_in(&owned.api_version) else { return false };
            for fields in [changed, removed].into_iter().filter(|fields| !fields.is_empty()) {
                owned.set.subtract(fields);
            }
            true
        });
    }

    /// Drops who manages fields in a version that cannot be told, where the kind has one only. Where it has
    /// several, [`Managed::take`] does.
    pub(super) fn forget_unknown(&mut self, view: View<'_>) {
        if !view.has_several() {
            self.0.retain(|_, owned| owned.api_version == view.version);
        }
    }

    /// What is managed in each version, `first` first; all in that one where there are not several.
    pub(super) fn by_version<'a>(&'a self, first: &'a str, several: bool) -> Vec<(&'a str, FieldSet)> {
        let mut all = vec![(first, FieldSet::default())];
        for owned in self.0.values() {
            let version = if several { &*owned.api_version } else { first };
            let place = all.iter().position(|(of, _)| *of == version).unwrap_or_else(|| {
                all.push((version, FieldSet::default()));
                all.len() - 1
            });
            all[place].1.absorb(owned.set.clone());
        }
        all
    }

    /// Drops managers that own nothing.
    pub(super) fn drop_empty(&mut self) {
        self.0.retain(|_, owned| !owned.set.is_empty());
    }

    /// Puts the oldest managers by update together if there are too many.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<(Option<String>, ManagerId)> = self
            .0
            .iter()
            .filter(|(id, _)| !id.applied)
            .map(|(id, owned)| (owned.time.clone(), id.clone()))
            .collect();
        if updaters.len() <= MAX_UPDATERS {
            return;
        }
        updaters.sort();
        let surplus = updaters.len() - MAX_UPDATERS + 1;
        for (time, id) in updaters.into_iter().take(surplus) {
            let bucket = ManagerId { name: ANCIENT.into(), subresource: String::new(), ..id.clone() };
            let Some(owned) = self.0.remove(&id) else { continue };
            let merged = self.0.entry(bucket).or_default();
            merged.set.absorb(owned.set);
            merged.api_version = owned.api_version;
            merged.time = time;
        }
    }
}

impl ManagerId {
    /// How a conflict names it: `"kubectl" with subresource "scale" using apps/v1`.
    pub(super) fn describe(&self) -> String {
        let mut text = quote(&self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {}", quote(&self.subresource)));
        }
        if !self.applied {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// Prints a path as conflicts do: `.spec.containers[name="a"].image`.
pub(super) fn print(path: &[&Element]) -> String {
    path.iter().map(ToString::to_string).collect()
}

fn encode(id: &ManagerId, owned: &Owned) -> Value {
    let mut entry = Map::new();
    entry.insert("manager".into(), id.name.clone().into());
    entry.insert("operation".into(), if id.applied { "Apply" } else { "Update" }.into());
    entry.insert("apiVersion".into(), owned.api_version.clone().into());
    if let Some(time) = &owned.time {
        entry.insert("time".into(), time.clone().into());
    }
    entry.insert("fieldsType".into(), "FieldsV1".into());
    entry.insert("fieldsV1".into(), owned.set.encode());
    if !id.subresource.is_empty() {
        entry.insert("subresource".into(), id.subresource.clone().into());
    }
    entry.into()
}

/// The time of a request, as it is written.
pub(super) fn written(now: time::Timestamp) -> Option<String> {
    Some(time::format(now))
}
