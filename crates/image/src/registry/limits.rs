//! How long a registry is waited for, and reading what it sends with no more patience than that.

use std::time::{Duration, Instant};

use base::pace::Pace;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::Response;

use super::repository::unreachable;
use crate::transfer::PullError;

/// The longest manifest, configuration or other document that is taken.
const DOCUMENT_MAX: u64 = oci::limits::DOCUMENT_MAX as u64;

/// How long registries are waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How long one may send or take nothing, or next to nothing.
    pub silence: Duration,
    /// How long a document may take to arrive, and a registry to check what it was sent.
    pub document: Duration,
    /// How long a layer waits for a thread, when many are on their way.
    pub queue: Duration,
    /// How often whoever waits for a layer that another fetches looks how far it has come.
    pub look: Duration,
}

/// The body of an answer, piece by piece.
pub(crate) struct Paced {
    what: String,
    pieces: BoxStream<'static, reqwest::Result<Bytes>>,
    pace: Pace,
    limit: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(60),
            document: Duration::from_secs(2 * 60),
            queue: Duration::from_secs(10 * 60),
            look: Duration::from_secs(10),
        }
    }
}

impl Paced {
    pub(crate) fn new(what: &str, response: Response, limits: Limits) -> Self {
        let limit = limits.silence;
        let pieces = response.bytes_stream().boxed();
        Self { what: what.to_owned(), pieces, pace: Pace::new(limit), limit }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, PullError> {
        let began = Instant::now();
        let next = tokio::time::timeout(self.pace.left(), self.pieces.next()).await;
        let next = next.map_err(|_| slow(&self.what, self.limit))?;
        let piece = next.transpose().map_err(unreachable(&self.what))?;
        self.pace.passed(began.elapsed(), piece.as_ref().map_or(0, Bytes::len));
        Ok(piece)
    }
}

/// A small body, whole.
pub(super) async fn document(what: &str, response: Response, limits: Limits) -> Result<Vec<u8>, PullError> {
    let too_large = || {
        let problem = format!("a document is larger than {DOCUMENT_MAX} bytes");
        PullError::Malformed { name: what.to_owned(), problem }
    };
    if response.content_length().is_some_and(|length| length > DOCUMENT_MAX) {
        return Err(too_large());
    }
    let read = async {
        let mut body = Vec::new();
        let mut pieces = Paced::new(what, response, limits);
        while let Some(piece) = pieces.next().await? {
            body.extend_from_slice(&piece);
            if body.len() as u64 > DOCUMENT_MAX {
                return Err(too_large());
            }
        }
        Ok(body)
    };
    let limit = limits.document;
    tokio::time::timeout(limit, read).await.unwrap_or_else(|_| Err(slow(what, limit)))
}

pub(super) fn slow(what: &str, limit: Duration) -> PullError {
    PullError::Slow { what: what.to_owned(), limit }
}
