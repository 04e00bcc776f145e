//! The entries that a definition makes: one of each version that it serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiserver::resource::{Context, Conversion, Definition};
use apiserver::{Objects, Resource, Strategy};
use model::default::Fields;
use model::field::quote;
use model::gvk::rank;
use model::select::Selectable;
use model::structural::{Structural, types};
use model::validate::{flag, list, metadata, text};
use model::{Encoded, GroupResource, GroupVersionKind, Object};
use serde_json::Value;

use super::columns::columns;
use super::convert::{Converter, Schemas};
use super::definition::{accepted, group, schema, stored_version, versions};
use super::documents::Documents;
use super::rules::{CustomRules, Scale};
use super::{GROUP, PLURAL};
use crate::webhook_configuration::conversion::ConversionWebhook;

/// What discovery says of objects whose kind is to go.
const TERMINATING: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];
/// What it says of others: all verbs, in the order in which Kubernetes names them for custom kinds.
const VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// The entries of a definition, whose text this is: what was stored up to `since` is as it was meant before.
pub(super) fn of(
    object: &Object,
    definition: Encoded,
    since: u64,
    is_terminating: bool,
    objects: &Arc<dyn Objects>,
) -> Entries {
    let (names, group) = (accepted(object), group(object));
    let mut schemas: Schemas = BTreeMap::new();
    for version in versions(object) {
        // What cannot be read was refused when it was stored.
        let read = schema(version).and_then(|schema| Structural::parse(schema).ok()).unwrap_or_default();
        schemas.insert(text(version, "name").to_owned(), Arc::new(read));
    }
    let Some(stored) = stored_version(object) else { return Entries::default() };
    let webhook = object
        .get(&["spec", "conversion"])
        .filter(|conversion| text(conversion, "strategy") == "Webhook")
        .and_then(|conversion| conversion.get("webhook"))
        .map(|webhook| ConversionWebhook::of(webhook, objects.clone()));
    let converter = Converter::new(schemas.clone(), webhook);
    let conversion =
        Conversion::new(GroupVersionKind::new(group, stored, names.kind.as_str()), converter).since(since);
    let defined_by = defined_by(object.name(), &definition);
    let entry = |version: &Value| {
        let name = text(version, "name");
        let kind = GroupVersionKind::new(group, name, names.kind.as_str());
        let schema = schemas.get(name).cloned().unwrap_or_default();
        let subresources = version.get("subresources").cloned().unwrap_or_default();
        let has_status = subresources.get("status").is_some_and(|status| !status.is_null());
        let scale = subresources.get("scale").filter(|scale| !scale.is_null());
        let rules = CustomRules::new(schema.clone(), scale.map(Scale::of), has_status);
        let defaults = schema.clone();
        let mut resource = Resource::new(&kind, &names.plural)
            .defaults_within(move |fields: &mut Fields| defaults.fill_in(fields))
            .rules(rules)
            .warnings(warnings)
            .strategy(CustomStrategy)
            .selectable(selectable(version))
            .stored_as(conversion.clone())
            .defined();
        resource.columns = columns(list(version, "additionalPrinterColumns"));
        resource.schema = Some(types::schema(&kind, schema));
        resource.singular.clone_from(&names.singular);
        resource.list_kind = Some(names.list_kind.clone());
        resource.short_names.clone_from(&names.short_names);
        resource.categories.clone_from(&names.categories);
        resource.namespaced = object.get_str(&["spec", "scope"]) == Some("Namespaced");
        resource.conditional_update = true;
        resource.definition = Some(defined_by.clone());
        resource.shown_verbs = Some(VERBS);
        resource.deprecated = deprecation(object, version, &kind);
        resource.documented = Some(Arc::new(Documents::new(definition.clone(), kind)));
        if has_status {
            resource = resource.status();
        }
        if let Some(scale) = scale {
            let selector = scale.get("labelSelectorPath").and_then(Value::as_str);
            let (wanted, running) = (text(scale, "specReplicasPath"), text(scale, "statusReplicasPath"));
            resource = resource.scale_at(wanted, running, selector);
        }
        Arc::new(resource)
    };
    let mut entries = Entries { definition: Some(defined_by.clone()), ..Entries::default() };
    for version in versions(object) {
        let (is_served, is_stored) = (flag(version, "served"), text(version, "name") == stored);
        if !is_served && !is_stored {
            continue;
        }
        let entry = entry(version);
        if is_stored {
            entries.stored = Some(entry.clone());
        }
        if is_served {
            entries.served.push(entry);
        }
    }
    if is_terminating { entries.terminating(true, defined_by) } else { entries }
}

