//! Response bodies: whole, in chunks of shared bytes, or a stream that goes on.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http_body::{Frame, SizeHint};

/// What the server answers with. Never fails: a broken stream simply ends.
pub struct Body(Kind);

enum Kind {
    Chunks(VecDeque<Bytes>),
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

/// Gathers small pieces into chunks that are worth a write each.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    done: VecDeque<Bytes>,
    open: BytesMut,
}

/// Chunks are cut at about this size: large enough for few frames, small enough to reuse memory.
const CHUNK: usize = 256 << 10;

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self(Kind::Chunks(VecDeque::new()))
    }

    /// One piece.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Kind::Chunks(if bytes.is_empty() { VecDeque::new() } else { VecDeque::from([bytes]) }))
    }

    /// Pieces that arrive while the client reads.
    pub fn stream(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(Kind::Stream(Box::pin(stream)))
    }

    /// The length, where it is known.
    pub fn len(&self) -> Option<usize> {
        match &self.0 {
            Kind::Chunks(chunks) => Some(chunks.iter().map(Bytes::len).sum()),
            Kind::Stream(_) => None,
        }
    }

    /// Whether it is known to be empty.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The pieces of a body that is not a stream; a stream comes back unchanged.
    pub(crate) fn into_chunks(self) -> Result<VecDeque<Bytes>, Self> {
        match self.0 {
            Kind::Chunks(chunks) => Ok(chunks),
            stream => Err(Self(stream)),
        }
    }
}

impl Chunks {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.open.len() + bytes.len() > CHUNK && !self.open.is_empty() {
            self.done.push_back(self.open.split().freeze());
        }
        if self.open.capacity() == 0 {
            self.open.reserve(CHUNK.min(bytes.len().max(4096)));
        }
        self.open.extend_from_slice(bytes);
    }

    pub(crate) fn into_body(mut self) -> Body {
        if !self.open.is_empty() {
            self.done.push_back(self.open.freeze());
        }
        Body(Kind::Chunks(self.done))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Chunks(chunks) => Poll::Ready(chunks.pop_front().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(stream) => {
                stream.as_mut().poll_next(context).map(|item| item.map(|b| Ok(Frame::data(b))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Chunks(chunks) if chunks.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self.len() {
            Some(len) => SizeHint::with_exact(len as u64),
            None => SizeHint::default(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.len() {
            Some(len) => write!(f, "Body({len} bytes)"),
            None => f.write_str("Body(stream)"),
        }
    }
}
