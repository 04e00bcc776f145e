//! Connections: TLS, HTTP/1.1 and HTTP/2, and what each may cost before and after it is known whose it is.
//!
//! Nothing of a request but its head is read before its sender is known and allowed to send it
//! (`crate::payload`); what a connection may hold meanwhile is bounded here, its number in
//! [`crate::connections`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use model::Status;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::audit;
use crate::authentication;
use crate::authentication::certificate::{Certificates, Shown};
use crate::body::Body;
use crate::connections::{Connections, Seat};
use crate::error::Error;
use crate::identity::Identity;
use crate::paced::Paced;
use crate::payload::Payload;
use crate::pki::{PkiError, Serving};
use crate::service::{self, CameFrom};
use crate::state::State;

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How large a head may be: room for the longest address that is understood (64 KiB) and a token.
const HEAD_SIZE: usize = 96 << 10;
/// How long to leave a listener alone whose accepting fails, for want of descriptors mostly.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a silent HTTP/2 client is asked whether it is there, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long a client may be silent before its machine is asked whether it is there, how long the next
/// question waits for an answer to the last one, and how many there are.
const LOSS: Duration = Duration::from_secs(15);
const LOSS_PROBES: u32 = 9;
/// How long a connection that is to end may take to finish what it answers, watches excepted.
const FAREWELL: Duration = Duration::from_secs(5);
/// Streams of one HTTP/2 connection at a time; as Kubernetes has it.
const STREAMS: u32 = 250;
/// What one HTTP/2 connection may send without being read, in all and by stream.
const WINDOW: u32 = 64 << 10;
/// What waits to be sent to one HTTP/2 stream.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that the client resets before they were looked at, until its connection is ended (CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// Streams that we have to reset for the client's faults, likewise (CVE-2025-8671).
const RESETS: usize = 100;

/// A bound socket and what is needed to serve its connections.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    state: Arc<State>,
    tls: TlsAcceptor,
    certificates: Arc<Certificates>,
    connections: Arc<Connections>,
}

