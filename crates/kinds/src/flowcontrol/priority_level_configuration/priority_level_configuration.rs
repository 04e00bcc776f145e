//! PriorityLevelConfigurations: how many requests of a level are served at once, and what the others do meanwhile.

mod own;

use std::collections::HashSet;

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, NONE, age, text};
use base::Timestamp;
use k8s_openapi::api::flowcontrol::v1::PriorityLevelConfiguration;
use model::Object;
use model::default::{Fields, existing, inside, missing, unset};
use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, Functions, invalid, number, text as text_of};
use serde_json::Value;

use crate::spec_and_status::{KEEPS_METADATA, SpecAndStatus};

pub(crate) use own::must;

pub(crate) fn resource() -> Resource {
    Resource::of::<PriorityLevelConfiguration>()
        .status()
        .defaults(defaults)
        .rules(Functions::of(object).status(|object, _, errors| status_conditions(object, errors)))
        .columns(COLUMNS, cells)
        .hook("priority-and-fairness-config-producer")
        .permanent(|_| own::all())
        .strategy(SpecAndStatus::default().counted().with_status().kept_by_status(KEEPS_METADATA))
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Type", "Whether there is a limit."),
    text("NominalConcurrencyShares", "Its part of what is served at once."),
    text("Queues", "How many queues there are."),
    text("HandSize", "How many queues a flow has."),
    text("QueueLengthLimit", "How many requests wait in a queue."),
    AGE,
];
/// The one without limits.
const EXEMPT: &str = "exempt";
const TYPES: [&str; 2] = ["Exempt", "Limited"];
const RESPONSES: [&str; 2] = ["Queue", "Reject"];

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    if let Some(exempt) = existing(spec, "exempt") {
        missing(exempt, "nominalConcurrencyShares", 0);
        missing(exempt, "lendablePercent", 0);
    }
    if let Some(limited) = existing(spec, "limited") {
        missing(limited, "nominalConcurrencyShares", 30);
        missing(limited, "lendablePercent", 0);
        if let Some(queuing) = existing(inside(limited, "limitResponse"), "queuing") {
            unset(queuing, "queues", 64);
            unset(queuing, "handSize", 8);
            unset(queuing, "queueLengthLimit", 50);
        }
    }
    inside(fields, "status");
}

fn object(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let part = |name: &str| spec.get(name).filter(|part| !part.is_null());
    let kind = text_of(spec, "type");
    if (object.name() == EXEMPT) != (kind == "Exempt") {
        let message = "type must be 'Exempt' if and only if name is 'exempt'";
        errors.push(FieldError::invalid(&path.child("type"), kind, message));
    }
    let (exempt_path, limited_path) = (path.child("exempt"), path.child("limited"));
    match kind {
        "Exempt" => {
            if part("limited").is_some() {
                let message = "must be nil if the type is not Limited";
                errors.push(FieldError::forbidden(&limited_path, message));
            }
            if let Some(exempt) = part("exempt") {
                shares(exempt, &exempt_path, errors);
            }
        }
        "Limited" => {
            if part("exempt").is_some() {
                errors.push(FieldError::forbidden(&exempt_path, "must be nil if the type is Limited"));
            }
            match part("limited") {
                Some(limits) => limited(limits, &limited_path, errors),
                None => {
                    let message = "must not be empty when type is Limited";
                    errors.push(FieldError::required(&limited_path, message));
                }
            }
        }
        other => errors.push(FieldError::not_supported(&path.child("type"), other, &TYPES)),
    }
    fixed(object.name(), spec, &path, errors);
    status_conditions(object, errors);
}

/// Two must be as they are, but that the one without limits may lend more or less.
fn fixed(name: &str, spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(mut own) = own::mandatory(name) else { return };
    let mut given = spec.clone();
    let mut but = "";
    if name == EXEMPT {
        but = " except the 'spec.exempt' field";
        for spec in [&mut own, &mut given].into_iter().filter_map(Value::as_object_mut) {
            spec.shift_remove("exempt");
        }
    }
    if own != given {
        let message = format!("spec of '{name}'{but} must equal the fixed value");
        errors.push(FieldError::invalid(path, spec.clone(), message));
    }
}

