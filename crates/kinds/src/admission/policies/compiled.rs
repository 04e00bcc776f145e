//! Policies and bindings as their objects say, with their expressions compiled, and what must hold of them.

use std::collections::BTreeSet;

use cel::{Checked, Environment, Program, Type};
use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, list, metadata, text};
use serde_json::Value;

use super::super::webhooks::Matcher;
use super::request;

/// How many variables there are that a policy does not have itself.
pub(super) const FIXED: usize = 7;
const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

/// An expression, ready to be asked, or why it is not.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) source: String,
    pub(super) program: Result<Program, String>,
}

/// A validation of a policy.
pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) message: String,
    pub(super) message_expression: Option<Expression>,
    pub(super) reason: Option<String>,
}

/// A policy.
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) matcher: Matcher,
    pub(super) fails_open: bool,
    /// The kind that it takes its parameters from: group, version and name.
    pub(super) parameters: Option<(String, String, String)>,
    pub(super) variables: Vec<(String, Result<Program, String>)>,
    pub(super) conditions: Vec<Expression>,
    pub(super) validations: Vec<Validation>,
    pub(super) annotations: Vec<(String, Expression)>,
}

/// A binding.
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) matcher: Matcher,
    pub(super) parameters: Option<Value>,
    pub(super) actions: Vec<String>,
}

/// The variables that are there without a policy's own; [`FIXED`] in number.
fn environment(parameters: bool) -> Environment {
    let object = |name: &str| Type::object(name);
    Environment::new()
        .with_variable("object", Type::Dyn)
        .with_variable("oldObject", Type::Dyn)
        .with_declared("request", &request::DECLARED)
        .with_variable("namespaceObject", Type::Dyn)
        .with_variable("authorizer", object("kubernetes.authorization.Authorizer"))
        .with_variable("authorizer.requestResource", object("kubernetes.authorization.ResourceCheck"))
        // No expression can say the other name.
        .with_variable(if parameters { "params" } else { "@params" }, Type::Dyn)
}

fn ready(checked: &Result<Checked, String>) -> Result<Program, String> {
    checked.as_ref().map_err(Clone::clone)?.program().map_err(|error| error.to_string())
}

fn compile(environment: &Environment, source: &str, types: &[Type]) -> Result<Checked, String> {
    let checked = environment.compile(source).map_err(|issues| format!("compilation failed: {issues}"))?;
    let output = checked.output();
    if !types.is_empty() && *output != Type::Dyn && !types.contains(output) {
        let names: Vec<&str> = types.iter().map(Type::name).collect();
        return Err(match names.as_slice() {
            [one] => format!("must evaluate to {one}"),
            more => format!("must evaluate to one of [{}]", more.join(" ")),
        });
    }
    if types == [Type::Bool] && *output != Type::Bool {
        return Err("must evaluate to bool".to_owned());
    }
    Ok(checked)
}

fn expression(environment: &Environment, source: &str, types: &[Type]) -> Expression {
    Expression { source: source.to_owned(), program: ready(&compile(environment, source, types)) }
}

/// Conditions under which somebody is asked who has no parameters.
pub(super) fn conditions(all: &[Value]) -> Vec<Expression> {
    if all.is_empty() {
        return Vec::new();
    }
    let environment = environment(false);
    all.iter()
        .map(|condition| expression(&environment, text(condition, "expression"), &[Type::Bool]))
        .collect()
}

/// What must hold of those.
pub(crate) fn check_conditions(of: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !list(of, "matchConditions").is_empty() {
        conditions_of(of, &environment(false), path, errors);
    }
}

impl Policy {
    pub(super) fn read(object: &Object) -> Self {
        let nothing = Value::Null;
        let spec = object.get(&["spec"]).unwrap_or(&nothing);
        let parameters = spec.get("paramKind").filter(|kind| !kind.is_null()).map(|kind| {
            let version = text(kind, "apiVersion");
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            (group.to_owned(), version.to_owned(), text(kind, "kind").to_owned())
        });
        let base = environment(parameters.is_some());
        let mut all = base.clone();
        let mut variables = Vec::new();
        for variable in list(spec, "variables") {
            let name = text(variable, "name");
            let checked = compile(&all, text(variable, "expression"), &[]);
            let ty = checked.as_ref().map_or(Type::Dyn, |checked| checked.output().clone());
            all = all.with_variable(&format!("variables.{name}"), ty);
            variables.push((name.to_owned(), ready(&checked)));
        }
        let conditions = list(spec, "matchConditions").iter();
        let validations = list(spec, "validations").iter();
        let annotations = list(spec, "auditAnnotations").iter();
        Self {
            name: object.name().to_owned(),
            matcher: Matcher::read(spec.get("matchConstraints").unwrap_or(&nothing)),
            fails_open: text(spec, "failurePolicy") == "Ignore",
            conditions: conditions
                .map(|condition| expression(&base, text(condition, "expression"), &[Type::Bool]))
                .collect(),
            validations: validations
                .map(|validation| Validation {
                    expression: expression(&all, text(validation, "expression"), &[Type::Bool]),
                    message: text(validation, "message").to_owned(),
                    message_expression: Some(text(validation, "messageExpression"))
                        .filter(|source| !source.trim().is_empty())
                        .map(|source| expression(&all, source, &[Type::String])),
                    reason: validation.get("reason").and_then(Value::as_str).map(str::to_owned),
                })
                .collect(),
            annotations: annotations
                .map(|annotation| {
                    let types = [Type::String, Type::Null];
                    let source = text(annotation, "valueExpression");
                    (text(annotation, "key").to_owned(), expression(&all, source, &types))
                })
                .collect(),
            parameters,
            variables,
        }
    }
}

