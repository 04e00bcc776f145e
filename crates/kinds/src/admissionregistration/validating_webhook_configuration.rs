//! ValidatingWebhookConfigurations: who is asked whether writes may be.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, integer};
use base::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use model::Object;
use serde_json::Value;

use crate::refused::{Refused, WEBHOOKS};

pub(crate) fn resource() -> Resource {
    Resource::of::<ValidatingWebhookConfiguration>()
        .category("api-extensions")
        .columns(COLUMNS, cells)
        .strategy(Refused(WEBHOOKS))
}

const COLUMNS: &[Column] = &[NAME, integer("Webhooks", "How many webhooks it names."), AGE];

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), object.get_list(&["webhooks"]).len().into(), age(object, now)]
}
