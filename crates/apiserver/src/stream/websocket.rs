//! Streams over a WebSocket: each message begins with a byte that names its channel.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::outcome;
use super::port_channels::{message, said};
use super::remote_command::{Ends, Manner, Outputs, Wanted, next_output, parse_size};
use crate::error::Error;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// In version 5: the channel in the next byte has ended.
const CLOSE: u8 = 255;

/// How long a client may take to show that it reads. A client that has just opened the connection may not
/// have made the streams yet to which messages belong, and drops those that come before (client-go does).
const GREETING: Duration = Duration::from_millis(50);
/// How long a client may take to say goodbye after the command has ended.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);
/// The largest message that is read.
const MESSAGE: usize = 4 << 20;
/// What waits to be sent: no message of ours is longer. Answers to a client's pings wait there too.
const UNSENT: usize = MESSAGE + (1 << 20);
/// Pieces of a tunnel are sent as messages of at most this size; what is typed is passed on in such.
const PIECE: usize = 32 << 10;
/// A terminal's size is no longer than this, as text.
const SIZE: usize = 1 << 10;

pub(super) type Socket<S> = WebSocketStream<S>;

/// Serves one command over a WebSocket.
pub(super) async fn remote_command<S>(
    connection: S,
    protocol: &str,
    wanted: Wanted,
    ends: Ends,
    run: BoxFuture<'static, Result<i32, Error>>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (mut sink, source) = open(connection).await.split();
    let hello = if wanted.stdout {
        STDOUT
    } else if wanted.stderr {
        STDERR
    } else {
        ERROR
    };
    if sink.send(Message::Ping(Bytes::new())).await.is_err() {
        return;
    }
    let (answer, answered) = oneshot::channel();
    let Ends { stdin, stdout, stderr, resize } = ends;
    let manner = Manner::of(protocol);
    let reading = read(source, stdin, resize, manner, answer);
    let mut outputs = Outputs { stdout, stderr };
    let working = async {
        let (outcome, ()) = tokio::join!(run, async {
            let _ = tokio::time::timeout(GREETING, answered).await;
            // An empty message tells the client that the streams are there.
            if sink.send(message(manner.is_text, hello, &[])).await.is_err() {
                return;
            }
            while let Some((is_error, piece)) = next_output(&mut outputs).await {
                let channel = if is_error { STDERR } else { STDOUT };
                if sink.send(message(manner.is_text, channel, &piece)).await.is_err() {
                    return;
                }
            }
        });
        let last = if manner.is_legacy { outcome::text(&outcome) } else { outcome::status(&outcome) };
        if !last.is_empty() {
            let _ = sink.send(message(manner.is_text, ERROR, &last)).await;
        }
        let end = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = sink.send(Message::Close(Some(end))).await;
    };
    tokio::pin!(reading, working);
    tokio::select! {
        // Hanging up on a client that is still sending would take from it what it has not read yet.
        () = &mut working => drop(tokio::time::timeout(FAREWELL, &mut reading).await),
        // The client is gone: the command is let go of.
        () = &mut reading => {}
    }
}

/// A two-way byte stream whose pieces travel as messages, for SPDY inside a WebSocket. Gives our end,
/// and what has to be run meanwhile.
pub(super) async fn tunnel<S>(connection: S) -> (DuplexStream, impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (mut sink, mut source) = open(connection).await.split();
    let (ours, theirs) = tokio::io::duplex(PIECE * 4);
    let (mut from_us, mut to_us) = tokio::io::split(theirs);
    let work = async move {
        let inward = async {
            while let Some(Ok(message)) = source.next().await {
                match message {
                    Message::Binary(bytes) if to_us.write_all(&bytes).await.is_err() => break,
                    Message::Close(_) => break,
                    _ => {}
                }
            }
            let _ = to_us.shutdown().await;
        };
        let outward = async {
            let mut buffer = BytesMut::with_capacity(PIECE);
            loop {
                match from_us.read_buf(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {
                        let piece = buffer.split().freeze();
                        if sink.send(Message::Binary(piece)).await.is_err() {
                            return;
                        }
                        buffer.reserve(PIECE);
                    }
                }
            }
            let end = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            let _ = sink.send(Message::Close(Some(end))).await;
        };
        tokio::join!(inward, outward);
    };
    (ours, work)
}

/// Sends pieces as messages, until there are no more or the client leaves.
pub(super) async fn outward<S>(connection: S, mut pieces: BoxStream<'static, Bytes>, as_text: bool)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (mut sink, mut source) = open(connection).await.split();
    let sending = async {
        while let Some(piece) = pieces.next().await {
            let message =
                if as_text { Message::Text(STANDARD.encode(&piece).into()) } else { Message::Binary(piece) };
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let end = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = sink.send(Message::Close(Some(end))).await;
    };
    let leaving = async {
        // What the client sends means nothing, but that it closes does.
        while let Some(Ok(message)) = source.next().await {
            if message.is_close() {
                return;
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = leaving => {}
    }
}

pub(super) async fn open<S>(connection: S) -> Socket<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE))
        .max_frame_size(Some(MESSAGE))
        .max_write_buffer_size(UNSENT);
    WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await
}

/// Hands on what the client sends, until it leaves.
async fn read<S>(
    mut source: SplitStream<Socket<S>>,
    mut stdin: Option<tokio::sync::mpsc::Sender<Bytes>>,
    resize: Option<tokio::sync::mpsc::Sender<crate::node::TerminalSize>>,
    manner: Manner,
    answer: oneshot::Sender<()>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let mut answer = Some(answer);
    while let Some(Ok(message)) = source.next().await {
        let bytes: Bytes = match message {
            Message::Binary(bytes) => bytes,
            // Some clients send what is typed as text; the channel is its first byte all the same.
            Message::Text(text) => text.into(),
            Message::Close(_) => return,
            Message::Pong(_) => {
                drop(answer.take());
                continue;
            }
            _ => continue,
        };
        if bytes.is_empty() {
            continue;
        }
        let Some((channel, mut typed)) = said(manner.is_text, bytes) else { return };
        match channel {
            STDIN => {
                // Of a long message little waits to be read.
                while let Some(sender) = stdin.as_ref().filter(|_| !typed.is_empty()) {
                    let piece = typed.split_to(typed.len().min(PIECE));
                    if sender.send(piece).await.is_err() {
                        // Nobody reads any more; what else comes is dropped.
                        stdin = None;
                    }
                }
            }
            RESIZE if typed.len() <= SIZE => {
                if let (Some(sender), Some(size)) = (&resize, parse_size(&typed)) {
                    let _ = sender.send(size).await;
                }
            }
            CLOSE if manner.can_close && typed.first() == Some(&STDIN) => stdin = None,
            _ => {}
        }
    }
}
