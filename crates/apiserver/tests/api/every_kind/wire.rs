//! Reads as much of the protobuf form as it takes to compare messages.

/// The message in a body, which must say what it is.
#[track_caller]
pub(super) fn unwrap(body: &[u8], api_version: &str, kind: &str) -> Vec<u8> {
    let envelope = body.strip_prefix(b"k8s\0").expect("it begins as every body does");
    let fields = fields(envelope);
    let meta = self::fields(find(&fields, 1).expect("it says what it is"));
    let text = |number| String::from_utf8_lossy(find(&meta, number).unwrap_or_default()).into_owned();
    assert_eq!((text(1).as_str(), text(2).as_str()), (api_version, kind));
    find(&fields, 2).unwrap_or_default().to_vec()
}

/// The items of a list.
pub(super) fn items(list: &[u8]) -> Vec<Vec<u8>> {
    fields(list).into_iter().filter(|(number, _)| *number == 2).map(|(_, item)| item.to_vec()).collect()
}

/// The name of an object.
pub(super) fn name(object: &[u8]) -> String {
    let object = fields(object);
    let metadata = fields(find(&object, 1).expect("it has metadata"));
    String::from_utf8_lossy(find(&metadata, 1).expect("it has a name")).into_owned()
}

/// The first event of a watch: its type, and the body of the object.
#[track_caller]
pub(super) fn event(frames: &[u8]) -> (String, Vec<u8>) {
    let (length, rest) = frames.split_at(4);
    let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
    let event = fields(&rest[..length]);
    let object = fields(find(&event, 2).expect("it has an object"));
    let kind = String::from_utf8_lossy(find(&event, 1).expect("it has a type")).into_owned();
    (kind, find(&object, 1).unwrap_or_default().to_vec())
}

fn find<'a>(fields: &[(u64, &'a [u8])], number: u64) -> Option<&'a [u8]> {
    fields.iter().find(|(found, _)| *found == number).map(|(_, bytes)| *bytes)
}

/// The fields of a message, those that hold numbers as nothing.
fn fields(mut rest: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        let length = match tag & 7 {
            0 => {
                varint(&mut rest);
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)).expect("it fits"),
            other => panic!("no field is of type {other}"),
        };
        let (bytes, left) = rest.split_at(length);
        rest = left;
        fields.push((tag >> 3, bytes));
    }
    fields
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = rest[0];
        *rest = &rest[1..];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}
