//! Bodies of protobuf, as kubectl sends them, and as they are given back.

use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "protobuf",
    // After four letters that say what it is.
    shape: Shape::Protobuf(4),
    examples,
    words: &["k8s\0", "v1", "apps/v1", "Pod", "Deployment", "ConfigMap", "{\"a\":1}", "100m"],
    read,
    turns: 2500,
};

fn read(body: &[u8]) -> bool {
    let Some(document) = apiserver::fuzzing::protobuf(body) else { return false };
    // Whatever comes of it is a document that JSON can say.
    let text = serde_json::to_vec(&document).expect("a document prints");
    assert!(text.len() < (64 << 10) + body.len() * 64, "{} bytes became {}", body.len(), text.len());
    // Said in protobuf once more it is a document, which is said in the same bytes.
    if let Some(again) = apiserver::fuzzing::as_protobuf(&document) {
        assert!(again.len() < (4 << 10) + text.len() * 4, "{} bytes became {}", text.len(), again.len());
        let document = apiserver::fuzzing::protobuf(&again).expect("what is written can be read");
        assert_eq!(apiserver::fuzzing::as_protobuf(&document).as_ref(), Some(&again));
    }
    true
}

fn examples() -> Vec<Vec<u8>> {
    let metadata = [
        bytes(1, b"name"),
        bytes(3, b"default"),
        bytes(8, &[number(1, 1_700_000_000), number(2, 5)].concat()),
        bytes(11, &[bytes(1, b"k"), bytes(2, b"v")].concat()),
        bytes(
            13,
            &[bytes(5, b"v1"), bytes(1, b"Kind"), bytes(3, b"owner"), bytes(4, b"uid"), number(6, 1)]
                .concat(),
        ),
        bytes(17, &[bytes(1, b"me"), bytes(2, b"Apply"), bytes(7, &bytes(1, b"{\"f:a\":{}}"))].concat()),
    ]
    .concat();
    let quantity = bytes(2, &[bytes(1, b"cpu"), bytes(2, &bytes(1, b"100m"))].concat());
    let port = [number(1, 1), bytes(3, b"http")].concat();
    let probe = bytes(1, &bytes(2, &[bytes(1, b"/"), bytes(2, &port)].concat()));
    let container = [
        bytes(1, b"c"),
        bytes(2, b"image"),
        bytes(6, &[bytes(1, b"p"), number(3, 80)].concat()),
        bytes(7, &[bytes(1, b"E"), bytes(2, b"v")].concat()),
        bytes(8, &quantity),
        bytes(10, &probe),
    ]
    .concat();
    let volume = [bytes(1, b"v"), bytes(2, &bytes(2, b""))].concat();
    let pod = [bytes(1, &volume), bytes(2, &container), number(4, 30)].concat();
    let selector = bytes(1, &[bytes(1, b"a"), bytes(2, b"b")].concat());
    let deployment =
        [number(1, 3), bytes(2, &selector), bytes(3, &[bytes(1, &metadata), bytes(2, &pod)].concat())];
    let data =
        [bytes(1, &metadata), bytes(2, &[bytes(1, b"k"), bytes(2, b"v")].concat()), number(4, 1)].concat();
    vec![
        body("v1", "Pod", &[bytes(1, &metadata), bytes(2, &pod)].concat()),
        body("apps/v1", "Deployment", &[bytes(1, &metadata), bytes(2, &deployment.concat())].concat()),
        body("v1", "ConfigMap", &data),
        body("meta.k8s.io/v1", "DeleteOptions", &[number(1, 0), bytes(4, b"Background")].concat()),
    ]
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [&b"k8s\0"[..], &bytes(1, &meta), &bytes(2, raw)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn bytes(number: u64, content: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}
