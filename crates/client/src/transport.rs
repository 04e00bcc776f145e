//! How requests reach the API: over HTTP, or by a call inside the process.

use std::error::Error as StdError;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::io::{AsyncRead, AsyncWrite};

/// The body of an answer: may go on for ever, as that of a watch does.
pub type Body = UnsyncBoxBody<Bytes, TransportError>;

/// A connection that has left HTTP behind.
pub type Upgraded = Box<dyn Duplex>;

/// Reaches an API server. The binary plugs in [`crate::remote::RemoteTransport`] or a call inside the
/// process; nothing else in this crate knows which.
///
/// Requests have a URI of path and query only. An answer with an error status is an answer, not an
/// error of the transport.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request; returns once the head of the answer is there.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>>;

    /// Sends a request to leave HTTP (`Connection: Upgrade`); returns the connection once the
    /// server agreed, or its answer if it did not.
    ///
    /// Not every transport can do this.
    fn upgrade(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<UpgradeAnswer, TransportError>> {
        let _ = request;
        Box::pin(std::future::ready(Err(TransportError::NoUpgrade)))
    }
}

/// What a server answers to a request to leave HTTP.
pub enum UpgradeAnswer {
    /// It agreed (101): the head of its answer and the connection.
    Upgraded(Response<()>, Upgraded),
    /// It did not.
    Refused(Response<Body>),
}

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

/// Why a server was not reached, or a connection broke.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The connection could not be made.
    #[error("connect to {server}")]
    Connect {
        /// The server's address.
        server: String,
        /// What failed.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The connection broke.
    #[error("talk to {server}")]
    Broken {
        /// The server's address.
        server: String,
        /// What failed.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The transport cannot leave HTTP.
    #[error("this connection cannot carry streams")]
    NoUpgrade,
}

/// Boxes a body of any kind as an answer's.
pub fn body<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<TransportError>,
{
    body.map_err(Into::into).boxed_unsync()
}

impl From<std::convert::Infallible> for TransportError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
