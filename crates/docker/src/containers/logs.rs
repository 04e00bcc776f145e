//! `GET /containers/{name}/logs`: what a container wrote.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use engine::OutputKind;
use engine::container::{LogLine, LogQuery, LogStream, Status};
use futures::{Stream, StreamExt};

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;
use crate::framing::{Framing, MULTIPLEXED, RAW};
use crate::version::ApiVersion;
use crate::when;
use crate::words;

/// What is written before a line.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// The moment it was written.
    timestamps: bool,
    /// The labels and variables that the log options name; even none take a blank.
    details: Option<String>,
}

/// The log, as far as the query asks for it.
pub(crate) async fn logs(call: Call) -> Answer {
    let query = &call.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Fault::invalid("Bad parameters: you must choose at least one stream"));
    }
    let now = call.api.now();
    let id = call.container()?;
    let container = call.engine().container_inspect(&id)?;
    // One that was not started, or could not be, has said nothing: as with dockerd nobody waits for it.
    let follow = query.flag("follow") && container.state.status != Status::Created;
    let log_query = LogQuery {
        stdout,
        stderr,
        since: when::parse("since", query.text("since"), now)?,
        until: when::parse("until", query.text("until"), now)?,
        // What is no number means everything, as `all` does.
        tail: query.text("tail").parse().ok(),
        follow,
    };
    let shape = Shape {
        timestamps: query.flag("timestamps"),
        details: query.flag("details").then(|| details(&container)),
    };
    let framing = Framing::of_terminal(container.spec.tty);
    let lines = call.engine().container_logs(&id, log_query).await?;
    let kind = match framing {
        Framing::Multiplexed if call.version >= ApiVersion(1, 42) => MULTIPLEXED,
        _ => RAW,
    };
    let pieces = pieces(lines, framing, shape);
    if follow {
        answer::endless(kind, pieces, call.api.closing.clone())
    } else {
        answer::stream(kind, pieces)
    }
}

/// Log lines as they travel; a failure becomes the last piece.
pub(super) fn pieces(
    lines: LogStream,
    framing: Framing,
    shape: Shape,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    // Parts of a long line come apart; only the first gets what is written before a line.
    let mut within = [false, false];
    lines.map(move |line| {
        Ok(match line {
            Ok(line) => {
                let within = &mut within[usize::from(line.stream == OutputKind::Stderr)];
                let text = if *within { line.text.clone() } else { shape.head(&line) };
                *within = !line.text.ends_with(b"\n");
                framing.wrap(line.stream, text)
            }
            Err(error) => framing.failure(&format!("Error grabbing logs: {}", words::message(&error))),
        })
    })
}

impl Shape {
    fn head(&self, line: &LogLine) -> Bytes {
        if !self.timestamps && self.details.is_none() {
            return line.text.clone();
        }
        let mut text = BytesMut::new();
        if self.timestamps {
            // Nine digits always, so that lines stay aligned.
            text.put_slice(format!("{:.9} ", line.at).as_bytes());
        }
        if let Some(details) = &self.details {
            text.put_slice(details.as_bytes());
            text.put_u8(b' ');
        }
        text.put_slice(&line.text);
        text.freeze()
    }
}

/// The labels and variables of a container that its log options `labels` and `env` name.
fn details(container: &engine::Container) -> String {
    let options = &container.resolved.log.options;
    let named = |option: &str| options.get(option).map(String::as_str).unwrap_or_default().split(',');
    let labels =
        named("labels").filter_map(|name| Some((name, container.resolved.labels.get(name)?.as_str())));
    let variables = named("env").filter_map(|name| {
        container
            .resolved
            .env
            .iter()
            .find_map(|line| Some((name, line.strip_prefix(name)?.strip_prefix('=')?)))
    });
    let mut pairs: Vec<String> =
        labels.chain(variables).map(|(name, value)| format!("{name}={value}")).collect();
    pairs.sort();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shape: &Shape, expected: &str) {
        let lines = [(OutputKind::Stdout, "one\n"), (OutputKind::Stdout, "tw"), (OutputKind::Stdout, "o\n")];
        let at = base::Timestamp::new(1, 5).expect("a moment");
        let lines = lines.map(|(stream, text)| Ok(LogLine { at, stream, text: Bytes::from(text) }));
        let stream = pieces(Box::pin(futures::stream::iter(lines)), Framing::Raw, shape.clone());
        let all: Vec<Bytes> =
            futures::executor::block_on(stream.map(|piece| piece.expect("a piece")).collect());
        assert_eq!(String::from_utf8(all.concat()).expect("text"), expected);
    }

    #[test]
    fn plain_lines_stay_as_they_are() {
        check(&Shape::default(), "one\ntwo\n");
    }

    #[test]
    fn times_and_details_come_once_a_line() {
        let at = "1970-01-01T00:00:01.000000005Z";
        check(&Shape { timestamps: true, details: None }, &format!("{at} one\n{at} two\n"));
        let details = Some("a=1".to_owned());
        check(&Shape { timestamps: true, details }, &format!("{at} a=1 one\n{at} a=1 two\n"));
        check(&Shape { timestamps: false, details: Some(String::new()) }, " one\n two\n");
    }
}