impl Binding {
    pub(super) fn read(object: &Object) -> Self {
        let nothing = Value::Null;
        let spec = object.get(&["spec"]).unwrap_or(&nothing);
        Self {
            name: object.name().to_owned(),
            policy: text(spec, "policyName").to_owned(),
            matcher: Matcher::read(spec.get("matchResources").unwrap_or(&nothing)),
            parameters: spec.get("paramRef").filter(|reference| !reference.is_null()).cloned(),
            actions: list(spec, "validationActions")
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        }
    }
}

fn word(errors: &mut Errors, value: &Value, name: &str, path: &Path<'_>, allowed: &[&str]) {
    if let Some(word) = value.get(name).and_then(Value::as_str).filter(|word| !allowed.contains(word)) {
        errors.push(FieldError::not_supported(&path.child(name), word, allowed));
    }
}

/// An expression that must be there and compile; what it compiles to.
fn source(
    environment: &Environment,
    value: &Value,
    name: &str,
    path: &Path<'_>,
    types: &[Type],
    errors: &mut Errors,
) -> Option<Checked> {
    let written = text(value, name);
    if written.trim().is_empty() {
        errors.push(FieldError::required(&path.child(name), format!("{name} is not specified")));
        return None;
    }
    match compile(environment, written, types) {
        Ok(checked) => match checked.program() {
            Ok(_) => Some(checked),
            Err(why) => {
                let why = format!("program instantiation failed: {why}");
                errors.push(FieldError::invalid(&path.child(name), written, why));
                None
            }
        },
        Err(why) => {
            errors.push(FieldError::invalid(&path.child(name), written, why));
            None
        }
    }
}

fn constraints(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    word(errors, value, "matchPolicy", path, &["Equivalent", "Exact"]);
    for name in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = value.get(name).filter(|selector| !selector.is_null()) {
            metadata::selector(selector, &path.child(name), errors);
        }
    }
    for name in ["resourceRules", "excludeResourceRules"] {
        let rules = path.child(name);
        for (index, rule) in list(value, name).iter().enumerate() {
            crate::webhook_configuration::rule_with_operations(rule, &rules.index(index), errors);
        }
    }
}

