//! Sessions: a request that becomes a two-way stream to a process.
//!
//! A client that asks for `Upgrade: tcp` is answered 101 and gets the connection; closing its
//! sending half closes the process's input while the output goes on. One that does not ask is
//! answered 200 with the output as the body, the request's own body being the input.

use std::io::{self, Cursor};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use engine::container::LogStream;
use engine::{Attached, OutputKind};
use futures::{Stream, StreamExt};
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Chain, ReadHalf, WriteHalf};
use tokio_util::io::ReaderStream;

use crate::answer::{self, Answer};
use crate::body;
use crate::call::Call;
use crate::detach::{DetachKeys, Typed};
use crate::framing::{Framing, MULTIPLEXED, RAW};
use crate::gone;
use crate::socket::Socket;
use crate::version::ApiVersion;
use crate::words;

/// How much is read from a client at once.
const PIECE: usize = 32 << 10;
/// How long a process may take to be given what a client sent that is gone.
pub(crate) const LAST_INPUT: Duration = Duration::from_secs(10);
/// How long a client that has been told the end may say nothing before its connection is closed.
const SILENCE: Duration = Duration::from_secs(1);

/// What flows between a client and a process.
pub(crate) struct Session {
    /// The process's streams.
    pub(crate) attached: Attached,
    /// How its output travels.
    pub(crate) framing: Framing,
    /// What the client types reaches the process.
    pub(crate) stdin: bool,
    /// The client sees the output.
    pub(crate) stdout: bool,
    /// The client sees the errors.
    pub(crate) stderr: bool,
    /// Keys that end the session, where the process has a terminal.
    pub(crate) detach: Option<DetachKeys>,
    /// The end of the client's input ends the process's.
    pub(crate) close_stdin: bool,
    /// What the process wrote before, to be sent first.
    pub(crate) earlier: Option<LogStream>,
    /// Told when the client leaves by its keys.
    pub(crate) detached: Box<dyn FnOnce() + Send>,
}

/// Why no more comes from the client.
#[derive(PartialEq)]
enum InputEnd {
    Closed,
    Detached,
}

impl Session {
    /// Carries everything both ways until the process has ended, the client has detached, or `gone` says
    /// that it is there no more: whether it reads is not told by the end of its input. What a client has sent
    /// before it went is still given to the process.
    pub(crate) async fn run<R, W>(self, mut reader: R, writer: W, gone: impl Future<Output = ()>)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        match self.carry(&mut reader, writer, gone).await {
            Ok(InputEnd::Closed) => drain(reader).await,
            // Whoever leaves by its keys waits for the end of the connection, and what it types is for nobody.
            Ok(InputEnd::Detached) => {}
            Err(error) => tracing::debug!(%error, "the client of an attached session has gone"),
        }
    }

    /// Carries, and tells whether the client has detached.
    async fn carry<R, W>(
        self,
        reader: R,
        mut writer: W,
        gone: impl Future<Output = ()>,
    ) -> io::Result<InputEnd>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let Attached { input, mut output, .. } = self.attached;
        let (framing, shown) = (self.framing, (self.stdout, self.stderr));
        let outward = async move {
            if let Some(mut earlier) = self.earlier {
                while let Some(line) = earlier.next().await {
                    let Ok(line) = line else { break };
                    writer.write_all(&framing.wrap(line.stream, line.text)).await?;
                }
                writer.flush().await?;
            }
            while let Some(piece) = output.next().await {
                match piece {
                    Ok((kind, bytes)) if is_shown(shown, kind) => {
                        writer.write_all(&framing.wrap(kind, bytes)).await?;
                        writer.flush().await?;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        writer.write_all(&framing.failure(&words::message(&error))).await?;
                        break;
                    }
                }
            }
            writer.shutdown().await
        };
        let inward = async {
            if !self.stdin {
                // Only the end of the session is of interest.
                return InputEnd::Closed;
            }
            let end = carry_input(reader, &input, self.detach).await;
            if end == InputEnd::Closed && self.close_stdin {
                // The process may have ended meanwhile, and then needs no telling.
                let _ = input.close().await;
            }
            end
        };
        tokio::pin!(inward);
        let mut given = false;
        let ended: io::Result<InputEnd> = {
            tokio::pin!(outward);
            let carried = async {
                tokio::select! {
                    ended = &mut outward => ended.map(|()| InputEnd::Closed),
                    end = &mut inward => {
                        given = true;
                        match end {
                            InputEnd::Closed => outward.await.map(|()| InputEnd::Closed),
                            InputEnd::Detached => {
                                (self.detached)();
                                Ok(InputEnd::Detached)
                            }
                        }
                    }
                }
            };
            tokio::select! {
                ended = carried => ended,
                () = gone => Err(io::ErrorKind::ConnectionReset.into()),
            }
        };
        // The output of who has gone is let go of by now, so that the process is held up by nobody.
        if ended.is_err() && !given {
            let _ = tokio::time::timeout(LAST_INPUT, inward).await;
        }
        ended
    }
}

