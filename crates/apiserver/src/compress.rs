//! Answers that are large are sent compressed, to clients that accept it.
//!
//! A compressor holds a third of a megabyte. It is made when the client begins to read, there are so many
//! and no more (who comes when all are taken gets the answer as it is), and what is the same for everybody
//! is compressed once ([`Packed`]).

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Body as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::body::{Body, Length};

/// Below this size, compressing costs more than it saves. As Kubernetes has it.
const WORTHWHILE: usize = 128 << 10;
/// Compressed bytes are sent when there are so many.
const PIECE: usize = 16 << 10;

/// So many answers are compressed at a time.
const COMPRESSORS: usize = 64;
static COMPRESSING: Semaphore = Semaphore::const_new(COMPRESSORS);

/// The compressed form of a body that is there already: an extension of the response.
#[derive(Clone, Debug)]
pub(crate) struct Packed(pub(crate) Bytes);

/// The compressed form of a body, made piece by piece as the client reads.
struct Compressed {
    body: Body,
    encoder: Encoder,
    _place: SemaphorePermit<'static>,
}

enum Encoder {
    /// The client has not begun to read.
    Later,
    At(Box<GzEncoder<Vec<u8>>>),
    Done,
}

/// Whether the client accepts gzip.
pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    let value = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(',').any(|e| e.trim().split(';').next() == Some("gzip"))
}

/// Compresses a large answer; what may go on for ever is left alone.
pub(crate) fn compress(mut response: Response<Body>) -> Response<Body> {
    if let Some(Packed(packed)) = response.extensions_mut().remove() {
        mark(&mut response);
        return response.map(|body| body.replaced(packed));
    }
    let Some(weight) = response.body().weight().filter(|weight| *weight >= WORTHWHILE) else {
        return response;
    };
    let Ok(place) = COMPRESSING.try_acquire() else { return response };
    mark(&mut response);
    response.map(|body| {
        let compressed = Compressed { body, encoder: Encoder::Later, _place: place };
        Body::measured(compressed, Length::About(weight / 4))
    })
}

fn mark(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// The compressed form of a text, where that is worth it.
pub(crate) fn pack(text: &[u8]) -> Option<Bytes> {
    if text.len() < WORTHWHILE {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    encoder.write_all(text).expect("writing to memory never fails");
    Some(encoder.finish().expect("writing to memory never fails").into())
}

impl Stream for Compressed {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        loop {
            let encoder = match &mut this.encoder {
                Encoder::At(encoder) => encoder,
                Encoder::Done => return Poll::Ready(None),
                Encoder::Later => {
                    let encoder = GzEncoder::new(Vec::with_capacity(2 * PIECE), Compression::fast());
                    this.encoder = Encoder::At(Box::new(encoder));
                    continue;
                }
            };
            // Each piece takes a part of a millisecond; a task that makes many lets others go on.
            let progress = ready!(tokio::task::coop::poll_proceed(context));
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    progress.made_progress();
                    let Ok(piece) = frame.into_data() else { continue };
                    encoder.write_all(&piece).expect("writing to memory never fails");
                    if encoder.get_ref().len() >= PIECE {
                        return Poll::Ready(Some(std::mem::take(encoder.get_mut()).into()));
                    }
                }
                // What is cut off must not look whole: without its end, the text cannot be unpacked.
                Some(Err(_)) => panic!("the answer that is compressed broke off"),
                None => {
                    encoder.try_finish().expect("writing to memory never fails");
                    let rest = std::mem::take(encoder.get_mut());
                    this.encoder = Encoder::Done;
                    return Poll::Ready(Some(rest.into()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn what_is_compressed_piece_by_piece_unpacks_to_what_it_was() {
        let text: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
        let pieces: Vec<Bytes> = text.chunks(50_000).map(Bytes::copy_from_slice).collect();
        let body = Body::measured(futures::stream::iter(pieces), Length::Exactly(text.len()));
        let answer = compress(Response::new(body));
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        let packed = answer.into_body().collect().await.expect("a body").to_bytes();
        assert!(packed.len() < text.len() / 4);
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).expect("gzip");
        assert!(unpacked == text);
        let small = compress(Response::new(Body::full("short")));
        assert!(small.headers().is_empty());
    }

    #[tokio::test]
    async fn who_does_not_read_makes_no_compressor_and_all_together_make_so_many() {
        let large = || Response::new(Body::full(vec![b'x'; WORTHWHILE]));
        let mut held = Vec::new();
        loop {
            let answer = compress(large());
            if !answer.headers().contains_key(header::CONTENT_ENCODING) {
                break;
            }
            held.push(answer);
            assert!(held.len() <= COMPRESSORS);
        }
        // The place goes with the answer.
        held.truncate(held.len() / 2);
        let body = Compressed {
            body: Body::full(vec![b'x'; WORTHWHILE]),
            encoder: Encoder::Later,
            _place: COMPRESSING.acquire().await.expect("never closed"),
        };
        assert!(matches!(body.encoder, Encoder::Later));
    }

    #[tokio::test]
    async fn what_is_compressed_already_is_sent_as_it_is() {
        let text = vec![b'x'; WORTHWHILE];
        let mut response = Response::new(Body::full(text.clone()));
        let packed = pack(&text).expect("worth it");
        response.extensions_mut().insert(Packed(packed.clone()));
        let response = compress(response);
        assert_eq!(response.headers()["content-encoding"], "gzip");
        assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), packed);
        assert_eq!(pack(b"short"), None);
    }
}
