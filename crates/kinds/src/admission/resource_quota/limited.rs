//! What nobody may take where no quota of the namespace counts it, as the configuration says.

use std::collections::BTreeSet;

use apiserver::{Result, Write};
use model::Object;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ResourceQuota;
use super::matching::{Kind, is_in, matches, scopes};
use super::usage;
use crate::admission::document;
use crate::pod_amounts::of;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(default)]
    limited_resources: Vec<Limited>,
}

/// What of one resource is limited.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Limited {
    #[serde(default)]
    api_group: String,
    resource: String,
    /// Amounts in whose names one of these is.
    #[serde(default)]
    match_contains: Vec<String>,
    /// Objects of which one of these is so.
    #[serde(default)]
    match_scopes: Vec<Scope>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Scope {
    scope_name: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

impl ResourceQuota {
    /// As a document says.
    pub(in crate::admission) fn configured(document: &Value) -> Result<Self, String> {
        let forms = [
            ("apiserver.config.k8s.io/v1", "ResourceQuotaConfiguration"),
            ("resourcequota.admission.k8s.io/v1beta1", "Configuration"),
            ("resourcequota.admission.k8s.io/v1alpha1", "Configuration"),
        ];
        let document: Document = document::read(document, &forms)?;
        let nameless = document.limited_resources.iter().position(|limited| limited.resource.is_empty());
        match nameless {
            Some(index) => Err(format!("limitedResources[{index}].resource: Required value: ")),
            None => Ok(Self { limited: document.limited_resources }),
        }
    }
}

impl Limited {
    /// Whether it is about a resource.
    pub(super) fn is_of(&self, kind: Kind<'_>) -> bool {
        kind == Kind::of(&self.api_group, &self.resource)
    }
}

impl Scope {
    fn value(&self) -> Value {
        json!({"scopeName": self.scope_name, "operator": self.operator, "values": self.values})
    }
}

/// As Go shows it.
impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{{} {} [{}]}}", self.scope_name, self.operator, self.values.join(" "))
    }
}

/// Refuses an object that takes what is limited and that none of the quotas counts.
pub(super) fn check(
    limited: &[Limited],
    write: &Write<'_>,
    quotas: &[Object],
    object: &Object,
) -> Result<()> {
    let resource = write.context.resource();
    let kind = Kind::of(&resource.group, &resource.plural);
    let now = write.context.now();
    let before = write.old.map(|old| usage::of_object(kind, old, now)).unwrap_or_default();
    let taken = usage::of_new(kind, object, now);
    let takes_more = taken
        .iter()
        .any(|(name, amount)| !amount.is_zero() && before.get(name).is_none_or(|before| amount > before));
    if !takes_more {
        return Ok(());
    }
    let (names, asked) = uncovered(
        limited,
        kind,
        quotas,
        object,
        taken.iter().filter(|(_, amount)| !amount.is_zero()).map(|(name, _)| name.as_str()),
    );
    if !names.is_empty() {
        let names: Vec<&str> = names.into_iter().collect();
        let why = format!("insufficient quota to consume: {}", names.join(","));
        return Err(write.context.forbidden(object, why));
    }
    if !asked.is_empty() {
        let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
        let why = format!("insufficient quota to match these scopes: [{}]", asked.join(" "));
        return Err(model::Status::failure(500, "", why).into());
    }
    Ok(())
}

/// The amounts that are limited and counted by none of the quotas, and the scopes likewise.
fn uncovered<'a>(
    limited: &'a [Limited],
    kind: Kind<'_>,
    quotas: &[Object],
    object: &Object,
    taken: impl Iterator<Item = &'a str>,
) -> (BTreeSet<&'a str>, Vec<&'a Scope>) {
    let own = || limited.iter().filter(|limited| limited.is_of(kind));
    let mut names: BTreeSet<&str> = taken
        .filter(|name| {
            own().any(|limited| limited.match_contains.iter().any(|part| name.contains(part.as_str())))
        })
        .collect();
    let matched = |scope: &&Scope| is_in(&scope.value(), kind, object);
    let mut asked: Vec<&Scope> =
        limited.iter().flat_map(|limited| &limited.match_scopes).filter(matched).collect();
    for quota in quotas {
        for scope in scopes(quota).iter().filter(|scope| is_in(scope, kind, object)) {
            asked.retain(|asked| scope["scopeName"] != asked.scope_name.as_str());
        }
        let hard = of(quota.get(&["status"]), "hard");
        let counted: Vec<&str> = hard.keys().map(String::as_str).filter(|name| kind.counts(name)).collect();
        if matches(quota, kind, &counted, object) {
            names.retain(|name| !counted.contains(name));
        }
    }
    (names, asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of a pod that takes cpu and memory nobody counts.
    fn check(quotas: Value, class: &str, names: &[&str], asked: &str) {
        let document = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration",
            "limitedResources": [
                {"resource": "pods", "matchContains": ["requests.", "pods"]},
                {"apiGroup": "apps", "resource": "deployments", "matchContains": ["deployments"]},
                {"resource": "pods", "matchScopes": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]},
            ],
        });
        let plugin = ResourceQuota::configured(&document).expect("it is one");
        let quotas: Vec<Object> = quotas
            .as_array()
            .expect("a list")
            .iter()
            .map(|quota| Object::from_value(quota.clone()).expect("an object"))
            .collect();
        let pod = json!({"spec": {"priorityClassName": class, "containers": []}});
        let pod = Object::from_value(pod).expect("an object");
        let taken = ["requests.cpu", "limits.cpu", "pods"].into_iter();
        let (left, scopes) = uncovered(&plugin.limited, Kind::Pods, &quotas, &pod, taken);
        assert_eq!(left.into_iter().collect::<Vec<_>>(), names, "{quotas:?}");
        let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        assert_eq!(scopes.join(" "), asked, "{quotas:?}");
    }

    #[test]
    fn what_is_limited_has_to_be_counted() {
        let quota = |hard: Value, scopes: Value| json!({"spec": {"scopeSelector": {"matchExpressions": scopes}}, "status": {"hard": hard}});
        check(json!([]), "", &["pods", "requests.cpu"], "");
        check(json!([quota(json!({"pods": "1"}), json!([]))]), "", &["requests.cpu"], "");
        check(json!([quota(json!({"pods": "1", "requests.cpu": "1"}), json!([]))]), "", &[], "");
        let high = json!([{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]);
        check(
            json!([quota(json!({"pods": "1", "requests.cpu": "1"}), json!([]))]),
            "high",
            &[],
            "{PriorityClass In [high]}",
        );
        check(json!([quota(json!({"pods": "1", "requests.cpu": "1"}), high)]), "high", &[], "");
    }

    #[test]
    fn documents_of_other_kinds_are_refused() {
        let other = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "Configuration"});
        assert!(ResourceQuota::configured(&other).is_err_and(|why| why.starts_with("it has to be")));
        let older = json!({"apiVersion": "resourcequota.admission.k8s.io/v1beta1", "kind": "Configuration"});
        assert!(ResourceQuota::configured(&older).is_ok_and(|it| it.limited.is_empty()));
    }
}
