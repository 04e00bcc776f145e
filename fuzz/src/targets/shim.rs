//! Frames between the engine and a shim, either way.

use runtime::shim::protocol::{
    Decoder, Event, ExitStatus, Frame, Kind, Request, Response, encode, encode_json,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "shim",
    shape: Shape::Plain,
    examples,
    words: &[
        "\"state\"",
        "{\"kill\":{",
        "\"container\":\"a\"",
        "\"signal\":9",
        "{\"exec\":{",
        "\"process\":{",
        "\"stdio\":",
        "{\"pid\":1}",
        "\"ok\"",
        "{\"exit\":null}",
        "\0\0\0\u{7}\0",
        "\0\0\0\0\u{11}",
        "null",
    ],
    read,
    turns: 15_000,
};

fn read(sent: &[u8]) -> bool {
    let (whole, ended) = frames(sent, usize::MAX);
    let (cut, ended_cut) = frames(sent, 3);
    assert_eq!(whole, cut, "frames do not depend on how their bytes are cut");
    assert_eq!(ended, ended_cut, "nor does what is wrong with them");
    let mut taken = !whole.is_empty();
    for frame in &whole {
        assert_eq!(encode(frame.kind, &frame.payload)[5..], frame.payload);
        taken &= match frame.kind {
            Kind::Request => again::<Request>(frame),
            Kind::Response => again::<Response>(frame),
            Kind::Event => again::<Event>(frame),
            Kind::Exited => again::<ExitStatus>(frame),
            _ => true,
        };
    }
    taken
}

/// Whether it is one; then it is the same after it was sent once more.
fn again<T: Serialize + DeserializeOwned>(frame: &Frame) -> bool {
    let Ok(value) = frame.json::<T>() else { return false };
    let sent = encode_json(frame.kind, &value);
    let (frames, _) = frames(&sent, usize::MAX);
    let value =
        frames[0].json::<T>().unwrap_or_else(|error| panic!("what was sent cannot be read: {error:?}"));
    assert_eq!(encode_json(frame.kind, &value), sent, "what is sent again is the same");
    true
}

fn frames(sent: &[u8], size: usize) -> (Vec<Frame>, Option<String>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in sent.chunks(size.max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
    }
    (frames, None)
}

fn examples() -> Vec<Vec<u8>> {
    let requests = [
        r#""state""#,
        r#"{"create_container":{"container":"a","bundle":"/b","rootfs":{"path":"/r"},"stdio":{"pipe":{"stdin":true}},"descriptors":[]}}"#,
        r#"{"start_container":{"container":"a","limit":1000}}"#,
        r#"{"kill":{"container":"a","exec":"e","signal":15}}"#,
        r#""subscribe""#,
    ];
    let responses = [
        r#""ok""#,
        r#"{"pid":7}"#,
        r#"{"error":{"kind":"not_found","message":"no"}}"#,
        r#"{"exit":{"code":0,"at":"2026-01-01T00:00:00Z"}}"#,
        r#"{"pids":[1,2,3]}"#,
    ];
    let mut examples: Vec<Vec<u8>> =
        requests.iter().map(|text| encode(Kind::Request, text.as_bytes())).collect();
    examples.extend(responses.iter().map(|text| encode(Kind::Response, text.as_bytes())));
    examples.push(
        [encode(Kind::Stdout, b"out"), encode(Kind::Stderr, b"err"), encode(Kind::StdinClosed, b"")].concat(),
    );
    examples.push(encode(Kind::Resize, br#"{"width":80,"height":24}"#));
    examples
}
