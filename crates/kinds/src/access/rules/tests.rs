use apiserver::{Attributes, PolicyRule, ResourceAttributes};
use serde_json::{Value, json};

use super::{allows, described, missing, rules_of, written};

fn rules(rules: Value) -> Vec<PolicyRule> {
    rules_of(&json!({ "rules": rules }))
}

fn on(group: &str, resource: &str, verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
}

/// Checks whether a rule allows `VERB GROUP RESOURCE/SUBRESOURCE NAME` or `VERB /PATH`.
#[track_caller]
fn check(rule: &Value, asked: &str, expected: bool) {
    let [rule] = &rules(json!([rule]))[..] else { panic!("one rule") };
    let words: Vec<&str> = asked.split(' ').collect();
    let (attributes, path) = match words.as_slice() {
        [verb, path] => (Attributes::Path { verb, path }, ""),
        [verb, group, path, name] => {
            let (resource, subresource) = path.split_once('/').unwrap_or((path, ""));
            let group = if *group == "core" { "" } else { group };
            let name = if *name == "-" { "" } else { name };
            let asked = ResourceAttributes { verb, group, resource, subresource, name, ..Default::default() };
            (Attributes::Resource(asked), *path)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(allows(rule, &attributes, path), expected, "{rule:?}: {asked}");
}

#[test]
fn a_rule_allows_what_it_names_and_nothing_else() {
    let pods = on("", "pods", &["get", "list"]);
    check(&pods, "get core pods p", true);
    check(&pods, "delete core pods p", false);
    check(&pods, "get apps pods p", false);
    check(&pods, "get core pods/log p", false);
    check(&pods, "get core podses p", false);
    check(&on("", "*", &["*"]), "get core pods/log p", true);
    check(&on("", "*", &["*"]), "get apps deployments d", false);
    check(&on("*", "*/scale", &["get"]), "get apps deployments/scale d", true);
    check(&on("*", "*/scale", &["get"]), "get apps deployments d", false);
    check(&on("*", "*/scale", &["get"]), "get apps deployments/xscale d", false);
    let named = json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]});
    check(&named, "get core pods a", true);
    check(&named, "get core pods b", false);
    check(&named, "get core pods -", false);
    let path = |path: &str| json!({"nonResourceURLs": [path], "verbs": ["get"]});
    check(&path("/healthz"), "get /healthz", true);
    check(&path("/healthz"), "get /healthz/etcd", false);
    check(&path("/healthz/*"), "get /healthz/etcd", true);
    check(&path("/healthz/*"), "get /healthz", false);
    check(&path("*"), "get /x", true);
    check(&path("*"), "post /x", false);
    check(&path("*"), "get core pods p", false);
    check(&json!({"apiGroups": null, "resources": ["pods"], "verbs": ["get"]}), "get core pods p", false);
}

#[track_caller]
fn check_missing(held: Value, wanted: Value, expected: &str) {
    assert_eq!(described(&missing(&rules(held), &rules(wanted))), expected);
}

#[test]
fn what_is_held_covers_what_is_wanted_or_not() {
    let read = on("", "pods", &["get", "list"]);
    check_missing(json!([read]), json!([on("", "pods", &["get"])]), "");
    check_missing(json!([on("", "pods", &["get"]), on("", "pods", &["list"])]), json!([read]), "");
    check_missing(json!([on("*", "*", &["*"])]), json!([read]), "");
    check_missing(
        json!([read]),
        json!([on("", "pods", &["get", "delete", "create"])]),
        r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete" "create"]}"#,
    );
    check_missing(
        json!([read]),
        json!([on("*", "*", &["*"])]),
        r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#,
    );
    // A name is less than all names, and more than another.
    let named = |name: &str| json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": [name], "verbs": ["get"]});
    check_missing(json!([read]), json!([named("a")]), "");
    check_missing(
        json!([named("a")]),
        json!([named("b"), on("", "pods", &["get"])]),
        "{APIGroups:[\"\"], Resources:[\"pods\"], ResourceNames:[\"b\"], Verbs:[\"get\"]}\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\"]}",
    );
    check_missing(
        json!([on("*", "*/scale", &["get"])]),
        json!([on("apps", "deployments/scale", &["get"])]),
        "",
    );
    check_missing(
        json!([on("apps", "deployments", &["get"])]),
        json!([on("apps", "deployments/scale", &["get"])]),
        r#"{APIGroups:["apps"], Resources:["deployments/scale"], Verbs:["get"]}"#,
    );
    // Rules on resources say nothing of paths.
    check_missing(
        json!([on("*", "*", &["*"])]),
        json!([{"nonResourceURLs": ["/x"], "verbs": ["get"]}]),
        r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#,
    );
    check_missing(
        json!([{"nonResourceURLs": ["/x/*"], "verbs": ["*"]}]),
        json!([{"nonResourceURLs": ["/x/y", "/x/*"], "verbs": ["get"]}]),
        "",
    );
}

#[test]
fn a_rule_is_written_as_it_is_read() {
    let text = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
    assert_eq!(written(&rules(json!([text]))[0]), text);
}
