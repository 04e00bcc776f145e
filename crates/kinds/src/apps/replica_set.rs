//! ReplicaSets.

use apiserver::Resource;
use base::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use model::Object;
use model::default::{Fields, inside, missing};
use model::field::Path;
use model::select::Selectable;
use model::validate::{Errors, Functions, not_negative};
use serde_json::Value;

use crate::features::Features;
use crate::pod_spec::defaults::template_of;
use crate::pod_spec::gates;
use crate::pod_spec::warnings::of_workload;
use crate::workload::columns::{REPLICAS, replicas, template};
use crate::workload::{Workload, rules};

pub(crate) fn resource(features: &Features) -> Resource {
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
        .columns(REPLICAS, cells)
        .selectable([Selectable::number("status.replicas")])
        .drops(gates::drops(features, &["spec", "template", "spec"]))
        .strategy(Workload { kept_by_status: &[&["spec"]] })
}

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
    let mut cells = replicas(object, now);
    cells.extend(template(object));
    cells
}
