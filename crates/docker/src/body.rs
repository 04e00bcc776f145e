//! Bodies of requests and answers.

use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::fault::Fault;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// See [`incoming`].
struct Pieces {
    body: Option<BodyDataStream<Incoming>>,
    sessions: TaskTracker,
}

/// No JSON document that a client sends is longer than this.
const LONGEST_DOCUMENT: usize = 16 << 20;

/// How long one may take to arrive.
const SLOWEST_DOCUMENT: Duration = Duration::from_secs(120);

/// Longer documents than this are read a few at a time.
const SHORT_DOCUMENT: usize = 64 << 10;
static LONG_DOCUMENTS: Semaphore = Semaphore::const_new(4);

/// A body that is there already.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body without anything in it.
pub(crate) fn empty() -> Body {
    full(Bytes::new())
}

/// A body that comes in pieces; each is sent as soon as nothing more is ready.
pub(crate) fn stream(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// The pieces of a request's body. If they are not read to the end, `sessions` does it: a client
/// that is still sending when its connection ends does not see the answer.
pub(crate) fn incoming(
    body: Incoming,
    sessions: &TaskTracker,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static {
    Pieces { body: Some(body.into_data_stream()), sessions: sessions.clone() }
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let piece = ready!(body.poll_next_unpin(context));
        if !matches!(piece, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(piece.map(|piece| piece.map_err(io::Error::other)))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let (Some(mut body), Ok(_)) = (self.body.take(), tokio::runtime::Handle::try_current()) {
            let rest = async move { while let Some(Ok(_)) = body.next().await {} };
            self.sessions.spawn(tokio::time::timeout(SLOWEST_DOCUMENT, rest));
        }
    }
}

/// A whole request body, which must be short and come soon.
pub(crate) async fn document(body: Incoming) -> Result<Bytes, Fault> {
    match tokio::time::timeout(SLOWEST_DOCUMENT, read(body)).await {
        Ok(document) => document,
        Err(_) => Err(Fault::invalid("the request's body did not arrive in time")),
    }
}

async fn read<B>(body: B) -> Result<Bytes, Fault>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut pieces = body.into_data_stream();
    let mut document = BytesMut::new();
    let mut place = None;
    while let Some(piece) = pieces.next().await {
        let piece =
            piece.map_err(|error| Fault::invalid(format!("the request's body did not arrive: {error}")))?;
        document.extend_from_slice(&piece);
        if document.len() > LONGEST_DOCUMENT {
            let message = format!("the request's body is longer than {LONGEST_DOCUMENT} bytes");
            return Err(Fault::invalid(message));
        }
        if document.len() > SHORT_DOCUMENT && place.is_none() {
            place = Some(LONG_DOCUMENTS.acquire().await);
        }
    }
    Ok(document.freeze())
}
