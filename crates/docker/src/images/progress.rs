//! Progress of an operation on images, as a stream of JSON lines.

use std::io;

use bytes::Bytes;
use engine::image::{Progress, ProgressStream};
use futures::{Stream, StreamExt, stream};

use crate::answer::{self, Answer};
use crate::fault::Fault;
use crate::wire::progress::Progress as Line;

/// Which lines an operation's progress becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Status lines, with the layers.
    Transfer,
    /// The lines of a push: those of a transfer, and at the end what was pushed under which tag.
    Push,
    /// Plain output, with the layers unless `quiet`.
    Load {
        /// Only the results.
        quiet: bool,
    },
}

/// Streams progress. A failure before the first line becomes the status of the answer, except of a
/// load, whose failures clients look for in the stream.
pub(super) async fn answer(mut progress: ProgressStream, form: Form, tag: String) -> Answer {
    if let Form::Load { .. } = form {
        return answer::stream("application/json", lines(progress, form, tag));
    }
    let first = progress.next().await.transpose()?;
    let progress = stream::iter(first.map(Ok)).chain(progress);
    answer::stream("application/json", lines(progress, form, tag))
}

fn lines(
    progress: impl Stream<Item = engine::Result<Progress>> + Send,
    form: Form,
    tag: String,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    progress.filter_map(move |step| {
        let line = match step {
            Ok(step) => line(step, form, &tag),
            Err(error) => Some(Line::error(Fault::from(error).message, None)),
        };
        async move { line.map(|line| Ok(Bytes::from(line.line()))) }
    })
}

/// What one step is on the way to the client; none where it is not told.
pub(crate) fn line(step: Progress, form: Form, tag: &str) -> Option<Line> {
    match (step, form) {
        (Progress::Message { text, .. }, Form::Load { .. }) => Some(Line::stream(format!("{text}\n"))),
        (Progress::Message { id, text }, _) => Some(Line { id, ..Line::status(text) }),
        (Progress::Layer { .. }, Form::Load { quiet: true }) => None,
        (Progress::Layer { id, status, bytes: None }, _) => Some(Line::of(id, status)),
        (Progress::Layer { id, status, bytes: Some((current, total)) }, _) => {
            Some(Line::transfer(id, status, current, total))
        }
        (Progress::Done { digest: Some(digest), size, .. }, Form::Push) => {
            Some(Line::aux(serde_json::json!({"Tag": tag, "Digest": digest, "Size": size})))
        }
        (Progress::Done { .. }, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(step: Progress, form: Form, expected: Option<&str>) {
        let written = line(step, form, "1").map(|line| String::from_utf8(line.line()).expect("text"));
        assert_eq!(written.as_deref().map(str::trim_end), expected);
    }

    fn message(text: &str) -> Progress {
        Progress::Message { id: None, text: text.to_owned() }
    }

    #[test]
    fn a_load_prints_and_a_pull_reports() {
        check(
            message("Loaded image: a"),
            Form::Load { quiet: true },
            Some(r#"{"stream":"Loaded image: a\n"}"#),
        );
        check(message("Digest: b"), Form::Transfer, Some(r#"{"status":"Digest: b"}"#));
    }

    #[test]
    fn a_push_ends_with_what_was_pushed() {
        let done = Progress::Done { id: None, digest: Some("sha256:0".to_owned()), size: 5 };
        check(done.clone(), Form::Push, Some(r#"{"aux":{"Tag":"1","Digest":"sha256:0","Size":5}}"#));
        check(done, Form::Transfer, None);
    }

    #[test]
    fn layers_are_silent_in_a_quiet_load() {
        let layer = Progress::Layer { id: "abc".to_owned(), status: "Waiting".to_owned(), bytes: None };
        check(layer.clone(), Form::Load { quiet: true }, None);
        check(layer, Form::Transfer, Some(r#"{"status":"Waiting","progressDetail":{},"id":"abc"}"#));
    }
}
