use serde_json::json;

use super::*;
use crate::gvk::GroupVersionKind;
use crate::schema;

fn deployment(text: &str) -> Result<Decoded, DecodeError> {
    let schema = schema::builtin(&GroupVersionKind::new("apps", "v1", "Deployment")).expect("built in");
    slice(&schema, text.as_bytes())
}

#[test]
fn unknown_and_duplicate_fields_are_named_by_their_path() {
    let decoded = deployment(
        r#"{"spec": {"replicas": 1, "replicas": 2, "foo": 1,
            "template": {"spec": {"containers": [{"name": "a"}, {"name": "b", "imag": "x"}]}}}}"#,
    )
    .expect("decodes");
    assert_eq!(
        strict_error(&decoded.problems),
        "strict decoding error: duplicate field \"spec.replicas\", unknown field \"spec.foo\", \
         unknown field \"spec.template.spec.containers[1].imag\""
    );
    assert_eq!(
        decoded.object.value(),
        &json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}}})
    );
}

#[test]
fn wrong_types_are_refused_in_the_decoders_words() {
    let check = |text: &str, expected: &str| {
        assert_eq!(
            deployment(text).map(|decoded| decoded.object).map_err(|error| error.0),
            Err(expected.to_owned())
        );
    };
    check(
        r#"{"spec": {"replicas": "x"}}"#,
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    check(
        r#"{"spec": {"replicas": 1.5}}"#,
        "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    check(
        r#"{"spec": {"template": {"spec": {"containers": {}}}}}"#,
        "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
    );
    check(
        r#"{"metadata": {"labels": {"a": 1}}}"#,
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
    );
    check(
        r#"{"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}}}}"#,
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
    check("[]", "json: cannot unmarshal array into Go value of type v1.Deployment");
}

#[test]
fn what_is_kept_is_canonical() {
    let decoded = deployment(
        r#"{"metadata": {"creationTimestamp": null, "deletionTimestamp": "2026-01-01T02:00:00.5+02:00"},
            "spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]}}},
            "status": {}}"#,
    )
    .expect("decodes");
    assert_eq!(decoded.problems, Vec::<String>::new());
    assert_eq!(
        decoded.object.value(),
        &json!({
            "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}]}}},
            "status": {},
        })
    );
}

#[test]
fn secrets_hold_base64() {
    let schema = schema::builtin(&GroupVersionKind::new("", "v1", "Secret")).expect("built in");
    assert!(value(&schema, json!({"data": {"a": "YQ=="}})).is_ok());
    let error = value(&schema, json!({"data": {"a": "?"}})).expect_err("no base64");
    assert_eq!(error.0, "illegal base64 data at input byte 0");
    let listed = value(&schema, json!({"data": {"a": [104, 105]}})).expect("numbers are bytes");
    assert_eq!(listed.object.value(), &json!({"data": {"a": "aGk="}}));
    for (bad, what) in [(json!([1, "a"]), "string"), (json!([256]), "number 256"), (json!({}), "object")] {
        let error = value(&schema, json!({"data": {"a": bad}})).expect_err("no bytes").0;
        assert!(
            error.starts_with(&format!("json: cannot unmarshal {what} into Go struct field Secret.data")),
            "{error}"
        );
    }
}
