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

/// A field that is longer than one byte of length says, or whose number is above 15.
fn long(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = write::Message::default();
    out.bytes(number, content);
    out.into_bytes()
}

#[test]
fn schemas_are_what_they_are_or_stand_for() {
    let text = bytes(5, b"string");
    let is_true = number(1, 1);
    let of = |either: &[u8]| [bytes(5, b"object"), long(30, either)].concat();
    let entry = |name: &[u8], schema: &[u8]| long(29, &[bytes(1, name), bytes(2, schema)].concat());
    let schema = [
        entry(b"open", &of(&is_true)),
        entry(b"closed", &of(&number(1, 0))),
        entry(b"empty", &of(b"")),
        entry(b"typed", &of(&[is_true.clone(), bytes(2, &text)].concat())),
        entry(b"list", &long(24, &bytes(1, &text))),
        entry(b"tuple", &long(24, &[bytes(2, &text), bytes(2, b"")].concat())),
        entry(
            b"more",
            &[bytes(8, &bytes(1, b"{\"a\":[1]}")), long(20, &bytes(1, b"7")), long(20, &bytes(1, b"\"x\""))]
                .concat(),
        ),
        long(32, &[bytes(1, b"a"), bytes(2, &[bytes(2, b"b"), bytes(2, b"c")].concat())].concat()),
        long(32, &[bytes(1, b"d"), bytes(2, &bytes(1, &text))].concat()),
        // A maximum of 0, a minimum of a half, and a rule.
        [vec![9 << 3 | 1], vec![0; 8]].concat(),
        [vec![11 << 3 | 1], 0.5_f64.to_le_bytes().to_vec()].concat(),
        long(44, &bytes(1, b"self.a")),
    ]
    .concat();
    let version = [bytes(1, b"v1"), number(2, 1), number(3, 1), long(4, &long(1, &schema))].concat();
    let mut raw = write::Message::default();
    raw.bytes(2, &[bytes(1, b"g.io"), long(7, &version)].concat());
    let mut body_ = write::Message::begun(MAGIC);
    body_.bytes(1, &[bytes(1, b"apiextensions.k8s.io/v1"), bytes(2, b"CustomResourceDefinition")].concat());
    body_.bytes(2, &raw.into_bytes());
    let read = document(&body_.into_bytes()).expect("a document");
    let properties = json!({
        "open": {"type": "object", "additionalProperties": true},
        "closed": {"type": "object", "additionalProperties": false},
        "empty": {"type": "object", "additionalProperties": false},
        "typed": {"type": "object", "additionalProperties": {"type": "string"}},
        "list": {"items": {"type": "string"}},
        "tuple": {"items": [{"type": "string"}, {}]},
        "more": {"default": {"a": [1]}, "enum": [7, "x"]},
    });
    let expected = json!({
        "properties": properties, "dependencies": {"a": ["b", "c"], "d": {"type": "string"}}, "maximum": 0, "minimum": 0.5,
        "x-kubernetes-validations": [{"rule": "self.a"}],
    });
    assert_eq!(read["spec"]["versions"][0]["schema"]["openAPIV3Schema"], expected);
    let written = encode::document(&read).expect("it has a form");
    assert_eq!(document(&written), Ok(read));
}

#[test]
fn schemas_nest_as_deep_as_those_of_real_definitions_and_no_deeper_than_is_safe() {
    let definition = |levels: usize| {
        let mut schema = json!({"type": "string"});
        for _ in 0..levels {
            schema = json!({"type": "object", "properties": {"a": schema}});
        }
        json!({"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1", "spec": {"versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}},
        ]}})
    };
    let deep = definition(50);
    assert_eq!(document(&encode::document(&deep).expect("it has a form")), Ok(deep));
    let mut nested = Vec::new();
    for _ in 0..20_000 {
        let inner = [bytes(1, b"a"), long(2, &nested)].concat();
        nested = long(29, &inner);
    }
    let version = long(4, &long(1, &nested));
    let raw = long(2, &long(7, &version));
    let mut body = write::Message::begun(MAGIC);
    body.bytes(1, &[bytes(1, b"apiextensions.k8s.io/v1"), bytes(2, b"CustomResourceDefinition")].concat());
    body.bytes(2, &raw);
    assert_eq!(document(&body.into_bytes()), Err(ProtobufError::Malformed));
}
