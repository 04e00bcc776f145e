//! StatefulSets: pods with names and volumes of their own, made and ended in order.

mod rules;

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, text};
use base::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use model::Object;
use model::default::{Fields, each, existing, inside, missing, text as text_of, unset};
use model::names::dns1123_label;
use model::validate::Functions;
use serde_json::Value;

use crate::core::persistent_volume_claim::spec as claim;
use crate::features::Features;
use crate::pod_spec::defaults::template_of;
use crate::pod_spec::gates;
use crate::pod_spec::warnings::of_template;
use crate::workload::Workload;
use crate::workload::columns::{CONTAINERS, IMAGES, names_and_images};

pub(crate) fn resource(features: &Features) -> Resource {
    Resource::of::<StatefulSet>()
        .short(&["sts"])
        .category("all")
        .status()
        .scale()
        .defaults(defaults)
        .rules(Functions::of(rules::object).name(dns1123_label).change(rules::change).status(rules::status))
        .warnings(|object, old| of_template(object, old, &["spec", "template"]))
        .columns(COLUMNS, cells)
        .drops(gates::drops(features, &["spec", "template", "spec"]))
        .strategy(Workload { kept_by_status: &[&["spec"]] })
}

const COLUMNS: &[Column] =
    &[NAME, text("Ready", "How many of the wanted pods are ready."), AGE, CONTAINERS, IMAGES];

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    unset(spec, "podManagementPolicy", "OrderedReady");
    let strategy = inside(spec, "updateStrategy");
    unset(strategy, "type", "RollingUpdate");
    if text_of(strategy, "type") == "RollingUpdate" {
        missing(inside(strategy, "rollingUpdate"), "partition", 0);
    }
    if let Some(rolling) = existing(strategy, "rollingUpdate") {
        // Behind a gate that is off.
        rolling.shift_remove("maxUnavailable");
    }
    let retention = inside(spec, "persistentVolumeClaimRetentionPolicy");
    unset(retention, "whenDeleted", "Retain");
    unset(retention, "whenScaled", "Retain");
    missing(spec, "replicas", 1);
    missing(spec, "revisionHistoryLimit", 10);
    template_of(spec);
    for template in each(spec, "volumeClaimTemplates") {
        template.insert("apiVersion".into(), "v1".into());
        template.insert("kind".into(), "PersistentVolumeClaim".into());
        claim(inside(template, "spec"));
        unset(inside(template, "status"), "phase", "Pending");
    }
    let status = inside(fields, "status");
    missing(status, "replicas", 0);
    missing(status, "availableReplicas", 0);
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let ready = object.get_i64(&["status", "readyReplicas"]).unwrap_or_default();
    let wanted = object.get_i64(&["spec", "replicas"]).unwrap_or_default();
    let [names, images] = names_and_images(object.get_list(&["spec", "template", "spec", "containers"]));
    vec![object.name().into(), format!("{ready}/{wanted}").into(), age(object, now), names, images]
}
