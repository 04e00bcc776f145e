//! Whether somebody may do something.

use std::collections::BTreeMap;

use apiserver::{Attributes, Context, Decision, Identity, ResourceAttributes, Result};
use model::field::{FieldError, Path};
use model::select::{FieldSelector, LabelSelector};
use model::validate::{list, text};
use model::{GroupKind, Object, Status};
use serde_json::{Value, json};

/// It names somebody.
pub(crate) fn needs_subject(review: &Object) -> Vec<FieldError> {
    let user = review.get_str(&["spec", "user"]).unwrap_or_default();
    if !user.is_empty() || !review.get_list(&["spec", "groups"]).is_empty() {
        return Vec::new();
    }
    let spec = Path::root("spec");
    vec![FieldError::invalid(&spec.child("user"), user, "at least one of user or group must be specified")]
}

/// Of whom it asks.
pub(crate) fn subject(review: &Object) -> Identity {
    let texts = |values: &[Value]| -> Vec<String> {
        values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let extra = review.get(&["spec", "extra"]).and_then(Value::as_object).into_iter().flatten();
    let extra: BTreeMap<String, Vec<String>> = extra
        .map(|(key, values)| (key.to_lowercase(), texts(values.as_array().map_or(&[], Vec::as_slice))))
        .collect();
    Identity {
        user: review.get_str(&["spec", "user"]).unwrap_or_default().to_owned(),
        uid: review.get_str(&["spec", "uid"]).unwrap_or_default().to_owned(),
        groups: texts(review.get_list(&["spec", "groups"])),
        extra,
    }
}

/// The question must be one; `others` is what is wrong with it besides.
pub(crate) fn check(review: &Object, others: Vec<FieldError>) -> Result<()> {
    let mut errors = Vec::new();
    let spec = Path::root("spec");
    let part = |name: &str| review.get(&["spec", name]).filter(|part| !part.is_null());
    let (resource, path) = (part("resourceAttributes"), part("nonResourceAttributes"));
    match (resource, path) {
        (Some(_), Some(path)) => errors.push(FieldError::invalid(
            &spec.child("nonResourceAttributes"),
            path.clone(),
            "cannot be specified in combination with resourceAttributes",
        )),
        (None, None) => errors.push(FieldError::invalid(
            &spec.child("resourceAttributes"),
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    errors.extend(others);
    let attributes = spec.child("resourceAttributes");
    for name in ["fieldSelector", "labelSelector"] {
        if let Some(selector) = resource.and_then(|asked| asked.get(name)).filter(|s| !s.is_null()) {
            check_selector(selector, &attributes.child(name), &mut errors);
        }
    }
    let unknown = review.fields().get("metadata").and_then(Value::as_object).into_iter().flatten().any(
        |(key, value)| {
            !matches!(key.as_str(), "namespace" | "managedFields" | "creationTimestamp") && !value.is_null()
        },
    );
    if unknown {
        let except = if review.kind().starts_with("Local") { " except for namespace" } else { "" };
        let metadata = review.fields().get("metadata").cloned().unwrap_or_default();
        let why = format!("must be empty{except}");
        errors.push(FieldError::invalid(&Path::root("metadata"), metadata, why));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupKind::new("authorization.k8s.io", review.kind()), "", &errors).into())
}

fn check_selector(selector: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let (raw, requirements) = (text(selector, "rawSelector"), list(selector, "requirements"));
    if !raw.is_empty() && !requirements.is_empty() {
        let why = "may not specified at the same time as requirements";
        errors.push(FieldError::invalid(&path.child("rawSelector"), raw, why));
    }
    if raw.is_empty() && requirements.is_empty() {
        let why = format!("when {path} is specified, requirements or rawSelector is required");
        errors.push(FieldError::required(&path.child("requirements"), why));
    }
    let requirements_path = path.child("requirements");
    for (index, requirement) in requirements.iter().enumerate() {
        let place = requirements_path.index(index);
        if text(requirement, "key").is_empty() {
            errors.push(FieldError::required(&place.child("key"), "must be specified"));
        }
        let values = list(requirement, "values");
        match text(requirement, "operator") {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                &place.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                &place.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            _ => {}
        }
    }
}

/// What is asked of fields. What cannot be read asks for nothing, so that more has to be allowed, not less.
fn fields(asked: &Value) -> FieldSelector {
    let Some(selector) = asked.get("fieldSelector") else { return FieldSelector::default() };
    let raw = text(selector, "rawSelector");
    if !raw.is_empty() {
        return raw.parse().unwrap_or_default();
    }
    let mut all = FieldSelector::default();
    for requirement in list(selector, "requirements") {
        let [Value::String(value)] = list(requirement, "values") else { continue };
        let equal = match text(requirement, "operator") {
            "In" => true,
            "NotIn" => false,
            _ => continue,
        };
        all.also(text(requirement, "key"), equal, value);
    }
    all
}

fn labels(asked: &Value) -> LabelSelector {
    let Some(selector) = asked.get("labelSelector") else { return LabelSelector::default() };
    let raw = text(selector, "rawSelector");
    if !raw.is_empty() {
        return raw.parse().unwrap_or_default();
    }
    let expressions = json!({"matchExpressions": list(selector, "requirements")});
    LabelSelector::from_json(Some(&expressions)).unwrap_or_default()
}

/// Whether that one may, as the question's answer.
pub(crate) async fn decide(context: &Context<'_>, identity: &Identity, review: &Object) -> Value {
    let part = |name: &str| review.get(&["spec", name]).filter(|part| !part.is_null());
    let decision = match (part("resourceAttributes"), part("nonResourceAttributes")) {
        (Some(asked), _) => {
            let (fields, labels) = (fields(asked), labels(asked));
            let attributes = ResourceAttributes {
                verb: text(asked, "verb"),
                group: text(asked, "group"),
                version: text(asked, "version"),
                namespace: text(asked, "namespace"),
                resource: text(asked, "resource"),
                subresource: text(asked, "subresource"),
                name: text(asked, "name"),
                fields: fields.conditions(),
                labels: labels.requirements(),
            };
            context.decide_as(identity, Attributes::Resource(attributes)).await
        }
        (None, asked) => {
            let asked = asked.unwrap_or(&Value::Null);
            let attributes = Attributes::Path { verb: text(asked, "verb"), path: text(asked, "path") };
            context.decide_as(identity, attributes).await
        }
    };
    let mut status = json!({"allowed": decision.is_allowed()});
    if let Decision::Denied(_) = decision {
        status["denied"] = true.into();
    }
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    status
}
