//! Health checks.

use std::time::Duration;

use engine::container::{HealthTest, Healthcheck};

use crate::fault::Fault;
use crate::wire::container as wire;

/// No interval is shorter than a millisecond.
const LEAST: i64 = 1_000_000;

/// Reads a health check.
pub(crate) fn check(document: &wire::Healthcheck) -> Result<Healthcheck, Fault> {
    let time = |name: &str, value: i64| match value {
        0 => Ok(None),
        LEAST.. => Ok(Some(Duration::from_nanos(value.unsigned_abs()))),
        _ => Err(Fault::invalid(format!("{name} in Healthcheck cannot be less than 1ms"))),
    };
    let test = match document.test.split_first() {
        None => HealthTest::Inherit,
        Some((word, [])) if word.is_empty() => HealthTest::Inherit,
        Some((word, rest)) => match (word.as_str(), rest) {
            ("NONE", []) => HealthTest::Disabled,
            ("CMD", [_, ..]) => HealthTest::Command(rest.to_vec()),
            ("CMD-SHELL", [line]) => HealthTest::Shell(line.clone()),
            _ => return Err(Fault::invalid(format!("invalid test in Healthcheck: {:?}", document.test))),
        },
    };
    Ok(Healthcheck {
        test,
        interval: time("Interval", document.interval)?,
        timeout: time("Timeout", document.timeout)?,
        start_period: time("StartPeriod", document.start_period)?,
        start_interval: time("StartInterval", document.start_interval)?,
        retries: match u32::try_from(document.retries) {
            Ok(0) => None,
            Ok(retries) => Some(retries),
            Err(_) => return Err(Fault::invalid("Retries in Healthcheck cannot be negative")),
        },
    })
}

/// Writes a health check.
pub(crate) fn document(check: &Healthcheck) -> wire::Healthcheck {
    let time = |time: Option<Duration>| {
        time.map(|time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)).unwrap_or_default()
    };
    let test = match &check.test {
        HealthTest::Inherit => Vec::new(),
        HealthTest::Disabled => vec!["NONE".to_owned()],
        HealthTest::Command(words) => {
            std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect()
        }
        HealthTest::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
    };
    wire::Healthcheck {
        test,
        interval: time(check.interval),
        timeout: time(check.timeout),
        start_period: time(check.start_period),
        start_interval: time(check.start_interval),
        retries: check.retries.map_or(0, i64::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn round_trip(text: &str, expected: Result<&str, &str>) {
        let read: wire::Healthcheck = serde_json::from_str(text).expect("a health check");
        let written = check(&read).map(|check| serde_json::to_string(&document(&check)).expect("JSON"));
        assert_eq!(
            written.map_err(|fault| fault.message),
            expected.map(str::to_owned).map_err(str::to_owned)
        );
    }

    #[test]
    fn checks_are_read_and_written() {
        let full = r#"{"Test":["CMD-SHELL","true"],"Interval":1000000,"Retries":2}"#;
        round_trip(full, Ok(full));
        round_trip(r#"{"Test":["NONE"]}"#, Ok(r#"{"Test":["NONE"]}"#));
        round_trip("{}", Ok("{}"));
    }

    #[test]
    fn impossible_checks_are_refused() {
        round_trip(r#"{"Interval":5}"#, Err("Interval in Healthcheck cannot be less than 1ms"));
        round_trip(r#"{"Retries":-1}"#, Err("Retries in Healthcheck cannot be negative"));
    }
}
