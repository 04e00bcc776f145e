//! What rules mean: what they allow, and which rules hold all that others do.

use std::collections::{BTreeMap, BTreeSet};

use apiserver::{Attributes, PolicyRule};
use model::field::quote;
use model::validate::list;
use serde_json::{Value, json};

/// The group of roles and bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// The rules of a role.
pub(crate) fn rules_of(role: &Value) -> Vec<PolicyRule> {
    let rule = |rule: &Value| {
        let texts = |name: &str| -> Vec<String> {
            list(rule, name).iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        PolicyRule {
            verbs: texts("verbs"),
            api_groups: texts("apiGroups"),
            resources: texts("resources"),
            resource_names: texts("resourceNames"),
            non_resource_urls: texts("nonResourceURLs"),
        }
    };
    list(role, "rules").iter().map(rule).collect()
}

/// A rule as a role has it.
pub(super) fn written(rule: &PolicyRule) -> Value {
    let mut written = json!({});
    let parts = [
        ("apiGroups", &rule.api_groups),
        ("nonResourceURLs", &rule.non_resource_urls),
        ("resourceNames", &rule.resource_names),
        ("resources", &rule.resources),
    ];
    for (name, values) in parts.into_iter().filter(|(_, values)| !values.is_empty()) {
        written[name] = json!(values);
    }
    written["verbs"] = json!(rule.verbs);
    written
}

/// Whether a rule allows this. `path` is the resource as rules name it.
pub(super) fn allows(rule: &PolicyRule, attributes: &Attributes<'_>, path: &str) -> bool {
    match attributes {
        Attributes::Resource(asked) => {
            any(&rule.verbs, asked.verb)
                && any(&rule.api_groups, asked.group)
                && rule.resources.iter().any(|one| names_resource(one, path, asked.subresource))
                && (rule.resource_names.is_empty() || has(&rule.resource_names, asked.name))
        }
        Attributes::Path { verb, path } => {
            any(&rule.verbs, verb) && rule.non_resource_urls.iter().any(|one| covers_path(one, path))
        }
    }
}

fn has(all: &[String], one: &str) -> bool {
    all.iter().any(|known| known == one)
}

fn any(all: &[String], one: &str) -> bool {
    all.iter().any(|known| known == "*" || known == one)
}

fn names_resource(rule: &str, path: &str, subresource: &str) -> bool {
    rule == "*"
        || rule == path
        || (!subresource.is_empty() && rule.strip_prefix("*/").is_some_and(|named| named == subresource))
}

fn covers_path(rule: &str, path: &str) -> bool {
    rule == path || (rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*')))
}

/// A rule that would come to more parts than this is not taken apart: somebody's rule has all of it, or nobody's.
const MOST_PARTS: usize = 10_000;

/// What of `wanted` is in none of `held`, in the smallest parts that there are.
pub(super) fn missing(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let parts = wanted.iter().flat_map(parts);
    parts.filter(|part| !held.iter().any(|rule| covers(rule, part))).collect()
}

/// A rule in parts that each have one verb of one resource with one name, or of one path.
fn parts(rule: &PolicyRule) -> Vec<PolicyRule> {
    let of_resources = [&rule.api_groups, &rule.resources].map(Vec::len).into_iter().product::<usize>();
    let of_resources = of_resources.saturating_mul(rule.resource_names.len().max(1));
    let count = of_resources.saturating_add(rule.non_resource_urls.len()).saturating_mul(rule.verbs.len());
    if count > MOST_PARTS {
        return vec![rule.clone()];
    }
    let mut parts = Vec::new();
    let one = |text: &String| vec![text.clone()];
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let part = PolicyRule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    parts.push(part);
                } else {
                    let named = |name| PolicyRule { resource_names: one(name), ..part.clone() };
                    parts.extend(rule.resource_names.iter().map(named));
                }
            }
        }
    }
    for path in &rule.non_resource_urls {
        for verb in &rule.verbs {
            let (verbs, non_resource_urls) = (one(verb), one(path));
            parts.push(PolicyRule { verbs, non_resource_urls, ..PolicyRule::default() });
        }
    }
    parts
}

/// Whether a rule allows all that a part of one does.
fn covers(rule: &PolicyRule, part: &PolicyRule) -> bool {
    let all = |own: &[String], parts: &[String]| has(own, "*") || parts.iter().all(|one| has(own, one));
    let resource = |one: &String| {
        has(&rule.resources, one)
            || one.split_once('/').is_some_and(|(_, sub)| has(&rule.resources, &format!("*/{sub}")))
    };
    let names = &rule.resource_names;
    all(&rule.verbs, &part.verbs)
        && all(&rule.api_groups, &part.api_groups)
        && (has(&rule.resources, "*") || part.resources.iter().all(resource))
        && (names.is_empty()
            || (!part.resource_names.is_empty() && part.resource_names.iter().all(|one| has(names, one))))
        && part
            .non_resource_urls
            .iter()
            .all(|path| rule.non_resource_urls.iter().any(|own| covers_path(own, path)))
}

/// The rules in few lines, as Kubernetes tells them, in order.
pub(super) fn described(rules: &[PolicyRule]) -> String {
    let mut lines = BTreeSet::new();
    // What differs in its verbs only is one line.
    let mut together: BTreeMap<PolicyRule, Vec<String>> = BTreeMap::new();
    for rule in rules {
        let simple =
            rule.api_groups.len() == 1 && rule.resources.len() == 1 && rule.non_resource_urls.is_empty();
        if simple && rule.resource_names.len() < 2 {
            let what = PolicyRule { verbs: Vec::new(), ..rule.clone() };
            together.entry(what).or_default().extend(rule.verbs.iter().cloned());
        } else {
            lines.insert(line(rule));
        }
    }
    lines.extend(together.into_iter().map(|(what, verbs)| line(&PolicyRule { verbs, ..what })));
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn line(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let filled = parts.iter().filter(|(_, values)| !values.is_empty());
    let told: Vec<String> = filled.map(|(name, values)| format!("{name}:{}", quoted(values))).collect();
    format!("{{{}}}", told.join(", "))
}

/// Texts as Go's `%q` prints them.
pub(super) fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quote(text)).collect();
    format!("[{}]", texts.join(" "))
}

#[cfg(test)]
mod tests;
