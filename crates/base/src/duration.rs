//! Durations as Go writes them, which is how Docker's and Kubernetes' clients do: `1h30m`, `-1.5s`, `0`.

use std::time::Duration;

/// Nanoseconds in each unit.
const UNITS: &[(&str, i128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Why a text is no duration, in Go's words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DurationError {
    /// It has no numbers where they belong, or is longer than Go's durations are (292 years).
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number has no unit.
    #[error("time: missing unit in duration {0:?}")]
    NoUnit(String),
    /// A unit that there is not.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// What stands in its place.
        unit: String,
        /// All of the text.
        text: String,
    },
}

/// Reads a duration, in nanoseconds: an optional sign, then numbers with an optional fraction, each with its
/// unit; `0` needs none. Parts of a nanosecond are dropped.
///
/// ```
/// assert_eq!(base::duration::parse("1m30.5s"), Ok(90_500_000_000));
/// assert!(base::duration::parse("10").is_err());
/// ```
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let unit = match UNITS.iter().find(|(unit, _)| *unit == name) {
            Some((_, unit)) => *unit,
            None if name.is_empty() => return Err(DurationError::NoUnit(text.to_owned())),
            None => return Err(DurationError::UnknownUnit { unit: name.to_owned(), text: text.to_owned() }),
        };
        let part = scaled(whole, fraction, unit).and_then(|part| total.checked_add(part));
        total = part.ok_or_else(invalid)?;
        rest = after;
    }
    i64::try_from(sign * total).map_err(|_| invalid())
}

/// As Go writes a duration: `1h0m5s`, `1.5s`, `50ms`.
pub fn text(duration: Duration) -> String {
    let small = [("ns", 1_u128), ("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    let decimal = |value: u128, unit: u128| {
        let (whole, part) = (value / unit, value % unit);
        let places = unit.ilog10() as usize;
        let text = format!("{whole}.{part:0places$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if nanoseconds < 1_000_000_000 {
        let (name, unit) = small.into_iter().rev().find(|(_, unit)| nanoseconds >= *unit).unwrap_or(small[0]);
        return if unit == 1 { format!("{nanoseconds}ns") } else { decimal(nanoseconds, unit) + name };
    }
    let (minutes, rest) = (nanoseconds / 60_000_000_000, nanoseconds % 60_000_000_000);
    let seconds = decimal(rest, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// The digits that a text begins with, and the rest.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// So many units; none where they are too many by far. A fraction is rounded as Go does it, by way of binary
/// fractions, of as many digits as fit into 63 bits.
fn scaled(whole: &str, fraction: &str, unit: i128) -> Option<i128> {
    let whole = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? };
    let (mut digits, mut places) = (0_u64, 1_f64);
    for digit in fraction.bytes().map(|digit| u64::from(digit - b'0')) {
        if digits > i64::MAX as u64 / 10 || digits * 10 + digit > 1 << 63 {
            break;
        }
        digits = digits * 10 + digit;
        places *= 10.0;
    }
    let part = digits as f64 * (unit as f64 / places);
    whole.checked_mul(unit)?.checked_add(part as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<i64, &str>) {
        let parsed = parse(text).map_err(|error| error.to_string());
        assert_eq!(parsed, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn durations_are_written_as_in_go() {
        let check = |nanoseconds: u64, expected: &str| {
            assert_eq!(super::text(Duration::from_nanos(nanoseconds)), expected);
        };
        check(0, "0s");
        check(7, "7ns");
        check(1_500, "1.5µs");
        check(50_000_000, "50ms");
        check(999_999_999, "999.999999ms");
        check(1_500_000_000, "1.5s");
        check(30_000_000_000, "30s");
        check(60_000_000_000, "1m0s");
        check(3_605_010_000_000, "1h0m5.01s");
    }

    #[test]
    fn durations_are_those_of_go() {
        check("0", Ok(0));
        check("-0", Ok(0));
        check("5s", Ok(5_000_000_000));
        check("-5.s", Ok(-5_000_000_000));
        check("+.5s", Ok(500_000_000));
        check("1h2m3s4ms5us6ns", Ok(3_723_004_005_006));
        check("12µs0.3μs", Ok(12_300));
        check("0.3333333333333333333h", Ok(1_200_000_000_000));
        check("0.100000000000000000000h", Ok(360_000_000_000));
        check("9223372036854775807ns", Ok(i64::MAX));
        check("-9223372036854775808ns", Ok(i64::MIN));
    }

    #[test]
    fn what_is_none_is_told_in_words_of_go() {
        for text in ["", "-", "s", ".s", "+-5s", "1s ", "9223372036854775808ns", "3000000h"] {
            if text == "1s " {
                check(text, Err("time: unknown unit \"s \" in duration \"1s \""));
            } else {
                check(text, Err(&format!("time: invalid duration {text:?}")));
            }
        }
        check("10", Err("time: missing unit in duration \"10\""));
        check("1h30", Err("time: missing unit in duration \"1h30\""));
        check("1..5s", Err("time: missing unit in duration \"1..5s\""));
        check("1d", Err("time: unknown unit \"d\" in duration \"1d\""));
        check(
            &format!("{}s", "9".repeat(60)),
            Err(&format!("time: invalid duration \"{}s\"", "9".repeat(60))),
        );
    }
}
