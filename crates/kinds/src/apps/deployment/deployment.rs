//! Deployments.

mod rules;

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, text};
use base::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use model::Object;
use model::default::{Fields, inside, missing, text as text_of, unset};
use model::validate::Functions;
use serde_json::Value;

use crate::features::Features;
use crate::pod_spec::defaults::template_of;
use crate::pod_spec::gates;
use crate::pod_spec::warnings::of_workload;
use crate::workload::Workload;
use crate::workload::columns::{CONTAINERS, IMAGES, SELECTOR, template};

pub(crate) fn resource(features: &Features) -> Resource {
    Resource::of::<Deployment>()
        .short(&["deploy"])
        .category("all")
        .status()
        .scale()
        .defaults(defaults)
        .rules(Functions::of(rules::object).change(rules::change).status(rules::status))
        .warnings(of_workload)
        .columns(COLUMNS, cells)
        .drops(gates::drops(features, &["spec", "template", "spec"]))
        .strategy(Workload { kept_by_status: &[&["spec"], &["metadata", "labels"]] })
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Ready", "How many of the wanted pods are ready."),
    text("Up-to-date", "How many pods are of the newest template."),
    text("Available", "How many pods have been ready for long enough."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn defaults(fields: &mut Fields) {
    inside(fields, "metadata");
    let spec = inside(fields, "spec");
    missing(spec, "replicas", 1);
    template_of(spec);
    let strategy = inside(spec, "strategy");
    unset(strategy, "type", "RollingUpdate");
    if text_of(strategy, "type") == "RollingUpdate" {
        let rolling = inside(strategy, "rollingUpdate");
        missing(rolling, "maxUnavailable", "25%");
        missing(rolling, "maxSurge", "25%");
    }
    missing(spec, "revisionHistoryLimit", 10);
    missing(spec, "progressDeadlineSeconds", 600);
    inside(fields, "status");
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let status = |name: &str| object.get_i64(&["status", name]).unwrap_or_default();
    let wanted = object.get_i64(&["spec", "replicas"]).unwrap_or_default();
    let mut cells = vec![
        object.name().into(),
        format!("{}/{wanted}", status("readyReplicas")).into(),
        status("updatedReplicas").into(),
        status("availableReplicas").into(),
        age(object, now),
    ];
    cells.extend(template(object));
    cells
}
