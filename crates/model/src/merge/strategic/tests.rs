use serde_json::json;

use super::*;
use crate::gvk::GroupVersionKind;
use crate::schema;

/// Merges a patch of a pod's spec.
fn merge(spec: Value, patch: Value) -> Result<Value> {
    let schema = schema::builtin(&GroupVersionKind::new("", "v1", "Pod")).expect("built in");
    apply(&schema, &json!({ "spec": spec }), &json!({ "spec": patch })).map(|merged| merged["spec"].clone())
}

fn check(spec: Value, patch: Value, expected: Value) {
    let merged = merge(spec.clone(), patch.clone()).unwrap_or_else(|error| panic!("{patch}: {error}"));
    assert_eq!(merged, expected, "{spec} patched with {patch}");
    // Order counts too, which maps' equality leaves out only for fields.
    assert_eq!(merged["containers"].to_string(), expected["containers"].to_string());
}

#[test]
fn objects_merge_and_null_removes() {
    check(
        json!({"nodeName": "a", "securityContext": {"runAsUser": 1, "fsGroup": 2}}),
        json!({"nodeName": null, "securityContext": {"runAsUser": 3}, "hostname": "h"}),
        json!({"securityContext": {"runAsUser": 3, "fsGroup": 2}, "hostname": "h"}),
    );
    check(
        json!({"nodeSelector": {"a": "1"}}),
        json!({"nodeSelector": {"b": "2"}}),
        json!({"nodeSelector": {"a": "1", "b": "2"}}),
    );
    check(json!({}), json!({"nodeSelector": {"a": null, "b": "2"}}), json!({"nodeSelector": {"b": "2"}}));
}

#[test]
fn lists_merge_by_key_where_the_type_says_so() {
    check(
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}),
        json!({"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "3"}]}),
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"}]}),
    );
    check(
        json!({"containers": [{"name": "a", "args": ["x", "y"]}]}),
        json!({"containers": [{"name": "a", "args": ["z"]}]}),
        json!({"containers": [{"name": "a", "args": ["z"]}]}),
    );
    check(
        json!({"tolerations": [{"key": "a"}]}),
        json!({"tolerations": [{"key": "b"}]}),
        json!({"tolerations": [{"key": "b"}]}),
    );
}

#[test]
fn directives_replace_and_delete() {
    check(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"containers": [{"name": "a", "$patch": "delete"}]}),
        json!({"containers": [{"name": "b"}]}),
    );
    check(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
        json!({"containers": [{"name": "c"}]}),
    );
    check(
        json!({"securityContext": {"runAsUser": 1, "fsGroup": 2}}),
        json!({"securityContext": {"$patch": "replace", "runAsUser": 3}}),
        json!({"securityContext": {"runAsUser": 3}}),
    );
    check(
        json!({"securityContext": {"fsGroup": 2}}),
        json!({"securityContext": {"$patch": "delete"}}),
        json!({"securityContext": {}}),
    );
    check(json!({}), json!({"containers": [{"name": "a", "$patch": "delete"}]}), json!({"containers": []}));
}

#[test]
fn retain_keys_drops_what_it_does_not_name() {
    check(
        json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        json!({"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
    );
    assert!(merge(json!({}), json!({"$retainKeys": ["a"], "nodeName": "n"})).is_err());
}

#[test]
fn scalars_merge_by_value() {
    let schema = schema::builtin(&GroupVersionKind::new("", "v1", "Pod")).expect("built in");
    let check = |patch: Value, expected: Value| {
        let document = json!({"metadata": {"finalizers": ["a", "b"]}});
        let merged = apply(&schema, &document, &json!({ "metadata": patch })).expect("valid");
        assert_eq!(merged["metadata"]["finalizers"], expected, "{patch}");
    };
    check(json!({"finalizers": ["c", "a"]}), json!(["c", "a", "b"]));
    check(json!({"$deleteFromPrimitiveList/finalizers": ["a"]}), json!(["b"]));
    check(json!({"$setElementOrder/finalizers": ["b", "a"]}), json!(["b", "a"]));
    check(
        json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"]}),
        json!(["c", "b"]),
    );
}

#[test]
fn set_element_order_orders_a_merged_list() {
    check(
        json!({"containers": [{"name": "a"}, {"name": "s"}, {"name": "b"}]}),
        json!({
            "$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}],
            "containers": [{"name": "c", "image": "1"}],
        }),
        json!({"containers": [{"name": "s"}, {"name": "b"}, {"name": "c", "image": "1"}, {"name": "a"}]}),
    );
    let out_of_order = json!({
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
        "containers": [{"name": "a"}, {"name": "b"}],
    });
    assert!(merge(json!({}), out_of_order).is_err());
}

#[test]
fn what_is_malformed_is_refused() {
    for patch in [
        json!({"containers": [{"image": "1"}]}),
        json!({"containers": [1]}),
        json!({"containers": [{"name": "a", "$patch": "jump"}]}),
        json!({"containers": [{"$patch": "delete"}]}),
        json!({"$patch": "merge"}),
        json!({"$setElementOrder/containers": {}}),
    ] {
        let result = merge(json!({"containers": [{"name": "a"}]}), patch.clone());
        assert!(matches!(result, Err(StrategicError::Malformed(_))), "{patch}: {result:?}");
    }
}

#[test]
fn kinds_without_strategies_are_refused() {
    let mut builder = schema::Builder::with_structs(1);
    builder.define(0, schema::Struct::default());
    assert_eq!(apply(&builder.schema(0), &json!({}), &json!({})), Err(StrategicError::Unsupported));
}
