//! LeaseCandidates, as far as it takes to show what a file can say of a kind.

use apiserver::request::Verb;
use apiserver::resource::Permanent;
use apiserver::table::{AGE, Column, NAME, age, text};
use apiserver::{Admitting, Body, Call, Context, Resource, Result, Strategy, Subresource, at_once};
use base::Timestamp;
use http::{Response, StatusCode};
use k8s_openapi::api::coordination::v1beta1::LeaseCandidate;
use model::default::{Fields, inside, unset};
use model::field::{FieldError, Path};
use model::select::Selectable;
use model::validate::{Errors, Functions, immutable};
use model::{GroupVersionKind, Object};
use serde_json::{Value, json};

pub(crate) fn resource() -> Resource {
    Resource::of::<LeaseCandidate>()
        .short(&["lcs"])
        .category("all")
        .defaults(defaults)
        .rules(Functions::of(object).change(change))
        .columns(COLUMNS, cells)
        .selectable([Selectable::by("lease", |object| lease(object).into())])
        .subresource(Subresource::new("count", &[Verb::Get], count))
        .permanent(|_| {
            vec![Permanent::Made(json!({
                "metadata": {"name": "always", "namespace": "kube-system"},
                "spec": {"leaseName": "always", "binaryVersion": "1.0.0"},
            }))]
        })
        .strategy(LeaseCandidates)
}

const COLUMNS: &[Column] = &[NAME, text("Lease", "What it is a candidate for."), AGE];
const LEASE: [&str; 2] = ["spec", "leaseName"];

struct LeaseCandidates;

impl Strategy for LeaseCandidates {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set_annotation("made-in", context.namespace());
        at_once(Ok(()))
    }
}

fn defaults(fields: &mut Fields) {
    unset(inside(fields, "spec"), "strategy", "OldestEmulationVersion");
}

fn object(object: &Object, errors: &mut Errors) {
    if lease(object).is_empty() {
        let spec = Path::root("spec");
        errors.push(FieldError::required(&spec.child("leaseName"), ""));
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let spec = Path::root("spec");
    immutable(errors, object.get(&LEASE), old.get(&LEASE), &spec.child("leaseName"));
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), lease(object).into(), age(object, now)]
}

fn lease(object: &Object) -> &str {
    object.get_str(&LEASE).unwrap_or_default()
}

async fn count(call: Call) -> Result<Response<Body>> {
    let candidate = call.current().await?;
    let mut count = Object::new(&GroupVersionKind::new("example.com", "v1", "Count"), candidate.name());
    count.set(&["letters"], lease(&candidate).len());
    Ok(call.answer_other(StatusCode::OK, &count, &[]))
}
