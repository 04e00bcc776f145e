//! CertificateSigningRequests: certificates that somebody asks for, others approve, and others again issue.

mod rules;

use apiserver::table::{AGE, Column, NAME, NONE, age, human_duration, or, text};
use apiserver::{Admitting, Context, Resource, Strategy, Subresource, at_once};
use base::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use model::Object;
use model::default::{Fields, inside};
use model::select::Selectable;
use model::validate::text as text_of;
use serde_json::{Map, Value, json};

pub(crate) fn resource() -> Resource {
    Resource::of::<CertificateSigningRequest>()
        .short(&["csr"])
        .status()
        .subresource(Subresource::part("approval"))
        .defaults(defaults)
        .rules(rules::Requests)
        .columns(COLUMNS, cells)
        .selectable([Selectable::text("spec.signerName")])
        .strategy(Requests)
}

const COLUMNS: &[Column] = &[
    NAME,
    AGE,
    text("SignerName", "Who is asked to sign."),
    text("Requestor", "Who asks."),
    text("RequestedDuration", "How long it is to be good for."),
    text("Condition", "What became of it."),
];
/// The decisions on a request.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

/// A request is its sender's for ever, and what becomes of it is others'.
struct Requests;

impl Strategy for Requests {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        sender(context, object);
        object.set(&["status"], json!({}));
        at_once(Ok(()))
    }

    fn admit_update<'a>(
        &'a self,
        _: &'a Context<'_>,
        object: &'a mut Object,
        old: &'a Object,
    ) -> Admitting<'a> {
        object.set(&["spec"], old.get(&["spec"]).cloned().unwrap_or_default());
        at_once(Ok(()))
    }

    fn part_update(&self, context: &Context<'_>, part: &str, mut new: Object, old: &Object) -> Object {
        new.set(&["spec"], old.get(&["spec"]).cloned().unwrap_or_default());
        let mut conditions = new.get_list(&["status", "conditions"]).to_vec();
        if part == "approval" {
            new.set(&["status"], old.get(&["status"]).cloned().unwrap_or_else(|| json!({})));
        } else {
            keep_decisions(&mut conditions, old);
        }
        stamp(&mut conditions, old, context.now());
        if conditions.is_empty() {
            new.remove(&["status", "conditions"]);
        } else {
            new.set(&["status", "conditions"], conditions);
        }
        new
    }
}

/// Notes who asks, whatever he says of himself.
fn sender(context: &Context<'_>, object: &mut Object) {
    let identity = context.identity();
    let extra: Map<String, Value> =
        identity.extra.iter().map(|(key, values)| (key.clone(), values.clone().into())).collect();
    let fields: [(&str, Value, bool); 4] = [
        ("username", identity.user.as_str().into(), identity.user.is_empty()),
        ("uid", identity.uid.as_str().into(), identity.uid.is_empty()),
        ("groups", identity.groups.clone().into(), identity.groups.is_empty()),
        ("extra", extra.clone().into(), extra.is_empty()),
    ];
    for (field, value, is_empty) in fields {
        if is_empty {
            object.remove(&["spec", field]);
        } else {
            object.set(&["spec", field], value);
        }
    }
}

/// Decisions are as they were, where there are as many: who reports on a request does not decide on it.
fn keep_decisions(conditions: &mut [Value], old: &Object) {
    for decision in DECISIONS {
        let of = |condition: &&Value| text_of(condition, "type") == decision;
        let before: Vec<Value> = old.get_list(&["status", "conditions"]).iter().filter(of).cloned().collect();
        let mut now: Vec<&mut Value> =
            conditions.iter_mut().filter(|condition| text_of(condition, "type") == decision).collect();
        if now.len() == before.len() {
            now.iter_mut().zip(before).for_each(|(now, before)| **now = before);
        }
    }
}

/// Conditions say since when they hold.
fn stamp(conditions: &mut [Value], old: &Object, now: Timestamp) {
    let now = model::time::format(now);
    for condition in conditions {
        let (kind, status) = (text_of(condition, "type").to_owned(), text_of(condition, "status").to_owned());
        let Some(fields) = condition.as_object_mut() else { continue };
        let lacks = |fields: &Map<String, Value>, name: &str| fields.get(name).is_none_or(Value::is_null);
        if lacks(fields, "lastUpdateTime") {
            fields.insert("lastUpdateTime".into(), now.as_str().into());
        }
        if lacks(fields, "lastTransitionTime") {
            let before = old
                .get_list(&["status", "conditions"])
                .iter()
                .find(|before| text_of(before, "type") == kind && text_of(before, "status") == status);
            let since = before.and_then(|before| before.get("lastTransitionTime")).filter(|it| !it.is_null());
            let since = since.cloned().unwrap_or_else(|| now.as_str().into());
            fields.insert("lastTransitionTime".into(), since);
        }
    }
}

fn defaults(fields: &mut Fields) {
    inside(fields, "spec");
    inside(fields, "status");
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let duration = object.get_i64(&["spec", "expirationSeconds"]).map(human_duration);
    vec![
        object.name().into(),
        age(object, now),
        or(object.get_str(&["spec", "signerName"]), NONE).into(),
        object.get_str(&["spec", "username"]).unwrap_or_default().into(),
        duration.unwrap_or_else(|| NONE.to_owned()).into(),
        state(object).into(),
    ]
}

fn state(object: &Object) -> String {
    let conditions = object.get_list(&["status", "conditions"]);
    let has = |kind: &str| conditions.iter().any(|condition| text_of(condition, "type") == kind);
    let decision = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    };
    let is_issued = object.get_str(&["status", "certificate"]).is_some_and(|it| !it.is_empty());
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if is_issued { ",Issued" } else { "" };
    format!("{decision}{failed}{issued}")
}
