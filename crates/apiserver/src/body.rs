//! Response bodies: whole, in chunks of shared bytes, or a stream that goes on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http_body::{Frame, SizeHint};

use crate::account::{Account, Copying};
use crate::connections::Busy;
use crate::fairness::Place;

/// What the server answers with.
///
/// Fails only by a fault of the server; the client then sees the connection, or the stream, break off
/// rather than an answer that looks whole.
pub struct Body {
    kind: Kind,
    /// Among the requests that are served, as long as the client takes the answer.
    place: Option<Arc<Place>>,
    /// The request that it answers, where that came by a connection.
    busy: Option<Busy>,
    patient: bool,
    /// Of the request that it answers.
    account: Option<Arc<Account>>,
    /// What it is copied to.
    copying: Option<Box<Copying>>,
}

/// An answer broke off by a fault of the server, or of whoever it passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off by a fault of the server")]
pub struct BrokenOff;

enum Kind {
    Chunks(VecDeque<Bytes>),
    Stream {
        stream: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
        length: Length,
    },
    /// What somebody else answers, who may break off.
    Carried(Pin<Box<dyn Stream<Item = Result<Bytes, BrokenOff>> + Send>>),
}

/// How long a stream will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Nobody knows; it may go on for ever, and its pieces are wanted at once.
    Open,
    /// About so many bytes.
    About(usize),
    /// So many bytes.
    Exactly(usize),
}

/// Gathers small pieces into chunks that are worth a write each.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    done: VecDeque<Bytes>,
    open: BytesMut,
}

/// Chunks are cut at about this size: large enough for few frames, small enough to reuse memory.
pub(crate) const CHUNK: usize = 64 << 10;

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Kind::Chunks(VecDeque::new()).into()
    }

    /// One piece.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Kind::Chunks(if bytes.is_empty() { VecDeque::new() } else { VecDeque::from([bytes]) }).into()
    }

    /// Pieces that arrive while the client reads.
    pub fn stream(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self::measured(stream, Length::Open)
    }

    /// The answer of somebody else, which may break off, as it arrives.
    pub(crate) fn carried(stream: impl Stream<Item = Result<Bytes, BrokenOff>> + Send + 'static) -> Self {
        Kind::Carried(Box::pin(stream)).into()
    }

    /// Pieces that are made while the client reads, of a length that is more or less known.
    pub(crate) fn measured(stream: impl Stream<Item = Bytes> + Send + 'static, length: Length) -> Self {
        Kind::Stream { stream: Box::pin(stream), length }.into()
    }

    /// The length, where it is known.
    pub fn len(&self) -> Option<usize> {
        match &self.kind {
            Kind::Chunks(chunks) => Some(chunks.iter().map(Bytes::len).sum()),
            Kind::Stream { length: Length::Exactly(length), .. } => Some(*length),
            Kind::Stream { .. } | Kind::Carried(_) => None,
        }
    }

    /// Whether it is known to be empty.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// About how long it is; nothing where it may go on for ever.
    pub(crate) fn weight(&self) -> Option<usize> {
        match &self.kind {
            Kind::Stream { length: Length::About(length), .. } => Some(*length),
            _ => self.len(),
        }
    }

    /// Its client may take as long as it likes: who reads a log page by page does.
    pub(crate) fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// From now on the client is expected to take it, piece by piece.
    pub(crate) fn sent(&mut self, busy: Busy) {
        if self.patient {
            busy.be_patient()
        } else {
            busy.offer()
        }
        self.busy = Some(busy);
    }

    /// The same answer, of which this is the text.
    pub(crate) fn replaced(mut self, text: Bytes) -> Self {
        self.kind = Kind::Chunks(VecDeque::from([text]));
        self
    }

    /// The pieces, where they are all there.
    pub(crate) fn chunks(&self) -> Option<&[Bytes]> {
        match &self.kind {
            // They are put in at the end and taken at the beginning.
            Kind::Chunks(chunks) => Some(chunks.as_slices().0).filter(|first| first.len() == chunks.len()),
            Kind::Stream { .. } | Kind::Carried(_) => None,
        }
    }

    /// What is sent is counted there.
    pub(crate) fn charge(&mut self, account: Arc<Account>) {
        self.account = Some(account);
    }

    /// What is sent is copied there.
    pub(crate) fn copy_to(&mut self, copying: Copying) {
        self.copying = Some(Box::new(copying));
    }

    /// Notes a piece that is sent, or the end.
    fn note(&mut self, piece: Option<&Bytes>) {
        match piece {
            Some(piece) => {
                if let Some(account) = &self.account {
                    account.sent(piece.len());
                }
                if let Some(copying) = &mut self.copying {
                    copying.piece(piece);
                }
            }
            None => {
                if let Some(copying) = self.copying.take() {
                    copying.end();
                }
            }
        }
    }

    /// The request has its place until the answer is over, or its client takes nothing of it while others wait.
    pub(crate) fn hold(&mut self, place: Arc<Place>) {
        place.offer();
        self.place = Some(place);
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        match &mut self.kind {
            Kind::Chunks(chunks) => Poll::Ready(chunks.pop_front().map(Ok)),
            Kind::Stream { stream, .. } => stream.as_mut().poll_next(context).map(|piece| piece.map(Ok)),
            Kind::Carried(stream) => stream.as_mut().poll_next(context),
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
        Kind::Chunks(self.done).into()
    }
}

