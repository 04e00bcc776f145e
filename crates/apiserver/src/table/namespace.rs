//! Columns of Namespace.

use base::Timestamp;
use model::Object;
use serde_json::Value;

use super::{AGE, Column, NAME, age, text};

pub(super) const COLUMNS: &[Column] = &[NAME, text("Status", "Whether it is active or terminating."), AGE];

pub(super) fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let phase = object.get_str(&["status", "phase"]).unwrap_or_default();
    vec![object.name().into(), phase.into(), age(object, now)]
}
