//! The entries that a definition makes: one of each version that it serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiserver::resource::{Admitting, Context, Conversion, at_once};
use apiserver::{Objects, Resource, Strategy};
use model::default::Fields;
use model::field::quote;
use model::select::Selectable;
use model::structural::{Structural, types};
use model::validate::{flag, list, metadata, text};
use model::{Encoded, GroupVersionKind, Object};
use serde_json::Value;

use super::columns::columns;
use super::convert::{Converter, Schemas};
use super::definition::{accepted, group, rank, schema, stored_version, versions};
use super::documents::Documents;
use super::rules::{CustomRules, Scale};
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
) -> Vec<Arc<Resource>> {
    let (names, group) = (accepted(object), group(object));
    let mut schemas: Schemas = BTreeMap::new();
    for version in versions(object) {
        // What cannot be read was refused when it was stored.
        let read = schema(version).and_then(|schema| Structural::parse(schema).ok()).unwrap_or_default();
        schemas.insert(text(version, "name").to_owned(), Arc::new(read));
    }
    let Some(stored) = stored_version(object) else { return Vec::new() };
    let webhook = object
        .get(&["spec", "conversion"])
        .filter(|conversion| text(conversion, "strategy") == "Webhook")
        .and_then(|conversion| conversion.get("webhook"))
        .map(|webhook| ConversionWebhook::of(webhook, objects.clone()));
    let converter = Converter::new(schemas.clone(), webhook);
    let conversion =
        Conversion::new(GroupVersionKind::new(group, stored, names.kind.as_str()), converter).since(since);
    let served = versions(object).iter().filter(|version| flag(version, "served"));
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
            .defaults(move |fields: &mut Fields| defaults.fill_in(fields))
            .rules(rules)
            .warnings(warnings)
            .strategy(CustomStrategy { is_terminating: false })
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
    let entries = served.map(entry);
    if is_terminating { entries.map(|entry| terminating(&entry, true)).collect() } else { entries.collect() }
}

/// The same entry, of a kind that is to go or not.
pub(super) fn terminating(entry: &Resource, is_terminating: bool) -> Arc<Resource> {
    let mut entry = entry.clone().strategy(CustomStrategy { is_terminating });
    entry.shown_verbs = Some(if is_terminating { TERMINATING } else { VERBS });
    Arc::new(entry)
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
struct CustomStrategy {
    is_terminating: bool,
}

impl Strategy for CustomStrategy {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        if self.is_terminating {
            let why = "create not allowed while custom resource definition is terminating";
            return at_once(Err(context.forbidden(object, why)));
        }
        at_once(Ok(()))
    }

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
