//! Moving a process's streams between a shim and whoever attached.

use std::time::Duration;

use bytes::Bytes;
use runtime::shim::protocol::{self, Kind};
use runtime::spec::ConsoleSize;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};

use super::Connection;
use crate::error::Result;
use crate::registry::WaitingClient;
use crate::stream::{Attached, Exit, ExitStatus, Input, InputFrame, Output, OutputKind, Resizer};

/// Pieces that may wait in each direction.
const QUEUE: usize = 16;
/// How long a process may take to read what a client has given it that is gone.
const LAST_INPUT: Duration = Duration::from_secs(10);

/// The two ends of an attachment: one for whoever attached, one for the pump.
pub(crate) struct Client {
    pub(crate) attached: Attached,
    pub(crate) side: WaitingClient,
}

impl Client {
    /// A new attachment that is not connected yet.
    pub(crate) fn new(stdin: bool) -> Self {
        let (pieces_in, pieces) = mpsc::channel(QUEUE);
        let (frames, frames_out) = mpsc::channel(QUEUE);
        let (exit, status) = oneshot::channel();
        let attached = Attached {
            input: Input { frames: frames.clone() },
            output: Output { pieces },
            resize: Resizer { frames },
            exit: Exit { status },
        };
        Self { attached, side: WaitingClient { pieces: pieces_in, frames: frames_out, exit, stdin } }
    }
}

/// Moves frames until the process has ended or the client has gone, whose input still arrives. `ended`
/// is called with how it ended before the client learns of it.
pub(crate) async fn pump(
    connection: Connection,
    client: WaitingClient,
    ended: impl FnOnce(&protocol::ExitStatus),
) {
    let Connection { mut reader, mut writer } = connection;
    let WaitingClient { pieces, mut frames, exit, stdin: _ } = client;
    let input = async {
        while let Some(frame) = frames.recv().await {
            let bytes = encode(&frame);
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    let output = async {
        loop {
            let frame = match reader.receive().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) => {
                    let _ = pieces.send(Err(error)).await;
                    return None;
                }
            };
            let kind = match frame.kind {
                Kind::Stdout => OutputKind::Stdout,
                Kind::Stderr => OutputKind::Stderr,
                Kind::Exited => return frame.json::<protocol::ExitStatus>().ok(),
                _ => continue,
            };
            // Who is gone holds up nothing.
            let _ = pieces.send(Ok((kind, Bytes::from(frame.payload)))).await;
        }
    };
    tokio::pin!(input, output);
    let mut given = false;
    let status = loop {
        tokio::select! {
            status = &mut output => break status,
            () = pieces.closed() => {
                // What it gave before it went is the process's.
                let last = async {
                    tokio::select! {
                        () = &mut input => {}
                        _ = &mut output => {}
                    }
                };
                if !given {
                    let _ = tokio::time::timeout(LAST_INPUT, last).await;
                }
                break None;
            }
            // The client may have let go of its input and still read: the writing side stays open,
            // since closing it would end the process's input too.
            () = &mut input, if !given => given = true,
        }
    };
    if let Some(status) = status {
        ended(&status);
        let _ = exit.send(ExitStatus { code: status.code, error: None });
    }
}

fn encode(frame: &InputFrame) -> Vec<u8> {
    match frame {
        InputFrame::Bytes(bytes) => bytes
            .chunks(protocol::STREAM_CHUNK)
            .flat_map(|chunk| protocol::encode(Kind::Stdin, chunk))
            .collect(),
        InputFrame::Close => protocol::encode(Kind::StdinClosed, &[]),
        InputFrame::Resize(size) => protocol::encode_json(Kind::Resize, &ConsoleSize::from(*size)),
    }
}

/// What an attachment asks of the shim.
pub(crate) fn streams(stdin: bool) -> protocol::Streams {
    protocol::Streams { stdin, stdout: true, stderr: true }
}

/// Connects a client that waits to a container's first process.
pub(crate) async fn connect(
    shim: &super::Shim,
    container: &str,
    client: &WaitingClient,
) -> Result<Connection> {
    let mut connection = shim.connect().await?;
    let streams = streams(client.stdin);
    let request = protocol::Request::Attach { container: container.to_owned(), exec: None, streams };
    shim.ask(&mut connection, &request, super::PATIENCE).await?;
    Ok(connection)
}
