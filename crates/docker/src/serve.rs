//! The service itself: connections, common headers, shutting down.
//!
//! Connections come from one or more [`Listener`]s and are the same from there on.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::build::solve::{Entitlement, Solver};
use base::Timestamp;
use buildkit::BuildKit;
use engine::Engine;
use http::header::{HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer;
use crate::body::Body;
use crate::browser;
use crate::build::cancel::Builds;
use crate::build::uploads::Uploads;
use crate::fault::Fault;
use crate::gone;
use crate::hijack::LAST_INPUT;
use crate::listener::{Accepted, Listener};
use crate::router;
use crate::socket::Socket;
use crate::strangers::{Stranger, Strangers};
use crate::wire::Failure;

/// How long a client may take to send a request's head, from the first byte or the answer before on.
const HEAD: Duration = Duration::from_secs(300);
/// How large a head may be.
const HEAD_SIZE: usize = 512 << 10;
/// How long what is under way may take when the service is told to end.
const GRACE: Duration = Duration::from_secs(5);

/// Connections at a time, where there are descriptors enough.
const CONNECTIONS: usize = 2048;

/// Connections that are told at a time that there are too many; others are closed without a word.
const REFUSALS: usize = 64;

/// Connections over TCP at a time whose client is not known yet, or has asked for nothing yet where that is all that
/// it is known by.
const STRANGERS: usize = 128;

/// How long a client that is refused may take to send its request and read the answer.
const REFUSAL: Duration = Duration::from_secs(2);

/// What the service tells about the program it is part of.
#[derive(Clone, Debug)]
pub struct About {
    /// The program's version.
    pub version: String,
    /// The commit that it was built from, empty where unknown.
    pub commit: String,
    /// When it was built, as RFC 3339; empty where unknown.
    pub built: String,
}

/// A Docker Engine API before an engine.
#[derive(Clone)]
pub struct Service {
    api: Arc<Api>,
}

/// A connection's place among those that there may be; whoever takes the connection over holds it.
#[derive(Clone)]
pub(crate) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// What all requests share.
pub(crate) struct Api {
    pub(crate) engine: Engine,
    pub(crate) about: About,
    /// What BuildKit's clients call.
    pub(crate) buildkit: BuildKit,
    /// Builds that can be cancelled.
    pub(crate) builds: Builds,
    /// Builds that wait for their contexts.
    pub(crate) uploads: Uploads,
    /// Operations that go on when their client has gone.
    pub(crate) operations: TaskTracker,
    /// Connections that have become streams.
    pub(crate) sessions: TaskTracker,
    /// Ends the streams.
    pub(crate) closing: CancellationToken,
    server: HeaderValue,
}

impl Api {
    /// The time of day, for queries that say how long ago.
    pub(crate) fn now(&self) -> Timestamp {
        self.engine.now()
    }
}

impl Service {
    /// A service before `solver` and its engine.
    pub fn new(solver: Solver, about: About) -> Self {
        let engine = solver.engine().clone();
        let server = HeaderValue::try_from(format!("Gantry/{} (linux)", about.version))
            .unwrap_or_else(|_| HeaderValue::from_static("Gantry (linux)"));
        let buildkit = BuildKit::new(solver, about_builds(&engine, &about));
        let closing = CancellationToken::new();
        let api = Api {
            engine,
            about,
            buildkit,
            builds: Builds::new(closing.clone()),
            uploads: Uploads::default(),
            operations: TaskTracker::new(),
            sessions: TaskTracker::new(),
            closing,
            server,
        };
        Self { api: Arc::new(api) }
    }

    /// Answers one request; one that came over a `plain` connection unless a browser's page sent it.
    async fn call(self, request: Request<Incoming>, plain: bool) -> Result<Response<Body>, Infallible> {
        if plain && let Err(fault) = browser::refuse(request.headers()) {
            return Ok(answer::failure(fault));
        }
        let head = request.method() == Method::HEAD;
        let server = self.api.server.clone();
        // A fault of this program ends the one request that met it.
        let outcome = base::panics::catch_async(router::route(self.api, request)).await;
        let mut response = outcome
            .unwrap_or_else(|panic| {
                tracing::error!(%panic, "a request panicked");
                Err(Fault::internal("this request met a fault of the daemon (a panic); its log tells where"))
            })
            .unwrap_or_else(answer::failure);
        answer::add_common_headers(response.headers_mut(), &server);
        if head {
            *response.body_mut() = crate::body::empty();
        }
        Ok(response)
    }
}

/// What clients that build are told.
fn about_builds(engine: &Engine, about: &About) -> buildkit::About {
    let facts = engine.host_facts();
    // Containers of builds are in the network that is there from the beginning.
    let bridge = engine.network_find("bridge").and_then(|id| engine.network_inspect(&id));
    let gateway = bridge.ok().and_then(|bridge| {
        let gateways = bridge.spec.pools.iter().filter_map(|pool| pool.gateway);
        gateways.min_by_key(|gateway| gateway.is_ipv6())
    });
    buildkit::About {
        id: facts.id,
        version: about.version.clone(),
        revision: about.commit.clone(),
        dockerfile: build::DOCKERFILE.to_owned(),
        hostname: facts.hostname,
        host_gateway: gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        // As Docker's daemon has it: commands that may do all that root may are for its owner to allow.
        allowed: vec![Entitlement::NetworkHost, Entitlement::Device],
    }
}

/// Serves every connection of `listeners` until `shutdown`, then ends all streams, lets operations
/// that were begun finish within a few seconds, and returns. Containers are not touched.
pub async fn serve(
    listeners: Vec<Listener>,
    service: Service,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let api = Arc::clone(&service.api);
    let mut connections = JoinSet::new();
    let most = most_connections();
    let places = Places {
        all: Arc::new(Semaphore::new(most)),
        refusals: Arc::new(Semaphore::new(REFUSALS)),
        strangers: Strangers::new(STRANGERS),
        most,
    };
    let result = loop {
        tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            accepted = accept(&listeners) => match accepted {
                Ok(accepted) => drop(connections.spawn(admit(accepted, service.clone(), places.clone()))),
                Err(error) if is_passing(&error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => break Err(error),
            },
            Some(_) = connections.join_next() => {}
        }
    };
    api.closing.cancel();
    api.operations.close();
    api.sessions.close();
    let finish = async {
        while connections.join_next().await.is_some() {}
        api.operations.wait().await;
        api.sessions.wait().await;
    };
    if tokio::time::timeout(GRACE, finish).await.is_err() {
        tracing::warn!("requests were still under way when the service ended");
    }
    result
}

/// What there is for so many connections at a time.
#[derive(Clone)]
struct Places {
    /// All that are served.
    all: Arc<Semaphore>,
    /// Those that are told that there is no place.
    refusals: Arc<Semaphore>,
    /// Those over TCP whose client is not known yet.
    strangers: Strangers,
    /// How many may be served.
    most: usize,
}

/// The next connection of any of `listeners`.
async fn accept(listeners: &[Listener]) -> io::Result<Accepted> {
    let all = listeners.iter().map(|listener| Box::pin(listener.accept()));
    futures::future::select_all(all).await.0
}

/// Serves a connection, once its client is known and if there is a place for it.
async fn admit(accepted: Accepted, service: Service, places: Places) {
    let closing = service.api.closing.clone();
    // Whoever only connects, from wherever, takes no place from those who are known.
    let stranger = match &accepted {
        Accepted::Unix(_) => None,
        Accepted::Tcp { .. } => Some(places.strangers.enter()),
    };
    let sent_away = stranger.as_ref().map(Stranger::sent_away).unwrap_or_default();
    let introduced = tokio::select! {
        introduced = accepted.introduce() => introduced,
        () = sent_away.cancelled() => Err(io::Error::other("too many clients that are not known yet")),
        () = closing.cancelled() => return,
    };
    let socket = match introduced {
        Ok(introduced) => introduced,
        Err(error) => {
            tracing::debug!(error = %base::error::chain(&error), "a connection was not taken");
            return;
        }
    };
    // One without a certificate has shown nothing yet but that it is there.
    let stranger = stranger.filter(|_| socket.is_plain());
    match Arc::clone(&places.all).try_acquire_owned() {
        Ok(place) => {
            tokio::select! {
                () = connection(socket, service, place, stranger) => {}
                () = sent_away.cancelled() => tracing::debug!("a client that asked for nothing made room"),
            }
        }
        Err(_) => {
            tracing::warn!(connections = places.most, "too many connections: one is refused");
            if let Ok(refusal) = Arc::clone(&places.refusals).try_acquire_owned() {
                refuse(socket, places.most, refusal).await;
            }
        }
    }
}

/// Serves one connection. One that becomes a stream takes its place along; a stranger is none any more once it has
/// sent the head of a request.
async fn connection(
    socket: Socket,
    service: Service,
    place: OwnedSemaphorePermit,
    stranger: Option<Stranger>,
) {
    let closing = service.api.closing.clone();
    let place = Arc::new(place);
    let (plain, owner) = (socket.is_plain(), socket.owner());
    // Nothing is read while a request is answered, so that its end would not be seen. A session looks for itself.
    let once_more = socket.as_fd().try_clone_to_owned().map(Arc::new);
    let gone = gone::of_socket(once_more.as_ref().map(Arc::clone).map_err(|error| error.kind().into()));
    let is_session = Arc::new(AtomicBool::new(false));
    let becomes_session = Arc::clone(&is_session);
    let last_words = socket.last_words();
    let asks = Arc::clone(&last_words);
    let stranger = Mutex::new(stranger);
    let held = Arc::clone(&place);
    let answering = service_fn(move |mut request: Request<Incoming>| {
        drop(stranger.lock().take());
        if request.headers().get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"tcp")) {
            asks.store(true, Ordering::Relaxed);
        }
        request.extensions_mut().insert(Place { _permit: Arc::clone(&place) });
        request.extensions_mut().insert(owner.clone());
        let (call, becomes_session) = (service.clone().call(request, plain), Arc::clone(&becomes_session));
        async move {
            let answer = call.await?;
            becomes_session.fetch_or(answer.status() == StatusCode::SWITCHING_PROTOCOLS, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        // Clients keep connections for later; one that waits costs next to nothing.
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_SIZE)
        .title_case_headers(true)
        // Whoever has sent all that it will, as one behind a pipe has at once, still gets its answer.
        .half_close(true)
        .serve_connection(TokioIo::new(socket), answering)
        .with_upgrades();
    let ended = {
        tokio::pin!(connection, gone);
        let served = tokio::select! {
            biased;
            ended = &mut connection => Some(ended),
            () = &mut gone => None,
            () = closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = &mut connection => Some(ended),
                    () = gone => return,
                }
            }
        };
        match served {
            Some(ended) => ended,
            None => {
                // All that it sent has arrived, and is looked at once more.
                let now = async {
                    tokio::select! {
                        biased;
                        ended = &mut connection => Some(ended),
                        () = std::future::ready(()) => None,
                    }
                };
                match now.await {
                    Some(ended) => ended,
                    // Whoever asked for the connection may have sent what a process is to read.
                    None if last_words.load(Ordering::Relaxed) => {
                        match tokio::time::timeout(LAST_INPUT, connection).await {
                            Ok(ended) => ended,
                            Err(_) => return,
                        }
                    }
                    None => return,
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
        // An answer that breaks off does so at once: nothing follows that its client could wait for.
        if error.is_user() {
            return;
        }
    }
    // Who is refused before all was sent gets the answer only if what comes meanwhile is taken.
    if let Ok(socket) = once_more
        && !is_session.load(Ordering::Relaxed)
    {
        let _ = tokio::time::timeout(REFUSAL, gone::drain(socket)).await;
    }
    drop(held);
}

/// Tells a client that there is no place for it.
async fn refuse(mut stream: Socket, most: usize, _refusal: OwnedSemaphorePermit) {
    let message = format!("too many connections: this daemon serves {most} at a time, try again later");
    let body = serde_json::to_string(&Failure { message }).expect("a message is always JSON");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let telling = async {
        // Closing on what was sent and not read would take the answer from the client.
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await?;
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        while stream.read(&mut head).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // It may have gone, or never say anything.
    let _ = tokio::time::timeout(REFUSAL, telling).await;
}

/// A quarter of the descriptors that this process may have: containers need some too.
fn most_connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let quarter = limit.map_or(CONNECTIONS, |limit| usize::try_from(limit / 4).unwrap_or(CONNECTIONS));
    quarter.clamp(16, CONNECTIONS)
}

/// Whether accepting may work again: the fault lies in one connection or in a passing shortage.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, OutOfMemory};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | OutOfMemory)
        // Too many open files, in this process or on the host.
        || matches!(error.raw_os_error(), Some(23 | 24))
}
