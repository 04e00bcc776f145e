//! CustomResourceDefinitions: kinds that objects define. What becomes of them is in `custom`.

mod paths;
mod rules;
mod schema;
mod spec;

use apiserver::request::DeleteOptions;
use apiserver::resource::Graceful;
use apiserver::table::{Column, NAME, boolean, date, text, wide};
use apiserver::{Admitting, Context, Resource, Strategy, at_once};
use base::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use model::Object;
use model::default::{Fields, each, existing, inside, missing, unset};
use model::validate::{flag, text as text_of};
use serde_json::{Value, json};

use crate::custom::{FINALIZER, definition, plan};

pub(crate) fn resource() -> Resource {
    let mut resource = Resource::of::<CustomResourceDefinition>()
        .short(&["crd", "crds"])
        .category("api-extensions")
        .status()
        .defaults(defaults)
        .rules(rules::Definitions)
        .warnings(rules::warnings)
        .columns(COLUMNS, cells)
        .strategy(Strategies)
        // Patterns are compiled, defaults checked.
        .costly();
    resource.conditional_update = true;
    resource
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Scope", "Cluster/Namespaced"),
    text("Versions", "Served versions"),
    date("Created At", "When it was created."),
    wide("Group", "API group"),
    wide("Kind", "CustomResource kind"),
    wide("ShortNames", "Short names"),
    boolean("Established", "Established status").wide(),
];

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    let names = inside(spec, "names");
    let kind = model::default::text(names, "kind").to_owned();
    if !kind.is_empty() {
        unset(names, "singular", kind.to_lowercase());
        unset(names, "listKind", format!("{kind}List"));
    }
    missing(spec, "conversion", json!({"strategy": "None"}));
    let service = existing(spec, "conversion")
        .and_then(|conversion| existing(conversion, "webhook"))
        .and_then(|webhook| existing(webhook, "clientConfig"))
        .and_then(|client| existing(client, "service"));
    if let Some(service) = service {
        missing(service, "port", 443);
    }
    let stored = each(spec, "versions")
        .find(|version| version.get("storage") == Some(&Value::Bool(true)))
        .map(|version| model::default::text(version, "name").to_owned());
    let status = inside(fields, "status");
    let is_empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    if let Some(stored) = stored
        && status.get("storedVersions").is_none_or(is_empty)
    {
        status.insert("storedVersions".to_owned(), json!([stored]));
    }
    missing(status, "acceptedNames", json!({"plural": "", "kind": ""}));
}

fn cells(object: &Object, _: Timestamp) -> Vec<Value> {
    let mut versions: Vec<String> = definition::versions(object)
        .iter()
        .filter(|version| flag(version, "served"))
        .map(|version| {
            let stored = if flag(version, "storage") { "(storage)" } else { "" };
            format!("{}{stored}", text_of(version, "name"))
        })
        .collect();
    versions.sort_unstable();
    let names = definition::wished(object);
    vec![
        object.name().into(),
        object.get_str(&["spec", "scope"]).unwrap_or_default().into(),
        versions.join(",").into(),
        object.get_str(&["metadata", "creationTimestamp"]).unwrap_or_default().into(),
        definition::group(object).into(),
        names.kind.into(),
        names.short_names.join(",").into(),
        definition::is_true(object, "Established").into(),
    ]
}

struct Strategies;

impl Strategy for Strategies {
    fn admit_create<'a>(&'a self, _: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set(&["status"], json!({"acceptedNames": {"plural": "", "kind": ""}}));
        note_stored(object);
        at_once(Ok(()))
    }

    fn admit_update<'a>(
        &'a self,
        _: &'a Context<'_>,
        object: &'a mut Object,
        _: &'a Object,
    ) -> Admitting<'a> {
        note_stored(object);
        at_once(Ok(()))
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn begin_delete<'a>(
        &'a self,
        context: &'a Context<'_>,
        object: &'a mut Object,
        _: &'a DeleteOptions,
    ) -> Admitting<'a, Graceful> {
        if !object.is_being_deleted() {
            plan::begin_ending(object, context.now());
        }
        let held = object.finalizers().any(|finalizer| finalizer == FINALIZER);
        at_once(Ok(if held { Graceful::Held } else { Graceful::AtOnce }))
    }
}

/// Notes that objects may be stored in the version that is stored now.
fn note_stored(object: &mut Object) {
    let Some(stored) = definition::stored_version(object).map(str::to_owned) else { return };
    let mut versions = object.get_list(&["status", "storedVersions"]).to_vec();
    if !versions.iter().any(|known| known == stored.as_str()) {
        versions.push(stored.into());
        object.set(&["status", "storedVersions"], versions);
    }
}
