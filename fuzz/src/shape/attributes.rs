//! Netlink: attributes are removed, doubled, exchanged, and lengths stay right, of attributes and of messages.

use fastrand::Rng;

const HEADER: usize = 16;
/// The fixed parts that families put before their attributes.
const FIXED: [usize; 4] = [4, 8, 12, 16];
const DEPTH: usize = 6;
const LONGEST: usize = 60_000;

#[derive(Clone)]
struct Attribute {
    kind: u16,
    value: Value,
}

#[derive(Clone)]
enum Value {
    Bytes(Vec<u8>),
    Nest(Vec<Attribute>),
}

pub(super) fn change(input: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let length = usize::try_from(u32::from_ne_bytes(input.get(..4)?.try_into().ok()?)).ok()?;
    let fixed = HEADER + FIXED[rng.usize(..FIXED.len())];
    let mut attributes = read(input.get(fixed..length)?, 0)?;
    let mut place = &mut attributes;
    loop {
        let nests: Vec<usize> = place
            .iter()
            .enumerate()
            .filter(|(_, one)| matches!(one.value, Value::Nest(_)))
            .map(|(at, _)| at)
            .collect();
        if nests.is_empty() || rng.u8(..3) == 0 {
            break;
        }
        let at = nests[rng.usize(..nests.len())];
        let Value::Nest(inner) = &mut place[at].value else { return None };
        place = inner;
    }
    if place.is_empty() {
        return None;
    }
    let at = rng.usize(..place.len());
    match rng.u8(..6) {
        0 => drop(place.remove(at)),
        1 => place.insert(at, place[at].clone()),
        2 => place[at].kind = rng.u16(..40) | if rng.bool() { 1 << 15 } else { 0 },
        3 => rng.shuffle(place),
        4 => {
            let inner = place.clone();
            place[at].value = Value::Nest(inner);
        }
        _ => match &mut place[at].value {
            Value::Bytes(bytes) => {
                let number = super::number(rng).to_ne_bytes();
                *bytes = number[..rng.usize(..=8)].to_vec();
            }
            value => *value = Value::Bytes((0..rng.usize(..12)).map(|_| rng.u8(..)).collect()),
        },
    }
    let mut message = input[..fixed].to_vec();
    write(&attributes, &mut message);
    if message.len() > LONGEST {
        return None;
    }
    let written = u32::try_from(message.len()).ok()?;
    message[..4].copy_from_slice(&written.to_ne_bytes());
    if rng.u8(..4) == 0 {
        message[4..6].copy_from_slice(&(super::number(rng) as u16).to_ne_bytes());
    }
    message.resize(message.len().next_multiple_of(4), 0);
    // What followed stays, or another message does.
    message.extend(if rng.bool() {
        input.get(length.next_multiple_of(4)..).unwrap_or_default()
    } else {
        other
    });
    message.truncate(LONGEST);
    Some(message)
}

fn read(mut bytes: &[u8], depth: usize) -> Option<Vec<Attribute>> {
    let mut attributes = Vec::new();
    while !bytes.is_empty() {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        let nest = read(value, depth + 1).filter(|inner| depth < DEPTH && !inner.is_empty());
        let value = nest.map_or_else(|| Value::Bytes(value.to_vec()), Value::Nest);
        attributes.push(Attribute { kind, value });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(attributes)
}

fn write(attributes: &[Attribute], out: &mut Vec<u8>) {
    for Attribute { kind, value } in attributes {
        let start = out.len();
        out.extend([0; 2]);
        out.extend(kind.to_ne_bytes());
        match value {
            Value::Bytes(bytes) => out.extend(bytes),
            Value::Nest(inner) => write(inner, out),
        }
        // What is longer than can be said is cut by whoever reads it.
        let length = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
        out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        out.resize(out.len().next_multiple_of(4), 0);
    }
}
