//! Frames of SPDY, as kubectl's streams send them.

use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "spdy",
    shape: Shape::Plain,
    examples,
    words: &["\0\0\0\u{1}", "\0\0\0\u{8}", "streamtype", "port", "\0\0\0\u{1}\u{1}\0\0\u{4}"],
    read,
    turns: 10_000,
};

fn read(sent: &[u8]) -> bool {
    let whole = apiserver::fuzzing::spdy(sent, usize::MAX);
    let cut = apiserver::fuzzing::spdy(sent, 7);
    assert_eq!(whole, cut, "what is read does not depend on how it is cut");
    !whole.0.is_empty()
}

fn examples() -> Vec<Vec<u8>> {
    let control = |kind: u8, flags: u8, content: &[u8]| {
        let length = u32::try_from(content.len()).expect("short here");
        [&[0x80, 3, 0, kind, flags][..], &length.to_be_bytes()[1..], content].concat()
    };
    let data = |stream: u8, flags: u8, content: &[u8]| {
        let length = u32::try_from(content.len()).expect("short here");
        [&[0, 0, 0, stream, flags][..], &length.to_be_bytes()[1..], content].concat()
    };
    let headers = |pairs: &[(&str, &str)]| {
        let mut plain = u32::try_from(pairs.len()).expect("few").to_be_bytes().to_vec();
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(u32::try_from(text.len()).expect("short").to_be_bytes());
            plain.extend(text.as_bytes());
        }
        plain
    };
    // Blocks that are stored, not compressed: their bytes can be changed. The dictionary is named, and not used.
    let stored = |plain: &[u8]| {
        let length = u16::try_from(plain.len()).expect("short here");
        [&[0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2, 0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), plain]
            .concat()
    };
    let open =
        |stream: u8, block: &[u8]| control(1, 0, &[&[0, 0, 0, stream, 0, 0, 0, 0, 0, 0][..], block].concat());
    let block = stored(&headers(&[("streamType", "data"), ("port", "80"), ("requestID", "0")]));
    vec![
        [open(1, &block), data(1, 0, b"some data"), data(1, 1, b"")].concat(),
        [control(6, 0, &[0, 0, 0, 1]), control(3, 0, &[0, 0, 0, 1, 0, 0, 0, 5]), control(7, 0, &[0; 8])]
            .concat(),
        [control(2, 1, &[0, 0, 0, 1, 1, 2, 3]), control(9, 0, &[7; 20]), data(3, 0, &[9; 300])].concat(),
    ]
}
