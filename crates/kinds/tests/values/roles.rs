//! Rules of roles and bindings.

use apiserver::table::{Include, ListMetadata, table};
use model::Object;
use model::field::FieldError;
use model::validate::{self, Scope};
use serde_json::{Value, json};

use crate::{defaulted, resource};

const VERSION: &str = "rbac.authorization.k8s.io/v1";
const GROUP: &str = "rbac.authorization.k8s.io";

fn object(kind: &str, fields: Value) -> Object {
    let mut document = json!({"apiVersion": VERSION, "kind": kind, "metadata": {"name": "system:x"}});
    if !kind.starts_with("Cluster") {
        document["metadata"]["namespace"] = json!("n");
    }
    for (name, value) in fields.as_object().expect("fields") {
        document[name] = value.clone();
    }
    defaulted(document)
}

fn scope(kind: &str) -> Scope {
    if kind.starts_with("Cluster") { Scope::Cluster } else { Scope::Namespaced }
}

fn texts(errors: Vec<FieldError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// Checks the errors of creating an object of each of these kinds.
#[track_caller]
fn check(kinds: &[&str], fields: Value, expected: &[&str]) {
    for kind in kinds {
        let object = object(kind, fields.clone());
        let rules = &*resource(VERSION, kind).rules;
        assert_eq!(texts(validate::create(rules, &object, scope(kind))), expected, "{object:?}");
    }
}

const ROLES: [&str; 2] = ["Role", "ClusterRole"];
const BINDINGS: [&str; 2] = ["RoleBinding", "ClusterRoleBinding"];

#[test]
fn sound_roles_pass() {
    let on = |rule: Value| json!({"rules": [rule]});
    check(&ROLES, json!({}), &[]);
    check(&ROLES, json!({"rules": null}), &[]);
    check(&ROLES, on(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]})), &[]);
    check(&ROLES, on(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})), &[]);
    check(
        &ROLES,
        on(
            json!({"apiGroups": ["a", "b"], "resources": ["x/y", "*/scale"], "resourceNames": ["a", "b"], "verbs": ["made-up"]}),
        ),
        &[],
    );
    let paths = json!({"nonResourceURLs": ["/healthz", "*"], "verbs": ["get"]});
    check(&["ClusterRole"], on(paths), &[]);
    let selectors =
        json!([{"matchLabels": {"a": "b"}}, {"matchExpressions": [{"key": "a", "operator": "Exists"}]}]);
    check(&["ClusterRole"], json!({"aggregationRule": {"clusterRoleSelectors": selectors}}), &[]);
}

#[test]
fn rules_say_what_may_be_done_to_what() {
    let verbs = "rules[0].verbs: Required value: verbs must contain at least one value";
    let groups = "rules[0].apiGroups: Required value: resource rules must supply at least one api group";
    let resources = "rules[0].resources: Required value: resource rules must supply at least one resource";
    let on = |rule: Value| json!({"rules": [rule]});
    check(&ROLES, on(json!({})), &[verbs, groups, resources]);
    check(&ROLES, on(json!({"verbs": []})), &[verbs, groups, resources]);
    check(&ROLES, on(json!({"verbs": ["get"]})), &[groups, resources]);
    check(&ROLES, on(json!({"verbs": ["get"], "apiGroups": [""]})), &[resources]);
    check(&ROLES, on(json!({"verbs": ["get"], "apiGroups": [], "resources": ["pods"]})), &[groups]);
    check(&ROLES, on(json!({"verbs": null, "apiGroups": [""], "resources": ["pods"]})), &[verbs]);
    check(&ROLES, on(json!({"verbs": ["get"], "resourceNames": ["a"]})), &[groups, resources]);
    let second = json!({"rules": [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["get"], "apiGroups": [""]},
    ]});
    check(
        &ROLES,
        second,
        &["rules[1].resources: Required value: resource rules must supply at least one resource"],
    );
    let both = json!({"verbs": ["get"], "nonResourceURLs": ["/x"], "apiGroups": [""], "resources": ["pods"]});
    let mixed = "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both regular resources and non-resource URLs";
    check(&["ClusterRole"], on(both.clone()), &[mixed]);
    let local = "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs";
    check(&["Role"], on(both), &[local, mixed]);
    check(&["Role"], on(json!({"nonResourceURLs": ["/x"], "verbs": ["get"]})), &[local]);
    check(&["ClusterRole"], on(json!({"nonResourceURLs": ["/x"]})), &[verbs]);
}

