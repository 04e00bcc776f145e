//! Protobuf: fields are removed, doubled, exchanged, renumbered, and lengths stay right.

use fastrand::Rng;

/// Messages are looked into this deep.
const DEPTH: usize = 12;
const LONGEST: usize = 256 << 10;

#[derive(Clone)]
struct Field {
    number: u64,
    value: Wire,
}

#[derive(Clone)]
enum Wire {
    Number(u64),
    Eight([u8; 8]),
    Four([u8; 4]),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

pub(super) fn change(input: &[u8], other: &[u8], skipped: usize, rng: &mut Rng) -> Option<Vec<u8>> {
    let (start, message) = input.split_at_checked(skipped)?;
    let mut fields = read(message, 0)?;
    let others = other.get(skipped..).and_then(|other| read(other, 0)).unwrap_or_default();
    // Down to a message that is changed.
    let mut place = &mut fields;
    loop {
        let inner: Vec<usize> = place
            .iter()
            .enumerate()
            .filter(|(_, field)| matches!(field.value, Wire::Message(_)))
            .map(|(at, _)| at)
            .collect();
        if inner.is_empty() || rng.u8(..4) == 0 {
            break;
        }
        let at = inner[rng.usize(..inner.len())];
        let Wire::Message(fields) = &mut place[at].value else { return None };
        place = fields;
    }
    let at = if place.is_empty() { return insert(start, fields, rng) } else { rng.usize(..place.len()) };
    match rng.u8(..9) {
        0 => drop(place.remove(at)),
        1 => {
            let field = place[at].clone();
            for _ in 0..rng.usize(1..30) {
                place.insert(at, field.clone());
            }
        }
        2 => place[at].number = rng.u64(1..40),
        3 => rng.shuffle(place),
        4 if !others.is_empty() => place.insert(at, others[rng.usize(..others.len())].clone()),
        // A message within itself.
        5 => {
            let mut inside = place.clone();
            for _ in 0..rng.usize(1..200) {
                inside = vec![Field { number: place[at].number, value: Wire::Message(inside) }];
            }
            *place = inside;
        }
        6 => {
            let bytes = (0..rng.usize(..24)).map(|_| rng.u8(..)).collect();
            place.insert(at, Field { number: rng.u64(1..40), value: Wire::Bytes(bytes) });
        }
        _ => match &mut place[at].value {
            Wire::Number(number) => *number = super::number(rng),
            Wire::Eight(bytes) => *bytes = super::number(rng).to_le_bytes(),
            Wire::Four(bytes) => bytes.copy_from_slice(&super::number(rng).to_le_bytes()[..4]),
            Wire::Bytes(bytes) if bytes.is_empty() || rng.u8(..3) == 0 => {
                bytes.extend((0..rng.usize(1..16)).map(|_| rng.u8(..)));
            }
            Wire::Bytes(bytes) => {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
                bytes.truncate(rng.usize(..=bytes.len() * 2));
            }
            value => *value = Wire::Number(super::number(rng)),
        },
    }
    let mut out = start.to_vec();
    write(&fields, &mut out);
    (out.len() <= LONGEST).then_some(out)
}

/// A field where there was none.
fn insert(start: &[u8], mut fields: Vec<Field>, rng: &mut Rng) -> Option<Vec<u8>> {
    fields.push(Field { number: rng.u64(1..40), value: Wire::Number(super::number(rng)) });
    let mut out = start.to_vec();
    write(&fields, &mut out);
    Some(out)
}

/// The fields of a message; nothing if it is none.
fn read(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            1 => Wire::Eight(take(&mut bytes, 8)?.try_into().ok()?),
            5 => Wire::Four(take(&mut bytes, 4)?.try_into().ok()?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let inner = take(&mut bytes, length)?;
                match read(inner, depth + 1).filter(|fields| depth < DEPTH && !fields.is_empty()) {
                    Some(fields) => Wire::Message(fields),
                    None => Wire::Bytes(inner.to_vec()),
                }
            }
            _ => return None,
        };
        if tag >> 3 == 0 {
            return None;
        }
        fields.push(Field { number: tag >> 3, value });
    }
    Some(fields)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn write(fields: &[Field], out: &mut Vec<u8>) {
    for Field { number, value } in fields {
        let tag = |kind: u64| number << 3 | kind;
        match value {
            Wire::Number(value) => {
                write_varint(tag(0), out);
                write_varint(*value, out);
            }
            Wire::Eight(bytes) => {
                write_varint(tag(1), out);
                out.extend(bytes);
            }
            Wire::Four(bytes) => {
                write_varint(tag(5), out);
                out.extend(bytes);
            }
            Wire::Bytes(bytes) => {
                write_varint(tag(2), out);
                write_varint(bytes.len() as u64, out);
                out.extend(bytes);
            }
            Wire::Message(fields) => {
                let mut inner = Vec::new();
                write(fields, &mut inner);
                write_varint(tag(2), out);
                write_varint(inner.len() as u64, out);
                out.extend(inner);
            }
        }
    }
}

fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
