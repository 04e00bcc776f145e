//! Progress of an operation on images, as a stream of JSON lines.

use std::io;

use bytes::Bytes;
use engine::image::{Progress, ProgressStream};
use futures::{Stream, StreamExt, stream};

use crate::answer::{self, Answer};
use crate::fault::Fault;
use crate::wire::progress::Progress as Line;
use crate::words;

/// Which lines an operation's progress becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Status lines, with the layers.
    Transfer,
    /// Plain output, with the layers unless `quiet`.
    Load {
        /// Only the results.
        quiet: bool,
    },
}

/// Streams progress; the head of the answer comes with the first line, so that who has it and reads no further has
/// what a quiet load loads. A failure before the first line becomes the status of the answer, except of a load, whose
/// failures clients look for in the stream.
pub(super) async fn answer(mut progress: ProgressStream, form: Form) -> Answer {
    if let Form::Load { .. } = form {
        let mut lines = Box::pin(lines(progress, form));
        let first = lines.next().await;
        return answer::stream("application/json", stream::iter(first).chain(lines));
    }
    let first = progress.next().await.transpose()?;
    let progress = stream::iter(first.map(Ok)).chain(progress);
    answer::stream("application/json", lines(progress, form))
}

fn lines(
    progress: impl Stream<Item = engine::Result<Progress>> + Send,
    form: Form,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    progress.flat_map(move |step| {
        let lines = match step {
            Ok(step) => lines_of(step, form),
            Err(error) => vec![Line::error(Fault::from(error).message, None)],
        };
        stream::iter(lines.into_iter().map(|line| Ok(Bytes::from(line.line()))))
    })
}

/// What one step is on the way to the client; nothing where it is not told.
pub(crate) fn lines_of(step: Progress, form: Form) -> Vec<Line> {
    let line = match (step, form) {
        (Progress::Message { text, .. }, Form::Load { .. }) => Line::stream(format!("{text}\n")),
        (Progress::Warning { fact }, _) => Line::status(format!("WARNING: {}", words::sentence(&fact))),
        (Progress::Message { id, text }, _) => Line { id, ..Line::status(text) },
        (Progress::Layer { .. }, Form::Load { quiet: true }) | (Progress::Done { .. }, _) => {
            return Vec::new();
        }
        (Progress::Layer { id, status, bytes: None }, _) => Line::of(id, status),
        (Progress::Layer { id, status, bytes: Some((current, total)) }, _) => {
            Line::transfer(id, status, current, total)
        }
        (Progress::Pushed { tag, digest, size }, _) => {
            let said = Line::status(format!("{tag}: digest: {digest} size: {size}"));
            let result = serde_json::json!({"Tag": tag, "Digest": digest, "Size": size});
            return vec![said, Line { progress_detail: Some(Default::default()), ..Line::aux(result) }];
        }
    };
    vec![line]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(step: Progress, form: Form, expected: &[&str]) {
        let lines = lines_of(step, form);
        let written: Vec<String> =
            lines.iter().map(|line| String::from_utf8(line.line()).expect("text")).collect();
        assert_eq!(written.iter().map(|line| line.trim_end()).collect::<Vec<_>>(), expected);
    }

    fn message(text: &str) -> Progress {
        Progress::Message { id: None, text: text.to_owned() }
    }

    #[test]
    fn a_load_prints_and_a_pull_reports() {
        check(message("Loaded image: a"), Form::Load { quiet: true }, &[r#"{"stream":"Loaded image: a\n"}"#]);
        check(message("Digest: b"), Form::Transfer, &[r#"{"status":"Digest: b"}"#]);
    }

    #[test]
    fn a_push_ends_with_what_was_pushed() {
        let pushed = Progress::Pushed { tag: "1".to_owned(), digest: "sha256:0".to_owned(), size: 5 };
        check(
            pushed,
            Form::Transfer,
            &[
                r#"{"status":"1: digest: sha256:0 size: 5"}"#,
                r#"{"progressDetail":{},"aux":{"Tag":"1","Digest":"sha256:0","Size":5}}"#,
            ],
        );
        check(Progress::Done { id: None, digest: None }, Form::Transfer, &[]);
    }

    #[test]
    fn layers_are_silent_in_a_quiet_load() {
        let layer = Progress::Layer { id: "abc".to_owned(), status: "Waiting".to_owned(), bytes: None };
        check(layer.clone(), Form::Load { quiet: true }, &[]);
        check(layer, Form::Transfer, &[r#"{"status":"Waiting","progressDetail":{},"id":"abc"}"#]);
        let nameless = Progress::Layer { id: String::new(), status: "Downloading".to_owned(), bytes: None };
        check(nameless, Form::Transfer, &[r#"{"status":"Downloading","progressDetail":{}}"#]);
    }
}
