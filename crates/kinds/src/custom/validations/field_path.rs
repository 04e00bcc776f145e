//! The field that a rule says it is about: `.spec.replicas`, `.labels['a/b']`.

use model::structural::Structural;

/// The field as errors name it. [`None`] if a schema has no such field.
pub(super) fn of(written: &str, schema: &Structural) -> Option<String> {
    let mut place = String::new();
    let mut schema = schema;
    let mut rest = written;
    while !rest.is_empty() {
        let name;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[', ']']).unwrap_or(after.len());
            name = after[..end].to_owned();
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix("['") {
            let mut text = String::new();
            let mut characters = after.char_indices();
            let end = loop {
                match characters.next()? {
                    (at, '\'') => break at + 1,
                    (_, '\\') => text.push(match characters.next()?.1 {
                        'a' => '\u{7}',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'v' => '\u{b}',
                        quoted @ ('\'' | '\\') => quoted,
                        _ => return None,
                    }),
                    (_, other) => text.push(other),
                }
            };
            name = text;
            rest = after[end..].strip_prefix(']')?;
        } else {
            return None;
        }
        if schema.properties.is_empty() {
            schema = schema.additional()?;
            place.push_str(&format!("[{name}]"));
        } else {
            schema = schema.property(&name)?;
            if !place.is_empty() {
                place.push('.');
            }
            place.push_str(&name);
        }
    }
    (!place.is_empty()).then_some(place)
}
