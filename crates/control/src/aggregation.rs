//! ClusterRoles that gather the rules of others: those whose labels their selectors take.
//!
//! The rules are written into the role, where clients find them, and stay until the next change.

use std::sync::Arc;

use client::{Action, Api, Controller, Error, ObjectKey, Reconcile, Resource as _, Store};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

use crate::{Context, selector};

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let roles = context.informers.of::<ClusterRole>();
    let reconciler = Reconciler { context: context.clone(), roles: roles.store() };
    let known = roles.store();
    // Whichever role changes may have been gathered, or is now.
    let gathering = move |_: &ClusterRole| -> Vec<ObjectKey> {
        let all = known.list();
        all.iter().filter(|role| gathers(role)).map(|role| role.key()).collect()
    };
    Controller::new("clusterrole-aggregation", &roles)
        .watches(&roles, gathering)
        .run_by(reconciler, context.stop)
        .await;
}

struct Reconciler {
    context: Context,
    roles: Store<ClusterRole>,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(role) = self.roles.get(key).filter(|role| gathers(role)) else { return Ok(Action::Done) };
        let rules = plan(&role, &self.roles.list());
        if role.rules.as_deref().unwrap_or_default() == rules {
            return Ok(Action::Done);
        }
        let mut changed = ClusterRole::clone(&role);
        changed.rules = Some(rules);
        let api: Api<ClusterRole> = Api::all(&self.context.client);
        // Where somebody has changed it, that brings it here again.
        match api.update(&changed).await {
            Ok(_) | Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(Action::Done),
            Err(error) => Err(error),
        }
    }
}

fn gathers(role: &ClusterRole) -> bool {
    role.aggregation_rule.is_some()
}

/// The rules that a role is to have: those of the roles that each of its selectors takes, in the order of their
/// names, each rule once.
fn plan(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Vec<PolicyRule> {
    let mut others: Vec<&ClusterRole> = all.iter().map(AsRef::as_ref).collect();
    others.retain(|other| other.name() != role.name());
    others.sort_by_key(|other| other.name().to_owned());
    let rule = role.aggregation_rule.as_ref();
    let selectors = rule.and_then(|rule| rule.cluster_role_selectors.as_deref()).unwrap_or_default();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors.iter().filter_map(selector) {
        for other in &others {
            let labels = other.metadata.labels.iter().flatten();
            let value = |key: &str| labels.clone().find(|(known, _)| *known == key).map(|(_, v)| v.as_str());
            if !selector.match_values(value) {
                continue;
            }
            for rule in other.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn role(name: &str, labels: Value, gathers: Option<Value>, rules: &[&str]) -> Arc<ClusterRole> {
        let rules: Vec<Value> = rules
            .iter()
            .map(|verb| json!({"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}))
            .collect();
        let mut role = json!({"metadata": {"name": name, "labels": labels}, "rules": rules});
        if let Some(selectors) = gathers {
            role["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
        }
        Arc::new(serde_json::from_value(role).expect("a role"))
    }

    #[test]
    fn a_role_has_the_rules_of_those_that_it_selects_and_no_others() {
        let selects = json!([{"matchLabels": {"to": "all"}}, {"matchLabels": {"also": "x"}}]);
        let all = [
            role("all", json!({"to": "all"}), Some(selects), &["own"]),
            role("b", json!({"to": "all"}), None, &["get", "list"]),
            role("a", json!({"to": "all"}), None, &["get"]),
            role("c", json!({"also": "x"}), None, &["watch"]),
            role("d", json!({"to": "others"}), None, &["delete"]),
        ];
        let verbs: Vec<String> = plan(&all[0], &all).into_iter().flat_map(|rule| rule.verbs).collect();
        assert_eq!(verbs, ["get", "list", "watch"]);
        assert!(plan(&role("e", json!({}), Some(json!([])), &["own"]), &all).is_empty());
    }
}
