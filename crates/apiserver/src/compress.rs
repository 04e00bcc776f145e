//! Answers that are large are sent compressed, to clients that accept it.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Body as _;

use crate::body::{Body, Length};

/// Below this size, compressing costs more than it saves. As Kubernetes has it.
const WORTHWHILE: usize = 128 << 10;
/// Compressed bytes are sent when there are so many.
const PIECE: usize = 16 << 10;

/// The compressed form of a body, made piece by piece as the client reads.
struct Compressed {
    body: Body,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

/// Whether the client accepts gzip.
pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    let value = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(',').any(|e| e.trim().split(';').next() == Some("gzip"))
}

/// Compresses a large answer; what may go on for ever is left alone.
pub(crate) fn compress(response: Response<Body>) -> Response<Body> {
    let Some(weight) = response.body().weight().filter(|weight| *weight >= WORTHWHILE) else {
        return response;
    };
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let encoder = Some(GzEncoder::new(Vec::with_capacity(2 * PIECE), Compression::fast()));
    Response::from_parts(parts, Body::measured(Compressed { body, encoder }, Length::About(weight / 4)))
}

impl Stream for Compressed {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        loop {
            let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
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
                    let encoder = this.encoder.take().expect("there was one just now");
                    let rest = encoder.finish().expect("writing to memory never fails");
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
}
