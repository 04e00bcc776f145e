//! CSIDrivers: what drivers of storage can do, and want.

use std::collections::HashSet;

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, NONE, age, boolean, text};
use base::Timestamp;
use k8s_openapi::api::storage::v1::CSIDriver;
use model::Object;
use model::default::{Fields, inside, missing};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, flag, immutable, list, number, text as text_of};
use serde_json::{Value, json};

use crate::spec_and_status::SpecAndStatus;

pub(crate) fn resource() -> Resource {
    Resource::of::<CSIDriver>()
        .defaults(defaults)
        .rules(Functions::of(object).change(change))
        .without_effect("no volume is made or mounted by a driver")
        .columns(COLUMNS, cells)
        .drops(drop)
        .strategy(SpecAndStatus::default())
}

const COLUMNS: &[Column] = &[
    NAME,
    boolean("AttachRequired", "Whether volumes are attached to nodes."),
    boolean("PodInfoOnMount", "Whether it is told for which pod it mounts."),
    boolean("StorageCapacity", "Whether it says how much room there is."),
    text("TokenRequests", "For whom it gets tokens of the pods."),
    boolean("RequiresRepublish", "Whether it is told again and again."),
    text("Modes", "Which lives its volumes can have."),
    AGE,
];
const GROUP_POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    missing(spec, "attachRequired", true);
    missing(spec, "podInfoOnMount", false);
    missing(spec, "storageCapacity", false);
    missing(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if spec.get("volumeLifecycleModes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
    }
    missing(spec, "requiresRepublish", false);
    missing(spec, "seLinuxMount", false);
}

/// What is behind a gate that is off.
fn drop(object: &mut Object, _: Option<&Object>) {
    object.remove(&["spec", "preventPodSchedulingIfMissing"]);
}

fn object(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let policy = text_of(spec, "fsGroupPolicy");
    if !GROUP_POLICIES.contains(&policy) {
        errors.push(FieldError::not_supported(&path.child("fsGroupPolicy"), policy, &GROUP_POLICIES));
    }
    token_requests(list(spec, "tokenRequests"), &path.child("tokenRequests"), errors);
    for mode in list(spec, "volumeLifecycleModes") {
        let mode = mode.as_str().unwrap_or_default();
        if !["Persistent", "Ephemeral"].contains(&mode) {
            let path = path.child("volumeLifecycleModes");
            errors.push(FieldError::not_supported(&path, mode, &["Persistent", "Ephemeral"]));
        }
    }
    if let Some(seconds) = number(spec, "nodeAllocatableUpdatePeriodSeconds").filter(|seconds| *seconds < 10)
    {
        let path = path.child("nodeAllocatableUpdatePeriodSeconds");
        errors.push(FieldError::invalid(&path, seconds, "must be greater than or equal to 10 seconds"));
    }
}

fn token_requests(requests: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let mut audiences = HashSet::new();
    for (index, request) in requests.iter().enumerate() {
        let path = path.index(index);
        let audience = text_of(request, "audience");
        if !audiences.insert(audience) {
            errors.push(FieldError::duplicate(&path.child("audience"), audience));
            continue;
        }
        let Some(seconds) = number(request, "expirationSeconds") else { continue };
        let path = path.child("expirationSeconds");
        if seconds < 600 {
            let message = "may not specify a duration less than 10 minutes";
            errors.push(FieldError::invalid(&path, seconds, message));
        }
        if seconds > 1 << 32 {
            let message = "may not specify a duration larger than 2^32 seconds";
            errors.push(FieldError::invalid(&path, seconds, message));
        }
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    // The first is told by the name that Kubernetes tells it by.
    for (field, told) in
        [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
    {
        immutable(errors, object.get(&["spec", field]), old.get(&["spec", field]), &path.child(told));
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let audiences = spec.get("tokenRequests").and_then(Value::as_array).map(|requests| {
        requests.iter().map(|request| text_of(request, "audience")).collect::<Vec<_>>().join(",")
    });
    let modes: Vec<&str> = list(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
    vec![
        object.name().into(),
        flag(spec, "attachRequired").into(),
        flag(spec, "podInfoOnMount").into(),
        flag(spec, "storageCapacity").into(),
        audiences.unwrap_or_else(|| "<unset>".to_owned()).into(),
        flag(spec, "requiresRepublish").into(),
        if modes.is_empty() { NONE.into() } else { modes.join(",").into() },
        age(object, now),
    ]
}
