//! SPDY/3.1 from the server's side: many two-way streams, opened by the client, over one connection.
//!
//! There is no flow control: the clients that speak this (Kubernetes' own library) neither keep nor
//! grant windows, and whoever waited for one would wait for ever. Slow readers are held up by the
//! connection itself.

mod dictionary;
mod frame;
mod headers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use self::frame::{Decoder, Frame};
use self::headers::{Deflater, Headers, Inflater};
use super::outcome;
use super::remote_command::{Ends, Outputs, Wanted, next_output, parse_size};
use crate::error::Error;

/// Pieces of one stream, or frames of the session, that may wait.
const QUEUE: usize = 64;
/// Streams of one session; port-forward uses two for each connection.
const STREAMS: usize = 2000;
/// What clients have sent of all streams of a session and nobody has read yet, in bytes. A piece counts
/// at least as much as it costs to keep it.
const UNREAD: usize = 4 << 20;
const LEAST: usize = 256;
/// A terminal's size is no longer than this, as text.
const SIZE: usize = 1 << 10;
/// Pieces of data are cut to this size.
const PIECE: usize = 32 << 10;
/// How long a client may take to open the streams that it has asked for.
const OPENING: Duration = Duration::from_secs(30);
/// How long a client may take to hang up after the command has ended.
const FAREWELL: Duration = Duration::from_secs(5);
/// The status of a stream that was refused.
const REFUSED: u32 = 3;

/// A stream that the client has opened.
pub(super) struct Stream {
    pub(super) headers: Headers,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// The client has let go of it, both ways.
    pub(super) reset: Arc<CancellationToken>,
}

/// What the reader keeps of a stream.
struct Known {
    /// None when the client has finished, or nobody listens.
    sender: Option<mpsc::Sender<Piece>>,
    reset: Arc<CancellationToken>,
}

impl Known {
    /// Whether somebody has the stream still, or the client may send on it.
    fn is_live(&self) -> bool {
        self.sender.is_some() || Arc::strong_count(&self.reset) > 1
    }
}

/// What the client sends.
pub(super) struct Incoming(mpsc::Receiver<Piece>);

/// A piece of it, with its part of what may be unread.
type Piece = (Bytes, OwnedSemaphorePermit);

/// Our half of a stream.
#[derive(Clone)]
pub(super) struct Outgoing {
    stream: u32,
    frames: mpsc::Sender<Frame>,
}

/// The session is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over;

impl Incoming {
    /// The next piece; none when the client has finished.
    pub(super) async fn recv(&mut self) -> Option<Bytes> {
        self.0.recv().await.map(|(bytes, _read)| bytes)
    }
}

impl Outgoing {
    /// Sends bytes.
    pub(super) async fn send(&self, mut bytes: Bytes) -> Result<(), Over> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            let frame = Frame::Data { stream: self.stream, fin: false, bytes: piece };
            self.frames.send(frame).await.map_err(|_| Over)?;
        }
        Ok(())
    }

    /// Refuses the stream.
    pub(super) async fn refuse(&self) -> Result<(), Over> {
        let frame = Frame::Reset { stream: self.stream, status: REFUSED };
        self.frames.send(frame).await.map_err(|_| Over)
    }

    /// Ends our half.
    pub(super) async fn finish(&self) -> Result<(), Over> {
        let frame = Frame::Data { stream: self.stream, fin: true, bytes: Bytes::new() };
        self.frames.send(frame).await.map_err(|_| Over)
    }
}

/// Runs a session over `connection`. Gives the streams that the client opens, and what has to be run
/// meanwhile; that ends with the connection, or when all that was sent is written and nobody holds a
/// stream any more.
pub(super) fn session<S>(connection: S) -> (mpsc::Receiver<Stream>, impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (opened, streams) = mpsc::channel(QUEUE);
    let (frames, queue) = mpsc::channel(QUEUE);
    let (reader, writer) = tokio::io::split(connection);
    let work = async move {
        let reading = async {
            let mut session = Reader {
                streams: HashMap::new(),
                inflater: Inflater::new(),
                deflater: Deflater::new(),
                frames,
                opened,
                unread: Arc::new(Semaphore::new(UNREAD)),
            };
            if let Err(why) = session.run(reader).await {
                tracing::debug!(why, "SPDY session ended");
            }
        };
        let writing = write(writer, queue);
        tokio::pin!(reading, writing);
        tokio::select! {
            // What is queued by then is still written, as long as streams are held.
            () = &mut reading => writing.await,
            () = &mut writing => {}
        }
    };
    (streams, work)
}

