//! How objects of one version of a custom kind become those of another: all but the version stays, or a webhook says.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

use apiserver::resource::{Convert, ConvertError, Converting};
use futures::FutureExt as _;
use futures::future::Either;
use model::structural::{Structural, decode};
use model::{GroupVersion, GroupVersionKind, Object};
use serde_json::Value;

use crate::webhook_configuration::conversion::ConversionWebhook;

/// The schemas of the versions of a kind.
pub(super) type Schemas = BTreeMap<String, Arc<Structural>>;

/// Converts objects of a custom kind.
pub(super) struct Converter {
    schemas: Arc<Schemas>,
    webhook: Option<Arc<ConversionWebhook>>,
}

impl Converter {
    pub(super) fn new(schemas: Schemas, webhook: Option<ConversionWebhook>) -> Self {
        Self { schemas: Arc::new(schemas), webhook: webhook.map(Arc::new) }
    }

    fn schema(&self, object: &Object) -> Option<&Structural> {
        let version: GroupVersion = object.api_version().parse().ok()?;
        self.schemas.get(&version.version).map(AsRef::as_ref)
    }
}

impl Convert for Converter {
    fn name(&self) -> &str {
        if self.webhook.is_some() { "conversion webhook" } else { "conversion" }
    }

    fn convert(&self, objects: Vec<Object>, to: &GroupVersionKind) -> Converting<'_> {
        if let Some(webhook) = &self.webhook {
            let to = to.clone();
            let converting = async move {
                let mut converted = webhook.ask(objects, &to.api_version()).await.map_err(ConvertError)?;
                let schema = self.schemas.get(&to.version).map(AsRef::as_ref);
                converted.iter_mut().for_each(|object| prune(schema, object));
                Ok(converted)
            };
            return Either::Right(converting.boxed());
        }
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

    fn settle(&self, object: &mut Object) -> Result<(), ConvertError> {
        let Some(schema) = self.schema(object) else { return Ok(()) };
        prune(Some(schema), object);
        schema.fill_in(object.fields_mut()).map_err(|error| ConvertError(error.to_string()))
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
