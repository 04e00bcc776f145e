//! Exec and attach: the client's channels on one side, the node's on the other.

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Upgrade, spdy, websocket};
use crate::error::Error;
use crate::node::{Streams, TerminalSize};

/// The protocols, best first; a client that names none speaks the first that there was.
pub(crate) const WEBSOCKET: [&str; 6] =
    [CLOSING, "v4.channel.k8s.io", V4_BASE64, "channel.k8s.io", LEGACY_BASE64, ""];
/// The fifth: channels may be ended one by one.
const CLOSING: &str = "v5.channel.k8s.io";
const V4_BASE64: &str = "v4.base64.channel.k8s.io";
const LEGACY_BASE64: &str = "base64.channel.k8s.io";
/// The protocols over SPDY.
pub(crate) const SPDY: [&str; 1] = ["v4.channel.k8s.io"];

/// Pieces of a stream that may wait for the other side.
const QUEUE: usize = 16;

/// Which channels a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) tty: bool,
}

/// The server's ends of the channels whose other ends the node has.
pub(super) struct Ends {
    /// Dropped at the end of the client's input.
    pub(super) stdin: Option<mpsc::Sender<Bytes>>,
    pub(super) stdout: Option<mpsc::Receiver<Bytes>>,
    pub(super) stderr: Option<mpsc::Receiver<Bytes>>,
    pub(super) resize: Option<mpsc::Sender<TerminalSize>>,
}

/// How a protocol over a WebSocket says things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Messages are text: the channel as a digit, and base64.
    pub(super) is_text: bool,
    /// The end of a channel can be told.
    pub(super) can_close: bool,
    /// A failure is told as plain text, and success not at all.
    pub(super) is_legacy: bool,
}

impl Manner {
    pub(super) fn of(protocol: &str) -> Self {
        Self {
            is_text: matches!(protocol, V4_BASE64 | LEGACY_BASE64),
            can_close: protocol == CLOSING,
            is_legacy: matches!(protocol, "channel.k8s.io" | LEGACY_BASE64 | ""),
        }
    }
}

/// What runs on the node with the streams it is given, until it gives an exit code.
pub(crate) type Command = Box<dyn FnOnce(Streams) -> BoxFuture<'static, Result<i32, Error>> + Send>;

/// Serves one exec or attach over an upgraded connection, until the command ends, the client leaves
/// or the server stops.
pub(crate) async fn remote_command(
    upgrade: Upgrade,
    connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    wanted: Wanted,
    command: Command,
    stop: CancellationToken,
) {
    let (streams, ends) = channels(wanted);
    let run = command(streams);
    tokio::select! {
        () = stop.cancelled() => {}
        () = async {
            match upgrade {
                Upgrade::WebSocket(protocol) => {
                    websocket::remote_command(connection, protocol, wanted, ends, run).await;
                }
                Upgrade::Spdy(_) => spdy::remote_command(connection, wanted, ends, run).await,
            }
        } => {}
    }
}

/// Reads a terminal size as clients send it.
pub(super) fn parse_size(bytes: &[u8]) -> Option<TerminalSize> {
    serde_json::from_slice(bytes).ok()
}

/// The next piece of one of two outputs; none when both have ended. `true` is stderr.
pub(super) async fn next_output(ends: &mut Outputs) -> Option<(bool, Bytes)> {
    loop {
        let (stdout, stderr) = (&mut ends.stdout, &mut ends.stderr);
        let (is_error, piece) = match (stdout.as_mut(), stderr.as_mut()) {
            (None, None) => return None,
            (Some(stdout), None) => (false, stdout.recv().await),
            (None, Some(stderr)) => (true, stderr.recv().await),
            (Some(out), Some(err)) => tokio::select! {
                piece = out.recv() => (false, piece),
                piece = err.recv() => (true, piece),
            },
        };
        match piece {
            Some(piece) => return Some((is_error, piece)),
            None if is_error => *stderr = None,
            None => *stdout = None,
        }
    }
}

/// The outputs of a command.
pub(super) struct Outputs {
    pub(super) stdout: Option<mpsc::Receiver<Bytes>>,
    pub(super) stderr: Option<mpsc::Receiver<Bytes>>,
}

fn channels(wanted: Wanted) -> (Streams, Ends) {
    let (stdin_sender, stdin) = split(wanted.stdin.then(|| mpsc::channel(QUEUE)));
    let (stdout, stdout_receiver) = split(wanted.stdout.then(|| mpsc::channel(QUEUE)));
    // A terminal has one output.
    let (stderr, stderr_receiver) = split((wanted.stderr && !wanted.tty).then(|| mpsc::channel(QUEUE)));
    let (resize_sender, resize) = split(wanted.tty.then(|| mpsc::channel(QUEUE)));
    let streams = Streams { stdin, stdout, stderr, resize };
    let ends =
        Ends { stdin: stdin_sender, stdout: stdout_receiver, stderr: stderr_receiver, resize: resize_sender };
    (streams, ends)
}

fn split<A, B>(pair: Option<(A, B)>) -> (Option<A>, Option<B>) {
    match pair {
        Some((a, b)) => (Some(a), Some(b)),
        None => (None, None),
    }
}
