//! What must hold of policies and bindings.

use std::collections::BTreeSet;

use model::Object;
use model::field::{FieldError, Path, shortened};
use model::names;
use model::validate::{Errors, list, metadata, text};
use serde_json::Value;

use super::expressions::{Compiler, MOST_VARIABLES, Purpose};

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];
const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const PATCH_TYPES: [&str; 2] = ["ApplyConfiguration", "JSONPatch"];
/// What can be changed: of a deletion there is nothing.
const MUTATED: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
const MOST_CONDITIONS: usize = 64;
const MOST_ANNOTATIONS: usize = 20;
const LONGEST_ANNOTATION: usize = 5 * 1024;

/// What must hold of a policy that looks at writes.
pub(crate) fn check_validating(object: &Object, errors: &mut Errors) {
    let nothing = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&nothing);
    let path = Path::root("spec");
    let compiler = common(spec, &path, errors);
    let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required(&path.child("validations"), why));
        errors.push(FieldError::required(&path.child("auditAnnotations"), why));
    }
    let place = path.child("validations");
    for (index, one) in validations.iter().enumerate() {
        validation(one, &place.index(index), &compiler, errors);
    }
    let place = path.child("auditAnnotations");
    if annotations.len() > MOST_ANNOTATIONS {
        let why = format!("must not have more than {MOST_ANNOTATIONS} auditAnnotations");
        errors.push(FieldError::invalid(&place, annotations.to_vec(), why));
    }
    let mut keys = BTreeSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let path = place.index(index);
        let key = text(annotation, "key");
        for why in names::qualified(&format!("{}/{key}", object.name())) {
            errors.push(FieldError::invalid(&path.child("key"), key, why));
        }
        if !keys.insert(key) {
            errors.push(FieldError::duplicate(&path.child("key"), key));
        }
        if text(annotation, "valueExpression").trim().len() > LONGEST_ANNOTATION {
            let why = format!("must not exceed {LONGEST_ANNOTATION} bytes in length");
            errors.push(FieldError::required(&path.child("valueExpression"), why));
        } else {
            source(&compiler, Purpose::Annotation, annotation, "valueExpression", &path, errors);
        }
    }
}

/// What must hold of a policy that changes writes.
pub(crate) fn check_mutating(object: &Object, errors: &mut Errors) {
    let nothing = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&nothing);
    let path = Path::root("spec");
    let compiler = common(spec, &path, errors);
    operations(spec, "matchConstraints", &path, errors);
    let place = path.child("mutations");
    let mutations = list(spec, "mutations");
    if mutations.is_empty() {
        errors.push(FieldError::required(&place, "mutations must contain at least one item"));
    }
    for (index, one) in mutations.iter().enumerate() {
        mutation(one, &place.index(index), &compiler, errors);
    }
    match text(spec, "reinvocationPolicy") {
        "" => errors.push(FieldError::required(&path.child("reinvocationPolicy"), "")),
        _ => word(errors, spec, "reinvocationPolicy", &path, &REINVOCATION_POLICIES),
    }
}

/// What must hold of a binding of a policy that looks at writes.
pub(crate) fn check_validating_binding(object: &Object, errors: &mut Errors) {
    let nothing = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&nothing);
    let path = Path::root("spec");
    binding(spec, &path, errors);
    let place = path.child("validationActions");
    let actions = list(spec, "validationActions");
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
    if known.is_empty() {
        errors.push(FieldError::required(&place, "at least one validation action is required"));
    }
}

/// What must hold of a binding of a policy that changes writes.
pub(crate) fn check_mutating_binding(object: &Object, errors: &mut Errors) {
    let nothing = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&nothing);
    let path = Path::root("spec");
    binding(spec, &path, errors);
    operations(spec, "matchResources", &path, errors);
}

/// What must hold of conditions of somebody who has no parameters.
pub(crate) fn check_conditions(of: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !list(of, "matchConditions").is_empty() {
        conditions(of, &Compiler::new(false), path, errors);
    }
}

