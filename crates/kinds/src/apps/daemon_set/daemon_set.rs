//! DaemonSets: a pod on every node that fits.

mod rules;

use apiserver::table::{AGE, Column, NAME, age, integer, pairs, text};
use apiserver::{Admitting, Context, Resource, Strategy, at_once};
use base::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use model::Object;
use model::default::{Fields, inside, missing, text as text_of, unset};
use model::validate::Functions;
use serde_json::{Value, json};

use crate::features::Features;
use crate::pod_spec::defaults::template_of;
use crate::pod_spec::gates;
use crate::pod_spec::warnings::of_template;
use crate::workload::columns::{CONTAINERS, IMAGES, SELECTOR, template};

/// How often the template has changed, which has no field.
pub(super) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

pub(crate) fn resource(features: &Features) -> Resource {
    Resource::of::<DaemonSet>()
        .short(&["ds"])
        .category("all")
        .status()
        .defaults(defaults)
        .rules(Functions::of(rules::object).change(rules::change).status(rules::status))
        .warnings(|object, old| of_template(object, old, &["spec", "template"]))
        .columns(COLUMNS, cells)
        .drops(gates::drops(features, &["spec", "template", "spec"]))
        .strategy(DaemonSets)
}

const COLUMNS: &[Column] = &[
    NAME,
    integer("Desired", "On how many nodes there should be a pod."),
    integer("Current", "On how many of them there is one."),
    integer("Ready", "On how many it is ready."),
    integer("Up-to-date", "On how many it is of the newest template."),
    integer("Available", "On how many it has been ready for long enough."),
    text("Node Selector", "The labels of the nodes."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

struct DaemonSets;

impl Strategy for DaemonSets {
    fn admit_create<'a>(&'a self, _: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set(&["status"], json!({}));
        object.set_annotation(TEMPLATE_GENERATION, "1");
        at_once(Ok(()))
    }

    fn admit_update<'a>(
        &'a self,
        _: &'a Context<'_>,
        object: &'a mut Object,
        old: &'a Object,
    ) -> Admitting<'a> {
        const TEMPLATE: [&str; 2] = ["spec", "template"];
        let before = template_generation(old);
        let changed = object.get(&TEMPLATE) != old.get(&TEMPLATE);
        object.set_annotation(TEMPLATE_GENERATION, &(before + i64::from(changed)).to_string());
        at_once(Ok(()))
    }

    fn counts_generations(&self) -> bool {
        true
    }
}

/// How often the template has changed.
fn template_generation(object: &Object) -> i64 {
    object.annotation(TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    template_of(spec);
    let strategy = inside(spec, "updateStrategy");
    unset(strategy, "type", "RollingUpdate");
    if text_of(strategy, "type") == "RollingUpdate" {
        let rolling = inside(strategy, "rollingUpdate");
        missing(rolling, "maxUnavailable", 1);
        missing(rolling, "maxSurge", 0);
    }
    missing(spec, "revisionHistoryLimit", 10);
    let status = inside(fields, "status");
    for name in ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"] {
        missing(status, name, 0);
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let status = |name: &str| Value::from(object.get_i64(&["status", name]).unwrap_or_default());
    let mut cells = vec![
        object.name().into(),
        status("desiredNumberScheduled"),
        status("currentNumberScheduled"),
        status("numberReady"),
        status("updatedNumberScheduled"),
        status("numberAvailable"),
        pairs(object.get(&["spec", "template", "spec", "nodeSelector"])).into(),
        age(object, now),
    ];
    cells.extend(template(object));
    cells
}