/// A connection that was handed over, after the head of the answer.
struct Taken {
    socket: Socket,
    /// What came with the request.
    earlier: Bytes,
}

/// Both directions of a connection that was handed over.
struct Connection {
    /// What the client sends, from what came with the request on.
    reader: Chain<Cursor<Bytes>, ReadHalf<Socket>>,
    writer: WriteHalf<Socket>,
    /// The socket once more, to see whether anybody is there.
    gone: io::Result<OwnedFd>,
}

impl Taken {
    async fn over(upgrade: OnUpgrade) -> io::Result<Self> {
        let connection = upgrade.await.map_err(io::Error::other)?;
        let parts = connection
            .downcast::<TokioIo<Socket>>()
            .map_err(|_| io::Error::other("the connection is none of the service's own"))?;
        let socket = parts.io.into_inner();
        // From here on it matters whether what is written is read.
        socket.last_words().store(false, Ordering::Relaxed);
        Ok(Self { socket, earlier: parts.read_buf })
    }

    /// The connection once the client has read the head: many read it through a buffer, and lose what comes
    /// with it.
    async fn split(self) -> Connection {
        self.socket.read_by_client().await;
        let gone = self.socket.as_fd().try_clone_to_owned();
        let (reader, writer) = tokio::io::split(self.socket);
        Connection { reader: Cursor::new(self.earlier).chain(reader), writer, gone }
    }
}

/// Answers `call` with the session.
pub(crate) fn answer(mut call: Call, session: Session) -> Answer {
    let (closing, place) = (call.api.closing.clone(), call.place());
    if let Some(upgrade) = call.upgrade.take() {
        let kind = content_type(session.framing, call.version);
        call.api.sessions.spawn(async move {
            let _place = place;
            match Taken::over(upgrade).await {
                Ok(taken) => {
                    let carried = async {
                        let Connection { reader, writer, gone } = taken.split().await;
                        session.run(reader, writer, gone::of_socket(gone)).await;
                    };
                    tokio::select! {
                        () = carried => {}
                        () = closing.cancelled() => {}
                    }
                }
                Err(error) => tracing::debug!(%error, "a connection was not handed over"),
            }
        });
        return Ok(upgraded(kind, "tcp"));
    }
    let pieces = body::incoming(call.take_body()?, &call.api.sessions);
    let reader = tokio_util::io::StreamReader::new(Box::pin(pieces));
    respond(&call, session, reader)
}

/// Answers `call`, whose body holds no input, with a session that begins when the head of the
/// answer is on its way, and carries nothing before that was read. What `begin` gives instead of a session is
/// shown to the user.
pub(crate) fn answer_then<F>(mut call: Call, framing: Framing, begin: F) -> Answer
where
    F: Future<Output = Result<Session, String>> + Send + 'static,
{
    let (closing, place) = (call.api.closing.clone(), call.place());
    if let Some(upgrade) = call.upgrade.take() {
        let kind = content_type(framing, call.version);
        call.api.sessions.spawn(async move {
            let _place = place;
            match Taken::over(upgrade).await {
                Ok(taken) => {
                    let carried = async {
                        let (begun, connection) = tokio::join!(begin, taken.split());
                        let Connection { reader, writer, gone } = connection;
                        run_begun(begun, framing, reader, writer, gone::of_socket(gone)).await;
                    };
                    tokio::select! {
                        () = carried => {}
                        () = closing.cancelled() => {}
                    }
                }
                Err(error) => tracing::debug!(%error, "a connection was not handed over"),
            }
        });
        return Ok(upgraded(kind, "tcp"));
    }
    let (near, far) = tokio::io::duplex(PIECE);
    let (gone, near) = tokio::io::split(near);
    call.api.sessions.spawn(async move {
        let carried = async {
            run_begun(begin.await, framing, tokio::io::empty(), near, gone::of_pipe(gone)).await;
        };
        tokio::select! {
            () = carried => {}
            () = closing.cancelled() => {}
        }
    });
    Ok(answer::with_type(StatusCode::OK, RAW, body::stream(ReaderStream::new(far))))
}

/// Answers `call` with output that is there already, and with the end of the connection: a client
/// that asked for the connection waits for just that.
pub(crate) fn answer_output<S>(mut call: Call, framing: Framing, pieces: S) -> Answer
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let Some(upgrade) = call.upgrade.take() else { return answer::stream(RAW, pieces) };
    let kind = content_type(framing, call.version);
    let (closing, place) = (call.api.closing.clone(), call.place());
    call.api.sessions.spawn(async move {
        let _place = place;
        let sent = async move {
            let Connection { reader, mut writer, .. } = Taken::over(upgrade).await?.split().await;
            let mut pieces = std::pin::pin!(pieces);
            while let Some(piece) = pieces.next().await {
                writer.write_all(&piece?).await?;
            }
            writer.shutdown().await?;
            drain(reader).await;
            io::Result::Ok(())
        };
        tokio::select! {
            sent = sent => if let Err(error) = sent {
                tracing::debug!(%error, "the client of an attached session has gone");
            },
            () = closing.cancelled() => {}
        }
    });
    Ok(upgraded(kind, "tcp"))
}

