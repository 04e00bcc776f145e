//! The roles and bindings that are always there, and how they come back.
//!
//! They are in [`bootstrap.txt`](bootstrap.txt). When the server starts, what is missing is made; rules and
//! subjects that are missing are put in, and what others put in stays, as Kubernetes does it. Whoever does not
//! want that for one of them sets its annotation [`AUTOUPDATE`] to `false`.

use apiserver::PolicyRule;
use model::Object;
use model::validate::list;
use serde_json::{Value, json};

use super::rules::{GROUP, missing, rules_of, written};
use crate::features::{Feature, Features};

/// Whether an object is brought back to what it is to hold at least.
pub(crate) const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

const TEXT: &str = include_str!("bootstrap.txt");
const READ: &str = "get,list,watch";
const WRITE: &str = "create,delete,deletecollection,patch,update";
const READ_WRITE: &str = "create,delete,deletecollection,get,list,patch,update,watch";
const EVENTS: &str = "create,patch,update core,events.k8s.io events";

/// All of one kind that come with these features, without kind and version.
pub(crate) fn wanted(kind: &str, features: &Features) -> Vec<Value> {
    let all = parsed(features).into_iter();
    let comes = |known: &Known| known.kind == kind && known.of.is_none_or(|feature| features.has(feature));
    all.filter(comes).map(|known| known.object).collect()
}

/// One of them.
struct Known {
    kind: &'static str,
    object: Value,
    /// The feature that it comes with, if that may be off.
    of: Option<Feature>,
}

impl Known {
    fn new(kind: &'static str, object: Value) -> Self {
        Self { kind, object, of: None }
    }
}

/// What the agents of all nodes need.
pub(super) fn rules_of_nodes() -> Vec<PolicyRule> {
    let roles = wanted("ClusterRole", &Features::default());
    let role = roles.iter().find(|role| role["metadata"]["name"] == "system:node");
    rules_of(role.expect("it is in the list"))
}

/// All of them, with the rules that come with these features.
fn parsed(features: &Features) -> Vec<Known> {
    let mut all: Vec<Known> = Vec::new();
    // Bindings of controllers, which come with their roles.
    let mut bindings = Vec::new();
    let lines = TEXT.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with(' ') {
            let known = all.last_mut().expect("a rule is below a role");
            let (words, of) = match words.as_slice() {
                [words @ .., "if", gate] => (words, Some(*gate)),
                words => (words, None),
            };
            if of.is_none_or(|gate| features.has(Feature::named(gate).expect("it is a feature"))) {
                known.object["rules"].as_array_mut().expect("a role has rules").push(rule(words));
            }
            continue;
        }
        match words.as_slice() {
            ["role", name, to @ ..] => all.push(Known::new("ClusterRole", role(name, to))),
            ["aggregate", name, to @ ..] => {
                let mut role = role(name, to);
                let labels = json!({aggregated_to(name): "true"});
                role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
                all.push(Known::new("ClusterRole", role));
            }
            ["controller", name, of @ ..] => {
                let of = of.last().map(|name| Feature::named(name).expect("it is a feature"));
                let role_name = format!("system:controller:{name}");
                let account = format!("account:kube-system/{name}");
                all.push(Known { of, ..Known::new("ClusterRole", role(&role_name, &[])) });
                let binding = binding(&role_name, "ClusterRole", &role_name, &[&account]);
                bindings.push(Known { of, ..Known::new("ClusterRoleBinding", binding) });
            }
            ["bind", name, whom @ ..] => {
                all.push(Known::new("ClusterRoleBinding", binding(name, "ClusterRole", name, whom)));
            }
            [namespace, "role", name] => {
                let mut role = role(name, &[]);
                role["metadata"]["namespace"] = json!(namespace);
                all.push(Known::new("Role", role));
            }
            [namespace, "bind", name, role, whom @ ..] => {
                let mut binding = binding(name, "Role", role, whom);
                binding["metadata"]["namespace"] = json!(namespace);
                all.push(Known::new("RoleBinding", binding));
            }
            other => unreachable!("{other:?}"),
        }
    }
    all.extend(bindings);
    all
}