/// What must hold of every policy; its expressions can be compiled by what comes back.
fn common(spec: &Value, path: &Path<'_>, errors: &mut Errors) -> Compiler {
    word(errors, spec, "failurePolicy", path, &FAILURE_POLICIES);
    let kind = spec.get("paramKind").filter(|kind| !kind.is_null());
    if let Some(kind) = kind {
        parameter_kind(kind, &path.child("paramKind"), errors);
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
    let mut compiler = Compiler::new(kind.is_some());
    conditions(spec, &compiler, path, errors);
    let place = path.child("variables");
    let variables = list(spec, "variables");
    if variables.len() > MOST_VARIABLES {
        errors.push(FieldError::too_many(&place, variables.len(), MOST_VARIABLES));
        return compiler;
    }
    let mut known = BTreeSet::new();
    for (index, one) in variables.iter().enumerate() {
        let path = place.index(index);
        let (name, written) = (text(one, "name"), text(one, "expression"));
        if name.trim().is_empty() {
            errors.push(FieldError::required(&path.child("name"), "name is not specified"));
        } else if !is_identifier(name) {
            errors.push(FieldError::invalid(&path.child("name"), name, "name is not a valid CEL identifier"));
        } else if !known.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        if written.trim().is_empty() {
            errors.push(FieldError::required(&path.child("expression"), "expression is not specified"));
        }
        let compiled = compiler.variable(name, written);
        if let Err(why) = compiled
            && !written.trim().is_empty()
        {
            errors.push(FieldError::invalid(&path.child("expression"), written, why));
        }
    }
    compiler
}

fn is_identifier(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.as_bytes()[0].is_ascii_digit()
        && cel::escape(name).is_some_and(|escaped| escaped == name)
}

fn parameter_kind(kind: &Value, path: &Path<'_>, errors: &mut Errors) {
    let place = path.child("apiVersion");
    let whole = text(kind, "apiVersion");
    match (whole, whole.matches('/').count()) {
        ("", _) => errors.push(FieldError::required(&place, "")),
        (_, 0 | 1) => {
            let (group, version) = whole.split_once('/').unwrap_or(("", whole));
            let problems = if group.is_empty() { Vec::new() } else { names::dns1123_subdomain(group) };
            if !problems.is_empty() {
                errors.push(FieldError::invalid(&place, group, problems.join(",")));
            }
            if version.is_empty() {
                errors.push(FieldError::invalid(&place, whole, "version must be specified"));
            } else {
                let problems = names::dns1035_label(version);
                if !problems.is_empty() {
                    errors.push(FieldError::invalid(&place, version, problems.join(",")));
                }
            }
        }
        _ => {
            let why = format!("unexpected GroupVersion string: {whole}");
            errors.push(FieldError::invalid(&place, whole, why));
        }
    }
    let (place, name) = (path.child("kind"), text(kind, "kind"));
    if name.is_empty() {
        errors.push(FieldError::required(&place, ""));
        return;
    }
    let problems = names::dns1035_label(&name.to_lowercase());
    if !problems.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", problems.join(","));
        errors.push(FieldError::invalid(&place, name, why));
    }
}

fn validation(validation: &Value, path: &Path<'_>, compiler: &Compiler, errors: &mut Errors) {
    source(compiler, Purpose::Validation, validation, "expression", path, errors);
    let place = path.child("messageExpression");
    match text(validation, "messageExpression") {
        "" => {}
        blank if blank.trim().is_empty() => {
            errors.push(FieldError::invalid(&place, blank, "must be non-empty if specified"));
        }
        _ => source(compiler, Purpose::Message, validation, "messageExpression", path, errors),
    }
    let (place, message) = (path.child("message"), text(validation, "message"));
    if !message.is_empty() && message.trim().is_empty() {
        errors.push(FieldError::invalid(&place, message, "message must be non-empty if specified"));
    } else if message.trim().contains(['\n', '\r']) {
        errors.push(FieldError::invalid(&place, message, "message must not contain line breaks"));
    }
    word(errors, validation, "reason", path, &REASONS);
}

fn mutation(mutation: &Value, path: &Path<'_>, compiler: &Compiler, errors: &mut Errors) {
    let patch_type = text(mutation, "patchType");
    let (own, purpose, other) = match patch_type {
        "" => {
            errors.push(FieldError::required(&path.child("patchType"), ""));
            return;
        }
        "JSONPatch" => ("jsonPatch", Purpose::JsonPatch, "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", Purpose::ApplyConfiguration, "jsonPatch"),
        unknown => {
            errors.push(FieldError::not_supported(&path.child("patchType"), unknown, &PATCH_TYPES));
            return;
        }
    };
    let given = |name: &str| mutation.get(name).filter(|given| !given.is_null());
    let place = path.child(own);
    match given(own) {
        None => {
            let why = format!("must be specified when patchType is {patch_type}");
            errors.push(FieldError::required(&place, why));
        }
        Some(patch) => {
            let (place, written) = (place.child("expression"), text(patch, "expression").trim());
            if written.is_empty() {
                errors.push(FieldError::required(&place, ""));
            } else if let Err(why) = compiler.compile(purpose, written) {
                errors.push(FieldError::invalid(&place, written, why));
            }
        }
    }
    if given(other).is_some() {
        let why = format!("must not be specified when patchType is {patch_type}");
        errors.push(FieldError::invalid(&path.child(other), format!("{{{other}}}"), why));
    }
}

