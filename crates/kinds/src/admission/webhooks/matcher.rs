//! Which writes others than webhooks are asked of, who say so in the same words: admission policies.

use std::sync::Arc;

use apiserver::Write;
use model::validate::list;
use model::{Object, Status};
use serde_json::{Value, json};

use super::hook::{self, Hook};
use super::matching::{As, Named, by_rules, by_selectors, namespace_of};
use super::mutating::name_of;

/// What is said of which writes somebody is asked (`matchConstraints`, `matchResources`).
pub(crate) struct Matcher {
    selectors: Hook,
    /// None where it says nothing of resources: all are meant.
    rules: Option<Vec<Rule>>,
    excluded: Vec<Rule>,
}

/// A rule, and the names of the objects that it is about; none where it is about all.
struct Rule {
    hook: Hook,
    names: Vec<String>,
}

/// As what a write is looked at: itself, or an object of another version.
pub(crate) type Equivalent = Option<Arc<apiserver::Resource>>;

impl Matcher {
    /// Reads it.
    pub(crate) fn read(constraints: &Value) -> Self {
        let part = |name: &str| constraints.get(name).cloned().unwrap_or_default();
        let hook = |rule: Option<&Value>| {
            let rules: Vec<Value> = rule.into_iter().cloned().collect();
            hook::one(
                &"".into(),
                0,
                &json!({
                    "rules": rules, "matchPolicy": part("matchPolicy"),
                    "namespaceSelector": part("namespaceSelector"), "objectSelector": part("objectSelector"),
                }),
            )
        };
        let rules = |name: &str| -> Vec<Rule> {
            let of = |rule: &Value| Rule {
                hook: hook(Some(rule)),
                names: list(rule, "resourceNames")
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            };
            list(constraints, name).iter().map(of).collect()
        };
        Self {
            selectors: hook(None),
            rules: Some(rules("resourceRules")).filter(|rules| !rules.is_empty()),
            excluded: rules("excludeResourceRules"),
        }
    }

    /// As what a write is looked at, by rules alone: none where it is not. One of `equivalents` it is only where no rule
    /// names it as what it is.
    pub(crate) fn by_rules(
        &self,
        write: &Write<'_>,
        object: Option<&Object>,
        equivalents: &[Arc<apiserver::Resource>],
    ) -> Option<Equivalent> {
        let named = Named::of(write, namespace_of(write, object));
        let name = name_of(write, object);
        let found = |rule: &Rule, equivalents: &[Arc<apiserver::Resource>]| {
            let is_named = rule.names.is_empty() || rule.names.iter().any(|known| known == name);
            if is_named { by_rules(&rule.hook, &named, equivalents) } else { None }
        };
        if self.excluded.iter().any(|rule| found(rule, equivalents).is_some()) {
            return None;
        }
        let Some(rules) = &self.rules else { return Some(None) };
        if rules.iter().any(|rule| found(rule, &[]).is_some()) {
            return Some(None);
        }
        match rules.iter().find_map(|rule| found(rule, equivalents))? {
            As::Itself => Some(None),
            As::Equivalent(resource) => Some(Some(resource)),
        }
    }

    /// Whether its selectors select a write, or why that cannot be told.
    pub(crate) fn by_selectors(
        &self,
        write: &Write<'_>,
        object: Option<&Object>,
        old: Option<&Object>,
    ) -> Result<bool, Status> {
        let named = Named::of(write, namespace_of(write, object.or(old)));
        by_selectors(&self.selectors, write, &named, object, old)
    }
}
