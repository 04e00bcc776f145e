//! Kubernetes' two ways of writing a moment: `Time` to the second and `MicroTime` to the microsecond.

pub use jiff::Timestamp;

/// Writes a moment as `metav1.Time` does: `2026-01-02T03:04:05Z`.
pub fn format(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Writes a moment as `metav1.MicroTime` does: `2026-01-02T03:04:05.000006Z`.
pub fn format_micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads an RFC 3339 moment, as Kubernetes accepts it (any offset, any fraction).
///
/// RFC 3339 wants a `T`, seconds and an offset, which tells it from the looser forms that jiff takes.
pub fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 20
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && bytes[10] == b'T'
        && bytes[13] == b':'
        && bytes[16] == b':'
        && !text.contains('[');
    if !shaped {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_cut_to_their_precision() {
        let at = parse("2026-01-02T05:04:05.123456789+02:00").expect("valid");
        assert_eq!(format(at), "2026-01-02T03:04:05Z");
        assert_eq!(format_micro(at), "2026-01-02T03:04:05.123456Z");
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for text in
            ["", "2026-01-02", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05", "yesterday, around noon"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
