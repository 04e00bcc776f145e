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