impl Listener {
    pub(crate) fn new(
        socket: TcpListener,
        address: SocketAddr,
        state: Arc<State>,
        serving: Arc<Serving>,
        connections_of_user: usize,
    ) -> Result<Self, PkiError> {
        let certificates = Arc::new(Certificates::new(&state)?);
        let tls = TlsAcceptor::from(Arc::new(tls_config(&certificates, serving)));
        let connections = Arc::new(Connections::new(connections_of_user));
        Ok(Self { socket, address, state, tls, certificates, connections })
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
                    let certificates = self.certificates.clone();
                    let seat = self.connections.enter();
                    tasks.spawn(async move {
                        let evicted = seat.evicted.clone();
                        let outcome = tokio::select! {
                            outcome = connection(state, tls, certificates, stream, remote, seat) => outcome,
                            () = evicted.cancelled() => Err("too many clients are not known".into()),
                        };
                        if let Err(error) = outcome {
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

fn tls_config(certificates: &Certificates, serving: Arc<Serving>) -> ServerConfig {
    let verifier = certificates.all.clone();
    let mut config = tls::server().with_client_cert_verifier(verifier).with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A session that is taken up again brings the client's certificate along, and nobody looks at it anew.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

/// Serves one connection until the client leaves or does nothing for too long, or the server stops.
async fn connection(
    state: Arc<State>,
    tls: TlsAcceptor,
    certificates: Arc<Certificates>,
    stream: TcpStream,
    remote: SocketAddr,
    seat: Arc<Seat>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    notice_loss(&stream)?;
    let stream = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await??;
    let shown = certificates.shown(stream.get_ref().1.peer_certificates());
    // A proxy's connections are its own, whomever it speaks for.
    let proxy = shown.proxy.as_ref().map(|name| Identity::new(format!("system:front-proxy:{name}"), [""; 0]));
    if let Some(identity) = proxy.as_ref().or(shown.identity.as_ref())
        && !seat.introduce(identity)
    {
        return Err("this user has too many connections".into());
    }
    let shown = Arc::new(shown);
    let stop = state.stop.clone();
    let seated = seat.clone();
    let service = service_fn(move |request| {
        let (state, shown, seat) = (state.clone(), shown.clone(), seated.clone());
        async move { Ok::<_, Infallible>(answer(&state, request, &shown, remote, &seat).await) }
    });
    let builder = builder();
    let stream = Paced::new(stream, seat.clone());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        done = connection.as_mut() => return done,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            return connection.await;
        }
        () = seat.stalled() => return Err("the client takes nothing of its answers".into()),
        () = seat.unwelcome.notified() => {}
        () = seat.idle() => {}
    }
    connection.as_mut().graceful_shutdown();
    match tokio::time::timeout(FAREWELL, connection.as_mut()).await {
        Ok(done) => done,
        // It is idle by now, or has been asked to leave: what it still wants, it can ask for anew.
        Err(_) => Ok(()),
    }
}

/// Lets the kernel ask a silent client whether it is there, as often as Go's servers do: one whose machine
/// is gone would otherwise keep its streams for ever.
fn notice_loss(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_tcp_keepidle(stream, LOSS)?;
    sockopt::set_tcp_keepintvl(stream, LOSS)?;
    sockopt::set_tcp_keepcnt(stream, LOSS_PROBES)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // A head may take as long as a client may be idle, which `Seat::idle` bounds: the time that is counted here begins
    // with the answer before, and would end connections that are kept for later.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_SIZE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_SIZE as u32)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(RESETS)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}

async fn answer(
    state: &Arc<State>,
    mut request: Request<Incoming>,
    shown: &Shown,
    remote: SocketAddr,
    seat: &Arc<Seat>,
) -> Response<Body> {
    let busy = seat.work();
    let version = request.version();
    request.extensions_mut().insert(CameFrom(remote.ip()));
    let began = state.clock.elapsed();
    let known = authentication::authenticate(state, shown, request.headers_mut()).await;
    let took = state.clock.elapsed().saturating_sub(began);
    let identity = match known {
        Ok(identity) => {
            state.meters.authenticated("success", identity.as_ref(), took);
            identity
        }
        Err(error) => {
            state.meters.authenticated("failure", None, took);
            let query = request.uri().query().unwrap_or_default();
            let why = audit::attempted(request.headers(), shown.identity.is_some(), query);
            let response = service::turn_away(state, &request, None, &error, why).await;
            return parting(response, version, seat);
        }
    };
    if let Some(identity) = &identity
        && !seat.introduce(identity)
    {
        let error: Error = Status::too_many_requests("this user has too many connections", 1).into();
        let why = error.to_string();
        let response = service::turn_away(state, &request, Some(identity), &error, why).await;
        return parting(response, version, seat);
    }
    request.extensions_mut().insert(Arc::clone(seat));
    let unknown = identity.is_none();
    let mut response = service::answer(state, request.map(Payload::Arriving), identity).await;
    let refused = response.status() == StatusCode::FORBIDDEN;
    if response.status() == StatusCode::UNAUTHORIZED || (unknown && refused) {
        return parting(response, version, seat);
    }
    response.body_mut().sent(busy);
    response
}

/// An answer after which the connection ends: whoever is not let in keeps no place.
fn parting(mut response: Response<Body>, version: Version, seat: &Seat) -> Response<Body> {
    if version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    } else {
        seat.unwelcome.notify_one();
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_whose_machine_is_gone_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let _client = TcpStream::connect(listener.local_addr().expect("address")).await.expect("connect");
        let (stream, _) = listener.accept().await.expect("accept");
        notice_loss(&stream).expect("set");
        assert!(rustix::net::sockopt::socket_keepalive(&stream).expect("asked"));
        assert_eq!(rustix::net::sockopt::tcp_keepidle(&stream).expect("asked"), LOSS);
    }
}
