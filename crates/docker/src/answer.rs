//! Answers: JSON, streams, failures, and the headers that each carries.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::header::{CONTENT_TYPE, HeaderValue, SERVER};
use http::{HeaderMap, Response, StatusCode};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::body::{self, Body};
use crate::fault::Fault;
use crate::version::ApiVersion;
use crate::wire::Failure;

/// What an endpoint gives back.
pub(crate) type Answer = Result<Response<Body>, Fault>;

/// A document with status 200.
pub(crate) fn json(document: &impl Serialize) -> Answer {
    json_with(StatusCode::OK, document)
}

/// A document with another status.
pub(crate) fn json_with(status: StatusCode, document: &impl Serialize) -> Answer {
    let mut text = serde_json::to_vec(document)
        .map_err(|error| Fault::internal(format!("write the answer as JSON: {error}")))?;
    text.push(b'\n');
    Ok(with_type(status, "application/json", body::full(text)))
}

/// 200 or another status without a body.
pub(crate) fn bare(status: StatusCode) -> Answer {
    let mut answer = Response::new(body::empty());
    *answer.status_mut() = status;
    Ok(answer)
}

/// 204.
pub(crate) fn no_content() -> Answer {
    bare(StatusCode::NO_CONTENT)
}

/// 200 with a body that comes in pieces.
pub(crate) fn stream(
    kind: &'static str,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Answer {
    Ok(with_type(StatusCode::OK, kind, body::stream(pieces)))
}

/// 200 with a body that goes on until its client goes. Once `closing` says so it breaks off, so that the client
/// knows that it has not heard all.
pub(crate) fn endless(
    kind: &'static str,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    closing: CancellationToken,
) -> Answer {
    Ok(with_type(StatusCode::OK, kind, body::stream(until(pieces, closing))))
}

/// The pieces until `closing` says otherwise, and then a failure.
fn until(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    closing: CancellationToken,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let until = closing.clone().cancelled_owned();
    let broken = stream::once(async move { closing.is_cancelled() })
        .filter_map(async |broken| broken.then(|| Err(io::Error::other("the service ends"))));
    pieces.take_until(until).chain(broken)
}

/// An answer of the given content type.
pub(crate) fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// The answer to a request that failed.
pub(crate) fn failure(fault: Fault) -> Response<Body> {
    if fault.status == StatusCode::NOT_MODIFIED {
        let mut answer = Response::new(body::empty());
        *answer.status_mut() = fault.status;
        return answer;
    }
    let message = base::error::plain(&fault.message).into_owned();
    json_with(fault.status, &Failure { message }).expect("a message is always JSON")
}

/// The headers that every answer carries.
pub(crate) fn add_common_headers(headers: &mut HeaderMap, server: &HeaderValue) {
    headers.insert(SERVER, server.clone());
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    let version =
        HeaderValue::try_from(ApiVersion::NEWEST.to_string()).expect("a version is digits and dots");
    headers.insert("Api-Version", version);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endless_answer_breaks_off_with_the_service_and_ends_with_what_it_tells() {
        let closing = CancellationToken::new();
        let piece = || Ok(Bytes::from_static(b"x"));
        let ended: Vec<_> = until(stream::iter([piece(), piece()]), closing.clone()).collect().await;
        assert!(ended.len() == 2 && ended.iter().all(Result::is_ok), "{ended:?}");
        let goes_on = stream::iter([piece()]).chain(stream::pending());
        let mut goes_on = std::pin::pin!(until(goes_on, closing.clone()));
        assert!(matches!(goes_on.next().await, Some(Ok(_))));
        closing.cancel();
        assert!(matches!(goes_on.next().await, Some(Err(_))));
        assert!(goes_on.next().await.is_none());
    }
}
