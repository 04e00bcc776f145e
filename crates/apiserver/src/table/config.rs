//! Columns of ConfigMap, Secret and ServiceAccount.

use base::Timestamp;
use model::Object;
use serde_json::{Map, Value};

use super::{AGE, Column, NAME, age, integer, text};

pub(super) const CONFIG_MAP: &[Column] = &[NAME, text("Data", "How many keys it has."), AGE];
pub(super) const SECRET: &[Column] =
    &[NAME, text("Type", "What kind of secret it is."), text("Data", "How many keys it has."), AGE];
pub(super) const SERVICE_ACCOUNT: &[Column] =
    &[NAME, integer("Secrets", "How many secrets it may use."), AGE];

pub(super) fn config_map(object: &Object, now: Timestamp) -> Vec<Value> {
    let keys = count(object, "data") + count(object, "binaryData");
    vec![object.name().into(), keys.into(), age(object, now)]
}

pub(super) fn secret(object: &Object, now: Timestamp) -> Vec<Value> {
    let kind = object.get_str(&["type"]).unwrap_or_default();
    vec![object.name().into(), kind.into(), count(object, "data").into(), age(object, now)]
}

pub(super) fn service_account(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), object.get_list(&["secrets"]).len().into(), age(object, now)]
}

fn count(object: &Object, field: &str) -> usize {
    object.get(&[field]).and_then(Value::as_object).map_or(0, Map::len)
}
