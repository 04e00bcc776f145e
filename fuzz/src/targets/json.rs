//! Objects of Kubernetes in JSON.

use model::{Encoded, GroupVersionKind, Object, decode, schema};
use serde_json::Value;

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "json",
    shape: Shape::Json,
    examples,
    words: &[
        "\"metadata\":",
        "\"spec\":",
        "\"resourceVersion\":\"1\"",
        "null",
        "1e400",
        "-0",
        "1.0",
        "18446744073709551616",
        "\\ud800",
        "\\u0000",
        "{\"\":",
        "\"name\":\"a\",\"name\":\"b\"",
        "[[[[",
        "NaN",
        "\u{feff}",
        "100m",
        "1Ei",
        "2026-01-01T00:00:00Z",
    ],
    read,
    turns: 1000,
};

fn read(text: &[u8]) -> bool {
    let plain = serde_json::from_slice::<Value>(text);
    let parsed = decode::parse(text);
    assert_eq!(plain.is_ok(), parsed.is_ok(), "both readers take the same");
    if let (Ok(plain), Ok((value, _))) = (&plain, &parsed) {
        // Of a field that is there twice both take the last.
        assert_eq!(plain, value, "both readers read the same");
    }
    let mut taken = false;
    for (group, kind) in [("", "Pod"), ("apps", "Deployment"), ("", "Service")] {
        let schema = schema::builtin(&GroupVersionKind::new(group, "v1", kind)).expect("built in");
        let Ok(decoded) = decode::slice(&schema, text) else { continue };
        taken = true;
        let again = decode::value(&schema, decoded.object.value().clone()).expect("what was decoded decodes");
        assert_eq!(again.object.value(), decoded.object.value(), "decoding is done after once");
        check_encoded(&decoded.object);
        assert!(again.problems.is_empty(), "what was decoded has problems: {:?}", again.problems);
    }
    taken
}

/// What is stored of an object, read and sent is that object.
fn check_encoded(object: &Object) {
    let encoded = Encoded::stored(Encoded::encode(object), 7);
    let sent = encoded.to_bytes();
    assert_eq!(sent.len(), encoded.len());
    let read = encoded.object().expect("what was encoded can be read");
    assert_eq!(read.resource_version(), "7");
    let mut expected = object.clone();
    expected.set_resource_version("7");
    for field in ["kind", "apiVersion", "metadata", "spec", "status"] {
        let is_empty = |value: Option<&Value>| value.is_none_or(|value| value.is_null());
        let (one, other) = (read.get(&[field]), expected.get(&[field]));
        assert!(one == other || (is_empty(one) && is_empty(other)), "`{field}` was {other:?} and is {one:?}");
    }
}

fn examples() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"b","labels":{"c":"d"},"creationTimestamp":null},"spec":{"containers":[{"name":"e","image":"f","resources":{"limits":{"cpu":"100m","memory":1.5}},"ports":[{"containerPort":80}],"env":[{"name":"G","value":"h"}],"livenessProbe":{"httpGet":{"port":"http","path":"/"}}}],"nodeSelector":{},"tolerations":[{"operator":"Exists"}]}}"#,
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","resourceVersion":"12","managedFields":[{"fieldsV1":{"f:spec":{}}}]},"spec":{"replicas":3,"selector":{"matchLabels":{"a":"b"}},"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":1}},"template":{}}}"#,
        r#"{"kind":"Service","spec":{"ports":[{"port":80,"targetPort":"http"},{"port":81,"targetPort":8081}],"clusterIPs":["10.0.0.1"]},"unknown":1,"status":{"loadBalancer":{}}}"#,
    ])
}
