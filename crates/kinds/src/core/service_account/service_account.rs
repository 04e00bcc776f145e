//! ServiceAccounts, and their tokens as a subresource.

mod token;

use apiserver::request::Verb;
use apiserver::table::{AGE, Column, NAME, age, integer};
use apiserver::{Resource, Subresource};
use base::Timestamp;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use model::Object;
use serde_json::Value;

pub(crate) fn resource() -> Resource {
    let token = Subresource::new("token", &[Verb::Create], token::handle).taking::<TokenRequest>();
    Resource::of::<ServiceAccount>().short(&["sa"]).columns(COLUMNS, cells).subresource(token)
}

const COLUMNS: &[Column] = &[NAME, integer("Secrets", "How many secrets it may use."), AGE];

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), object.get_list(&["secrets"]).len().into(), age(object, now)]
}
