//! RuntimeClasses: by what the containers of a pod are run.

use std::collections::BTreeSet;

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, text};
use base::Timestamp;
use k8s_openapi::api::node::v1::RuntimeClass;
use model::field::Path;
use model::object::StringMap;
use model::validate::{Errors, Functions, immutable, invalid, metadata, text as text_of};
use model::{Object, names};
use serde_json::{Value, json};

use crate::pod_spec::{resources, rules};

pub(crate) fn resource() -> Resource {
    Resource::of::<RuntimeClass>().rules(Functions::of(object).change(change)).columns(COLUMNS, cells)
}

const COLUMNS: &[Column] = &[NAME, text("Handler", "What the node calls it."), AGE];

fn object(object: &Object, errors: &mut Errors) {
    let handler = text_of(object.value(), "handler");
    invalid(errors, &Path::root("handler"), handler, names::dns1123_label(handler));
    if let Some(fixed) = object.get(&["overhead", "podFixed"]) {
        let limits = json!({"limits": fixed});
        let path = Path::root("overhead");
        resources::requirements(Some(&limits), resources::Of::Container, &BTreeSet::new(), &path, errors);
    }
    if let Some(scheduling) = object.get(&["scheduling"]).filter(|it| !it.is_null()) {
        let path = Path::root("scheduling");
        let selector = StringMap::new(scheduling.get("nodeSelector").and_then(Value::as_object));
        metadata::labels(selector, &path.child("nodeSelector"), errors);
        rules::tolerations(scheduling, &path, errors);
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    immutable(errors, object.get(&["handler"]), old.get(&["handler"]), &Path::root("handler"));
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), text_of(object.value(), "handler").into(), age(object, now)]
}
