//! How objects of one version of a custom kind become those of another: all but the version stays.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

use apiserver::resource::{Convert, ConvertError, Converting};
use futures::future::Either;
use model::structural::{Structural, decode};
use model::{GroupVersion, GroupVersionKind, Object};
use serde_json::Value;

/// The schemas of the versions of a kind.
pub(super) type Schemas = BTreeMap<String, Arc<Structural>>;

/// Converts objects of a custom kind.
pub(super) struct Converter {
    schemas: Schemas,
}

impl Converter {
    pub(super) fn new(schemas: Schemas) -> Self {
        Self { schemas }
    }

    fn schema(&self, object: &Object) -> Option<&Structural> {
        let version: GroupVersion = object.api_version().parse().ok()?;
        self.schemas.get(&version.version).map(AsRef::as_ref)
    }
}

impl Convert for Converter {
    fn convert(&self, objects: Vec<Object>, to: &GroupVersionKind) -> Converting<'_> {
        let mut converted = Vec::with_capacity(objects.len());
        for mut object in objects {
            if self.schema(&object).is_none() {
                let from = object.api_version();
                let why = format!("request to convert CR from an invalid group/version: {from}");
                return Either::Left(ready(Err(ConvertError(why))));
            }
            object.set_gvk(to);
            prune(self.schemas.get(&to.version).map(AsRef::as_ref), &mut object);
            converted.push(object);
        }
        Either::Left(ready(Ok(converted)))
    }

    fn settle(&self, object: &mut Object) {
        let Some(schema) = self.schema(object) else { return };
        prune(Some(schema), object);
        schema.fill_in(object.fields_mut());
    }
}

fn prune(schema: Option<&Structural>, object: &mut Object) {
    let Some(schema) = schema else { return };
    let mut value = Value::Object(std::mem::take(object.fields_mut()));
    decode::tidy(schema, &mut value);
    if let Value::Object(fields) = value {
        *object.fields_mut() = fields;
    }
}
