//! ReplicationControllers: what ReplicaSets came from, with a selector of labels alone.

use apiserver::Resource;
use apiserver::table::pairs;
use base::Timestamp;
use k8s_openapi::api::core::v1::ReplicationController;
use model::Object;
use model::default::{Fields, existing, inside, is_zero, missing};
use model::field::{FieldError, Path};
use model::object::StringMap;
use model::select::Selectable;
use model::validate::{Errors, Functions, flag, list, not_negative, number, text};
use serde_json::Value;

use crate::features::Features;
use crate::pod_spec;
use crate::pod_spec::defaults::template_of;
use crate::pod_spec::gates;
use crate::pod_spec::warnings::of_template;
use crate::workload::columns::{REPLICAS, replicas, template};
use crate::workload::{Workload, rules};

pub(crate) fn resource(features: &Features) -> Resource {
    Resource::of::<ReplicationController>()
        .short(&["rc"])
        .category("all")
        .status()
        .scale()
        .defaults(defaults)
        .rules(Functions::of(object).status(|object, _, errors| rules::status(object, errors)))
        .warnings(|object, old| of_template(object, old, &["spec", "template"]))
        .columns(REPLICAS, cells)
        .selectable([Selectable::number("status.replicas")])
        .orphans("")
        .drops(gates::drops(features, &["spec", "template", "spec"]))
        .strategy(Workload { kept_by_status: &[&["spec"]] })
}

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    missing(spec, "replicas", 1);
    if spec.get("template").is_some_and(|template| !template.is_null()) {
        template_of(spec);
    }
    // What is not said of the whole is what its pods say.
    let labels = existing(spec, "template")
        .and_then(|template| existing(template, "metadata"))
        .and_then(|metadata| metadata.get("labels").cloned());
    let is_empty = |value: Option<&Value>| value.and_then(Value::as_object).is_none_or(|map| map.is_empty());
    if let Some(labels) = labels.filter(|labels| !is_empty(Some(labels))) {
        if is_empty(spec.get("selector")) {
            spec.insert("selector".into(), labels.clone());
        }
        let metadata = inside(fields, "metadata");
        if is_empty(metadata.get("labels")) {
            metadata.insert("labels".into(), labels);
        }
    }
    let status = inside(fields, "status");
    missing(status, "replicas", 0);
}

fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    not_negative(errors, spec, "minReadySeconds", &path);
    let selector = StringMap::new(spec.get("selector").and_then(Value::as_object));
    if selector.is_empty() {
        errors.push(FieldError::required(&path.child("selector"), ""));
    }
    not_negative(errors, spec, "replicas", &path);
    let path = path.child("template");
    let Some(template) = spec.get("template").filter(|template| !template.is_null()) else {
        errors.push(FieldError::required(&path, ""));
        return;
    };
    let labels = template.pointer("/metadata/labels").and_then(Value::as_object);
    let known = StringMap::new(labels);
    if selector.iter().any(|(key, value)| known.get(key) != Some(value)) {
        let labels = labels.cloned().map_or(Value::Null, Value::Object);
        let message = "`selector` does not match template `labels`";
        let metadata = path.child("metadata");
        errors.push(FieldError::invalid(&metadata.child("labels"), labels, message));
    }
    pod_spec::rules::template(template, &path, errors);
    let pod = template.get("spec").unwrap_or(&empty);
    let path = path.child("spec");
    if number(spec, "replicas").is_some_and(|replicas| replicas > 1) {
        shared_disks(pod, &path, errors);
    }
    if text(pod, "restartPolicy") != "Always" {
        let policy = text(pod, "restartPolicy");
        errors.push(FieldError::not_supported(&path.child("restartPolicy"), policy, &["Always"]));
    }
    if !is_zero(pod.get("activeDeadlineSeconds")) {
        let message = "activeDeadlineSeconds in ReplicationController is not Supported";
        errors.push(FieldError::forbidden(&path.child("activeDeadlineSeconds"), message));
    }
}

/// Several pods can have a disk of this kind at once if none of them writes.
fn shared_disks(pod: &Value, path: &Path<'_>, errors: &mut Errors) {
    let volumes = path.child("volumes");
    for (index, volume) in list(pod, "volumes").iter().enumerate() {
        let Some(disk) = volume.get("gcePersistentDisk").filter(|disk| !flag(disk, "readOnly")) else {
            continue;
        };
        let path = volumes.index(index);
        let path = path.child("gcePersistentDisk");
        let message = "must be read-only for replicated pods > 1; GCE PD can only be mounted on multiple machines \
                       if it is read-only";
        errors.push(FieldError::invalid(&path.child("readOnly"), flag(disk, "readOnly"), message));
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let mut cells = replicas(object, now);
    let [containers, images, _] = template(object);
    cells.extend([containers, images, pairs(object.get(&["spec", "selector"])).into()]);
    cells
}