/// Serves one command: the client opens a stream for each channel, and says which is which.
pub(super) async fn remote_command<S>(
    connection: S,
    wanted: Wanted,
    ends: Ends,
    run: BoxFuture<'static, Result<i32, Error>>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (mut streams, session) = session(connection);
    let work = async move {
        let opening = collect(&mut streams, wanted);
        let Ok(Some(mut opened)) = tokio::time::timeout(OPENING, opening).await else { return };
        let Ends { stdin, stdout, stderr, resize } = ends;
        let (out, err) = (opened.remove("stdout"), opened.remove("stderr"));
        let (input, sizes) = (opened.remove("stdin"), opened.remove("resize"));
        let Some(error) = opened.remove("error") else { return };
        let typing = async {
            let (Some(mut input), Some(stdin)) = (input, stdin) else { return };
            while let Some(bytes) = input.incoming.recv().await {
                if stdin.send(bytes).await.is_err() {
                    break;
                }
            }
        };
        let resizing = async {
            let (Some(mut sizes), Some(resize)) = (sizes, resize) else { return Ok(()) };
            let mut text = BytesMut::new();
            while let Some(bytes) = sizes.incoming.recv().await {
                // One size a line, however they were cut.
                for byte in bytes {
                    text.put_u8(byte);
                    if byte == b'}' {
                        if let Some(size) = parse_size(&text.split()) {
                            let _ = resize.send(size).await;
                        }
                    } else if text.len() >= SIZE {
                        return Err(Over);
                    }
                }
            }
            Ok(())
        };
        let mut outputs = Outputs { stdout, stderr };
        let working = async {
            let (outcome, ()) = tokio::join!(run, async {
                while let Some((is_error, piece)) = next_output(&mut outputs).await {
                    let stream = if is_error { &err } else { &out };
                    if let Some(stream) = stream
                        && stream.outgoing.send(piece).await.is_err()
                    {
                        return;
                    }
                }
            });
            let _ = error.outgoing.send(outcome::status(&outcome).into()).await;
            for stream in [Some(&error), out.as_ref(), err.as_ref()].into_iter().flatten() {
                let _ = stream.outgoing.finish().await;
            }
        };
        // The command's end is the end; input that ends is only that.
        tokio::select! {
            () = working => {}
            () = async {
                let typing = async {
                    typing.await;
                    Ok(())
                };
                // What is no size ends the session.
                if tokio::try_join!(resizing, typing).is_ok() {
                    std::future::pending::<()>().await;
                }
            } => {}
        }
    };
    let work = async {
        work.await;
    };
    tokio::pin!(session, work);
    tokio::select! {
        () = &mut session => {}
        () = &mut work => drop(tokio::time::timeout(FAREWELL, session).await),
    }
}

/// Waits until the client has opened a stream for each channel that it wants.
async fn collect(streams: &mut mpsc::Receiver<Stream>, wanted: Wanted) -> Option<HashMap<String, Stream>> {
    let expected = 1
        + usize::from(wanted.stdin)
        + usize::from(wanted.stdout)
        + usize::from(wanted.stderr && !wanted.tty)
        + usize::from(wanted.tty);
    let mut opened = HashMap::new();
    while opened.len() < expected {
        let stream = streams.recv().await?;
        opened.insert(stream.headers.kind.clone(), stream);
    }
    Some(opened)
}

struct Reader {
    /// Those that are live, and some that were.
    streams: HashMap<u32, Known>,
    inflater: Inflater,
    deflater: Deflater,
    frames: mpsc::Sender<Frame>,
    opened: mpsc::Sender<Stream>,
    unread: Arc<Semaphore>,
}

