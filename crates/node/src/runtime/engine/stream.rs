//! Streams of processes, and logs.

use std::sync::Arc;

use bytes::Bytes;
use engine::container::{AttachFlags, LogStream};
use engine::exec::ExecSpec;
use engine::stream::{Input, Resizer};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use super::convert::error;
use crate::runtime::{
    Answer, Attached, EndOfInput, ExecRequest, LogLine, LogLines, LogQuery, OutputKind, ProcessInput,
    TerminalSize,
};

/// What goes towards a process that the engine holds.
struct Towards {
    input: Input,
    resize: Resizer,
}

impl ProcessInput for Towards {
    fn write(&self, bytes: Bytes) -> Answer<'_, ()> {
        async move { self.input.write(bytes).await.map_err(error) }.boxed()
    }

    fn close(&self) -> Answer<'_, ()> {
        async move { self.input.close().await.map_err(error) }.boxed()
    }

    fn resize(&self, size: TerminalSize) -> Answer<'_, ()> {
        let size = engine::TerminalSize { columns: size.columns, rows: size.rows };
        async move { self.resize.resize(size).await.map_err(error) }.boxed()
    }
}

pub(super) fn attached(attached: engine::Attached, at_end: EndOfInput) -> Attached {
    let engine::Attached { input, output, resize, exit } = attached;
    let piece = |piece: engine::Result<(engine::OutputKind, Bytes)>| {
        let (kind, bytes) = piece.map_err(error)?;
        let kind = match kind {
            engine::OutputKind::Stdout => OutputKind::Stdout,
            engine::OutputKind::Stderr => OutputKind::Stderr,
        };
        Ok((kind, bytes))
    };
    Attached {
        at_end,
        input: Arc::new(Towards { input, resize }),
        output: output.map(piece).boxed(),
        exit: async move { exit.await.map(|status| status.code).map_err(error) }.boxed(),
    }
}

pub(super) fn exec_spec(request: ExecRequest) -> ExecSpec {
    let ExecRequest { command, tty, stdin, stdout, stderr } = request;
    ExecSpec { command, tty, attach: AttachFlags { stdin, stdout, stderr }, ..ExecSpec::default() }
}

pub(super) fn log_query(query: &LogQuery) -> engine::container::LogQuery {
    let LogQuery { stream, since, tail, follow } = query;
    engine::container::LogQuery {
        stdout: *stream != Some(OutputKind::Stderr),
        stderr: *stream != Some(OutputKind::Stdout),
        since: *since,
        until: None,
        tail: *tail,
        follow: *follow,
    }
}

pub(super) fn log_lines(lines: LogStream) -> LogLines {
    lines.map_ok(|line| LogLine { at: line.at, text: line.text }).map_err(error).boxed()
}
