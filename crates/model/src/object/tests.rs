use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::*;

fn sample() -> Object {
    Object::from_value(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u-1", "resourceVersion": "42", "generation": 3,
            "labels": {"app": "web"}, "finalizers": ["a/b"],
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u-0", "controller": true}],
        },
        "spec": {"replicas": 2},
    }))
    .expect("an object")
}

#[test]
fn accessors_read_the_document() {
    let object = sample();
    assert_eq!(object.gvk(), GroupVersionKind::new("apps", "v1", "Deployment"));
    assert_eq!((object.name(), object.namespace(), object.uid()), ("web", Some("shop"), "u-1"));
    assert_eq!((object.revision(), object.generation()), (Some(42), 3));
    assert_eq!(object.label("app"), Some("web"));
    assert_eq!(object.finalizers().collect::<Vec<_>>(), ["a/b"]);
    assert_eq!(object.controller().map(|owner| owner.uid), Some("u-0".to_owned()));
    assert_eq!(object.get_i64(&["spec", "replicas"]), Some(2));
    assert!(!object.is_being_deleted());
}

#[test]
fn a_change_leaves_clones_alone_and_drops_the_encoded_form() {
    let mut object = sample();
    let before = object.clone();
    let encoded = before.encoded();
    object.set(&["spec", "replicas"], 5);
    assert_eq!(before.get_i64(&["spec", "replicas"]), Some(2));
    assert_eq!(before.encoded().as_ptr(), encoded.as_ptr());
    assert_eq!(Object::from_slice(&object.encoded()).expect("valid"), object);
}

#[test]
fn setting_and_removing_go_through_missing_parents() {
    let mut object = Object::new(&GroupVersionKind::new("", "v1", "ConfigMap"), "c");
    object.set(&["data", "a"], "1");
    assert_eq!(object.get_str(&["data", "a"]), Some("1"));
    assert_eq!(object.remove(&["data", "b"]), None);
    assert_eq!(object.remove(&["data", "a"]), Some(json!("1")));
    object.set_finalizers(Vec::<String>::new());
    assert_eq!(
        object.value(),
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}})
    );
}

#[test]
fn typed_views_go_both_ways() {
    let mut object = Object::new(&GroupVersionKind::of::<ConfigMap>(), "c");
    object.set(&["data", "a"], "1");
    let typed: ConfigMap = object.typed().expect("a config map");
    assert_eq!(typed.data.as_ref().and_then(|data| data.get("a")).map(String::as_str), Some("1"));
    assert_eq!(Object::from_typed(&typed).expect("encodes"), object);
    object.set(&["data"], 1);
    assert!(object.typed::<ConfigMap>().is_err());
}

#[test]
fn only_objects_are_objects() {
    assert!(Object::from_slice(b"[]").is_err());
    assert!(Object::from_slice(b"{").is_err());
}
