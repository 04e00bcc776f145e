//! Bodies of requests and answers.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};

use crate::fault::Fault;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// No JSON document that a client sends is longer than this.
const LONGEST_DOCUMENT: usize = 16 << 20;

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

/// The pieces of a request's body.
pub(crate) fn incoming(body: Incoming) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    body.into_data_stream().map(|piece| piece.map_err(io::Error::other))
}

/// A whole request body, which must be short.
pub(crate) async fn document(body: Incoming) -> Result<Bytes, Fault> {
    match Limited::new(body, LONGEST_DOCUMENT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Fault::invalid(format!("the request's body is longer than {LONGEST_DOCUMENT} bytes")))
        }
        Err(error) => Err(Fault::invalid(format!("the request's body did not arrive: {error}"))),
    }
}
