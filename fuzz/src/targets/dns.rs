//! Questions to the server of names, and other servers' answers.

use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "dns",
    shape: Shape::Plain,
    examples,
    words: &[
        "\u{3}web",
        "\u{7}default",
        "\u{3}svc",
        "\u{7}cluster",
        "\u{5}local",
        "\u{0}",
        "\u{7}in-addr",
        "\u{4}arpa",
    ],
    read,
    turns: 10_000,
};

fn read(message: &[u8]) -> bool {
    net::fuzzing::dns(message);
    message.len() > 12 && message[4..6] == [0, 1]
}

fn examples() -> Vec<Vec<u8>> {
    const A: u16 = 1;
    const PTR: u16 = 12;
    const TXT: u16 = 16;
    const SRV: u16 = 33;
    const ANY: u16 = 255;
    let mut examples: Vec<Vec<u8>> = [
        ("web.default.svc.cluster.local", A),
        ("set.default.svc.cluster.local", A),
        ("set-0.set.default.svc.cluster.local", A),
        ("_http._tcp.web.default.svc.cluster.local", SRV),
        ("out.other.svc.cluster.local", A),
        ("10-42-0-7.default.pod.cluster.local", A),
        ("dns-version.cluster.local", TXT),
        ("1.0.43.10.in-addr.arpa", PTR),
        ("web.default.svc.cluster.local", ANY),
    ]
    .into_iter()
    .map(|(name, kind)| question(name, kind))
    .collect();
    // With what a client says of itself.
    let mut sized = question("set.default.svc.cluster.local", A);
    sized[11] = 1;
    sized.extend([0, 0, 41, 2, 0, 0, 0, 0, 0, 0, 0]);
    examples.push(sized);
    // An answer: the name again by a reference, an address for a minute.
    let mut answer = question("example.org", A);
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[7] = 1;
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    examples.push(answer);
    // That there is nothing, from the authority.
    let mut nothing = question("example.org", A);
    nothing[2..4].copy_from_slice(&[0x81, 0x83]);
    nothing[9] = 1;
    nothing.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
    nothing.extend([0, 0, 0, 1].repeat(5));
    examples.push(nothing);
    examples
}

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("labels are short"));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}
