//! FlowSchemas: which requests are of which level of priority.

mod own;

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, NONE, age, or, text};
use base::Timestamp;
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use model::default::{Fields, inside, unset};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, flag, invalid, list, number, text as text_of};
use model::{Object, names};
use serde_json::Value;

use super::priority_level_configuration::status_conditions;
use crate::spec_and_status::{KEEPS_METADATA, SpecAndStatus};

pub(crate) use own::must;

pub(crate) fn resource() -> Resource {
    Resource::of::<FlowSchema>()
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
    text("PriorityLevel", "The level of the requests."),
    text("MatchingPrecedence", "The lower, the earlier it is looked at."),
    text("DistinguisherMethod", "By what its flows differ."),
    AGE,
    text("MissingPL", "Whether there is no such level."),
];
/// The one that nothing else goes before.
const FIRST: &str = "exempt";
const MOST: i64 = 10_000;
const METHODS: [&str; 2] = ["ByNamespace", "ByUser"];
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
const SUBJECTS: [(&str, &str); 3] =
    [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    inside(spec, "priorityLevelConfiguration");
    unset(spec, "matchingPrecedence", 1000);
    inside(fields, "status");
}

fn object(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    precedence(object.name(), spec, &path.child("matchingPrecedence"), errors);
    if let Some(method) = spec.get("distinguisherMethod").filter(|method| !method.is_null())
        && !METHODS.contains(&text_of(method, "type"))
    {
        let path = path.child("distinguisherMethod");
        errors.push(FieldError::not_supported(&path.child("type"), method.clone(), &METHODS));
    }
    let level_path = path.child("priorityLevelConfiguration");
    let level = spec.get("priorityLevelConfiguration").map_or("", |level| text_of(level, "name"));
    if level.is_empty() {
        errors.push(FieldError::required(&level_path.child("name"), "must reference a priority level"));
    } else {
        invalid(errors, &level_path.child("name"), level, names::dns1123_subdomain(level));
    }
    let rules = path.child("rules");
    for (index, one) in list(spec, "rules").iter().enumerate() {
        rule(one, &rules.index(index), errors);
    }
    if own::mandatory(object.name()).is_some_and(|own| own != *spec) {
        let message = format!("spec of '{}' must equal the fixed value", object.name());
        errors.push(FieldError::invalid(&path, spec.clone(), message));
    }
    status_conditions(object, errors);
}

fn precedence(name: &str, spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let precedence = number(spec, "matchingPrecedence").unwrap_or_default();
    let mut refuse = |message: String| errors.push(FieldError::invalid(path, precedence, message));
    if precedence <= 0 {
        refuse("must be a positive value".to_owned());
    }
    if precedence > MOST {
        refuse(format!("must not be greater than {MOST}"));
    }
    if precedence == 1 && name != FIRST {
        refuse("only the schema named 'exempt' may have matchingPrecedence 1".to_owned());
    }
}

