//! Bodies of requests and answers.

use std::fmt::Display;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
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

/// How long a client may pause while it sends one.
const PAUSE: Duration = Duration::from_secs(15);

/// So much of a document is read whoever else sends one.
const SHORT_DOCUMENT: usize = 64 << 10;

/// What all longer documents together may hold, until they are understood, in KiB.
const TOGETHER: usize = 64 << 10;
static HELD: Semaphore = Semaphore::const_new(TOGETHER);

/// A document that has been read, and its part of what all may hold together.
pub(crate) struct Document {
    text: Bytes,
    _share: Option<SemaphorePermit<'static>>,
}

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
pub(crate) async fn document(body: Incoming) -> Result<Document, Fault> {
    read(body, &HELD).await
}

async fn read<B>(body: B, held: &'static Semaphore) -> Result<Document, Fault>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let end = Instant::now() + SLOWEST_DOCUMENT;
    let mut pieces = body.into_data_stream();
    let mut document = BytesMut::new();
    let mut share: Option<SemaphorePermit<'static>> = None;
    loop {
        let piece = match timeout_at(end.min(Instant::now() + PAUSE), pieces.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => {
                return Err(Fault::invalid(format!("the request's body did not arrive: {error}")));
            }
            Err(_) => return Err(Fault::invalid("the request's body did not arrive in time")),
        };
        if document.len() + piece.len() > LONGEST_DOCUMENT {
            let message = format!("the request's body is longer than {LONGEST_DOCUMENT} bytes");
            return Err(Fault::invalid(message));
        }
        // Bytes are bounded, not clients: one that pauses keeps what it has sent, and no other waiting.
        let long = (document.len() + piece.len()).saturating_sub(SHORT_DOCUMENT.max(document.len()));
        if long > 0 {
            let kib = u32::try_from(long.div_ceil(1024)).unwrap_or(u32::MAX);
            let more = match timeout_at(end.min(Instant::now() + PAUSE), held.acquire_many(kib)).await {
                Ok(Ok(more)) => more,
                _ => return Err(Fault::unavailable("too many large requests at once, try again later")),
            };
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
        }
        document.extend_from_slice(&piece);
    }
    Ok(Document { text: document.freeze(), _share: share })
}

impl Deref for Document {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A semaphore of the test's own.
    fn held() -> &'static Semaphore {
        Box::leak(Box::new(Semaphore::new(TOGETHER)))
    }

    fn piece(size: usize) -> Result<Frame<Bytes>, io::Error> {
        Ok(Frame::data(Bytes::from(vec![b' '; size])))
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_stop_in_the_middle_hold_nobody_up_and_are_sent_away() {
        let held = held();
        let stalled = || {
            let pieces = futures::stream::iter([piece(1 << 20)]).chain(futures::stream::pending());
            tokio::spawn(read(StreamBody::new(pieces), held))
        };
        let crowd: Vec<_> = (0..8).map(|_| stalled()).collect();
        tokio::task::yield_now().await;
        let began = Instant::now();
        let large =
            read(StreamBody::new(futures::stream::iter([piece(8 << 20), piece(7 << 20)])), held).await;
        assert_eq!(large.map(|document| document.len()).map_err(|fault| fault.message), Ok(15 << 20));
        assert_eq!(began.elapsed(), Duration::ZERO);
        for one in crowd {
            let fault = one.await.expect("no panic").err().expect("it never came");
            assert_eq!((fault.status.as_u16(), began.elapsed()), (400, PAUSE));
        }
        assert_eq!(held.available_permits(), TOGETHER);
    }

    #[tokio::test(start_paused = true)]
    async fn large_documents_hold_so_much_together_and_small_ones_always_pass() {
        let held = held();
        let mut all = Vec::new();
        let refused = loop {
            match read(StreamBody::new(futures::stream::iter([piece(1 << 20)])), held).await {
                Ok(document) => all.push(document),
                Err(fault) => break fault,
            }
            assert!(all.len() <= TOGETHER >> 9);
        };
        assert_eq!(refused.status.as_u16(), 503);
        assert!(read(StreamBody::new(futures::stream::iter([piece(SHORT_DOCUMENT)])), held).await.is_ok());
        all.truncate(1);
        assert!(read(StreamBody::new(futures::stream::iter([piece(1 << 20)])), held).await.is_ok());
    }
}