/// What a level has, and how much of that it lends to others.
fn shares(level: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(shares) = number(level, "nominalConcurrencyShares").filter(|shares| *shares < 0) {
        let path = path.child("nominalConcurrencyShares");
        errors.push(FieldError::invalid(&path, shares, "must be a non-negative integer"));
    }
    if let Some(percent) = number(level, "lendablePercent") {
        invalid(errors, &path.child("lendablePercent"), percent, names::in_range(percent, 0, 100));
    }
}

fn limited(limited: &Value, path: &Path<'_>, errors: &mut Errors) {
    shares(limited, path, errors);
    let response = limited.get("limitResponse").unwrap_or(&Value::Null);
    let response_path = path.child("limitResponse");
    let queuing_path = response_path.child("queuing");
    let queues = response.get("queuing").filter(|queuing| !queuing.is_null());
    match (text_of(response, "type"), queues) {
        ("Reject", Some(_)) => {
            let message = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(&queuing_path, message));
        }
        ("Queue", None) => {
            let message = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(&queuing_path, message));
        }
        ("Queue", Some(queues)) => queuing(queues, &queuing_path, errors),
        ("Reject", None) => {}
        (other, _) => {
            errors.push(FieldError::not_supported(&response_path.child("type"), other, &RESPONSES));
        }
    }
    if let Some(percent) = number(limited, "borrowingLimitPercent").filter(|percent| *percent < 0) {
        let path = path.child("borrowingLimitPercent");
        errors.push(FieldError::invalid(&path, percent, "if specified, must be a non-negative integer"));
    }
}

fn queuing(queuing: &Value, path: &Path<'_>, errors: &mut Errors) {
    const MOST_QUEUES: i64 = 10_000_000;
    /// A hand is dealt by a hash of so many bits.
    const BITS: i64 = 60;
    let of = |name: &str| number(queuing, name).unwrap_or_default();
    let (limit, queues, hand) = (of("queueLengthLimit"), of("queues"), of("handSize"));
    let mut refuse = |name: &str, value: i64, message: String| {
        errors.push(FieldError::invalid(&path.child(name), value, message));
    };
    if limit <= 0 {
        refuse("queueLengthLimit", limit, "must be positive".to_owned());
    }
    if queues <= 0 {
        refuse("queues", queues, "must be positive".to_owned());
    } else if queues > MOST_QUEUES {
        refuse("queues", queues, format!("must not be greater than {MOST_QUEUES}"));
    }
    let bits = ((queues.max(1) as f64).log2() * hand as f64).ceil() as i64;
    if hand <= 0 {
        refuse("handSize", hand, "must be positive".to_owned());
    } else if hand > queues {
        refuse("handSize", hand, format!("should not be greater than queues ({queues})"));
    } else if bits > BITS {
        let message = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {BITS}"
        );
        refuse("handSize", hand, message);
    }
}

/// The conditions of a status: one of each type, and none without.
pub(super) fn status_conditions(object: &Object, errors: &mut Errors) {
    let path = Path::root("status");
    let path = path.child("conditions");
    let mut seen = HashSet::new();
    for (index, condition) in object.get_list(&["status", "conditions"]).iter().enumerate() {
        let path = path.index(index);
        let kind = text_of(condition, "type");
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        if kind.is_empty() {
            errors.push(FieldError::required(&path.child("type"), "must not be empty"));
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let limited = |path: &[&str]| {
        let path = [&["spec", "limited"], path].concat();
        object.get(&path).cloned().unwrap_or_else(|| NONE.into())
    };
    let queuing = |name: &str| limited(&["limitResponse", "queuing", name]);
    vec![
        object.name().into(),
        object.get_str(&["spec", "type"]).unwrap_or_default().into(),
        limited(&["nominalConcurrencyShares"]),
        queuing("queues"),
        queuing("handSize"),
        queuing("queueLengthLimit"),
        age(object, now),
    ]
}
