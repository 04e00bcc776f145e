//! The body of a request, read only once its sender is known and allowed to send it.
//!
//! What a body may cost is bounded three ways: its size, the time that it may take to arrive, and the
//! bytes that all bodies together may hold (answers with 413, 408 and 429).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use model::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Result};

/// The largest request body that is read: what etcd's limit makes of Kubernetes' own.
pub(crate) const BODY_LIMIT: usize = 3 << 20;
/// How long a body may take to arrive.
const WHOLE: Duration = Duration::from_secs(60);
/// How long a client may pause while it sends one.
const PAUSE: Duration = Duration::from_secs(15);
/// How much all bodies together may hold, from their arrival until they are answered, in KiB.
const TOGETHER: usize = 64 << 10;

/// A request's body.
pub(crate) enum Payload {
    /// It is there: the caller shares the process.
    Ready(Bytes),
    /// It has to be read from the connection.
    Arriving(Incoming),
}

/// A body that has been read, and its part of what all may hold together.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// What all bodies together may hold.
pub(crate) struct Bodies(Arc<Semaphore>);

impl Bodies {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(TOGETHER)))
    }
}

impl Payload {
    /// Reads the whole body, which is no longer than `limit`, within the bounds.
    pub(crate) async fn read(self, bodies: &Bodies, limit: usize) -> Result<Held> {
        match self {
            Self::Ready(bytes) if bytes.len() > limit => Err(too_large(limit)),
            Self::Ready(bytes) => Ok(Held { bytes, _share: None }),
            Self::Arriving(body) => bodies.read(body, limit).await,
        }
    }
}

impl Bodies {
    async fn read<B>(&self, mut body: B, limit: usize) -> Result<Held>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        if body.is_end_stream() {
            return Ok(Held { bytes: Bytes::new(), _share: None });
        }
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large(limit));
        }
        let end = Instant::now() + WHOLE;
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        loop {
            let frame = match timeout_at(end.min(Instant::now() + PAUSE), body.frame()).await {
                Err(_) => return Err(too_slow()),
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    return Err(Error::bad_request(format!("the body could not be read: {error}")));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(piece) = frame.into_data() else { continue };
            if first.len() + all.len() + piece.len() > limit {
                return Err(too_large(limit));
            }
            let kib = u32::try_from(piece.len().div_ceil(1024)).unwrap_or(u32::MAX);
            let more = timeout_at(end, self.0.clone().acquire_many_owned(kib)).await;
            let more = more.ok().and_then(std::result::Result::ok).ok_or_else(|| {
                Error::from(Status::too_many_requests(
                    "too many large requests at once, please try again later",
                    1,
                ))
            })?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            // Most bodies come in one piece, which is not copied.
            if first.is_empty() && all.is_empty() {
                first = piece;
            } else {
                if all.is_empty() {
                    all.extend_from_slice(&std::mem::take(&mut first));
                }
                all.extend_from_slice(&piece);
            }
        }
        Ok(Held { bytes: if all.is_empty() { first } else { all.freeze() }, _share: share })
    }
}

fn too_large(limit: usize) -> Error {
    Status::too_large(format!("limit is {limit}")).into()
}

fn too_slow() -> Error {
    Status::failure(408, "Timeout", "Timeout: the body of the request did not arrive in time".to_owned())
        .into()
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    type Piece = std::result::Result<Frame<Bytes>, std::io::Error>;

    fn piece(size: usize) -> Piece {
        Ok(Frame::data(Bytes::from(vec![b'x'; size])))
    }

    async fn check(
        pieces: impl futures::Stream<Item = Piece> + Unpin,
        expected: std::result::Result<usize, u16>,
    ) {
        let read = Bodies::new().read(StreamBody::new(pieces), BODY_LIMIT).await;
        assert_eq!(read.map(|held| held.bytes.len()).map_err(|e| e.code().as_u16()), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_read_within_its_size_and_its_time() {
        check(futures::stream::iter([piece(10)]), Ok(10)).await;
        check(futures::stream::iter([piece(10), piece(20), piece(30)]), Ok(60)).await;
        check(futures::stream::iter([piece(BODY_LIMIT), piece(1)]), Err(413)).await;
        // Half of it, and then nothing.
        check(futures::stream::iter([piece(10)]).chain(futures::stream::pending()), Err(408)).await;
        // A little now and then, for ever.
        let drip = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Some((piece(1), ()))
        });
        let began = Instant::now();
        check(Box::pin(drip), Err(408)).await;
        assert_eq!(began.elapsed(), WHOLE);
    }

    #[tokio::test(start_paused = true)]
    async fn all_bodies_together_hold_so_much_and_no_more() {
        let bodies = Bodies::new();
        let mut held = Vec::new();
        let refused = loop {
            match bodies.read(StreamBody::new(futures::stream::iter([piece(1 << 20)])), BODY_LIMIT).await {
                Ok(one) => held.push(one),
                Err(error) => break error,
            }
        };
        assert_eq!((held.len(), refused.code().as_u16()), (TOGETHER >> 10, 429));
        held.pop();
        assert!(
            bodies.read(StreamBody::new(futures::stream::iter([piece(1 << 20)])), BODY_LIMIT).await.is_ok()
        );
    }
}