impl From<Kind> for Body {
    fn from(kind: Kind) -> Self {
        Self { kind, place: None, busy: None, patient: false, account: None, copying: None }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let polled = base::panics::catch(|| self.poll_piece(context));
        match (&polled, &self.place) {
            (Ok(Poll::Ready(None)) | Err(_), _) => self.place = None,
            (Ok(Poll::Ready(Some(_))), Some(place)) => place.offer(),
            (Ok(Poll::Pending), Some(place)) => place.work(),
            (_, None) => {}
        }
        if let Some(busy) = self.busy.as_ref().filter(|_| !self.patient) {
            // Asked for the next piece, the client has taken the last one.
            if matches!(polled, Ok(Poll::Pending)) { busy.wait() } else { busy.offer() }
        }
        match &polled {
            Ok(Poll::Ready(Some(Ok(piece)))) => self.note(Some(piece)),
            Ok(Poll::Ready(None)) => self.note(None),
            _ => {}
        }
        match polled {
            Ok(piece) => piece.map(|piece| piece.map(|bytes| bytes.map(Frame::data))),
            Err(panic) => {
                tracing::error!(%panic, "an answer broke off");
                if let Some(account) = &self.account {
                    account.broke_off(&panic);
                }
                self.kind = Kind::Chunks(VecDeque::new());
                Poll::Ready(Some(Err(BrokenOff)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.kind, Kind::Chunks(chunks) if chunks.is_empty())
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body_util::BodyExt;

    use super::*;
    use crate::connections::{Connections, STALLED};

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_what_is_there_is_noticed_and_who_waits_for_more_is_not() {
        let seat = Arc::new(Connections::new(1)).enter();
        let stalls = async || tokio::time::timeout(STALLED * 3, seat.stalled()).await.is_ok();
        let (send, pieces) = futures::channel::mpsc::unbounded::<Bytes>();
        let mut body = Body::stream(pieces);
        body.sent(seat.work());
        assert!(stalls().await, "nobody has asked for the first piece");
        assert!(body.frame().now_or_never().is_none());
        assert!(!stalls().await, "there is none");
        send.unbounded_send(Bytes::from_static(b"x")).expect("sent");
        assert!(body.frame().now_or_never().flatten().is_some_and(|frame| frame.is_ok()));
        assert!(stalls().await, "it was not sent on");
        drop(body);
        assert!(!stalls().await);
        let mut log = Body::stream(futures::stream::pending()).patient();
        log.sent(seat.work());
        assert!(!stalls().await, "a log may be read page by page");
        assert!(seat.is_patient());
    }

    #[tokio::test]
    async fn a_stream_that_panics_breaks_off_instead_of_ending() {
        let mut pieces = 0;
        let stream = futures::stream::poll_fn(move |_| {
            pieces += 1;
            assert!(pieces < 3, "no third piece");
            Poll::Ready(Some(Bytes::from_static(b"x")))
        });
        let mut body = Body::stream(stream);
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        assert!(body.frame().await.is_some_and(|frame| frame.is_err()));
        assert!(body.frame().await.is_none());
    }
}
