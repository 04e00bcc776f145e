//! CronJobs: Jobs that are made again and again.

mod rules;

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, NONE, UNKNOWN, age, integer, since, text, wide};
use base::Timestamp;
use k8s_openapi::api::batch::v1::CronJob;
use model::Object;
use model::default::{Fields, inside, missing, unset};
use model::validate::Functions;
use serde_json::{Value, json};

use crate::features::Features;
use crate::job::policy_defaults;
use crate::pod_spec::defaults::template_of;
use crate::pod_spec::gates;
use crate::pod_spec::warnings::of_template;
use crate::workload::Workload;
use crate::workload::columns::{CONTAINERS, IMAGES, template};

pub(crate) fn resource(features: &Features) -> Resource {
    Resource::of::<CronJob>()
        .short(&["cj"])
        .category("all")
        .status()
        .defaults(defaults)
        .rules(Functions::of(rules::object).name(rules::name))
        .warnings(|object, old| of_template(object, old, &["spec", "jobTemplate", "spec", "template"]))
        .columns(COLUMNS, cells)
        .drops(gates::drops(features, &["spec", "jobTemplate", "spec", "template", "spec"]))
        .strategy(Workload { kept_by_status: &[&["spec"]] })
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Schedule", "When jobs are made."),
    text("Timezone", "Where it is that time."),
    text("Suspend", "Whether none is made for now."),
    integer("Active", "How many jobs run."),
    text("Last Schedule", "How long ago the last one was made."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", "The labels of their pods."),
];

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    unset(spec, "concurrencyPolicy", "Allow");
    missing(spec, "suspend", false);
    missing(spec, "successfulJobsHistoryLimit", 3);
    missing(spec, "failedJobsHistoryLimit", 1);
    let template = inside(spec, "jobTemplate");
    inside(template, "metadata");
    let job = inside(template, "spec");
    template_of(job);
    policy_defaults(job);
    inside(fields, "status");
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let last = object.get_str(&["status", "lastScheduleTime"]);
    let last = last.map_or(NONE.to_owned(), |text| match model::time::parse(text) {
        Some(at) => since(Some(at), now),
        None => UNKNOWN.to_owned(),
    });
    let suspended = match object.get(&["spec", "suspend"]).and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let job = json!({"spec": object.get(&["spec", "jobTemplate", "spec"])});
    let [containers, images, selector] = Object::from_value(job)
        .map_or_else(|_| [Value::Null, Value::Null, Value::Null], |job| template(&job));
    vec![
        object.name().into(),
        object.get_str(&["spec", "schedule"]).unwrap_or_default().into(),
        object.get_str(&["spec", "timeZone"]).unwrap_or(NONE).into(),
        suspended.into(),
        object.get_list(&["status", "active"]).len().into(),
        last.into(),
        age(object, now),
        containers,
        images,
        selector,
    ]
}
