//! PodTemplates: templates of pods that stand alone, for those who copy them.

use apiserver::table::{Column, NAME, pairs, text};
use apiserver::{Resource, Strategy};
use base::Timestamp;
use k8s_openapi::api::core::v1::PodTemplate;
use model::Object;
use model::field::Path;
use model::validate::{Errors, Functions};
use serde_json::Value;

use crate::features::Features;
use crate::pod_spec::defaults::template_of;
use crate::pod_spec::gates;
use crate::pod_spec::rules;
use crate::pod_spec::warnings::of_template;
use crate::workload::columns::names_and_images;

pub(crate) fn resource(features: &Features) -> Resource {
    Resource::of::<PodTemplate>()
        .defaults(template_of)
        .rules(Functions::of(object))
        .warnings(|object, old| of_template(object, old, &["template"]))
        .columns(COLUMNS, cells)
        .drops(gates::drops(features, &["template", "spec"]))
        .strategy(PodTemplates)
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Containers", "The containers of the template."),
    text("Images", "The images of the template's containers."),
    text("Pod Labels", "The labels of its pods."),
];

struct PodTemplates;

impl Strategy for PodTemplates {
    fn counts_generations(&self) -> bool {
        true
    }
}

fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    rules::template(object.get(&["template"]).unwrap_or(&empty), &Path::root("template"), errors);
}

fn cells(object: &Object, _: Timestamp) -> Vec<Value> {
    let [containers, images] = names_and_images(object.get_list(&["template", "spec", "containers"]));
    let labels = pairs(object.get(&["template", "metadata", "labels"]));
    vec![object.name().into(), containers, images, labels.into()]
}
