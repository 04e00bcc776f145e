//! PersistentVolumes: storage of the cluster, for claims to have.

mod rules;
mod source;

use apiserver::resource::status_and_metadata;
use apiserver::table::{AGE, Column, NAME, age, text, wide};
use apiserver::{Admitting, Context, Resource, Strategy, at_once};
use base::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolume;
use model::Object;
use model::default::{Fields, existing, inside, missing, unset};
use model::validate::Functions;
use serde_json::{Value, json};

use crate::amounts::round_up;
use crate::claims::{access_modes, class, named};

pub(crate) fn resource() -> Resource {
    Resource::of::<PersistentVolume>()
        .short(&["pv"])
        .status()
        .defaults(defaults)
        .rules(Functions::of(rules::object).change(rules::change))
        .columns(COLUMNS, cells)
        .strategy(PersistentVolumes)
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Capacity", "How much it holds."),
    text("Access Modes", "In which ways it can be used."),
    text("Reclaim Policy", "What becomes of it when no claim has it any more."),
    text("Status", "Whether a claim has it."),
    text("Claim", "The claim that has it."),
    text("StorageClass", "Its class."),
    text("VolumeAttributesClass", "The class of its attributes."),
    text("Reason", "Why it is as it is."),
    AGE,
    wide("VolumeMode", "Whether it is a file system or a device."),
];

struct PersistentVolumes;

impl Strategy for PersistentVolumes {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        let now = model::time::format(context.now());
        object.set(&["status"], json!({"phase": "Pending", "lastPhaseTransitionTime": now}));
        at_once(Ok(()))
    }

    fn part_update(&self, context: &Context<'_>, part: &str, new: Object, old: &Object) -> Object {
        const SINCE: [&str; 2] = ["status", "lastPhaseTransitionTime"];
        let mut new = status_and_metadata(new, old, self.kept_by_part(part));
        let phase = ["status", "phase"];
        if new.get(&phase) == old.get(&phase) {
            return new;
        }
        // A time that the writer gives is not changed, unless it is the old one.
        if new.get(&SINCE).is_none() || new.get(&SINCE) == old.get(&SINCE) {
            new.set(&SINCE, model::time::format(context.now()));
        }
        new
    }
}

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    unset(spec, "persistentVolumeReclaimPolicy", "Retain");
    missing(spec, "volumeMode", "Filesystem");
    round_up(spec, "capacity");
    let filled: [(&str, &[(&str, &str)]); 5] = [
        ("hostPath", &[("type", "")]),
        ("iscsi", &[("iscsiInterface", "default")]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")]),
    ];
    for (source, texts) in filled {
        let Some(source) = existing(spec, source) else { continue };
        for (name, value) in texts {
            missing(source, name, *value);
        }
    }
    if let Some(disk) = existing(spec, "azureDisk") {
        missing(disk, "readOnly", false);
    }
    unset(inside(fields, "status"), "phase", "Pending");
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let spec = |name: &str| object.get_str(&["spec", name]).unwrap_or_default();
    let phase = object.get_str(&["status", "phase"]).unwrap_or_default();
    let claim = |name: &str| object.get_str(&["spec", "claimRef", name]).unwrap_or_default();
    let claim = match object.get(&["spec", "claimRef"]) {
        Some(_) => format!("{}/{}", claim("namespace"), claim("name")),
        None => String::new(),
    };
    vec![
        object.name().into(),
        named(object.get(&["spec", "capacity", "storage"])).into(),
        access_modes(object.get_list(&["spec", "accessModes"])).into(),
        spec("persistentVolumeReclaimPolicy").into(),
        if object.is_being_deleted() { "Terminating" } else { phase }.into(),
        claim.into(),
        class(object).into(),
        object.get_str(&["spec", "volumeAttributesClassName"]).unwrap_or("<unset>").into(),
        object.get_str(&["status", "reason"]).unwrap_or_default().into(),
        age(object, now),
        object.get_str(&["spec", "volumeMode"]).unwrap_or("<unset>").into(),
    ]
}