/// An expression that must be there and compile.
fn source(
    compiler: &Compiler,
    purpose: Purpose,
    value: &Value,
    name: &str,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let (place, written) = (path.child(name), text(value, name));
    if written.trim().is_empty() {
        errors.push(FieldError::required(&place, format!("{name} is not specified")));
    } else if let Err(why) = compiler.compile(purpose, written) {
        errors.push(FieldError::invalid(&place, written, why));
    }
}

fn conditions(spec: &Value, compiler: &Compiler, path: &Path<'_>, errors: &mut Errors) {
    let place = path.child("matchConditions");
    let mut known = BTreeSet::new();
    let all = list(spec, "matchConditions");
    if all.len() > MOST_CONDITIONS {
        errors.push(FieldError::too_many(&place, all.len(), MOST_CONDITIONS));
    }
    for (index, condition) in all.iter().enumerate() {
        let path = place.index(index);
        let (place, written) = (path.child("expression"), text(condition, "expression").trim());
        if written.is_empty() {
            errors.push(FieldError::required(&place, ""));
        } else if let Err(why) = compiler.compile(Purpose::Condition, written) {
            errors.push(FieldError::invalid(&place, written, why));
        }
        let name = text(condition, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
            continue;
        }
        for why in names::qualified(name) {
            errors.push(FieldError::invalid(&path.child("name"), name, why));
        }
        if !known.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
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
            let path = rules.index(index);
            let place = path.child("resourceNames");
            let mut known = BTreeSet::new();
            for (index, name) in list(rule, "resourceNames").iter().filter_map(Value::as_str).enumerate() {
                for why in names::path_segment(name) {
                    errors.push(FieldError::invalid(&place.index(index), name, why));
                }
                if !known.insert(name) {
                    errors.push(FieldError::duplicate(&place.index(index), name));
                }
            }
            crate::webhook_configuration::rule_with_operations(rule, &path, errors);
        }
    }
}

/// What can be asked of somebody who changes writes.
fn operations(spec: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) {
    let nothing = Value::Null;
    let rules = list(spec.get(name).unwrap_or(&nothing), "resourceRules");
    let (place, rule) = (path.child(name), "resourceRules");
    let place = place.child(rule);
    let place = place.child("operations");
    let named = rules.iter().flat_map(|rule| list(rule, "operations")).filter_map(Value::as_str);
    for operation in named.filter(|operation| !MUTATED.contains(operation)) {
        errors.push(FieldError::not_supported(&place, operation, &MUTATED));
    }
}

fn binding(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (place, name) = (path.child("policyName"), text(spec, "policyName"));
    if name.is_empty() {
        errors.push(FieldError::required(&place, ""));
    } else {
        for why in names::dns1123_subdomain(name) {
            errors.push(FieldError::invalid(&place, name, why));
        }
    }
    if let Some(reference) = spec.get("paramRef").filter(|reference| !reference.is_null()) {
        parameters(reference, &path.child("paramRef"), errors);
    }
    if let Some(given) = spec.get("matchResources").filter(|given| !given.is_null()) {
        constraints(given, &path.child("matchResources"), errors);
    }
}

fn parameters(reference: &Value, path: &Path<'_>, errors: &mut Errors) {
    let name = text(reference, "name");
    let selector = reference.get("selector").filter(|selector| !selector.is_null());
    let exclusive = "name and selector are mutually exclusive";
    if !name.is_empty() {
        for why in names::path_segment(name) {
            errors.push(FieldError::invalid(&path.child("name"), name, why));
        }
        if selector.is_some() {
            errors.push(FieldError::forbidden(&path.child("name"), exclusive));
        }
    }
    match selector {
        Some(selector) => {
            metadata::selector(selector, &path.child("selector"), errors);
            if !name.is_empty() {
                errors.push(FieldError::forbidden(&path.child("selector"), exclusive));
            }
        }
        None if name.is_empty() => {
            errors.push(FieldError::required(path, "one of name or selector must be specified"));
        }
        None => {}
    }
    match text(reference, "parameterNotFoundAction") {
        "" => errors.push(FieldError::required(&path.child("parameterNotFoundAction"), "")),
        _ => word(errors, reference, "parameterNotFoundAction", path, &["Allow", "Deny"]),
    }
}

fn word(errors: &mut Errors, value: &Value, name: &str, path: &Path<'_>, allowed: &[&str]) {
    if let Some(word) = value.get(name).and_then(Value::as_str).filter(|word| !allowed.contains(word)) {
        errors.push(FieldError::not_supported(&path.child(name), shortened(word.to_owned()), allowed));
    }
}
