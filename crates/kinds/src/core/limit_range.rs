//! LimitRanges: what a pod, a container or a claim of a namespace may and must ask for. Whether it does is
//! asked in `admission/limit_ranger.rs`.

use std::collections::{BTreeSet, HashSet};

use apiserver::Resource;
use apiserver::table::{Column, NAME, text as text_column};
use base::Timestamp;
use k8s_openapi::api::core::v1::LimitRange;
use model::default::{Fields, each, existing, inside, text as text_of};
use model::field::{FieldError, Path};
use model::names::qualified;
use model::validate::{Errors, Functions, entries, invalid, list, text};
use model::{Object, Quantity};
use serde_json::Value;

use crate::amounts::round_up;
use crate::resource_names::{any, may_overcommit, of_container};

/// What of a limit are lists of amounts.
const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

pub(crate) fn resource() -> Resource {
    Resource::of::<LimitRange>()
        .short(&["limits"])
        .defaults(defaults)
        .rules(Functions::of(object))
        .columns(COLUMNS, cells)
}

const COLUMNS: &[Column] = &[NAME, text_column("Created At", "When it was created.")];

fn defaults(fields: &mut Fields) {
    for limit in each(inside(fields, "spec"), "limits") {
        for list in LISTS {
            round_up(limit, list);
        }
        if text_of(limit, "type") != "Container" {
            continue;
        }
        // A limit that is left open is the most there may be, a request the limit, or else the least.
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            let Some(amounts) = existing(limit, from).filter(|amounts| !amounts.is_empty()).cloned() else {
                continue;
            };
            let open = inside(limit, to);
            for (name, amount) in amounts {
                open.entry(name).or_insert(amount);
            }
        }
    }
}

fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let root = Path::root("spec");
    let limits = root.child("limits");
    let mut types = HashSet::new();
    for (index, one) in list(spec, "limits").iter().enumerate() {
        let path = limits.index(index);
        let kind = text(one, "type");
        of_type(kind, &path.child("type"), errors);
        if !types.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        limit(one, kind, &path, errors);
    }
}

fn of_type(kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let messages = qualified(kind);
    if !messages.is_empty() {
        invalid(errors, path, kind, messages);
    } else if !kind.contains('/') && !["Pod", "Container", "PersistentVolumeClaim"].contains(&kind) {
        errors.push(FieldError::invalid(path, kind, "must be a standard limit type or fully qualified"));
    }
}

fn limit(limit: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let is_pod = kind == "Pod";
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for name in ["max", "min", "default", "defaultRequest"] {
        let path = path.child(name);
        let is_default = name.starts_with("default");
        if is_default && is_pod {
            if entries(limit, name).next().is_some() {
                errors.push(FieldError::forbidden(&path, "may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        for (resource, _) in entries(limit, name) {
            of_resource(kind, resource, &path.key(resource), errors);
            known.insert(resource);
        }
    }
    let storage = |name: &str| limit.get(name).is_some_and(|amounts| amounts.get("storage").is_some());
    if kind == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
        let message = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&path.child("limits"), message));
    }
    let ratios = path.child("maxLimitRequestRatio");
    for (resource, _) in entries(limit, "maxLimitRequestRatio") {
        of_resource(kind, resource, &ratios.key(resource), errors);
    }
    for resource in known {
        amounts(limit, resource, is_pod, path, errors);
    }
}

fn of_resource(kind: &str, resource: &str, path: &Path<'_>, errors: &mut Errors) {
    if matches!(kind, "Pod" | "Container") {
        of_container(resource, path, errors);
    } else {
        any(resource, path, errors);
    }
}

/// How the amounts of one resource have to be to each other.
fn amounts(limit: &Value, resource: &str, is_pod: bool, path: &Path<'_>, errors: &mut Errors) {
    let amount = |name: &str| limit.get(name).and_then(|all| all.get(resource)).and_then(Quantity::from_json);
    let (min, max, ratio) = (amount("min"), amount("max"), amount("maxLimitRequestRatio"));
    let default = amount("default").filter(|_| !is_pod);
    let request = amount("defaultRequest").filter(|_| !is_pod);
    let mut refuse = |field: &str, shown: Quantity, message: String| {
        let path = path.child(field);
        errors.push(FieldError::invalid(&path.key(resource), shown.to_string(), message));
    };
    let above = |less: Option<Quantity>, more: Option<Quantity>| Some((less?, more?)).filter(|(a, b)| a > b);
    if let Some((min, max)) = above(min, max) {
        refuse("min", min, format!("min value {min} is greater than max value {max}"));
    }
    if let Some((min, request)) = above(min, request) {
        let message = format!("min value {min} is greater than default request value {request}");
        refuse("defaultRequest", request, message);
    }
    if let Some((request, max)) = above(request, max) {
        let message = format!("default request value {request} is greater than max value {max}");
        refuse("defaultRequest", request, message);
    }
    if let Some((request, default)) = above(request, default) {
        let message =
            format!("default request value {request} is greater than default limit value {default}");
        refuse("defaultRequest", request, message);
    }
    if let Some((min, default)) = above(min, default) {
        refuse("default", min, format!("min value {min} is greater than default value {default}"));
    }
    if let Some((default, max)) = above(default, max) {
        refuse("default", max, format!("default value {default} is greater than max value {max}"));
    }
    if let Some(ratio) = ratio {
        if ratio < Quantity::from_millis(1000) {
            refuse("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (min, max) {
            let most = max.as_f64() / min.as_f64();
            if ratio.as_f64() > most {
                let message = format!("ratio {ratio} is greater than max/min = {most:.6}");
                refuse("maxLimitRequestRatio", ratio, message);
            }
        }
    }
    if let (Some(default), Some(request), false) = (default, request, may_overcommit(resource))
        && default != request
    {
        let message =
            format!("default value {default} must equal to defaultRequest value {request} in {resource}");
        refuse("defaultRequest", request, message);
    }
}

fn cells(object: &Object, _: Timestamp) -> Vec<Value> {
    let created = object.get_str(&["metadata", "creationTimestamp"]).unwrap_or_default();
    vec![object.name().into(), created.into()]
}
