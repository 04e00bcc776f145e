//! Connections: TLS, HTTP/1.1 and HTTP/2, and the bytes of requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use model::Status;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::authentication;
use crate::body::Body;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::pki::{PkiError, Serving};
use crate::service::{self, Remote};
use crate::state::State;

/// The largest request body that is read: what etcd's limit makes of Kubernetes' own.
const BODY_LIMIT: usize = 3 << 20;
/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(30);
/// How long to leave a listener alone whose accepting fails, for want of descriptors mostly.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a silent HTTP/2 client is asked whether it is there, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Streams of one HTTP/2 connection at a time.
const STREAMS: u32 = 1000;

/// A bound socket and what is needed to serve its connections.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    state: Arc<State>,
    tls: TlsAcceptor,
}

impl Listener {
    pub(crate) fn new(
        socket: TcpListener,
        address: SocketAddr,
        state: Arc<State>,
        serving: Arc<Serving>,
    ) -> Result<Self, PkiError> {
        let tls = TlsAcceptor::from(Arc::new(tls_config(&state, serving)?));
        Ok(Self { socket, address, state, tls })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections for ever; their tasks are `tasks`'.
    pub(crate) async fn accept(&self, tasks: &TaskTracker) {
        loop {
            match self.socket.accept().await {
                Ok((stream, remote)) => {
                    let (state, tls) = (self.state.clone(), self.tls.clone());
                    tasks.spawn(async move {
                        if let Err(error) = connection(state, tls, stream, remote).await {
                            tracing::debug!(%remote, %error, "connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn tls_config(state: &State, serving: Arc<Serving>) -> Result<ServerConfig, PkiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(state.authority.certificate().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|_| PkiError::Key { what: "checking client certificates" })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Serves one connection until the client leaves or the server stops.
async fn connection(
    state: Arc<State>,
    tls: TlsAcceptor,
    stream: TcpStream,
    remote: SocketAddr,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await??;
    let certificates = stream.get_ref().1.peer_certificates();
    let identity =
        certificates.and_then(|c| c.first()).and_then(|c| authentication::certificate::identity(c));
    let identity = Arc::new(identity);
    let stop = state.stop.clone();
    let service = service_fn(move |request| {
        let (state, identity) = (state.clone(), identity.clone());
        async move { Ok::<_, Infallible>(answer(&state, request, (*identity).as_ref(), remote).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .keep_alive_timeout(KEEP_ALIVE);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        done = connection.as_mut() => return done,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn answer(
    state: &Arc<State>,
    mut request: Request<Incoming>,
    certificate: Option<&Identity>,
    remote: SocketAddr,
) -> Response<Body> {
    let identity = match authentication::authenticate(state, certificate, request.headers()) {
        Ok(identity) => identity,
        Err(error) => return error.response(),
    };
    request.extensions_mut().insert(Remote(remote.ip()));
    match read(request).await {
        Ok(request) => service::answer(state, request, identity).await,
        Err(error) => error.response(),
    }
}

/// Reads the whole body, within the limit. A request to upgrade the connection has none.
async fn read(request: Request<Incoming>) -> Result<Request<Bytes>> {
    let (parts, body) = request.into_parts();
    let bytes = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Status::too_large(format!("limit is {BODY_LIMIT}")).into());
        }
        Err(error) => return Err(Error::bad_request(format!("the body could not be read: {error}"))),
    };
    Ok(Request::from_parts(parts, bytes))
}
