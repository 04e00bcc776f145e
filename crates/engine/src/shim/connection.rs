//! Frames over a socket.

use std::path::Path;

use runtime::shim::descriptors::{self, Descriptors};
use runtime::shim::protocol::{self, Decoder, Frame, Kind, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use runtime::shim::address::Address;

use crate::error::{Context, Error, Result};

/// One connection to a shim.
pub(crate) struct Connection {
    pub(crate) reader: Reader,
    pub(crate) writer: OwnedWriteHalf,
}

/// The side on which frames come.
pub(crate) struct Reader {
    half: OwnedReadHalf,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(socket: &Path) -> Result<Self> {
        let stream = Self::dial(socket).await.map_err(|source| {
            Error::unavailable(format!("connect to the shim at `{}`", socket.display())).with_source(source)
        })?;
        Ok(Self::over(stream))
    }

    /// The bare connection; refused where nobody listens.
    pub(crate) async fn dial(socket: &Path) -> std::io::Result<UnixStream> {
        let address = Address::of(socket)?;
        UnixStream::connect(address.path()).await
    }

    pub(crate) fn over(stream: UnixStream) -> Self {
        let (half, writer) = stream.into_split();
        Self { reader: Reader { half, decoder: Decoder::default(), buffer: Vec::new() }, writer }
    }

    /// Sends `request` and waits for the answer; a refusal is an error. The caller sets a limit.
    pub(super) async fn ask(&mut self, request: &Request) -> Result<Response> {
        self.ask_with(request, &Descriptors::default()).await
    }

    /// As [`Connection::ask`], with the descriptors that the request announces.
    pub(super) async fn ask_with(&mut self, request: &Request, with: &Descriptors) -> Result<Response> {
        let bytes = protocol::encode_json(Kind::Request, request);
        self.write(&bytes, with).await.context(|| "write to a shim".to_owned())?;
        let frame =
            self.receive().await?.ok_or_else(|| Error::unavailable("the shim closed the connection"))?;
        match frame
            .json()
            .map_err(|source| Error::internal("the shim answered nonsense").with_source(source))?
        {
            Response::Error(failure) => Err(failure.into()),
            response => Ok(response),
        }
    }

    /// The next frame; `None` once the shim has closed the connection.
    pub(crate) async fn receive(&mut self) -> Result<Option<Frame>> {
        self.reader.receive().await
    }

    async fn write(&mut self, mut bytes: &[u8], with: &Descriptors) -> std::io::Result<()> {
        let fds = with.fds();
        let mut fds = &fds[..];
        while !fds.is_empty() {
            let socket: &UnixStream = self.writer.as_ref();
            let (sent, passed) =
                socket.async_io(Interest::WRITABLE, || descriptors::send(socket, bytes, fds)).await?;
            (bytes, fds) = (&bytes[sent..], &fds[passed..]);
        }
        self.writer.write_all(bytes).await
    }
}

impl Reader {
    /// The next frame; `None` once the shim has closed the connection. Safe to drop at its await.
    pub(crate) async fn receive(&mut self) -> Result<Option<Frame>> {
        loop {
            let frame = self.decoder.next_frame();
            if let Some(frame) =
                frame.map_err(|source| Error::internal("the shim sent nonsense").with_source(source))?
            {
                return Ok(Some(frame));
            }
            self.buffer.clear();
            self.buffer.reserve(16 << 10);
            let count =
                self.half.read_buf(&mut self.buffer).await.context(|| "read from a shim".to_owned())?;
            if count == 0 {
                return Ok(None);
            }
            self.decoder.push(&self.buffer);
            // An idle connection keeps nothing.
            self.buffer = Vec::new();
        }
    }
}
