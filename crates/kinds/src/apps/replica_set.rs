//! ReplicaSets.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, integer};
use base::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use model::Object;
use model::default::{Fields, inside, missing};
use model::field::Path;
use model::select::Selectable;
use model::validate::{Errors, Functions, not_negative};
use serde_json::Value;

use crate::pod_spec::defaults::template_of;
use crate::pod_spec::warnings::of_workload;
use crate::workload::columns::{CONTAINERS, IMAGES, SELECTOR, template};
use crate::workload::{Workload, rules};

pub(crate) fn resource() -> Resource {
    Resource::of::<ReplicaSet>()
        .short(&["rs"])
        .category("all")
        .status()
        .scale()
        .defaults(defaults)
        .rules(
            Functions::of(object)
                .change(rules::selector_change)
                .status(|object, _, errors| rules::status(object, errors)),
        )
        .warnings(of_workload)
        .columns(COLUMNS, cells)
        .selectable([Selectable::number("status.replicas")])
        .strategy(Workload { kept_by_status: &[&["spec"]] })
}

const COLUMNS: &[Column] = &[
    NAME,
    integer("Desired", "How many pods are wanted."),
    integer("Current", "How many pods there are."),
    integer("Ready", "How many pods are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    missing(spec, "replicas", 1);
    template_of(spec);
    let status = inside(fields, "status");
    missing(status, "replicas", 0);
}

fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    not_negative(errors, spec, "replicas", &path);
    not_negative(errors, spec, "minReadySeconds", &path);
    rules::selector(spec, &path, errors);
    rules::template(spec, &path, errors);
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let status = |name: &str| object.get_i64(&["status", name]).unwrap_or_default();
    let mut cells = vec![
        object.name().into(),
        object.get_i64(&["spec", "replicas"]).unwrap_or_default().into(),
        status("replicas").into(),
        status("readyReplicas").into(),
        age(object, now),
    ];
    cells.extend(template(object));
    cells
}
