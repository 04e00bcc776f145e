//! Field selectors: `status.phase=Running,metadata.name!=a`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::SelectorError;
use crate::field::quote;
use crate::gvk::GroupKind;
use crate::object::Object;

/// Conditions on fields that must all hold. Without any, it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    conditions: Vec<Condition>,
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The field, such as `metadata.name`.
    pub field: String,
    /// Whether the value must be this one, or must not.
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// Fields of built-in kinds that can be selected by, besides name and namespace.
const SELECTABLE: &[(&str, &str, &[&str])] = &[
    (
        "",
        "Pod",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
    ),
    ("", "Node", &["spec.unschedulable"]),
    ("", "Namespace", &["status.phase"]),
    ("", "Secret", &["type"]),
    ("", "Service", &["spec.clusterIP", "spec.type"]),
    ("", "ReplicationController", &["status.replicas"]),
    ("apps", "ReplicaSet", &["status.replicas"]),
    ("batch", "Job", &["status.successful"]),
    ("certificates.k8s.io", "CertificateSigningRequest", &["spec.signerName"]),
    ("", "Event", EVENT),
    ("events.k8s.io", "Event", EVENT),
];

const EVENT: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingComponent",
    "reportingController",
    "source",
    "type",
];

impl FieldSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects what has this value in this field.
    pub fn equal(field: &str, value: &str) -> Self {
        Self { conditions: vec![Condition { field: field.into(), equal: true, value: value.into() }] }
    }

    /// Fails on fields that this kind cannot be selected by, in Kubernetes' words. `selectable` are
    /// fields that a custom resource definition allows besides.
    pub fn check(&self, kind: &GroupKind, selectable: &[&str]) -> Result<(), SelectorError> {
        let fields = fields_of(kind);
        for condition in &self.conditions {
            let field = condition.field.as_str();
            if !is_metadata(field) && !fields.contains(&field) && !selectable.contains(&field) {
                return Err(SelectorError(if fields.is_empty() {
                    format!(
                        "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                        quote(field)
                    )
                } else {
                    format!("field label not supported: {field}")
                }));
            }
        }
        Ok(())
    }

    /// Whether an object meets every condition.
    pub fn matches(&self, object: &Object) -> bool {
        self.conditions.iter().all(|condition| {
            let value = read(object, &condition.field);
            (value == condition.value) == condition.equal
        })
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.conditions.is_empty()
    }

    /// What it asks for.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// The value that a field must have, if one is asked for: lets a list by name become a get.
    pub fn required(&self, field: &str) -> Option<&str> {
        let condition =
            self.conditions.iter().find(|condition| condition.equal && condition.field == field)?;
        Some(&condition.value)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, condition) in self.conditions.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let operator = if condition.equal { "=" } else { "!=" };
            write!(f, "{}{operator}{}", condition.field, escape(&condition.value))?;
        }
        Ok(())
    }
}

impl FromStr for FieldSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut conditions = Vec::new();
        for term in split_unescaped(text) {
            if term.is_empty() {
                continue;
            }
            let operator = ["!=", "==", "="]
                .into_iter()
                .filter_map(|operator| Some((find_unescaped(term, operator)?, operator)))
                // At the same place the longer operator wins, since it comes first above.
                .min_by_key(|(at, _)| *at);
            let Some((at, operator)) = operator else {
                let message = format!("invalid selector: '{text}'; can't understand '{term}'");
                return Err(SelectorError(message));
            };
            let field = term[..at].to_owned();
            let value = unescape(&term[at + operator.len()..])?;
            conditions.push(Condition { field, equal: operator != "!=", value });
        }
        Ok(Self { conditions })
    }
}

fn fields_of(kind: &GroupKind) -> &'static [&'static str] {
    SELECTABLE
        .iter()
        .find(|(group, name, _)| *group == kind.group && *name == kind.kind)
        .map_or(&[], |(_, _, fields)| fields)
}

fn is_metadata(field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace")
}

/// A field as text. Absent ones read as their type's zero value, which for Kubernetes' types is the
/// empty text, `false` or `0`.
fn read(object: &Object, field: &str) -> String {
    let path: Vec<&str> = field.split('.').collect();
    match (object.get(&path), field) {
        (Some(Value::String(text)), _) => text.clone(),
        (Some(Value::Array(items)), "status.podIPs") => {
            let addresses: Vec<&str> =
                items.iter().filter_map(|item| item.get("ip").and_then(Value::as_str)).collect();
            addresses.join(",")
        }
        (_, "source") => {
            let component =
                object.get_str(&["source", "component"]).filter(|component| !component.is_empty());
            component.or_else(|| object.get_str(&["reportingComponent"])).unwrap_or_default().to_owned()
        }
        (Some(Value::Null) | None, "spec.hostNetwork" | "spec.unschedulable") => "false".to_owned(),
        (Some(Value::Null) | None, "status.replicas" | "status.successful") => "0".to_owned(),
        (Some(Value::Null) | None, _) => String::new(),
        (Some(other), _) => other.to_string(),
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn find_unescaped(term: &str, operator: &str) -> Option<usize> {
    let mut escaped = false;
    term.char_indices().find_map(|(at, c)| match c {
        _ if escaped => {
            escaped = false;
            None
        }
        '\\' => {
            escaped = true;
            None
        }
        _ => term[at..].starts_with(operator).then_some(at),
    })
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                next => {
                    let sequence: String = ['\\'].into_iter().chain(next).collect();
                    return Err(SelectorError(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    )));
                }
            },
            ',' | '=' => {
                return Err(SelectorError(format!(
                    "invalid field selector: unescaped character in value: {c}"
                )));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_select() {
        let pod = Object::from_value(json!({
            "metadata": {"name": "a=b", "namespace": "n"}, "status": {"phase": "Running"},
        }))
        .expect("an object");
        let check = |text: &str, expected: bool| {
            let selector: FieldSelector = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selector.matches(&pod), expected, "{text}");
            assert_eq!(selector.to_string().parse(), Ok(selector));
        };
        check("", true);
        check("status.phase=Running", true);
        check("status.phase==Running,metadata.namespace=n", true);
        check("status.phase!=Running", false);
        check("spec.nodeName=", true);
        check("spec.hostNetwork=false", true);
        check("metadata.name=a\\=b", true);
    }

    #[test]
    fn malformed_and_unknown_fields_are_refused() {
        assert!("a".parse::<FieldSelector>().is_err());
        assert!("a=\\x".parse::<FieldSelector>().is_err());
        let selector = FieldSelector::equal("spec.foo", "x");
        let check = |kind: &str, expected: &str| {
            let error = selector.check(&GroupKind::new("", kind), &[]).expect_err(kind);
            assert_eq!(error.to_string(), expected);
        };
        check("Pod", "field label not supported: spec.foo");
        check(
            "ConfigMap",
            "\"spec.foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        );
        assert_eq!(selector.check(&GroupKind::new("x", "Custom"), &["spec.foo"]), Ok(()));
        assert_eq!(selector.required("spec.foo"), Some("x"));
    }
}