#[test]
fn what_gathers_says_what() {
    let check = |selectors: Value, expected: &[&str]| {
        check(&["ClusterRole"], json!({"aggregationRule": {"clusterRoleSelectors": selectors}}), expected);
    };
    let none = "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil";
    check(json!([]), &[none]);
    check(Value::Null, &[none]);
    let object = object(
        "ClusterRole",
        json!({"aggregationRule": {"clusterRoleSelectors": [
            {"matchExpressions": [{"key": "a", "operator": "In"}]},
            {"matchLabels": {"a b": "c"}},
            {"matchExpressions": [{"key": "a", "operator": "Like"}]},
        ]}}),
    );
    let errors = validate::create(&*resource(VERSION, "ClusterRole").rules, &object, Scope::Cluster);
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    let path = "aggregationRule.clusterRoleSelectors";
    assert!(fields[0].starts_with(&format!("{path}[0].matchExpressions[0]")), "{fields:?}");
    assert!(fields.iter().any(|field| field.starts_with(&format!("{path}[1].matchLabels"))), "{fields:?}");
    assert!(fields.iter().any(|field| field.starts_with(&format!("{path}[2]."))), "{fields:?}");
}

#[test]
fn names_of_roles_are_parts_of_paths() {
    for kind in ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"] {
        let rules = &*resource(VERSION, kind).rules;
        for sound in ["system:controller:x", "A_b@c", "x.y"] {
            assert_eq!(rules.name(sound), [""; 0], "{sound}");
        }
        for wrong in [".", "..", "a/b", "a%b"] {
            assert!(!rules.name(wrong).is_empty(), "{wrong}");
        }
    }
}

fn bound(role: Value, subjects: Value) -> Value {
    json!({"roleRef": role, "subjects": subjects})
}

#[test]
fn sound_bindings_pass() {
    let role = || json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": "edit"});
    let account = json!({"kind": "ServiceAccount", "name": "a", "namespace": "n"});
    check(&BINDINGS, bound(role(), json!([])), &[]);
    check(&BINDINGS, bound(role(), Value::Null), &[]);
    check(&BINDINGS, bound(json!({"kind": "ClusterRole", "name": "system:x"}), json!([account])), &[]);
    check(
        &BINDINGS,
        bound(role(), json!([{"kind": "User", "name": "jane"}, {"kind": "Group", "name": "x y"}])),
        &[],
    );
    check(&BINDINGS, bound(role(), json!([{"apiGroup": GROUP, "kind": "User", "name": "a:b/c"}])), &[]);
    let local = json!({"kind": "Role", "name": "x"});
    check(&["RoleBinding"], bound(local, json!([{"kind": "ServiceAccount", "name": "a"}])), &[]);
}

