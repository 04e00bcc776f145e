//! A synchronous client of a shim's socket.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::address::Address;
use super::descriptors::{self, Descriptors};
use super::protocol::{self, Decoder, Event, Failure, Frame, FrameError, Kind, Request, Response, Streams};

/// Asks a shim, one request after another.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

/// Frames both ways: what a [`Client`] becomes by attaching or subscribing.
#[derive(Debug)]
pub struct Connection {
    path: PathBuf,
    stream: UnixStream,
    decoder: Decoder,
}

/// Why a shim could not be asked, or what it answered instead.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No shim listens.
    #[error("connect to the shim at `{}`", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The connection broke.
    #[error("talk to the shim at `{}`", path.display())]
    Talk {
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// What came back was no frame, or not the expected one.
    #[error("the shim at `{}` answered nonsense", path.display())]
    Frame {
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: FrameError,
    },
    /// An answer that does not belong to the question.
    #[error("the shim at `{}` gave an unexpected answer: {answer}", path.display())]
    Unexpected {
        /// The socket.
        path: PathBuf,
        /// What it was.
        answer: String,
    },
    /// The shim said no.
    #[error(transparent)]
    Refused(#[from] Failure),
}

impl Client {
    /// Connects to the shim that listens at `socket`.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let stream = Address::of(socket)
            .and_then(|address| UnixStream::connect(address.path()))
            .map_err(|source| ClientError::Connect { path: socket.to_owned(), source })?;
        Ok(Self { connection: Connection { path: socket.to_owned(), stream, decoder: Decoder::default() } })
    }

    /// Sends `request` and waits for the answer; a refusal is an error.
    pub fn ask(&mut self, request: &Request) -> Result<Response, ClientError> {
        self.ask_with(request, &Descriptors::default())
    }

    /// As [`Client::ask`], with the descriptors that the request announces.
    pub fn ask_with(&mut self, request: &Request, with: &Descriptors) -> Result<Response, ClientError> {
        self.send_with(request, with)?;
        self.answer()
    }

    /// Sends `request`, whose answer is waited for by [`Client::answer`].
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        self.send_with(request, &Descriptors::default())
    }

    /// As [`Client::send`], with the descriptors that the request announces.
    pub fn send_with(&mut self, request: &Request, with: &Descriptors) -> Result<(), ClientError> {
        self.connection.send_with(&protocol::encode_json(Kind::Request, request), &with.fds())
    }

    /// Waits for the answer to the earliest request that has none; a refusal is an error.
    pub fn answer(&mut self) -> Result<Response, ClientError> {
        let frame = self.connection.receive()?.ok_or_else(|| self.connection.gone())?;
        if frame.kind != Kind::Response {
            return Err(self.connection.unexpected(&frame));
        }
        match frame.json().map_err(|source| self.connection.frame_error(source))? {
            Response::Error(failure) => Err(failure.into()),
            answer => Ok(answer),
        }
    }

    /// How long an answer is waited for; for ever where nobody says.
    pub fn set_timeout(&mut self, timeout: Option<std::time::Duration>) -> Result<(), ClientError> {
        let connection = &self.connection;
        connection
            .stream
            .set_read_timeout(timeout)
            .and_then(|()| connection.stream.set_write_timeout(timeout))
            .map_err(|source| ClientError::Talk { path: connection.path.clone(), source })
    }

    /// Turns this connection into the streams of a process.
    pub fn attach(
        mut self,
        container: &str,
        exec: Option<&str>,
        streams: Streams,
    ) -> Result<Connection, ClientError> {
        let exec = exec.map(ToOwned::to_owned);
        self.ask(&Request::Attach { container: container.to_owned(), exec, streams })?;
        Ok(self.connection)
    }

    /// Turns this connection into a stream of events.
    pub fn subscribe(mut self) -> Result<Connection, ClientError> {
        self.ask(&Request::Subscribe)?;
        Ok(self.connection)
    }

    /// The connection itself, after a request that turned it into streams.
    pub fn into_connection(self) -> Connection {
        self.connection
    }
}

impl Connection {
    /// Sends one stream frame.
    pub fn send_frame(&mut self, kind: Kind, payload: &[u8]) -> Result<(), ClientError> {
        self.send(&protocol::encode(kind, payload))
    }

    /// The next frame; `None` once the shim has closed the connection.
    pub fn receive(&mut self) -> Result<Option<Frame>, ClientError> {
        let mut buffer = [0; 16 << 10];
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(|source| self.frame_error(source))? {
                return Ok(Some(frame));
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => self.decoder.push(&buffer[..count]),
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ClientError::Talk { path: self.path.clone(), source }),
            }
        }
    }

    /// The next event, on a connection that subscribed.
    pub fn event(&mut self) -> Result<Option<Event>, ClientError> {
        let Some(frame) = self.receive()? else { return Ok(None) };
        if frame.kind != Kind::Event {
            return Err(self.unexpected(&frame));
        }
        frame.json().map(Some).map_err(|source| self.frame_error(source))
    }

    /// The socket, for polling or a read time-out.
    pub fn socket(&self) -> &UnixStream {
        &self.stream
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.stream.write_all(bytes).map_err(|source| ClientError::Talk { path: self.path.clone(), source })
    }

    fn send_with(&mut self, mut bytes: &[u8], mut fds: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        while !fds.is_empty() {
            let (sent, passed) = descriptors::send(&self.stream, bytes, fds)
                .map_err(|source| ClientError::Talk { path: self.path.clone(), source })?;
            (bytes, fds) = (&bytes[sent..], &fds[passed..]);
        }
        self.send(bytes)
    }

    fn gone(&self) -> ClientError {
        let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the shim closed the connection");
        ClientError::Talk { path: self.path.clone(), source }
    }

    fn frame_error(&self, source: FrameError) -> ClientError {
        ClientError::Frame { path: self.path.clone(), source }
    }

    fn unexpected(&self, frame: &Frame) -> ClientError {
        let answer = format!("{:?} frame of {} bytes", frame.kind, frame.payload.len());
        ClientError::Unexpected { path: self.path.clone(), answer }
    }
}
