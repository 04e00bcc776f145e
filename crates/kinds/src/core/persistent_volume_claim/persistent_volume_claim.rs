//! PersistentVolumeClaims: storage that a namespace asks for.

pub(crate) mod rules;

use apiserver::table::{AGE, Column, NAME, age, text, wide};
use apiserver::{Admitting, Context, Resource, Strategy, at_once};
use base::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use model::Object;
use model::default::{Fields, existing, inside, missing, unset};
use model::validate::Functions;
use serde_json::{Value, json};

use crate::amounts::round_up;
use crate::claims::{access_modes, class, named};

pub(crate) fn resource() -> Resource {
    Resource::of::<PersistentVolumeClaim>()
        .short(&["pvc"])
        .status()
        .defaults(defaults)
        .rules(Functions::of(rules::object).change(rules::change).status(rules::status))
        .columns(COLUMNS, cells)
        .strategy(Claims)
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "Whether it has a volume."),
    text("Volume", "The volume that it has."),
    text("Capacity", "How much that holds."),
    text("Access Modes", "In which ways that can be used."),
    text("StorageClass", "The class that it asks for."),
    text("VolumeAttributesClass", "The class of attributes that it asks for."),
    AGE,
    wide("VolumeMode", "Whether it is a file system or a device."),
];

struct Claims;

impl Strategy for Claims {
    fn admit_create<'a>(&'a self, _: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set(&["status"], json!({"phase": "Pending"}));
        data_sources(object, None);
        at_once(Ok(()))
    }

    fn admit_update<'a>(
        &'a self,
        _: &'a Context<'_>,
        object: &'a mut Object,
        old: &'a Object,
    ) -> Admitting<'a> {
        data_sources(object, Some(old));
        at_once(Ok(()))
    }
}

/// The same source stands in two places. One of another namespace is behind a gate that is off.
fn data_sources(object: &mut Object, old: Option<&Object>) {
    const OLD: [&str; 2] = ["spec", "dataSource"];
    const NEW: [&str; 2] = ["spec", "dataSourceRef"];
    let is_elsewhere = |object: &Object| {
        let namespace = object.get_str(&["spec", "dataSourceRef", "namespace"]);
        namespace.is_some_and(|namespace| !namespace.is_empty())
    };
    if is_elsewhere(object) && !old.is_some_and(is_elsewhere) {
        object.remove(&NEW);
    }
    if old.is_none() {
        // In the old place other kinds were left out in silence before there was a new one.
        let kind = object.get_str(&["spec", "dataSource", "kind"]).unwrap_or_default();
        let group = object.get_str(&["spec", "dataSource", "apiGroup"]).unwrap_or_default();
        let is_known = matches!(
            (group, kind),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        );
        if object.get(&OLD).is_some() && object.get(&NEW).is_none() && !is_known {
            object.remove(&OLD);
        }
    }
    match (object.get(&OLD).cloned(), object.get(&NEW).cloned()) {
        (Some(source), None) => object.set(&NEW, source),
        (None, Some(source)) if !is_elsewhere(object) => object.set(&OLD, source),
        _ => {}
    }
}

fn defaults(fields: &mut Fields) {
    spec(inside(fields, "spec"));
    let status = inside(fields, "status");
    unset(status, "phase", "Pending");
    for list in ["capacity", "allocatedResources"] {
        round_up(status, list);
    }
}

/// What a claim asks for, in a template too.
pub(crate) fn spec(spec: &mut Fields) {
    missing(spec, "volumeMode", "Filesystem");
    if let Some(resources) = existing(spec, "resources") {
        round_up(resources, "limits");
        round_up(resources, "requests");
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let phase = object.get_str(&["status", "phase"]).unwrap_or_default();
    let volume = object.get_str(&["spec", "volumeName"]).unwrap_or_default();
    let (capacity, modes) = match volume {
        "" => (String::new(), String::new()),
        _ => (
            named(object.get(&["status", "capacity", "storage"])),
            access_modes(object.get_list(&["status", "accessModes"])),
        ),
    };
    vec![
        object.name().into(),
        if object.is_being_deleted() { "Terminating" } else { phase }.into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        class(object).into(),
        object.get_str(&["spec", "volumeAttributesClassName"]).unwrap_or("<unset>").into(),
        age(object, now),
        object.get_str(&["spec", "volumeMode"]).unwrap_or("<unset>").into(),
    ]
}
