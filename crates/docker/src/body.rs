//! Bodies of requests and answers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
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
            self.sessions.spawn(async move { while let Some(Ok(_)) = body.next().await {} });
        }
    }
}

/// A whole request body, which must be short.
pub(crate) async fn document(body: Incoming) -> Result<Bytes, Fault> {
    let reading = Limited::new(body, LONGEST_DOCUMENT).collect();
    let Ok(read) = tokio::time::timeout(SLOWEST_DOCUMENT, reading).await else {
        return Err(Fault::invalid("the request's body did not arrive in time"));
    };
    match read {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Fault::invalid(format!("the request's body is longer than {LONGEST_DOCUMENT} bytes")))
        }
        Err(error) => Err(Fault::invalid(format!("the request's body did not arrive: {error}"))),
    }
}
