//! Secrets: `stringData` is a way to write `data`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::Object;
use serde_json::{Map, Value};

use super::{Context, Resource, Strategy};
use crate::error::Result;

pub(super) fn resource() -> Resource {
    Resource::builtin("", "v1", "Secret", "secrets").strategy(Secrets)
}

struct Secrets;

impl Strategy for Secrets {
    fn admit_create(&self, _: &Context<'_>, object: &mut Object) -> Result<()> {
        merge_string_data(object);
        Ok(())
    }

    fn admit_update(&self, _: &Context<'_>, object: &mut Object, _: &Object) -> Result<()> {
        merge_string_data(object);
        Ok(())
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
