//! Which parts of the cache are meant: `type==regular`, `id~=^a`, `description!=x`, `inuse`, `until=24h`, `!shared`.
//!
//! All filters of a list hold; in one, conditions that commas divide hold all.

use std::time::Duration;

use base::Timestamp;

use super::UsageRecord;
use crate::solve::SolveError;

/// Filters that were read.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// One of these, whose conditions hold all; all parts if there are none.
    conditions: Vec<Condition>,
}

#[derive(Debug)]
struct Condition {
    field: String,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Present,
    Absent,
    Equal(String),
    Unequal(String),
    /// It contains this, where the text is no more than letters; between `^` and `$` it is all of it.
    Like(String),
    OlderThan(Duration),
}

impl Filter {
    pub(super) fn parse(texts: &[String]) -> Result<Self, SolveError> {
        let mut conditions = Vec::new();
        for text in texts.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()) {
            conditions.push(condition(text)?);
        }
        Ok(Self { conditions })
    }

    pub(super) fn admits(&self, record: &UsageRecord, now: Timestamp) -> bool {
        self.conditions.iter().all(|condition| condition.admits(record, now))
    }
}

fn condition(text: &str) -> Result<Condition, SolveError> {
    let invalid = || SolveError::Invalid(format!("invalid filter: {text}"));
    let known = |field: &str| match field {
        "id" | "type" | "description" | "inuse" | "mutable" | "immutable" | "shared" | "private"
        | "parents" | "parent" => Ok(field.to_owned()),
        _ => Err(invalid()),
    };
    for (sign, make) in [
        ("!=", Test::Unequal as fn(String) -> Test),
        ("~=", Test::Like as fn(String) -> Test),
        ("==", Test::Equal as fn(String) -> Test),
    ] {
        if let Some((field, value)) = text.split_once(sign) {
            return Ok(Condition { field: known(field.trim())?, test: make(unquoted(value)) });
        }
    }
    if let Some((field, value)) = text.split_once('=') {
        if matches!(field, "until" | "unused-for") {
            let duration = duration(value).ok_or_else(invalid)?;
            return Ok(Condition { field: field.to_owned(), test: Test::OlderThan(duration) });
        }
        return Ok(Condition { field: known(field.trim())?, test: Test::Equal(unquoted(value)) });
    }
    match text.strip_prefix('!') {
        Some(field) => Ok(Condition { field: known(field)?, test: Test::Absent }),
        None => Ok(Condition { field: known(text)?, test: Test::Present }),
    }
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}

/// Reads `24h`, `1h30m`, `90s`.
fn duration(text: &str) -> Option<Duration> {
    let mut whole = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let after = &rest[end..];
        let unit = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        whole += number
            * match &after[..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &after[unit..];
    }
    Duration::try_from_secs_f64(whole).ok()
}

impl Condition {
    fn admits(&self, record: &UsageRecord, now: Timestamp) -> bool {
        let values: Vec<String> = match self.field.as_str() {
            "id" => vec![record.id.clone()],
            "type" => vec![record.kind.as_str().to_owned()],
            "description" => vec![record.description.clone()],
            "parents" | "parent" => record.parents.clone(),
            "inuse" => flag(record.in_use),
            "mutable" => flag(record.mutable),
            "immutable" => flag(!record.mutable),
            "shared" => flag(record.shared),
            "private" => flag(!record.shared),
            _ => Vec::new(),
        };
        match &self.test {
            Test::Present => values.iter().any(|value| !value.is_empty()),
            Test::Absent => !values.iter().any(|value| !value.is_empty()),
            Test::Equal(wanted) => values.iter().any(|value| value == wanted),
            Test::Unequal(wanted) => !values.iter().any(|value| value == wanted),
            Test::Like(wanted) => values.iter().any(|value| like(value, wanted)),
            Test::OlderThan(duration) => record.last_used.unwrap_or(record.created) < now - *duration,
        }
    }
}

fn flag(is: bool) -> Vec<String> {
    if is { vec!["true".to_owned()] } else { Vec::new() }
}

fn like(value: &str, wanted: &str) -> bool {
    let from_start = wanted.strip_prefix('^');
    let rest = from_start.unwrap_or(wanted);
    let to_end = rest.strip_suffix('$');
    let text = to_end.unwrap_or(rest);
    match (from_start.is_some(), to_end.is_some()) {
        (true, true) => value == text,
        (true, false) => value.starts_with(text),
        (false, true) => value.ends_with(text),
        (false, false) => value.contains(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::UsageKind;
    use super::*;

    fn record() -> UsageRecord {
        UsageRecord {
            id: "abc".to_owned(),
            parents: vec!["def".to_owned()],
            description: "[2/2] RUN make".to_owned(),
            kind: UsageKind::Regular,
            size: 1,
            created: "2026-01-01T00:00:00Z".parse().expect("a time"),
            last_used: None,
            uses: 0,
            in_use: false,
            shared: true,
            mutable: false,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: bool) {
        let filter = Filter::parse(&[text.to_owned()]).expect(text);
        let now = "2026-01-02T00:00:00Z".parse().expect("a time");
        assert_eq!(filter.admits(&record(), now), expected, "{text}");
    }

    #[test]
    fn conditions_are_of_what_a_record_says() {
        check("id=abc", true);
        check("id==ab", false);
        check("id~=^ab", true);
        check("type==regular", true);
        check("type!=regular", false);
        check("description~=RUN", true);
        check("parents==def", true);
        check("inuse", false);
        check("!inuse,shared", true);
        check("inuse==true", false);
        check("private", false);
        check("until=23h", true);
        check("until=24h1s", false);
        check("unused-for=1d", false);
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in ["colour=red", "until=soon", "!colour"] {
            assert!(Filter::parse(&[text.to_owned()]).is_err(), "{text}");
        }
    }
}
