//! Moments in queries: `since` and `until`.

use std::time::Duration;

use base::Timestamp;

use crate::fault::Fault;

/// Reads seconds since 1970 with an optional fraction, as clients send them; also RFC 3339 and a
/// duration (`10m`) that reaches back from `now`. `0` and nothing are no moment.
pub(crate) fn parse(name: &str, text: &str, now: Timestamp) -> Result<Option<Timestamp>, Fault> {
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    seconds(text).or_else(|| text.parse().ok()).or_else(|| before(now, text)).map(Some).ok_or_else(|| {
        Fault::invalid(format!(
            "invalid value for \"{name}\": failed to parse value as time or duration: \"{text}\""
        ))
    })
}

fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: i32 = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(whole, nanoseconds).ok()
}

/// So long before `now`; after it where the duration is negative.
fn before(now: Timestamp, duration: &str) -> Option<Timestamp> {
    let nanoseconds = base::duration::parse(duration).ok()?;
    let length = Duration::from_nanos(nanoseconds.unsigned_abs());
    if nanoseconds < 0 { now.checked_add(length).ok() } else { now.checked_sub(length).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let now = Timestamp::new(1_000_000, 0).expect("a moment");
        let parsed = parse("since", text, now).expect("a moment");
        assert_eq!(parsed.map(|at| at.to_string()).as_deref(), expected);
    }

    #[test]
    fn seconds_dates_and_durations_are_moments() {
        check("1136073600.000000001", Some("2006-01-01T00:00:00.000000001Z"));
        check("1136073600", Some("2006-01-01T00:00:00Z"));
        check("2006-01-01T00:00:00Z", Some("2006-01-01T00:00:00Z"));
        check("1h10m", Some("1970-01-12T12:36:40Z"));
        check("0", None);
        check("", None);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(parse("since", "yesterday", Timestamp::UNIX_EPOCH).is_err());
        assert!(parse("since", "1.2.3", Timestamp::UNIX_EPOCH).is_err());
    }
}
