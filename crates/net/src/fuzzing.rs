//! Where bytes of strangers come in, for the targets in `fuzz/`.

/// Reads a question, and an answer of another server.
pub fn dns(data: &[u8]) {
    crate::dns::fuzzing::read(data);
}

/// Walks through attributes, nested ones too.
pub fn netlink(data: &[u8]) {
    walk(data, 0);
}

fn walk(data: &[u8], depth: usize) {
    use crate::netlink::{Attributes, attribute_text, attribute_u32};
    let mut length = 0;
    for (kind, value) in Attributes::new(data) {
        length += value.len();
        assert!(length <= data.len(), "attributes do not overlap");
        let _ = (attribute_u32(value), attribute_text(value), Attributes::new(data).find(kind));
        if depth < 4 {
            walk(value, depth + 1);
        }
    }
}