impl Reader {
    async fn run(&mut self, mut connection: impl AsyncRead + Unpin) -> Result<(), String> {
        let mut buffer = BytesMut::with_capacity(PIECE);
        let mut decoder = Decoder::default();
        loop {
            while let Some(frame) = decoder.next(&mut buffer).map_err(|e| e.to_string())? {
                if !self.handle(frame).await? {
                    return Ok(());
                }
            }
            let read = connection.read_buf(&mut buffer).await.map_err(|e| e.to_string())?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// Acts on one frame; false at the session's end.
    async fn handle(&mut self, frame: Frame) -> Result<bool, String> {
        match frame {
            Frame::SynStream { stream, fin, headers } => {
                let headers = self.inflater.read(&headers).map_err(|e| e.to_string())?;
                return Ok(self.open(stream, fin, headers).await);
            }
            Frame::Data { stream, fin, bytes } => {
                let Some(known) = self.streams.get_mut(&stream) else { return Ok(true) };
                let listens = match &known.sender {
                    Some(sender) if !bytes.is_empty() => pass_on(sender, bytes, &self.unread).await,
                    Some(_) => true,
                    None => false,
                };
                // Where nobody listens the rest of the stream is dropped as it comes.
                if fin || !listens {
                    known.sender = None;
                }
                if !known.is_live() {
                    self.streams.remove(&stream);
                }
            }
            Frame::Reset { stream, .. } => {
                if let Some(known) = self.streams.remove(&stream) {
                    known.reset.cancel();
                }
            }
            // Odd ones are the client's questions, even ones would be answers to ours.
            Frame::Ping { id } if id % 2 == 1 => {
                return Ok(self.frames.send(Frame::Ping { id }).await.is_ok());
            }
            Frame::GoAway { .. } => return Ok(self.streams.values().any(|known| known.sender.is_some())),
            Frame::SynReply { .. } | Frame::Ping { .. } | Frame::Other => {}
        }
        Ok(true)
    }

    async fn open(&mut self, stream: u32, fin: bool, headers: Headers) -> bool {
        if self.streams.len() >= STREAMS {
            self.streams.retain(|_, known| known.is_live());
        }
        if self.streams.len() >= STREAMS || self.streams.contains_key(&stream) {
            return self.frames.send(Frame::Reset { stream, status: REFUSED }).await.is_ok();
        }
        let (sender, incoming) = mpsc::channel(QUEUE);
        let reset = Arc::new(CancellationToken::new());
        self.streams.insert(stream, Known { sender: (!fin).then_some(sender), reset: reset.clone() });
        let reply = Frame::SynReply { stream, fin: false, headers: self.deflater.write(&[]) };
        if self.frames.send(reply).await.is_err() {
            return false;
        }
        let outgoing = Outgoing { stream, frames: self.frames.clone() };
        self.opened.send(Stream { headers, incoming: Incoming(incoming), outgoing, reset }).await.is_ok()
    }
}

/// Reads frames and the headers in them; data of one stream that comes in several pieces is told as one.
pub(crate) fn fuzz(sent: &[u8], size: usize) -> (Vec<String>, Option<String>) {
    let mut told = Vec::new();
    let mut under_way: Option<(u32, Vec<u8>)> = None;
    let (mut buffer, mut decoder, mut inflater) = (BytesMut::new(), Decoder::default(), Inflater::new());
    let mut read = || -> Result<(), String> {
        for piece in sent.chunks(size.max(1)) {
            buffer.extend_from_slice(piece);
            while let Some(frame) = decoder.next(&mut buffer).map_err(|e| e.to_string())? {
                let continues =
                    |(of, _): &(u32, _)| matches!(&frame, Frame::Data { stream, .. } if stream == of);
                if !under_way.as_ref().is_some_and(continues) {
                    told.extend(under_way.take().map(|data| format!("{data:?}")));
                }
                match frame {
                    Frame::Data { stream, fin, bytes } => {
                        assert!(bytes.len() <= PIECE, "a piece is longer than pieces are");
                        let (_, data) = under_way.get_or_insert((stream, Vec::new()));
                        data.extend_from_slice(&bytes);
                        if fin {
                            told.extend(under_way.take().map(|data| format!("{data:?} and no more")));
                        }
                    }
                    Frame::SynStream { stream, fin, headers } => {
                        let headers = inflater.read(&headers).map_err(|e| e.to_string())?;
                        told.push(format!("{stream} {fin} {headers:?}"));
                    }
                    other => told.push(format!("{other:?}")),
                }
            }
        }
        Ok(())
    };
    let ended = read().err();
    told.extend(under_way.map(|data| format!("{data:?} so far")));
    (told, ended)
}

/// Hands a piece on, once there is room for it. False where nobody listens.
async fn pass_on(sender: &mpsc::Sender<Piece>, bytes: Bytes, unread: &Arc<Semaphore>) -> bool {
    let size = u32::try_from(bytes.len().max(LEAST)).expect("data was cut to pieces");
    let room = tokio::select! {
        room = unread.clone().acquire_many_owned(size) => room.expect("it is never closed"),
        () = sender.closed() => return false,
    };
    sender.send((bytes, room)).await.is_ok()
}

/// Writes frames until nobody can send any more.
async fn write(mut connection: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Frame>) {
    while let Some(frame) = queue.recv().await {
        if connection.write_all(&frame.encode()).await.is_err() {
            return;
        }
        if queue.is_empty() && connection.flush().await.is_err() {
            return;
        }
    }
    let _ = connection.shutdown().await;
}

#[cfg(test)]
mod tests;