fn aggregated_to(what: &str) -> String {
    format!("{GROUP}/aggregate-to-{what}")
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {AUTOUPDATE: "true"},
    })
}

fn role(name: &str, to: &[&str]) -> Value {
    let mut metadata = metadata(name);
    for what in to {
        metadata["labels"][aggregated_to(what.trim_start_matches('+'))] = json!("true");
    }
    json!({"metadata": metadata, "rules": []})
}

fn binding(name: &str, kind: &str, role: &str, whom: &[&str]) -> Value {
    let subjects = whom.iter().map(|subject| match subject.split_once(':') {
        Some(("group", name)) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        Some(("user", name)) => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        Some(("account", account)) => {
            let (namespace, name) = account.split_once('/').expect("it has a namespace");
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        _ => unreachable!("{subject}"),
    });
    let mut binding = json!({
        "metadata": metadata(name),
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
    });
    let subjects: Vec<Value> = subjects.collect();
    if !subjects.is_empty() {
        binding["subjects"] = json!(subjects);
    }
    binding
}

fn rule(words: &[&str]) -> Value {
    if let ["events"] = words {
        return rule(&EVENTS.split(' ').collect::<Vec<_>>());
    }
    let texts = |word: &str| -> Vec<String> {
        word.split(',').map(|text| if text == "core" { "" } else { text }.to_owned()).collect()
    };
    let verbs = match words[0] {
        "read" => READ,
        "write" => WRITE,
        "rw" => READ_WRITE,
        other => other,
    };
    let mut rule = PolicyRule { verbs: texts(verbs), ..PolicyRule::default() };
    match words[1..] {
        [paths] => rule.non_resource_urls = texts(paths),
        [groups, resources] => (rule.api_groups, rule.resources) = (texts(groups), texts(resources)),
        [groups, resources, names] => {
            (rule.api_groups, rule.resources) = (texts(groups), texts(resources));
            rule.resource_names = texts(names);
        }
        _ => unreachable!("{words:?}"),
    }
    written(&rule)
}

/// A role as it is to be, where it lacks something.
pub(crate) fn reconcile_role(existing: &Object, wanted: &Object) -> Option<Object> {
    let mut new = begin(existing, wanted)?;
    if wanted.get(&["aggregationRule"]).is_some() {
        let path = &["aggregationRule", "clusterRoleSelectors"];
        let mut selectors = existing.get_list(path).to_vec();
        let lacks = |one: &&Value| !existing.get_list(path).contains(one);
        selectors.extend(wanted.get_list(path).iter().filter(lacks).cloned());
        new.set(path, selectors);
    } else {
        let missing = missing(&rules_of(existing.value()), &rules_of(wanted.value()));
        if !missing.is_empty() {
            let mut rules = list(existing.value(), "rules").to_vec();
            rules.extend(missing.iter().map(written));
            new.set(&["rules"], rules);
        }
    }
    (new != *existing).then_some(new)
}

/// A binding as it is to be, where it lacks something. One of another role is left as it is: that cannot be
/// changed, and whoever made it so meant it.
pub(crate) fn reconcile_binding(existing: &Object, wanted: &Object) -> Option<Object> {
    let mut new = begin(existing, wanted)?;
    if existing.get(&["roleRef"]) != wanted.get(&["roleRef"]) {
        return None;
    }
    let mut subjects = existing.get_list(&["subjects"]).to_vec();
    let lacks = |one: &&Value| !existing.get_list(&["subjects"]).contains(one);
    let missing: Vec<Value> = wanted.get_list(&["subjects"]).iter().filter(lacks).cloned().collect();
    if !missing.is_empty() {
        subjects.extend(missing);
        new.set(&["subjects"], subjects);
    }
    (new != *existing).then_some(new)
}

/// `existing` with the labels and annotations that it lacks; none where it is to be left alone.
fn begin(existing: &Object, wanted: &Object) -> Option<Object> {
    if existing.annotation(AUTOUPDATE) == Some("false") {
        return None;
    }
    let mut new = existing.clone();
    for (key, value) in wanted.labels().iter().filter(|(key, _)| existing.label(key).is_none()) {
        new.set_label(key, value);
    }
    for (key, value) in wanted.annotations().iter().filter(|(key, _)| existing.annotation(key).is_none()) {
        new.set_annotation(key, value);
    }
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Gates;

    fn object(value: &Value) -> Object {
        Object::from_value(value.clone()).expect("an object")
    }

    fn named(kind: &str, name: &str) -> Value {
        let mut all = wanted(kind, &Features::default()).into_iter();
        let mut one = all.find(|one| one["metadata"]["name"] == name).expect(name);
        one["kind"] = json!(kind);
        one["apiVersion"] = json!("rbac.authorization.k8s.io/v1");
        one
    }

    #[test]
    fn the_list_is_whole() {
        let counts = |features: &Features| {
            ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]
                .map(|kind| wanted(kind, features).len())
        };
        assert_eq!(counts(&Features::default()), [73, 53, 7, 7]);
        let gates = Gates::default().with(Feature::StorageVersionMigrator).with(Feature::GenericWorkload);
        let features = Features { gates, ..Features::default() };
        assert_eq!(counts(&features), [75, 55, 7, 7]);
        // A rule of a role that is always there comes with a feature, too.
        let rules = |features: &Features| {
            let mut roles = wanted("ClusterRole", features).into_iter();
            let role = roles.find(|role| role["metadata"]["name"] == "system:kube-scheduler");
            role.expect("it is there")["rules"].as_array().expect("it has rules").len()
        };
        assert_eq!(rules(&features), rules(&Features::default()) + 2);
        assert_eq!(
            named("ClusterRole", "system:controller:ttl-controller")["rules"],
            json!([
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "patch", "update", "watch"]},
                {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
            ])
        );
        // Everything that a binding names is there.
        for kind in ["ClusterRoleBinding", "RoleBinding"] {
            for binding in wanted(kind, &features) {
                let role = &binding["roleRef"];
                let roles = wanted(role["kind"].as_str().expect("a kind"), &features);
                let found = roles.iter().any(|one| {
                    let (role_in, bound_in) =
                        (&one["metadata"]["namespace"], &binding["metadata"]["namespace"]);
                    one["metadata"]["name"] == role["name"]
                        && (role["kind"] == "ClusterRole" || role_in == bound_in)
                });
                assert!(found, "{binding}");
            }
        }
    }

    #[test]
    fn what_is_missing_comes_back_and_what_others_put_in_stays() {
        let wanted = object(&named("ClusterRole", "system:basic-user"));
        assert_eq!(reconcile_role(&wanted, &wanted), None);
        let other = json!({"apiGroups": ["x"], "resources": ["y"], "verbs": ["get"]});
        let mut changed = wanted.clone();
        changed.set(&["rules"], json!([other]));
        changed.remove(&["metadata", "labels"]);
        let back = reconcile_role(&changed, &wanted).expect("it lacks something");
        assert_eq!(list(back.value(), "rules").len(), 4);
        assert_eq!(list(back.value(), "rules")[0], other);
        assert_eq!(back.label("kubernetes.io/bootstrapping"), Some("rbac-defaults"));
        changed.set_annotation(AUTOUPDATE, "false");
        assert_eq!(reconcile_role(&changed, &wanted), None);
        // What is aggregated is the controller's.
        let view = object(&named("ClusterRole", "view"));
        let mut filled = view.clone();
        filled.set(&["rules"], json!([other]));
        assert_eq!(reconcile_role(&filled, &view), None);
    }

    #[test]
    fn subjects_that_are_missing_come_back() {
        let wanted = object(&named("ClusterRoleBinding", "system:discovery"));
        let mut changed = wanted.clone();
        changed.set(&["subjects"], json!([{"kind": "User", "name": "jane"}]));
        let back = reconcile_binding(&changed, &wanted).expect("it lacks something");
        assert_eq!(back.get_list(&["subjects"]).len(), 2);
        changed.set(&["roleRef", "name"], "other");
        assert_eq!(reconcile_binding(&changed, &wanted), None);
    }
}