/// What must hold of a policy.
pub(crate) fn check_policy(object: &Object, errors: &mut Errors) {
    let nothing = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&nothing);
    let path = Path::root("spec");
    word(errors, spec, "failurePolicy", &path, &FAILURE_POLICIES);
    let kind = spec.get("paramKind").filter(|kind| !kind.is_null());
    if let Some(kind) = kind {
        for name in ["apiVersion", "kind"] {
            if text(kind, name).is_empty() {
                errors.push(FieldError::required(&path.child("paramKind").child(name), ""));
            }
        }
    }
    let place = path.child("matchConstraints");
    match spec.get("matchConstraints").filter(|constraints| !constraints.is_null()) {
        None => errors.push(FieldError::required(&place, "")),
        Some(given) => {
            constraints(given, &place, errors);
            if list(given, "resourceRules").is_empty() {
                errors.push(FieldError::required(&place.child("resourceRules"), ""));
            }
        }
    }
    let base = environment(kind.is_some());
    let mut all = base.clone();
    let mut known = BTreeSet::new();
    let variables = path.child("variables");
    for (index, variable) in list(spec, "variables").iter().enumerate() {
        let path = variables.index(index);
        let name = text(variable, "name");
        let plain = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && !text.as_bytes()[0].is_ascii_digit()
                && cel::escape(text).is_some_and(|escaped| escaped == text)
        };
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), "name is not specified"));
        } else if !plain(name) {
            let why = "name is not a valid CEL identifier";
            errors.push(FieldError::invalid(&path.child("name"), name, why));
        } else if !known.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        let checked = source(&all, variable, "expression", &path, &[], errors);
        let ty = checked.map_or(Type::Dyn, |checked| checked.output().clone());
        all = all.with_variable(&format!("variables.{name}"), ty);
    }
    conditions_of(spec, &base, &path, errors);
    let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required(&path.child("validations"), why));
        errors.push(FieldError::required(&path.child("auditAnnotations"), why));
    }
    let place = path.child("validations");
    for (index, validation) in validations.iter().enumerate() {
        let path = place.index(index);
        source(&all, validation, "expression", &path, &[Type::Bool], errors);
        let message = text(validation, "message");
        if !message.is_empty() && message.trim().is_empty() {
            errors.push(FieldError::invalid(
                &path.child("message"),
                message,
                "message must be non-empty if specified",
            ));
        } else if message.trim().contains('\n') {
            errors.push(FieldError::invalid(
                &path.child("message"),
                message,
                "message must not contain line breaks",
            ));
        } else if text(validation, "expression").trim().contains('\n') && message.trim().is_empty() {
            let why = "message must be specified if expression contains line breaks";
            errors.push(FieldError::required(&path.child("message"), why));
        }
        if !text(validation, "messageExpression").is_empty() {
            source(&all, validation, "messageExpression", &path, &[Type::String], errors);
        }
        word(errors, validation, "reason", &path, &REASONS);
    }
    let place = path.child("auditAnnotations");
    let mut keys = BTreeSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let path = place.index(index);
        let key = text(annotation, "key");
        if key.is_empty() {
            errors.push(FieldError::required(&path.child("key"), ""));
        } else {
            for why in model::names::qualified(&format!("{}/{key}", object.name())) {
                errors.push(FieldError::invalid(&path.child("key"), key, why));
            }
            if !keys.insert(key) {
                errors.push(FieldError::duplicate(&path.child("key"), key));
            }
        }
        source(&all, annotation, "valueExpression", &path, &[Type::String, Type::Null], errors);
    }
}

fn conditions_of(spec: &Value, environment: &Environment, path: &Path<'_>, errors: &mut Errors) {
    let place = path.child("matchConditions");
    let mut known = BTreeSet::new();
    let all = list(spec, "matchConditions");
    if all.len() > 64 {
        errors.push(FieldError::too_many(&place, all.len(), 64));
    }
    for (index, condition) in all.iter().enumerate() {
        let path = place.index(index);
        source(environment, condition, "expression", &path, &[Type::Bool], errors);
        let name = text(condition, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
            continue;
        }
        for why in model::names::qualified(name) {
            errors.push(FieldError::invalid(&path.child("name"), name, why));
        }
        if !known.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
    }
}

/// What must hold of a binding.
pub(crate) fn check_binding(object: &Object, errors: &mut Errors) {
    let nothing = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&nothing);
    let path = Path::root("spec");
    let name = text(spec, "policyName");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("policyName"), ""));
    } else {
        for why in model::names::dns1123_subdomain(name) {
            errors.push(FieldError::invalid(&path.child("policyName"), name, why));
        }
    }
    if let Some(reference) = spec.get("paramRef").filter(|reference| !reference.is_null()) {
        let path = path.child("paramRef");
        let has_selector = reference.get("selector").is_some_and(|selector| !selector.is_null());
        match (text(reference, "name").is_empty(), has_selector) {
            (true, false) => {
                errors.push(FieldError::required(&path, "one of name or selector must be specified"));
            }
            (false, true) => {
                let why = "name and selector are mutually exclusive";
                errors.push(FieldError::forbidden(&path.child("name"), why));
            }
            _ => {}
        }
        match text(reference, "parameterNotFoundAction") {
            "" => errors.push(FieldError::required(&path.child("parameterNotFoundAction"), "")),
            _ => word(errors, reference, "parameterNotFoundAction", &path, &["Allow", "Deny"]),
        }
    }
    if let Some(given) = spec.get("matchResources").filter(|given| !given.is_null()) {
        constraints(given, &path.child("matchResources"), errors);
    }
    let place = path.child("validationActions");
    let actions = list(spec, "validationActions");
    if actions.is_empty() {
        errors.push(FieldError::required(&place, "at least one validation action is required"));
    }
    let mut known = BTreeSet::new();
    for (index, action) in actions.iter().filter_map(Value::as_str).enumerate() {
        if !ACTIONS.contains(&action) {
            errors.push(FieldError::not_supported(&place.index(index), action, &ACTIONS));
        }
        if !known.insert(action) {
            errors.push(FieldError::duplicate(&place.index(index), action));
        }
    }
    if known.contains("Deny") && known.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                   response and headers serves no purpose)";
        errors.push(FieldError::invalid(&place, actions.to_vec(), why));
    }
}
