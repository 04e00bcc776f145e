//! PodTemplates, as far as it takes to show what a file can say of a kind.

use apiserver::request::Verb;
use apiserver::resource::Permanent;
use apiserver::table::{AGE, Column, NAME, age, text};
use apiserver::{Admitting, Body, Call, Context, Resource, Result, Strategy, Subresource, at_once};
use base::Timestamp;
use http::{Response, StatusCode};
use k8s_openapi::api::core::v1::PodTemplate;
use model::default::{Fields, inside, unset};
use model::field::{FieldError, Path};
use model::select::Selectable;
use model::validate::{Errors, Functions, immutable};
use model::{GroupVersionKind, Object};
use serde_json::{Value, json};

pub(crate) fn resource() -> Resource {
    Resource::of::<PodTemplate>()
        .short(&["pt"])
        .category("all")
        .defaults(defaults)
        .rules(Functions::of(object).change(change))
        .columns(COLUMNS, cells)
        .selectable([Selectable::by("image", |object| image(object).into())])
        .subresource(Subresource::new("count", &[Verb::Get], count))
        .nodes_may(&Verb::READ)
        .permanent(|_| {
            vec![Permanent::Made(json!({
                "metadata": {"name": "always", "namespace": "kube-system"},
                "template": {"metadata": {"labels": {"app": "always"}}},
            }))]
        })
        .strategy(PodTemplates)
}

const COLUMNS: &[Column] = &[NAME, text("Images", "The images of its containers."), AGE];
const LABELS: [&str; 3] = ["template", "metadata", "labels"];

struct PodTemplates;

impl Strategy for PodTemplates {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set_annotation("made-in", context.namespace());
        at_once(Ok(()))
    }
}

fn defaults(fields: &mut Fields) {
    unset(inside(inside(fields, "template"), "spec"), "restartPolicy", "Always");
}

fn object(object: &Object, errors: &mut Errors) {
    if object.get(&LABELS).and_then(Value::as_object).is_none_or(|labels| labels.is_empty()) {
        let template = Path::root("template");
        errors.push(FieldError::required(&template.child("metadata").child("labels"), ""));
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let template = Path::root("template");
    immutable(errors, object.get(&LABELS), old.get(&LABELS), &template.child("metadata").child("labels"));
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), image(object).into(), age(object, now)]
}

fn image(object: &Object) -> &str {
    let containers = object.get_list(&["template", "spec", "containers"]);
    containers.first().and_then(|container| container["image"].as_str()).unwrap_or_default()
}

async fn count(call: Call) -> Result<Response<Body>> {
    let template = call.current().await?;
    let mut count = Object::new(&GroupVersionKind::new("example.com", "v1", "Count"), template.name());
    count.set(&["containers"], template.get_list(&["template", "spec", "containers"]).len());
    Ok(call.answer_other(StatusCode::OK, &count))
}
