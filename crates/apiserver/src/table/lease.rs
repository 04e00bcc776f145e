//! Columns of Lease.

use base::Timestamp;
use model::Object;
use serde_json::Value;

use super::{AGE, Column, NAME, age, text};

pub(super) const COLUMNS: &[Column] = &[NAME, text("Holder", "Who holds the lease."), AGE];

pub(super) fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let holder = object.get_str(&["spec", "holderIdentity"]).unwrap_or_default();
    vec![object.name().into(), holder.into(), age(object, now)]
}
