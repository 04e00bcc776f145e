//! Which taints the pods of a namespace tolerate, and which they may: by annotations of it, or by the configuration.

use apiserver::{Admission, Admitting, Error, Result, Write, at_once};
use model::{GroupResource, Object, Status};
use serde::Deserialize;
use serde_json::{Value, json};

use super::document;

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

/// Adds to the tolerations of pods, and bounds them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PodTolerationRestriction {
    defaults: Vec<Value>,
    allowed: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(default)]
    default: Vec<Toleration>,
    #[serde(default)]
    whitelist: Vec<Toleration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Toleration {
    key: Option<String>,
    operator: Option<String>,
    value: Option<String>,
    effect: Option<String>,
    toleration_seconds: Option<i64>,
}

impl Admission for PodTolerationRestriction {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        at_once(if write.is_of("", "pods") { self.add(write, object) } else { Ok(()) })
    }

    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        at_once(match object.filter(|_| write.is_of("", "pods")) {
            Some(pod) => self.check(write, pod),
            None => Ok(()),
        })
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

impl PodTolerationRestriction {
    /// As a document says.
    pub(super) fn configured(document: &Value) -> Result<Self, String> {
        let form = ("podtolerationrestriction.admission.k8s.io/v1alpha1", "Configuration");
        let document: Document = document::read(document, &[form])?;
        let values = |all: Vec<Toleration>| all.into_iter().map(Toleration::value).collect();
        Ok(Self { defaults: values(document.default), allowed: values(document.whitelist) })
    }

    fn add(&self, write: &Write<'_>, pod: &mut Object) -> Result<()> {
        let mut more = Vec::new();
        if write.old.is_none() {
            more = annotated(write, DEFAULTS)?.unwrap_or_else(|| self.defaults.clone());
        }
        if crate::core::pod::class(pod) != "BestEffort" {
            let key = "node.kubernetes.io/memory-pressure";
            more.push(json!({"key": key, "operator": "Exists", "effect": "NoSchedule"}));
        }
        if !more.is_empty() {
            pod.set(&["spec", "tolerations"], merged(pod.get_list(&["spec", "tolerations"]), &more));
        }
        Ok(())
    }

    fn check(&self, write: &Write<'_>, pod: &Object) -> Result<()> {
        let (allowed, whose) = match annotated(write, ALLOWED)? {
            Some(allowed) => (allowed, "namespace"),
            None => (self.allowed.clone(), "cluster"),
        };
        let is_allowed = |toleration: &Value| allowed.iter().any(|other| covers(other, toleration));
        if allowed.is_empty() || pod.get_list(&["spec", "tolerations"]).iter().all(is_allowed) {
            return Ok(());
        }
        let why = format!(
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its {whose} whitelist"
        );
        Err(Status::failure(500, "", why).into())
    }
}

impl Toleration {
    /// As pods have it.
    fn value(self) -> Value {
        let texts =
            [("key", self.key), ("operator", self.operator), ("value", self.value), ("effect", self.effect)];
        let mut value = json!({});
        for (field, text) in texts {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                value[field] = text.into();
            }
        }
        if let Some(seconds) = self.toleration_seconds {
            value["tolerationSeconds"] = seconds.into();
        }
        value
    }
}

/// What an annotation of the namespace says, if it has that.
fn annotated(write: &Write<'_>, annotation: &str) -> Result<Option<Vec<Value>>> {
    let namespaces = GroupResource::new("", "namespaces");
    let namespace = write.context.find(&namespaces, "", write.context.namespace());
    let Some(text) = namespace.as_ref().and_then(|namespace| namespace.annotation(annotation)) else {
        return Ok(None);
    };
    if text.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let all: Vec<Toleration> = serde_json::from_str(text)
        .map_err(|error| Error::from(Status::failure(500, "", error.to_string())))?;
    Ok(Some(all.into_iter().map(Toleration::value).collect()))
}

/// Both lists, without what another of them tolerates already.
fn merged(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let known = merged.iter().any(|known| covers(known, toleration));
        let later = all[index + 1..].iter().any(|later| later != toleration && covers(later, toleration));
        if !known && !later {
            merged.push((*toleration).clone());
        }
    }
    merged
}

/// Whether whoever tolerates `more` tolerates `less`.
fn covers(more: &Value, less: &Value) -> bool {
    if more == less {
        return true;
    }
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    let [key, operator, value, effect] =
        ["key", "operator", "value", "effect"].map(|field| text(more, field));
    if text(less, "key") != key && !(key.is_empty() && operator == "Exists") {
        return false;
    }
    if text(less, "effect") != effect && !effect.is_empty() {
        return false;
    }
    if effect == "NoExecute"
        && let Some(seconds) = more["tolerationSeconds"].as_i64()
        && less["tolerationSeconds"].as_i64().is_none_or(|wanted| wanted > seconds)
    {
        return false;
    }
    match operator.as_str() {
        "" | "Equal" => text(less, "operator") == "Equal" && text(less, "value") == value,
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toleration_covers_what_it_tolerates_besides() {
        let exists = |key: &str, effect: &str| json!({"key": key, "operator": "Exists", "effect": effect});
        let equal =
            |value: &str| json!({"key": "a", "operator": "Equal", "value": value, "effect": "NoSchedule"});
        let lasting = |seconds: i64| json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        let cases = [
            (json!({"operator": "Exists"}), equal("v"), true),
            (exists("a", ""), equal("v"), true),
            (exists("a", "NoExecute"), equal("v"), false),
            (exists("b", ""), equal("v"), false),
            (equal("v"), equal("w"), false),
            (equal("v"), exists("a", "NoSchedule"), false),
            (lasting(10), lasting(5), true),
            (lasting(5), lasting(10), false),
            (lasting(5), exists("a", "NoExecute"), false),
        ];
        for (more, less, expected) in cases {
            assert_eq!(covers(&more, &less), expected, "{more} {less}");
        }
        let all = merged(&[equal("v"), exists("b", "")], &[exists("a", ""), exists("b", "")]);
        assert_eq!(all, [exists("b", ""), exists("a", "")]);
    }

    #[test]
    fn the_configuration_is_of_its_own_kind() {
        let document = json!({
            "apiVersion": "podtolerationrestriction.admission.k8s.io/v1alpha1", "kind": "Configuration",
            "default": [{"key": "a", "operator": "Exists"}], "whitelist": [{"operator": "Exists"}],
        });
        let read = PodTolerationRestriction::configured(&document).expect("it is one");
        assert_eq!(read.defaults, [json!({"key": "a", "operator": "Exists"})]);
        assert!(
            PodTolerationRestriction::configured(&json!({"apiVersion": "v1", "kind": "Configuration"}))
                .is_err()
        );
    }
}
