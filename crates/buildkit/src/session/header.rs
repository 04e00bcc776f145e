//! Text that heads of calls cannot hold, as those that can.

/// Escapes `text` as values of a query are.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte.into()),
            b' ' => escaped.push('+'),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_not_ascii_is_escaped() {
        assert_eq!(super::escape("ä b/**"), "%C3%A4+b%2F%2A%2A");
    }
}
