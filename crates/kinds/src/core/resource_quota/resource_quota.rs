//! ResourceQuotas: how much a namespace may have of something. Whether there is enough left is asked in
//! `admission/resource_quota.rs`; what is used is counted by a controller.

mod rules;

use std::collections::BTreeMap;

use apiserver::table::{AGE, Column, NAME, age, text};
use apiserver::{Admitting, Context, Resource, Strategy, at_once};
use base::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuota;
use model::default::{Fields, inside};
use model::validate::Functions;
use model::{Object, Quantity};
use serde_json::{Value, json};

use crate::amounts::round_up;

pub(crate) fn resource() -> Resource {
    Resource::of::<ResourceQuota>()
        .short(&["quota"])
        .status()
        .defaults(defaults)
        .rules(Functions::of(rules::object).change(rules::change).status(rules::status))
        .columns(COLUMNS, cells)
        .strategy(ResourceQuotas)
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Request", "What is used, and what may be, of what is asked for."),
    text("Limit", "What is used, and what may be, of limits."),
    AGE,
];

struct ResourceQuotas;

impl Strategy for ResourceQuotas {
    fn admit_create<'a>(&'a self, _: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set(&["status"], json!({}));
        at_once(Ok(()))
    }
}

fn defaults(fields: &mut Fields) {
    round_up(inside(fields, "spec"), "hard");
    let status = inside(fields, "status");
    round_up(status, "hard");
    round_up(status, "used");
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let empty = Value::Null;
    let hard = object.get(&["status", "hard"]).and_then(Value::as_object);
    let used = object.get(&["status", "used"]).unwrap_or(&empty);
    let sorted: BTreeMap<&String, &Value> = hard.into_iter().flatten().collect();
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, amount) in sorted {
        let shown = |amount: &Value| Quantity::from_json(amount).unwrap_or(Quantity::ZERO).to_string();
        let cell = format!("{name}: {}/{}", shown(&used[name.as_str()]), shown(amount));
        let side = if name.starts_with("limits.") { &mut limits } else { &mut requests };
        side.push(cell);
    }
    vec![object.name().into(), requests.join(", ").into(), limits.join(", ").into(), age(object, now)]
}