/// Hands the connection of `call` over to what goes on with it in another protocol than this one, and
/// ends it with the service.
pub(crate) fn hand_over<F>(
    call: &Call,
    upgrade: OnUpgrade,
    protocol: &'static str,
    go_on: impl FnOnce(Box<dyn Both>) -> F + Send + 'static,
) -> Answer
where
    F: Future<Output = ()> + Send + 'static,
{
    let (closing, place) = (call.api.closing.clone(), call.place());
    call.api.sessions.spawn(async move {
        let _place = place;
        match Taken::over(upgrade).await {
            Ok(taken) => {
                let carried = async {
                    let Connection { reader, writer, .. } = taken.split().await;
                    go_on(Box::new(tokio::io::join(reader, writer))).await;
                };
                tokio::select! {
                    () = carried => {}
                    () = closing.cancelled() => {}
                }
            }
            Err(error) => tracing::debug!(%error, "a connection was not handed over"),
        }
    });
    Ok(upgraded(RAW, protocol))
}

/// Both directions of a connection.
pub(crate) trait Both: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// The answer that hands the connection over.
pub(crate) fn upgraded(kind: &'static str, protocol: &'static str) -> Response<body::Body> {
    let mut response = answer::with_type(StatusCode::SWITCHING_PROTOCOLS, kind, body::empty());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    response.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    response
}

fn respond(call: &Call, session: Session, reader: impl AsyncRead + Unpin + Send + 'static) -> Answer {
    let (near, far) = tokio::io::duplex(PIECE);
    let (gone, near) = tokio::io::split(near);
    let closing = call.api.closing.clone();
    call.api.sessions.spawn(async move {
        tokio::select! {
            () = session.run(reader, near, gone::of_pipe(gone)) => {}
            () = closing.cancelled() => {}
        }
    });
    Ok(answer::with_type(StatusCode::OK, RAW, body::stream(ReaderStream::new(far))))
}

async fn run_begun<R, W>(
    begun: Result<Session, String>,
    framing: Framing,
    reader: R,
    mut writer: W,
    gone: impl Future<Output = ()>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match begun {
        Ok(session) => session.run(reader, writer, gone).await,
        Err(text) => {
            let text = framing.wrap(OutputKind::Stdout, Bytes::from(format!("{text}\r\n")));
            match writer.write_all(&text).await.and(writer.shutdown().await) {
                Ok(()) => drain(reader).await,
                Err(error) => tracing::debug!(%error, "the client of an attached session has gone"),
            }
        }
    }
}

/// Older clients know one content type only, whatever the framing.
fn content_type(framing: Framing, version: ApiVersion) -> &'static str {
    match framing {
        Framing::Multiplexed if version >= ApiVersion(1, 42) => MULTIPLEXED,
        _ => RAW,
    }
}

fn is_shown((stdout, stderr): (bool, bool), kind: OutputKind) -> bool {
    match kind {
        OutputKind::Stdout => stdout,
        OutputKind::Stderr => stderr,
    }
}

/// Reads what a client still sends that has been told the end. A connection that is closed with something
/// unread is in error for who is at its other end, who may lose what was sent to it, and fails.
async fn drain(mut reader: impl AsyncRead + Unpin) {
    let mut buffer = vec![0; PIECE];
    let rest =
        async { while let Ok(Ok(1..)) = tokio::time::timeout(SILENCE, reader.read(&mut buffer)).await {} };
    let _ = tokio::time::timeout(LAST_INPUT, rest).await;
}

async fn carry_input(
    mut reader: impl AsyncRead + Unpin,
    input: &engine::stream::Input,
    mut detach: Option<DetachKeys>,
) -> InputEnd {
    let mut buffer = vec![0; PIECE];
    loop {
        // A broken connection ends the input like a closed one.
        let read = match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => return InputEnd::Closed,
            Ok(read) => read,
        };
        let (bytes, detached) = match &mut detach {
            None => (Bytes::copy_from_slice(&buffer[..read]), false),
            Some(keys) => match keys.read(&buffer[..read]) {
                Typed::Input(bytes) => (bytes, false),
                Typed::Detach(bytes) => (bytes, true),
            },
        };
        if !bytes.is_empty() && input.write(bytes).await.is_err() {
            return InputEnd::Closed;
        }
        if detached {
            return InputEnd::Detached;
        }
    }
}
