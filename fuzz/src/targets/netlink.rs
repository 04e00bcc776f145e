//! What the kernel says over netlink.

use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "netlink",
    shape: Shape::Netlink,
    examples,
    words: &["filter\0", "input\0", "veth\0"],
    read,
    turns: 15_000,
};

fn read(received: &[u8]) -> bool {
    net::fuzzing::netlink(received);
    received.len() >= 16
}

fn examples() -> Vec<Vec<u8>> {
    let u32 = |value: u32| value.to_ne_bytes().to_vec();
    let be32 = |value: u32| value.to_be_bytes().to_vec();
    let nest = |kind: u16, inner: &[Vec<u8>]| attribute(kind | 1 << 15, &inner.concat());
    const NEW_LINK: u16 = 16;
    const NEW_ADDRESS: u16 = 20;
    const NEW_ROUTE: u16 = 24;
    const ERROR: u16 = 2;
    const NEW_CHAIN: u16 = 10 << 8 | 3;
    const NEW_RULE: u16 = 10 << 8 | 6;
    const NEW_FLOW: u16 = 1 << 8;
    let index = [&[0; 4][..], &5u32.to_ne_bytes(), &[0; 8]].concat();
    let link = [
        attribute(3, b"eth0\0"),
        attribute(1, &[2, 0, 0, 0, 0, 1]),
        attribute(10, &u32(7)),
        nest(18, &[attribute(1, b"veth\0"), nest(5, &[attribute(33, &[1])])]),
        attribute(20, b"alias\0"),
    ];
    let address = [attribute(1, &[10, 0, 0, 1]), attribute(2, &[10, 0, 0, 1]), attribute(3, b"eth0\0")];
    let route = [attribute(1, &[10, 0, 0, 0]), attribute(4, &u32(5)), attribute(15, &u32(254))];
    let hook = nest(4, &[attribute(1, &be32(1)), attribute(2, &be32(0))]);
    let chain = [
        attribute(1, b"filter\0"),
        attribute(3, b"input\0"),
        hook,
        attribute(5, &be32(0)),
        attribute(7, b"filter\0"),
    ];
    let verdict = nest(2, &[attribute(1, &be32(u32::MAX - 2)), attribute(2, b"other\0")]);
    let immediate =
        nest(1, &[attribute(1, b"immediate\0"), nest(2, &[attribute(1, &be32(0)), nest(2, &[verdict])])]);
    let target = nest(1, &[attribute(1, b"target\0"), nest(2, &[attribute(1, b"REJECT\0")])]);
    let rule = [
        attribute(1, b"filter\0"),
        attribute(2, b"input\0"),
        attribute(3, &[0, 0, 0, 0, 0, 0, 0, 9]),
        nest(4, &[nest(1, &[attribute(1, b"counter\0")]), immediate, target]),
        attribute(7, b"\0\x0agantry: a\0"),
    ];
    let tuple = |kind, source: [u8; 4], destination: [u8; 4]| {
        let ip = nest(1, &[attribute(1, &source), attribute(2, &destination)]);
        nest(kind, &[ip, nest(2, &[attribute(1, &[17]), attribute(2, &[0, 53]), attribute(3, &[1, 0])])])
    };
    let flow = [tuple(1, [10, 0, 0, 1], [10, 0, 0, 2]), tuple(2, [10, 0, 0, 2], [10, 0, 0, 1])];
    let refusal =
        [&(-17i32).to_ne_bytes()[..], &20u32.to_ne_bytes(), &[0; 16], &attribute(1, b"it is there\0")]
            .concat();
    vec![
        message(NEW_LINK, 0, &index, &link),
        message(NEW_ADDRESS, 0, &[2, 24, 0, 0, 5, 0, 0, 0], &address),
        message(NEW_ROUTE, 0, &[2, 8, 0, 0, 254, 0, 0, 0, 0, 0, 0, 0], &route),
        message(NEW_CHAIN, 0, &[2, 0, 0, 0], &chain),
        message(NEW_RULE, 0, &[1, 0, 0, 0], &rule),
        message(NEW_FLOW, 0, &[2, 0, 0, 0], &flow),
        // With the kernel's words, and what it refuses cut off.
        message(ERROR, 0x300, &refusal, &[]),
    ]
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).expect("values here are short");
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, flags: u16, fixed: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
    let attributes = attributes.concat();
    let length = u32::try_from(16 + fixed.len() + attributes.len()).expect("messages here are short");
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8], fixed, &attributes]
        .concat()
}