fn rule(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let subjects_path = path.child("subjects");
    let subjects = list(rule, "subjects");
    if subjects.is_empty() {
        errors.push(FieldError::required(&subjects_path, "subjects must contain at least one value"));
    }
    for (index, one) in subjects.iter().enumerate() {
        subject(one, &subjects_path.index(index), errors);
    }
    let (resources, others) = (list(rule, "resourceRules"), list(rule, "nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        let message = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, message));
    }
    let resources_path = path.child("resourceRules");
    for (index, one) in resources.iter().enumerate() {
        resource_rule(one, &resources_path.index(index), errors);
    }
    let others_path = path.child("nonResourceRules");
    for (index, one) in others.iter().enumerate() {
        path_rule(one, &others_path.index(index), errors);
    }
}

fn subject(subject: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text_of(subject, "kind");
    if !SUBJECTS.iter().any(|(known, _)| *known == kind) {
        let kinds = SUBJECTS.map(|(kind, _)| kind);
        errors.push(FieldError::not_supported(&path.child("kind"), kind, &kinds));
        return;
    }
    for (of, field) in SUBJECTS {
        let path = path.child(field);
        let part = subject.get(field).filter(|part| !part.is_null());
        match part {
            None if of == kind => {
                let message = format!("{field} is required when subject kind is '{of}'");
                errors.push(FieldError::required(&path, message));
            }
            Some(part) if of == kind => named(part, of, &path, errors),
            Some(_) => {
                let message = format!("{field} is forbidden when subject kind is not '{of}'");
                errors.push(FieldError::forbidden(&path, message));
            }
            None => {}
        }
    }
}

fn named(part: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let name = text_of(part, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else if kind == "ServiceAccount" && name != "*" {
        invalid(errors, &path.child("name"), name, names::dns1123_subdomain(name));
    }
    if kind == "ServiceAccount" {
        let namespace = text_of(part, "namespace");
        let path = path.child("namespace");
        if namespace.is_empty() {
            errors.push(FieldError::required(&path, "must specify namespace for service account"));
        } else {
            invalid(errors, &path, namespace, names::dns1123_label(namespace));
        }
    }
}

/// Verbs, or any.
fn verbs(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("verbs");
    let verbs = list(rule, "verbs");
    if verbs.is_empty() {
        errors.push(FieldError::required(&path, "verbs must contain at least one value"));
    } else if has_any(verbs) {
        if verbs.len() > 1 {
            let message = "if '*' is present, must not specify other verbs";
            errors.push(FieldError::invalid(&path, verbs.to_vec(), message));
        }
    } else if !verbs.iter().all(|verb| VERBS.contains(&verb.as_str().unwrap_or_default())) {
        errors.push(FieldError::not_supported(&path, verbs.to_vec(), &VERBS));
    }
}

fn has_any(list: &[Value]) -> bool {
    list.iter().any(|one| one == "*")
}

fn resource_rule(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    verbs(rule, path, errors);
    for (field, missing, others) in [
        ("apiGroups", "resource rules must supply at least one api group", "api groups"),
        ("resources", "resource rules must supply at least one resource", "resources"),
    ] {
        let all = list(rule, field);
        if all.is_empty() {
            errors.push(FieldError::required(&path.child(field), missing));
        } else if all.len() > 1 && has_any(all) {
            let message = format!("if '*' is present, must not specify other {others}");
            errors.push(FieldError::invalid(&path.child(field), all.to_vec(), message));
        }
    }
    let path = path.child("namespaces");
    let namespaces = list(rule, "namespaces");
    if namespaces.is_empty() && !flag(rule, "clusterScope") {
        let message = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(FieldError::required(&path, message));
    } else if has_any(namespaces) {
        if namespaces.len() > 1 {
            let message = "if '*' is present, must not specify other namespaces";
            errors.push(FieldError::invalid(&path, namespaces.to_vec(), message));
        }
    } else {
        for (index, namespace) in namespaces.iter().enumerate() {
            let namespace = namespace.as_str().unwrap_or_default();
            let wrong = names::dns1123_label(namespace).into_iter();
            let wrong = wrong
                .map(|wrong| format!("each member of this list must be '*' or a DNS-1123 label; {wrong}"));
            invalid(errors, &path.index(index), namespace, wrong.collect());
        }
    }
}

fn path_rule(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    verbs(rule, path, errors);
    let path = path.child("nonResourceURLs");
    let all = list(rule, "nonResourceURLs");
    if all.is_empty() {
        let message = "nonResourceURLs must contain at least one value";
        errors.push(FieldError::required(&path, message));
    } else if has_any(all) {
        if all.len() > 1 {
            let message = "if '*' is present, must not specify other non-resource URLs";
            errors.push(FieldError::invalid(&path, all.to_vec(), message));
        }
    } else {
        for (index, one) in all.iter().enumerate() {
            let one = one.as_str().unwrap_or_default();
            if let Some(wrong) = wrong_path(one) {
                errors.push(FieldError::invalid(&path.index(index), one, wrong));
            }
        }
    }
}

/// What is wrong with a path of requests that are for no resource.
fn wrong_path(path: &str) -> Option<&'static str> {
    let wildcards = path.matches('*').count();
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !path.starts_with('/') => Some("must start with slash"),
        _ if path.contains(' ') => Some("must not contain white-space"),
        _ if path.contains("//") => Some("must not contain double slash"),
        _ if wildcards > 1 || (wildcards == 1 && !path.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let conditions = object.get_list(&["status", "conditions"]);
    let dangling = conditions.iter().find(|condition| text_of(condition, "type") == "Dangling");
    vec![
        object.name().into(),
        object.get_str(&["spec", "priorityLevelConfiguration", "name"]).unwrap_or_default().into(),
        object.get_i64(&["spec", "matchingPrecedence"]).unwrap_or_default().into(),
        or(object.get_str(&["spec", "distinguisherMethod", "type"]), NONE).into(),
        age(object, now),
        dangling.map_or("?", |condition| text_of(condition, "status")).into(),
    ]
}
