//! Jobs: pods that run to their end, so many times.

mod rules;
mod status;

use apiserver::table::{AGE, Column, NAME, age, human_duration, text, wide};
use apiserver::{Admitting, Context, Resource, Strategy, at_once};
use base::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use model::Object;
use model::default::{Fields, existing, inside, missing};
use model::select::Selectable;
use model::validate::Functions;
use serde_json::{Value, json};

use crate::features::Features;
use crate::job::policy_defaults;
use crate::pod_spec::defaults::template_of;
use crate::pod_spec::gates;
use crate::pod_spec::warnings::of_template;
use crate::workload::columns::{CONTAINERS, IMAGES, template};

/// The labels by which a job's pods are known, in their old and their new form.
pub(super) const UID: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
pub(super) const JOB_NAME: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
/// What clients are told who delete one and say nothing of its pods.
const ORPHANED: &str = "child pods are preserved by default when jobs are deleted; set \
                        propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress \
                        this warning";

pub(crate) fn resource(features: &Features) -> Resource {
    Resource::of::<Job>()
        .category("all")
        .status()
        .defaults(defaults)
        .rules(Functions::of(rules::object).change(rules::change).status(status::rules))
        .warnings(|object, old| of_template(object, old, &["spec", "template"]))
        .columns(COLUMNS, cells)
        .selectable([Selectable::by("status.successful", |object| {
            object.get_i64(&["status", "succeeded"]).unwrap_or_default().to_string().into()
        })])
        .orphans(ORPHANED)
        .drops(gates::drops(features, &["spec", "template", "spec"]))
        .strategy(Jobs)
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "How far it is."),
    text("Completions", "How many pods have succeeded of those that have to."),
    text("Duration", "How long it has taken."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", "The labels of its pods."),
];

struct Jobs;

impl Strategy for Jobs {
    fn admit_create<'a>(&'a self, _: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set(&["status"], json!({}));
        if object.get(&["spec", "manualSelector"]) != Some(&Value::Bool(true)) {
            select_own(object);
        }
        at_once(Ok(()))
    }

    fn counts_generations(&self) -> bool {
        true
    }
}

/// Gives the pods labels that no other job's have, and selects them. What was said otherwise is refused by the
/// rules.
fn select_own(job: &mut Object) {
    let (name, uid) = (job.name().to_owned(), job.uid().to_owned());
    let template = inside(inside(job.fields_mut(), "spec"), "template");
    let labels = inside(inside(template, "metadata"), "labels");
    for (keys, value) in [(JOB_NAME, &name), (UID, &uid)] {
        for key in keys {
            labels.entry(key).or_insert_with(|| value.as_str().into());
        }
    }
    let selector = inside(inside(job.fields_mut(), "spec"), "selector");
    inside(selector, "matchLabels").entry(UID[1]).or_insert_with(|| uid.into());
}

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    template_of(spec);
    let is_open = |spec: &Fields, name: &str| spec.get(name).is_none_or(Value::is_null);
    if is_open(spec, "completions") && is_open(spec, "parallelism") {
        missing(spec, "completions", 1);
    }
    missing(spec, "parallelism", 1);
    let limit = if is_open(spec, "backoffLimitPerIndex") { 6 } else { i32::MAX };
    missing(spec, "backoffLimit", limit);
    missing(spec, "completionMode", "NonIndexed");
    missing(spec, "suspend", false);
    missing(spec, "manualSelector", false);
    policy_defaults(spec);
    let replacement = if is_open(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    missing(spec, "podReplacementPolicy", replacement);
    let labels = existing(spec, "template")
        .and_then(|template| existing(template, "metadata"))
        .and_then(|metadata| metadata.get("labels").cloned());
    let metadata = inside(fields, "metadata");
    let has_labels =
        metadata.get("labels").and_then(Value::as_object).is_some_and(|labels| !labels.is_empty());
    if let Some(labels) = labels.filter(|_| !has_labels) {
        metadata.insert("labels".into(), labels);
    }
    inside(fields, "status");
}

/// Whether a condition holds.
pub(super) fn has(object: &Object, condition: &str) -> bool {
    let conditions = object.get_list(&["status", "conditions"]);
    conditions.iter().any(|one| one["type"] == condition && one["status"] == "True")
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let [containers, images, selector] = template(object);
    let count = |place: &[&str]| object.get_i64(place);
    let succeeded = count(&["status", "succeeded"]).unwrap_or_default();
    let completions = match (count(&["spec", "completions"]), count(&["spec", "parallelism"])) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallel) if parallel.unwrap_or_default() > 1 => {
            format!("{succeeded}/1 of {}", parallel.unwrap_or_default())
        }
        (None, _) => format!("{succeeded}/1"),
    };
    let conditions = ["Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet"].into_iter();
    let mut held = conditions.filter(|condition| has(object, condition));
    let status = match held.next() {
        Some(done @ ("Complete" | "Failed")) => done,
        _ if object.is_being_deleted() => "Terminating",
        Some(other) => other,
        None => "Running",
    };
    vec![
        object.name().into(),
        status.into(),
        completions.into(),
        duration(object, now).into(),
        age(object, now),
        containers,
        images,
        selector,
    ]
}

fn duration(object: &Object, now: Timestamp) -> String {
    let time = |name: &str| object.get_str(&["status", name]).and_then(model::time::parse);
    match (time("startTime"), time("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => human_duration(end.unwrap_or(now).duration_since(start).as_secs()),
    }
}
