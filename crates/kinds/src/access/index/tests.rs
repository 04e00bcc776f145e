use apiserver::{Attributes, Authorizer, Decision, Identity, ResourceAttributes};
use futures::FutureExt as _;
use serde_json::{Value, json};

use super::Roles;
use crate::access::testing::Given;

const GROUP: &str = "rbac.authorization.k8s.io";

fn role(namespace: &str, name: &str, verbs: &[&str]) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}],
    })
}

fn binding(namespace: &str, name: &str, kind: &str, role: &str, subjects: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
        "subjects": subjects,
    })
}

fn user(name: &str) -> Value {
    json!([{"apiGroup": GROUP, "kind": "User", "name": name}])
}

fn decide(roles: &Roles, who: &Identity, verb: &str, namespace: &str) -> Decision {
    let asked = ResourceAttributes { verb, namespace, resource: "pods", ..Default::default() };
    roles.decide(who, Attributes::Resource(asked)).now_or_never().expect("it asks nobody")
}

#[track_caller]
fn check(roles: &Roles, who: &Identity, verb: &str, namespace: &str, expected: &str) {
    let told = match decide(roles, who, verb, namespace) {
        Decision::Allowed(reason) => reason.into_owned(),
        Decision::NoOpinion(reason) => format!("no: {reason}"),
        Decision::Denied(reason) => format!("denied: {reason}"),
    };
    assert_eq!(told, expected);
}

#[test]
fn rights_come_with_a_binding_and_go_with_it() {
    let given = Given::default();
    let roles = Roles::new(&given);
    let jane = Identity::new("jane", ["developers"]);
    check(&roles, &jane, "get", "a", "no: ");
    given.put("roles", role("a", "reader", &["get"]));
    given.put("rolebindings", binding("a", "b", "Role", "reader", user("jane")));
    check(
        &roles,
        &jane,
        "get",
        "a",
        "RBAC: allowed by RoleBinding \"b/a\" of Role \"reader\" to User \"jane\"",
    );
    check(&roles, &jane, "get", "other", "no: ");
    check(&roles, &jane, "get", "", "no: ");
    check(&roles, &jane, "delete", "a", "no: ");
    check(&roles, &Identity::new("bob", ["x"]), "get", "a", "no: ");
    // The role changes.
    given.put("roles", role("a", "reader", &["list"]));
    check(&roles, &jane, "get", "a", "no: ");
    given.remove("roles", "a", "reader");
    let gone = "no: RBAC: role.rbac.authorization.k8s.io \"reader\" not found";
    check(&roles, &jane, "get", "a", gone);
    given.put("roles", role("a", "reader", &["get"]));
    // The binding changes, and goes.
    given.put("rolebindings", binding("a", "b", "Role", "reader", user("bob")));
    check(&roles, &jane, "get", "a", "no: ");
    given.put("rolebindings", binding("a", "b", "Role", "reader", user("jane")));
    assert!(decide(&roles, &jane, "get", "a").is_allowed());
    given.remove("rolebindings", "a", "b");
    check(&roles, &jane, "get", "a", "no: ");
    assert!(roles.index.read().known.bound.is_empty(), "nothing is left");
}

#[test]
fn rights_come_by_groups_and_accounts_too() {
    let given = Given::default();
    let roles = Roles::new(&given);
    given.put("clusterroles", role("", "reader", &["get"]));
    let developers = json!([{"apiGroup": GROUP, "kind": "Group", "name": "developers"}]);
    given.put("clusterrolebindings", binding("", "all", "ClusterRole", "reader", developers));
    check(
        &roles,
        &Identity::new("jane", ["developers"]),
        "get",
        "anywhere",
        "RBAC: allowed by ClusterRoleBinding \"all\" of ClusterRole \"reader\" to Group \"developers\"",
    );
    // The account is of the binding's namespace unless it says.
    let accounts = json!([
        {"kind": "ServiceAccount", "name": "own"},
        {"kind": "ServiceAccount", "name": "other", "namespace": "b"},
    ]);
    given.put("rolebindings", binding("a", "x", "ClusterRole", "reader", accounts));
    check(
        &roles,
        &Identity::service_account("a", "own"),
        "get",
        "a",
        "RBAC: allowed by RoleBinding \"x/a\" of ClusterRole \"reader\" to ServiceAccount \"own/a\"",
    );
    assert!(decide(&roles, &Identity::service_account("b", "other"), "get", "a").is_allowed());
    for (namespace, name) in [("a", "other"), ("b", "own")] {
        check(&roles, &Identity::service_account(namespace, name), "get", "a", "no: ");
    }
    check(&roles, &Identity::service_account("a", "own"), "get", "b", "no: ");
    // Whoever is called as a group is none, and the other way round.
    check(&roles, &Identity::new("developers", ["x"]), "get", "a", "no: ");
}

#[test]
fn of_many_bindings_each_keeps_its_right() {
    let given = Given::default();
    let roles = Roles::new(&given);
    given.put("clusterroles", role("", "reader", &["get"]));
    for name in ["one", "two"] {
        given.put("clusterrolebindings", binding("", name, "ClusterRole", "reader", user("jane")));
    }
    let jane = Identity::new("jane", ["x"]);
    assert!(decide(&roles, &jane, "get", "").is_allowed());
    given.remove("clusterrolebindings", "", "one");
    check(
        &roles,
        &jane,
        "get",
        "",
        "RBAC: allowed by ClusterRoleBinding \"two\" of ClusterRole \"reader\" to User \"jane\"",
    );
    given.remove("clusterrolebindings", "", "two");
    check(&roles, &jane, "get", "", "no: ");
}

#[test]
fn all_rules_are_told_those_of_the_cluster_first() {
    let given = Given::default();
    let roles = Roles::new(&given);
    given.put("clusterroles", role("", "reader", &["get"]));
    given.put("roles", role("a", "writer", &["create"]));
    given.put("clusterrolebindings", binding("", "r", "ClusterRole", "reader", user("jane")));
    given.put("rolebindings", binding("a", "w", "Role", "writer", user("jane")));
    given.put("rolebindings", binding("a", "x", "Role", "gone", user("jane")));
    let known = roles.rules(&Identity::new("jane", ["x"]), "a");
    let verbs: Vec<&str> = known.rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
    assert_eq!(verbs, ["get", "create"]);
    assert!(known.incomplete);
    assert_eq!(known.errors, ["role.rbac.authorization.k8s.io \"gone\" not found"]);
}
