//! Sending a blob that is made while it is sent.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base::pace::Pace;
use bytes::Bytes;
use futures::stream;
use tokio::sync::mpsc;

/// How often it is looked how far an upload has come.
const LOOK: Duration = Duration::from_millis(200);

/// How far an upload has come.
#[derive(Default)]
struct Headway {
    /// Bytes that the connection has taken.
    taken: AtomicU64,
    /// It would take more, but there is none yet.
    waits_for_us: AtomicBool,
    /// It has taken all.
    is_whole: AtomicBool,
}

/// Watches a body of pieces on its way.
pub(super) struct Watch {
    headway: Arc<Headway>,
}

impl Watch {
    /// What is to be sent, and who watches it.
    pub(super) fn new(pieces: mpsc::Receiver<io::Result<Bytes>>) -> (reqwest::Body, Self) {
        let headway = Arc::new(Headway::default());
        let watched = Arc::clone(&headway);
        let body = stream::unfold((pieces, watched), |(mut pieces, watched)| async move {
            watched.waits_for_us.store(true, Ordering::Relaxed);
            let piece = pieces.recv().await;
            watched.waits_for_us.store(false, Ordering::Relaxed);
            match &piece {
                Some(Ok(bytes)) => {
                    watched.taken.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
                Some(Err(_)) => {}
                None => watched.is_whole.store(true, Ordering::Relaxed),
            }
            piece.map(|piece| (piece, (pieces, watched)))
        });
        (reqwest::Body::wrap_stream(body), Self { headway })
    }

    /// Resolves when the other side has taken nothing, or next to nothing, for as long as `silence`, or has
    /// not answered for as long as `answer` when it has all. Gives the limit that it was.
    pub(super) async fn stuck(self, silence: Duration, answer: Duration) -> Duration {
        let (mut pace, mut before) = (Pace::new(silence), 0);
        while !self.headway.is_whole.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK).await;
            let taken = self.headway.taken.load(Ordering::Relaxed);
            let ours = taken == before && self.headway.waits_for_us.load(Ordering::Relaxed);
            let waited = if ours { Duration::ZERO } else { LOOK };
            pace.passed(waited, usize::try_from(taken - before).unwrap_or(usize::MAX));
            before = taken;
            if pace.is_over() {
                return silence;
            }
        }
        tokio::time::sleep(answer).await;
        answer
    }
}
