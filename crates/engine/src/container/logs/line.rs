//! One line of a log file: `<RFC 3339 time> <stdout|stderr> <F|P>[:…] <text>`, or
//! `{"log":"<text>","stream":"<stdout|stderr>","time":"<RFC 3339 time>"}`. One file may have both: a container that
//! was made by an earlier version goes on with its own.

use base::Timestamp;
use bytes::Bytes;

use super::{LogLine, LogQuery};
use crate::stream::OutputKind;

/// Reads one line, which has its line end. What is no log line gives nothing: a file that was cut
/// off by a full disk must not hide the rest.
pub(super) fn parse(line: &Bytes) -> Option<LogLine> {
    let whole = line.strip_suffix(b"\n")?;
    if whole.first() == Some(&b'{') {
        return parse_json(whole);
    }
    let mut parts = whole.splitn(4, |&byte| byte == b' ');
    let at: Timestamp = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let stream = match parts.next()? {
        b"stdout" => OutputKind::Stdout,
        b"stderr" => OutputKind::Stderr,
        _ => return None,
    };
    let tags = parts.next()?;
    let begin = whole.len() - parts.next().map_or(0, <[u8]>::len);
    let text = match tags.split(|&byte| byte == b':').next()? {
        // The line end of the log is the text's own.
        b"F" => line.slice(begin..),
        b"P" => line.slice(begin..whole.len()),
        _ => return None,
    };
    Some(LogLine { at, stream, text })
}

fn parse_json(line: &[u8]) -> Option<LogLine> {
    #[derive(serde::Deserialize)]
    struct Entry<'a> {
        log: String,
        stream: &'a str,
        time: Timestamp,
    }
    let Entry { log, stream, time } = serde_json::from_slice(line).ok()?;
    let stream = match stream {
        "stdout" => OutputKind::Stdout,
        "stderr" => OutputKind::Stderr,
        _ => return None,
    };
    Some(LogLine { at: time, stream, text: Bytes::from(log) })
}

impl LogQuery {
    /// Whether `line` is one of those asked for, the count of the last ones aside.
    pub(super) fn admits(&self, line: &LogLine) -> bool {
        let stream = match line.stream {
            OutputKind::Stdout => self.stdout,
            OutputKind::Stderr => self.stderr,
        };
        stream && self.since.is_none_or(|since| line.at >= since) && !self.is_past(line)
    }

    /// Whether `line`, and all that follow, are too new.
    pub(super) fn is_past(&self, line: &LogLine) -> bool {
        self.until.is_some_and(|until| line.at > until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<(OutputKind, &str)>) {
        let parsed = parse(&Bytes::from(format!("{line}\n")))
            .map(|line| (line.stream, String::from_utf8_lossy(&line.text).into_owned()));
        assert_eq!(parsed, expected.map(|(stream, text)| (stream, text.to_owned())));
    }

    #[test]
    fn a_line_is_read_with_its_spaces_and_gets_its_line_end_back() {
        let time = "2026-01-01T00:00:00.000000001Z";
        check(&format!("{time} stdout F  a b"), Some((OutputKind::Stdout, " a b\n")));
        check(&format!("{time} stderr F "), Some((OutputKind::Stderr, "\n")));
        check(&format!("{time} stderr F"), Some((OutputKind::Stderr, "\n")));
        check(&format!("{time} stdout P part"), Some((OutputKind::Stdout, "part")));
        let json = |log: &str| format!("{{\"log\":\"{log}\",\"stream\":\"stderr\",\"time\":\"{time}\"}}");
        check(&json(" a \\\"b\\n"), Some((OutputKind::Stderr, " a \"b\n")));
        check(&json("part"), Some((OutputKind::Stderr, "part")));
    }

    #[test]
    fn what_is_no_line_is_left_out() {
        check("", None);
        check("2026-01-01T00:00:00Z stdin F x", None);
        check("yesterday stdout F x", None);
        check("{\"log\":\"torn", None);
        check("{\"log\":\"x\",\"stream\":\"stdin\",\"time\":\"2026-01-01T00:00:00Z\"}", None);
        check("2026-01-01T00:00:00Z stdout", None);
    }
}
