//! How a container's output is kept.

use engine::container::LogOptions;

use crate::fault::Fault;
use crate::wire::container::LogConfig;

/// Options that only say what log lines carry with them.
const NOTES: &[&str] =
    &["compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"];

/// Reads a log configuration; none where it names neither driver nor options.
pub(crate) fn options(document: &LogConfig, usual: &LogOptions) -> Result<Option<LogOptions>, Fault> {
    if document.kind.is_empty() && document.config.is_empty() {
        return Ok(None);
    }
    let driver = if document.kind.is_empty() { usual.driver.as_str() } else { document.kind.as_str() };
    if !matches!(driver, "json-file" | "local" | "none") {
        return Err(Fault::invalid(format!("logger: no log driver named '{driver}' is registered")));
    }
    let mut options =
        LogOptions { driver: driver.to_owned(), options: document.config.clone(), ..usual.clone() };
    for (name, value) in &document.config {
        let invalid = || Fault::invalid(format!("invalid value '{value}' for log opt '{name}'"));
        match name.as_str() {
            "max-size" => options.max_size = bytes(value).ok_or_else(invalid)?,
            "max-file" => {
                let files: u32 = value.parse().map_err(|_| invalid())?;
                if files == 0 {
                    return Err(Fault::invalid("max-file cannot be less than 1"));
                }
                options.max_files = Some(files);
            }
            name if NOTES.contains(&name) => {}
            _ => return Err(Fault::invalid(format!("unknown log opt '{name}' for {driver} log driver"))),
        }
    }
    Ok(Some(options))
}

/// Writes log options.
pub(crate) fn document(options: &LogOptions) -> LogConfig {
    LogConfig { kind: options.driver.clone(), config: options.options.clone() }
}

/// Reads `10m`, `1.5g`, `1024`; `-1` is no limit. The outer none is nonsense.
fn bytes(text: &str) -> Option<Option<u64>> {
    if text == "-1" {
        return Some(None);
    }
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches("ib").trim_end_matches('b');
    let (number, scale) = match number.chars().last()? {
        'k' => (&number[..number.len() - 1], 1u64 << 10),
        'm' => (&number[..number.len() - 1], 1 << 20),
        'g' => (&number[..number.len() - 1], 1 << 30),
        't' => (&number[..number.len() - 1], 1 << 40),
        _ => (number, 1),
    };
    let number: f64 = number.trim().parse().ok()?;
    (number > 0.0).then_some(Some((number * scale as f64) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Driver, size and number of files.
    type Read<'a> = (&'a str, Option<u64>, Option<u32>);

    #[track_caller]
    fn check(document: &str, expected: Result<Option<Read<'_>>, &str>) {
        let document: LogConfig = serde_json::from_str(document).expect("a log configuration");
        let read =
            options(&document, &LogOptions { max_size: None, max_files: Some(1), ..LogOptions::default() });
        let read = read.map(|read| read.map(|read| (read.driver, read.max_size, read.max_files)));
        let expected =
            expected.map(|some| some.map(|(driver, size, files)| (driver.to_owned(), size, files)));
        assert_eq!(read.map_err(|fault| fault.message), expected.map_err(str::to_owned));
    }

    #[test]
    fn sizes_and_numbers_are_read() {
        check("{}", Ok(None));
        check(r#"{"Type":"none"}"#, Ok(Some(("none", None, Some(1)))));
        check(
            r#"{"Type":"json-file","Config":{"max-size":"10m","max-file":"3"}}"#,
            Ok(Some(("json-file", Some(10 << 20), Some(3)))),
        );
        check(r#"{"Config":{"max-size":"1kb"}}"#, Ok(Some(("json-file", Some(1024), Some(1)))));
    }

    #[test]
    fn what_is_not_kept_is_refused() {
        let refused = "logger: no log driver named 'syslog' is registered";
        check(r#"{"Type":"syslog"}"#, Err(refused));
        check(r#"{"Config":{"foo":"1"}}"#, Err("unknown log opt 'foo' for json-file log driver"));
        check(r#"{"Config":{"max-size":"big"}}"#, Err("invalid value 'big' for log opt 'max-size'"));
    }
}
