//! Answers that are large are sent compressed, to clients that accept it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response, header};

use crate::body::Body;

/// Below this size, compressing costs more than it saves. As Kubernetes has it.
const WORTHWHILE: usize = 128 << 10;

/// Whether the client accepts gzip.
pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    let value = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(',').any(|e| e.trim().split(';').next() == Some("gzip"))
}

/// Compresses a large answer whose length is known; streams are left alone.
pub(crate) fn compress(response: Response<Body>) -> Response<Body> {
    if response.body().len().is_none_or(|len| len < WORTHWHILE) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let chunks = match body.into_chunks() {
        Ok(chunks) => chunks,
        Err(stream) => return Response::from_parts(parts, stream),
    };
    let mut encoder = GzEncoder::new(Vec::with_capacity(64 << 10), Compression::fast());
    for chunk in &chunks {
        encoder.write_all(chunk).expect("writing to memory never fails");
    }
    let compressed = encoder.finish().expect("writing to memory never fails");
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(parts, Body::full(compressed))
}