/// The entries of a definition.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) served: Vec<Arc<Resource>>,
    /// The one of the version that is stored, which may not be served.
    pub(super) stored: Option<Arc<Resource>>,
    /// The definition, as all of them know it.
    definition: Option<Arc<Definition>>,
}

impl Entries {
    /// The definition has changed, and means the same.
    pub(super) fn reached(&self, version: u64) {
        if let Some(definition) = &self.definition {
            definition.reached(version);
        }
    }

    /// The same entries, of a kind that is to go or not: nothing is written any more by those that were there.
    pub(super) fn terminating(&self, is_terminating: bool, definition: Arc<Definition>) -> Self {
        let one = |entry: &Arc<Resource>| {
            let mut entry = Resource::clone(entry);
            let why = "create not allowed while custom resource definition is terminating";
            entry.refuses_create = is_terminating.then_some(why);
            entry.shown_verbs = Some(if is_terminating { TERMINATING } else { VERBS });
            entry.definition = Some(definition.clone());
            Arc::new(entry)
        };
        Self {
            served: self.served.iter().map(one).collect(),
            stored: self.stored.as_ref().map(one),
            definition: Some(definition.clone()),
        }
    }
}

/// A definition of which this is the text.
pub(super) fn defined_by(name: &str, text: &Encoded) -> Arc<Definition> {
    Arc::new(Definition::new(GroupResource::new(GROUP, PLURAL), name, text.revision()))
}

fn selectable(version: &Value) -> impl Iterator<Item = Selectable> {
    list(version, "selectableFields").iter().map(|field| {
        let path = text(field, "jsonPath");
        Selectable::text(path.strip_prefix('.').unwrap_or(path).to_owned())
    })
}

/// What everybody is told who uses a version that is to go.
fn deprecation(object: &Object, version: &Value, kind: &GroupVersionKind) -> Option<String> {
    if !flag(version, "deprecated") {
        return None;
    }
    if let Some(said) = version.get("deprecationWarning").and_then(Value::as_str) {
        return Some(said.to_owned());
    }
    let wished = object.get_str(&["spec", "names", "kind"]).unwrap_or_default();
    let mut warning = format!("{} {wished} is deprecated", kind.api_version());
    let better = versions(object)
        .iter()
        .filter(|other| flag(other, "served") && !flag(other, "deprecated"))
        .map(|other| text(other, "name"))
        .filter(|other| rank(other) > rank(&kind.version))
        .max_by_key(|other| rank(other));
    if let Some(better) = better {
        warning.push_str(&format!("; use {}/{better} {wished}", kind.group));
    }
    Some(warning)
}

/// Finalizers that may be in somebody else's way.
fn warnings(object: &Object, old: Option<&Object>) -> Vec<String> {
    let mut warnings = Vec::new();
    let was_there = |name: &str| old.is_some_and(|old| old.finalizers().any(|known| known == name));
    let mut added: Vec<&str> = object.finalizers().filter(|name| !was_there(name)).collect();
    added.sort_unstable();
    for name in added {
        let wrong = model::names::qualified(name);
        let odd = !name.contains('/') && !metadata::STANDARD_FINALIZERS.contains(&name);
        let advice = match (odd, name.contains('.')) {
            (false, _) => None,
            (true, true) => Some(" including a path (/)"),
            (true, false) => Some(""),
        };
        let advice = advice.map(|including| {
            format!(
                "prefer a domain-qualified finalizer name{including} to avoid accidental conflicts with other \
                 finalizer writers"
            )
        });
        let all = wrong.into_iter().chain(advice);
        warnings.extend(all.map(|message| format!("metadata.finalizers: {}: {message}", quote(name))));
    }
    warnings
}

/// What is particular of objects of custom kinds.
struct CustomStrategy;

impl Strategy for CustomStrategy {
    fn counts_generations(&self) -> bool {
        true
    }

    fn kept_by_status(&self) -> &'static [&'static [&'static str]] {
        &[&["spec"], &["metadata"]]
    }

    fn part_update(&self, _: &Context<'_>, _: &str, new: Object, old: &Object) -> Object {
        let mut updated = old.clone();
        for path in [&["status"][..], &["metadata", "managedFields"]] {
            match new.get(path) {
                Some(value) => updated.set(path, value.clone()),
                None => drop(updated.remove(path)),
            }
        }
        updated
    }
}
