//! Something that answers as an etcd would that cannot be had here: one too old, or one that stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

/// A server of etcd's API that says a version, and of everything else that it has stopped.
pub(crate) struct Fake {
    pub(crate) endpoint: String,
    /// How many requests came that were no questions for its version.
    pub(crate) asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Fake {
    pub(crate) async fn start(version: &'static str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let serving = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.expect("a connection");
                let asked = counted.clone();
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let answer = answer(&request, version, &asked);
                    async move { Ok::<_, std::convert::Infallible>(answer) }
                });
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(connection), service);
                tokio::spawn(connection);
            }
        });
        Self { endpoint, asked, serving }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

type Body = BoxBody<Bytes, std::convert::Infallible>;

fn answer(request: &Request<Incoming>, version: &str, asked: &AtomicUsize) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    let mut frames = Vec::new();
    if request.uri().path() == "/etcdserverpb.Maintenance/Status" {
        // The field `version` of a `StatusResponse`, which is the second.
        let mut message = vec![0x12, u8::try_from(version.len()).expect("it is short")];
        message.extend_from_slice(version.as_bytes());
        let mut data = BytesMut::new();
        data.put_u8(0);
        data.put_u32(u32::try_from(message.len()).expect("it is short"));
        data.extend_from_slice(&message);
        frames.push(Ok(Frame::data(data.freeze())));
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
    } else {
        asked.fetch_add(1, Ordering::SeqCst);
        trailers.insert("grpc-status", HeaderValue::from_static("14"));
        trailers.insert("grpc-message", HeaderValue::from_static("etcdserver: server stopped"));
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)).boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
