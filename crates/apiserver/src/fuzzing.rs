//! Where bytes of strangers come in, for the targets in `fuzz/`.

use model::GroupVersionKind;

use crate::{decode, protobuf, stream};

/// Reads frames and header blocks, in one piece and in many.
pub fn spdy(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else { return };
    let whole = stream::fuzzing::frames(std::iter::once(data));
    let pieces = stream::fuzzing::frames(data.chunks(usize::from(*cut).max(1)));
    assert_eq!(whole, pieces);
}

/// Reads a body.
pub fn protobuf(data: &[u8]) {
    let _ = protobuf::document(data);
}

/// Reads a body, then by the schema of the kind that it says it is.
pub fn document(data: &[u8]) {
    let Ok(value) = decode::document(data) else { return };
    let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let (kind, version) = (field("kind"), field("apiVersion"));
    let (group, version) = version.rsplit_once('/').unwrap_or(("", &version));
    let kind = GroupVersionKind::new(group, version, kind);
    if let Some(schema) = model::schema::builtin(&kind) {
        let _ = model::decode::value(&schema, value);
    }
}
