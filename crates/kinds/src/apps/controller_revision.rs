//! ControllerRevisions: what a controller's template was, for going back to it.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, NONE, age, text};
use base::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, immutable, not_negative};
use serde_json::Value;

pub(crate) fn resource() -> Resource {
    Resource::of::<ControllerRevision>().rules(Functions::of(object).change(change)).columns(COLUMNS, cells)
}

const COLUMNS: &[Column] =
    &[NAME, text("Controller", "Whose it is."), text("Revision", "Which one of them it is."), AGE];

fn object(object: &Object, errors: &mut Errors) {
    if object.get(&["data"]).is_none_or(Value::is_null) {
        errors.push(FieldError::required(&Path::root("data"), "data is mandatory"));
    }
    not_negative(errors, object.value(), "revision", &Path::EMPTY);
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    immutable(errors, object.get(&["data"]), old.get(&["data"]), &Path::root("data"));
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let controller = object.controller().map_or_else(
        || NONE.to_owned(),
        |owner| {
            let kind = owner.kind.to_lowercase();
            match owner.api_version.split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{}", owner.name),
                None => format!("{kind}/{}", owner.name),
            }
        },
    );
    let revision = object.get_i64(&["revision"]).unwrap_or_default();
    vec![object.name().into(), controller.into(), revision.into(), age(object, now)]
}
