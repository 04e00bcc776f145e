//! Where the audit log goes: to a file, which is rotated, or to standard output.
//!
//! One task writes, what is there together, on a thread of its own: a disk that is slow holds up those
//! requests that wait for it and nobody else. Whether they wait, and what becomes of those whose event is
//! lost, is the [`Mode`].

pub(crate) mod rotated;

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use apiserver::audit::{Backend, Event};
use base::Clock;
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use offload::Threads;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::audit::{Losses, Mode};

pub(crate) use rotated::{Place, Rotated, Rotation};

/// So many events may wait in [`Mode::Batch`], as Kubernetes has it, and so many bytes of them.
const WAITING: usize = 10_000;
const WAITING_BYTES: usize = 64 << 20;
/// So many may wait where requests wait with them, more than there can be requests, and so many bytes of them:
/// what is over already waits as well.
const TOGETHER: usize = 20_000;
const TOGETHER_BYTES: usize = 256 << 20;
/// So many are written at a time.
const BATCH: usize = 256;

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// As `audit.k8s.io/v1` `Event`.
    Json,
    /// As a line of `key="value"`, which says less.
    Legacy,
}

/// Where the log is, and how it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) place: Place,
    pub(crate) rotation: Rotation,
    pub(crate) mode: Mode,
    pub(crate) format: Format,
}

/// Takes events.
pub(crate) struct Log {
    mode: Mode,
    format: Format,
    lines: mpsc::Sender<Line>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    losses: Arc<Losses>,
}

/// Writes what a [`Log`] takes.
pub(crate) struct Writer {
    output: Output,
    clock: Arc<dyn Clock>,
    lines: mpsc::Receiver<Line>,
    waiting: Arc<AtomicUsize>,
    losses: Arc<Losses>,
}

struct Line {
    text: Vec<u8>,
    /// Who waits for it.
    written: Option<oneshot::Sender<bool>>,
}

enum Output {
    Standard,
    File(Box<Rotated>),
}

/// Opens the log; gives also whoever writes it.
pub(crate) fn open(
    options: &Options,
    clock: Arc<dyn Clock>,
    losses: Arc<Losses>,
) -> io::Result<(Log, Writer)> {
    let output = match &options.place {
        Place::Output => Output::Standard,
        Place::File(path) => Output::File(Box::new(Rotated::open(path, options.rotation, clock.now())?)),
    };
    let bound = if options.mode == Mode::Batch { WAITING } else { TOGETHER };
    let (sender, lines) = mpsc::channel(bound);
    let waiting = Arc::new(AtomicUsize::new(0));
    let (mode, format) = (options.mode, options.format);
    let log = Log { mode, format, lines: sender, waiting: waiting.clone(), losses: losses.clone() };
    Ok((log, Writer { output, clock, lines, waiting, losses }))
}

impl Backend for Log {
    fn process(&self, event: Event) -> BoxFuture<'static, bool> {
        let mut text = match self.format {
            Format::Json => event.json(),
            Format::Legacy => event.legacy().into_bytes(),
        };
        text.push(b'\n');
        match self.mode {
            Mode::Batch => {
                self.take(text, None, WAITING_BYTES);
                ready(true).boxed()
            }
            Mode::Blocking | Mode::BlockingStrict => {
                let strict = self.mode == Mode::BlockingStrict;
                let (written, wait) = oneshot::channel();
                self.take(text, Some(written), TOGETHER_BYTES);
                // One that is not taken is not written.
                async move { wait.await.unwrap_or(false) || !strict }.boxed()
            }
        }
    }
}

impl Log {
    /// Takes a line where there is room for it; loses it where there is none.
    fn take(&self, text: Vec<u8>, written: Option<oneshot::Sender<bool>>, most: usize) {
        let length = text.len();
        let fits = self.waiting.fetch_add(length, Ordering::Relaxed) + length <= most;
        if !fits || self.lines.try_send(Line { text, written }).is_err() {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            self.losses.count(1);
        }
    }
}

impl Writer {
    /// Writes until `stop` is cancelled, and what has been taken until then.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (thread, shelves) = (Threads::new(1), Threads::new(1));
        let mut batch = Vec::new();
        let mut tidying: Option<tokio::task::JoinHandle<()>> = None;
        loop {
            let taken = tokio::select! {
                taken = self.lines.recv_many(&mut batch, BATCH) => taken,
                () = stop.cancelled(), if !self.lines.is_closed() => {
                    self.lines.close();
                    continue;
                }
            };
            if taken == 0 {
                break;
            }
            let lines = std::mem::take(&mut batch);
            (self, batch) = thread.run(move || self.write(lines)).await;
            if tidying.as_ref().is_none_or(tokio::task::JoinHandle::is_finished)
                && let Output::File(file) = &mut self.output
                && let Some(shelf) = file.untidy()
            {
                let (shelves, now) = (shelves.clone(), self.clock.now());
                // What is being compressed holds up nothing that is written.
                tidying = Some(tokio::spawn(async move {
                    if let Err(error) = shelves.run(move || shelf.tidy(now)).await {
                        tracing::warn!(%error, "old files of the audit log are not looked after");
                    }
                }));
            }
        }
        if let Some(tidying) = tidying
            && let Err(error) = tidying.await
        {
            tracing::error!(%error, "looking after old files of the audit log ended by a panic");
        }
    }

    fn write(mut self, mut lines: Vec<Line>) -> (Self, Vec<Line>) {
        for line in lines.drain(..) {
            self.waiting.fetch_sub(line.text.len(), Ordering::Relaxed);
            let outcome = self.write_line(&line.text);
            if let Err(error) = &outcome {
                self.losses.tell(1, &format_args!("the audit log cannot be written: {error}"));
            }
            if let Some(written) = line.written {
                let _ = written.send(outcome.is_ok());
            }
        }
        (self, lines)
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        match &mut self.output {
            Output::Standard => {
                let mut output = io::stdout().lock();
                output.write_all(line)?;
                output.flush()
            }
            Output::File(file) => file.write(line, self.clock.now()),
        }
    }
}

#[cfg(test)]
mod tests;