#[test]
fn bindings_say_which_role_and_to_whom() {
    let role = || json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": "edit"});
    let with = |field: &str, value: Value| {
        let mut role = role();
        role[field] = value;
        bound(role, json!([]))
    };
    let name = "roleRef.name: Required value";
    check(&BINDINGS, with("name", Value::Null), &[name]);
    check(&BINDINGS, with("name", json!("")), &[name]);
    check(
        &BINDINGS,
        with("name", json!("a/b")),
        &["roleRef.name: Invalid value: \"a/b\": may not contain '/'"],
    );
    let group = "roleRef.apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"";
    check(&BINDINGS, with("apiGroup", json!("x")), &[group]);
    check(
        &["RoleBinding"],
        with("kind", json!("Other")),
        &["roleRef.kind: Unsupported value: \"Other\": supported values: \"Role\", \"ClusterRole\""],
    );
    check(
        &["ClusterRoleBinding"],
        with("kind", json!("Role")),
        &["roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\""],
    );
    let to = |subject: Value| bound(role(), json!([subject]));
    check(
        &BINDINGS,
        to(json!({"kind": "User", "name": ""})),
        &[
            "subjects[0].name: Required value",
            "subjects[0].name: Invalid value: \"\": user name cannot be empty",
        ],
    );
    check(
        &BINDINGS,
        to(json!({"kind": "Group", "name": ""})),
        &[
            "subjects[0].name: Required value",
            "subjects[0].name: Invalid value: \"\": group name cannot be empty",
        ],
    );
    let other =
        "subjects[0].apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"";
    check(&BINDINGS, to(json!({"apiGroup": "x", "kind": "Group", "name": "g"})), &[other]);
    check(&BINDINGS, to(json!({"apiGroup": "x", "kind": "User", "name": "g"})), &[other]);
    check(
        &BINDINGS,
        to(json!({"kind": "Robot", "name": "r"})),
        &[
            "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
        ],
    );
    check(
        &BINDINGS,
        to(json!({"apiGroup": GROUP, "kind": "ServiceAccount", "name": "a", "namespace": "n"})),
        &["subjects[0].apiGroup: Unsupported value: \"rbac.authorization.k8s.io\": supported values: \"\""],
    );
    check(
        &["ClusterRoleBinding"],
        to(json!({"kind": "ServiceAccount", "name": "a"})),
        &["subjects[0].namespace: Required value"],
    );
    let account = object("RoleBinding", to(json!({"kind": "ServiceAccount", "name": "A_b"})));
    let errors =
        texts(validate::create(&*resource(VERSION, "RoleBinding").rules, &account, Scope::Namespaced));
    assert!(
        errors[0].starts_with("subjects[0].name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain"),
        "{errors:?}"
    );
}

#[test]
fn what_bindings_leave_out_is_filled_in() {
    for kind in BINDINGS {
        let role = json!({"kind": "ClusterRole", "name": "x"});
        let subjects =
            json!([{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "a", "namespace": "n"}]);
        let binding = object(kind, bound(role, subjects));
        assert_eq!(binding.get_str(&["roleRef", "apiGroup"]), Some(GROUP));
        let subjects = binding.get_list(&["subjects"]);
        assert_eq!((&subjects[0]["apiGroup"], &subjects[1]["apiGroup"]), (&json!(GROUP), &Value::Null));
    }
}

#[test]
fn a_binding_stays_one_of_its_role() {
    for kind in BINDINGS {
        let to = |name: &str, subjects: Value| {
            object(kind, bound(json!({"kind": "ClusterRole", "name": name}), subjects))
        };
        let update = |new: &Object, old: &Object| {
            texts(validate::update(&*resource(VERSION, kind).rules, new, old, scope(kind)))
        };
        let old = to("edit", json!([]));
        assert_eq!(update(&to("edit", json!([{"kind": "User", "name": "u"}])), &old), [""; 0]);
        let errors = update(&to("admin", json!([])), &old);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("roleRef: Invalid value: {"), "{errors:?}");
        assert!(errors[0].ends_with(": cannot change roleRef"), "{errors:?}");
    }
}

#[test]
fn bindings_show_whom_they_are_for() {
    let subjects = json!([
        {"kind": "User", "name": "a"}, {"kind": "User", "name": "b"}, {"kind": "Group", "name": "g"},
        {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
    ]);
    let binding = object("RoleBinding", bound(json!({"kind": "Role", "name": "x"}), subjects));
    let table = table(
        &resource(VERSION, "RoleBinding").columns,
        [&binding],
        &ListMetadata::default(),
        Include::None,
        true,
        model::time::parse("2026-01-01T01:00:00Z").expect("valid"),
    );
    assert_eq!(table["rows"][0]["cells"], json!(["system:x", "Role/x", "<unknown>", "a, b", "g", "n/s"]));
}
