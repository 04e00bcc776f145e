//! Messages written by hand, read as JSON.

use super::*;

/// Writes a field that holds bytes.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("short in tests");
    assert!(length < 0x80, "one byte of length");
    [&[number << 3 | 2, length], content].concat()
}

fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [MAGIC, &bytes(1, &meta), &bytes(2, raw)].concat()
}

fn check(body: &[u8], expected: Value) {
    assert_eq!(document(body), Ok(expected));
}

#[test]
fn maps_bytes_and_names_are_read_and_zeros_left_out() {
    let metadata = [bytes(1, b"a"), bytes(2, b""), bytes(8, b""), number(7, 0)].concat();
    let entry = [bytes(1, b"k"), bytes(2, b"v")].concat();
    check(
        &body("v1", "ConfigMap", &[bytes(1, &metadata), bytes(2, &entry)].concat()),
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "v"}}),
    );
    check(
        &body("v1", "Secret", &bytes(2, &entry)),
        json!({"kind": "Secret", "apiVersion": "v1", "data": {"k": "dg=="}}),
    );
}

#[test]
fn a_zero_that_is_a_value_stays() {
    // replicas, a pointer in Go, and paused, which is none.
    let spec = [number(1, 0), number(7, 0)].concat();
    check(
        &body("apps/v1", "Deployment", &bytes(2, &spec)),
        json!({"kind": "Deployment", "apiVersion": "apps/v1", "spec": {"replicas": 0}}),
    );
}

#[test]
fn embedded_types_quantities_and_ports_by_number_or_name_are_read() {
    let volume = [bytes(1, b"v"), bytes(2, &bytes(2, b""))].concat();
    let request = [bytes(1, b"cpu"), bytes(2, &bytes(1, b"100m"))].concat();
    let resources = bytes(2, &request);
    let port = [number(1, 1), bytes(3, b"http")].concat();
    let get = bytes(2, &[bytes(1, b"/"), bytes(2, &port)].concat());
    let probe = bytes(1, &get);
    let container = [bytes(1, b"c"), bytes(8, &resources), bytes(10, &probe)].concat();
    let spec = [bytes(1, &volume), bytes(2, &container)].concat();
    check(
        &body("v1", "Pod", &bytes(2, &spec)),
        json!({"kind": "Pod", "apiVersion": "v1", "spec": {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{
                "name": "c",
                "resources": {"requests": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
            }],
        }}),
    );
}

#[test]
fn what_is_cut_short_or_unknown_is_refused() {
    let whole = body("v1", "ConfigMap", &bytes(1, &bytes(1, b"a")));
    for cut in 1..5 {
        assert!(document(&whole[..whole.len() - cut]).is_err(), "{cut} bytes cut off");
    }
    assert_eq!(document(b"{}"), Err(ProtobufError::Malformed));
    assert!(matches!(document(&body("v9", "Nothing", b"")), Err(ProtobufError::Unknown { .. })));
}

/// A document is written and read again as it was.
#[track_caller]
fn check_both_ways(object: Value) {
    let body = encode::document(&object).expect("a kind with this form");
    assert_eq!(document(&body), Ok(object));
}

#[test]
fn what_is_written_is_read_again() {
    check_both_ways(
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "dg=="}}),
    );
    check_both_ways(json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "a", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"a": "b", "c": ""},
            "managedFields": [{"manager": "m", "fieldsV1": {"f:a": {}}}],
        },
        "spec": {
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "w", "projected": {"sources": [{"configMap": {"name": "c"}}]}}],
            "containers": [{
                "name": "c", "resources": {"requests": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": "http"}}, "readinessProbe": {"tcpSocket": {"port": 80}},
            }],
            "securityContext": {"supplementalGroups": [1, 2, 3], "runAsUser": 0},
            "terminationGracePeriodSeconds": 0,
        },
    }));
    check_both_ways(json!({
        "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
        "spec": {"renewTime": "2026-01-01T00:00:00.123456Z", "leaseTransitions": 0},
    }));
    check_both_ways(json!({
        "kind": "CertificateSigningRequest", "apiVersion": "certificates.k8s.io/v1",
        "spec": {"request": "YQ==", "signerName": "a.b/c", "extra": {"k": ["a", "b"]}},
    }));
    check_both_ways(json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "m", "code": 404,
        "details": {"name": "a", "causes": [{"reason": "r"}]},
    }));
}

#[test]
fn what_is_not_of_its_type_is_left_out() {
    let odd = json!({
        "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": 7, "labels": [], "creationTimestamp": "never"},
        "data": {"k": "v"}, "binaryData": {"b": "no base64"}, "other": true,
    });
    let body = encode::document(&odd).expect("a kind with this form");
    assert_eq!(
        document(&body),
        Ok(
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}, "data": {"k": "v"}, "binaryData": {"b": ""}})
        )
    );
    assert_eq!(encode::document(&json!({"kind": "Thing", "apiVersion": "example.com/v1"})), None);
}
