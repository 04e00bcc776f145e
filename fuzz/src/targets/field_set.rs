//! Sets of fields, by themselves and in an object that is applied to.

use model::merge::apply::{self, Manager, Versions};
use model::{GroupVersionKind, Object, schema};
use serde_json::{Value, json};

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "field-set",
    shape: Shape::Json,
    examples,
    words: &[
        "\"f:",
        "\"k:{\\\"name\\\":\\\"a\\\"}\":{}",
        "\"v:",
        "\"i:0\":{}",
        "\".\":{}",
        "{}",
        "-0",
        "1.0",
        "\\u0000",
    ],
    read,
    turns: 500,
};

fn read(text: &[u8]) -> bool {
    let Ok(fields) = serde_json::from_slice::<Value>(text) else { return false };
    let written = model::fuzzing::field_set(&fields);
    if let Some(written) = &written {
        assert_eq!(
            model::fuzzing::field_set(written).as_ref(),
            Some(written),
            "what is written is read as itself"
        );
    }
    let kind = GroupVersionKind::new("apps", "v1", "Deployment");
    let schema = schema::builtin(&kind).expect("built in");
    let object = |fields: Option<&Value>| {
        let mut document = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {"a": "b"}},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [
                {"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}}},
        });
        if let Some(fields) = fields {
            document["metadata"]["managedFields"] = json!([{
                "manager": "other", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
                "fieldsV1": fields,
            }]);
        }
        Object::from_value(document).expect("an object")
    };
    let now = model::time::parse("2026-01-01T00:00:00Z").expect("valid");
    let manager = Manager { name: "mine", subresource: "", ignored: &[], now };
    let live = object(Some(&fields));
    for force in [false, true] {
        let applied = apply::apply(&schema, Some(&live), &object(None), manager, force, &Versions::default());
        if let Ok(applied) = applied {
            assert_eq!(applied.get(&["spec"]), live.get(&["spec"]), "applying what is there changes nothing");
        }
    }
    written.is_some()
}

fn examples() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:replicas":{}}}"#,
        r#"{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}"#,
        r#"{"f:metadata":{"f:finalizers":{".":{},"v:\"x\"":{}}},"f:list":{"i:0":{},"i:-5":{"f:a":{}}},"v:1.5":{},"v:null":{}}"#,
    ])
}
