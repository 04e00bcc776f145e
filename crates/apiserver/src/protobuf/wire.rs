//! The wire form of protocol buffers: numbered fields, one after another.

use super::ProtobufError;

/// A message or text, not yet looked into.
pub(crate) type Bytes<'a> = &'a [u8];

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire<'a> {
    Number(u64),
    Double(u64),
    Single(u32),
    Bytes(Bytes<'a>),
}

/// The fields of a message, in order; ends after the first that is malformed.
pub(crate) fn fields(mut rest: Bytes<'_>) -> impl Iterator<Item = Result<(u64, Wire<'_>), ProtobufError>> {
    let mut failed = false;
    std::iter::from_fn(move || {
        if rest.is_empty() || failed {
            return None;
        }
        let field = field(&mut rest).ok_or(ProtobufError::Malformed);
        failed = field.is_err();
        Some(field)
    })
}

/// The numbers of a packed field.
pub(crate) fn varints(mut rest: Bytes<'_>) -> impl Iterator<Item = Result<u64, ProtobufError>> {
    let mut failed = false;
    std::iter::from_fn(move || {
        if rest.is_empty() || failed {
            return None;
        }
        let number = varint(&mut rest).ok_or(ProtobufError::Malformed);
        failed = number.is_err();
        Some(number)
    })
}

fn field<'a>(rest: &mut Bytes<'a>) -> Option<(u64, Wire<'a>)> {
    let tag = varint(rest)?;
    let wire = match tag & 7 {
        0 => Wire::Number(varint(rest)?),
        1 => Wire::Double(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?)),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Wire::Bytes(take(rest, length)?)
        }
        5 => Wire::Single(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?)),
        _ => return None,
    };
    Some((tag >> 3, wire))
}

fn varint(rest: &mut Bytes<'_>) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(rest: &mut Bytes<'a>, length: usize) -> Option<Bytes<'a>> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}
