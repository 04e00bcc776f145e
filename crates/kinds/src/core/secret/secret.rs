//! Secrets: `stringData` is a way to write `data`.

mod rules;

use apiserver::table::{AGE, Column, NAME, age, text};
use apiserver::{Admitting, Context, Resource, Strategy, at_once};
use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use model::Object;
use model::default::{Fields, inside, unset};
use model::select::Selectable;
use model::validate::Functions;
use serde_json::{Map, Value};

use crate::content::count;

pub(crate) fn resource() -> Resource {
    Resource::of::<Secret>()
        .defaults(defaults)
        .rules(Functions::of(rules::object).change(rules::change))
        .columns(COLUMNS, cells)
        .selectable([Selectable::text("type")])
        .strategy(Secrets)
}

const COLUMNS: &[Column] =
    &[NAME, text("Type", "What kind of secret it is."), text("Data", "How many keys it has."), AGE];

struct Secrets;

impl Strategy for Secrets {
    fn admit_create<'a>(&'a self, _: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        merge_string_data(object);
        at_once(Ok(()))
    }

    fn admit_update<'a>(
        &'a self,
        _: &'a Context<'_>,
        object: &'a mut Object,
        _: &'a Object,
    ) -> Admitting<'a> {
        merge_string_data(object);
        at_once(Ok(()))
    }
}

fn merge_string_data(object: &mut Object) {
    let Some(Value::Object(texts)) = object.remove(&["stringData"]) else { return };
    if texts.is_empty() {
        return;
    }
    let data = object.fields_mut().entry("data").or_insert_with(|| Value::Object(Map::new()));
    if !data.is_object() {
        *data = Value::Object(Map::new());
    }
    if let Value::Object(data) = data {
        for (key, text) in texts {
            data.insert(key, Value::String(STANDARD.encode(text.as_str().unwrap_or_default())));
        }
    }
}

fn defaults(fields: &mut Fields) {
    unset(fields, "type", "Opaque");
    let Some(Value::Object(plain)) = fields.shift_remove("stringData") else { return };
    let data = inside(fields, "data");
    for (key, value) in plain {
        let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
        data.insert(key, encoded.into());
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let kind = object.get_str(&["type"]).unwrap_or_default();
    vec![object.name().into(), kind.into(), count(object, "data").into(), age(object, now)]
}
