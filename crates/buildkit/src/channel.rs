//! gRPC over a connection that is there already: calls to who is at its other end, and answers to them.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tower::Service;

/// The longest message that either side takes, as with the others.
pub(crate) const LONGEST: usize = 16 << 20;
/// How much may be under way of one stream, and of all of a connection. Files come through this.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Calls at a time on one connection.
const CALLS: u32 = 1000;
/// How long the other end may leave a sign of life unanswered while the connection is quiet.
const SIGN: Duration = Duration::from_secs(30);

/// Where one end of a connection may come from: whatever can be read and written.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// Calls the other end of a connection. Cheap to clone: clones share the connection.
#[derive(Clone)]
pub(crate) struct Channel {
    sender: SendRequest<Body>,
}

impl Channel {
    /// Speaks first on `io`. What comes back beside the channel is the connection: it has to be driven, and
    /// ends when the other end is gone.
    pub(crate) async fn open(
        io: impl Connection,
    ) -> hyper::Result<(Self, impl Future<Output = hyper::Result<()>> + Send)> {
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(256 << 10)
            .handshake(TokioIo::new(io))
            .await?;
        Ok((Channel { sender }, connection))
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}

/// Something that answers calls: what a call's path leads to is its own affair.
pub(crate) trait Answers: Clone + Send + Sync + 'static {
    /// Answers a call.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// Answers what comes over `io` until it ends.
pub(crate) async fn serve(io: impl Connection, answers: impl Answers) -> hyper::Result<()> {
    let answers = Arc::new(answers);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let answers = Arc::clone(&answers);
        async move {
            // A fault of this program ends the one call that met it.
            let answered = base::panics::catch_async(answers.answer(request)).await;
            Ok::<_, Infallible>(answered.unwrap_or_else(|panic| {
                tracing::error!(%panic, "a call panicked");
                tonic::Status::internal("this call met a fault of the daemon (a panic); its log tells where")
                    .into_http()
            }))
        }
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(CALLS)
        .keep_alive_interval(SIGN)
        .keep_alive_timeout(SIGN)
        .max_header_list_size(256 << 10)
        .serve_connection(TokioIo::new(io), service)
        .await
}

/// The answer to a call of nothing that there is.
pub(crate) fn unimplemented(path: &str) -> Response<Body> {
    let mut response = tonic::Status::unimplemented(format!("unknown method {path}")).into_http();
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A request as the generated services take one.
pub(crate) fn boxed(request: Request<Incoming>) -> Request<Body> {
    request.map(|body| Body::new(body.map_err(|error| tonic::Status::from_error(Box::new(error)))))
}
