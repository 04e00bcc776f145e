//! The way to one server behind this one: TLS, connections that are used again, and how many requests it may hold.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::certificate::{self, FrontProxyClient};
use super::room::{Entered, Room};
use super::{Place, RemoteServer, trust};
use crate::identity::{ADMINISTRATORS, Identity};
use crate::names;
use crate::node::Duplex;
use crate::state::State;

/// How long a connection may take to come about.
const CONNECTING: Duration = Duration::from_secs(10);
/// So many connections are kept that nobody uses, for so long.
const IDLE: usize = 16;
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Its answers' heads may be so long.
const HEAD: usize = 64 << 10;

/// What is sent.
pub(super) type Sent = Either<Full<Bytes>, Incoming>;

/// Why there is no answer: the connection did not come about, or broke, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Silent(pub(super) String);

/// The way to one server.
pub(super) struct Peer {
    tls: TlsConnector,
    name: ServerName<'static>,
    idle: Mutex<Vec<Line>>,
    room: Room,
    /// Somebody could not reach it.
    doubt: Notify,
}

/// A connection to it. It is closed when it is dropped, whatever the other side still does or does not do.
pub(super) struct Line {
    at: Place,
    sender: SendRequest<Sent>,
    /// Nothing where the connection is somebody else's from now on.
    driver: Option<AbortHandle>,
    since: Instant,
}

/// An answer that has begun, and the connection that it comes over.
pub(super) struct Answered {
    pub(super) answer: Response<Incoming>,
    pub(super) line: Line,
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

impl Line {
    /// What it carries is no HTTP any more: it ends when that does.
    pub(super) fn let_go(mut self) {
        self.driver = None;
    }

    /// Begins to speak HTTP over a stream.
    async fn over<S>(state: Option<&State>, at: Place, stream: S) -> Result<Self, hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaking = http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream));
        let (sender, connection) = shaking.await?;
        let connection = connection.with_upgrades();
        let driver = match state {
            Some(state) => {
                let stop = state.stop.clone();
                state.tasks.spawn(async move {
                    tokio::select! {
                        _ = connection => {}
                        () = stop.cancelled_owned() => {}
                    }
                })
            }
            None => tokio::spawn(async move { drop(connection.await) }),
        };
        Ok(Self { at, sender, driver: Some(driver.abort_handle()), since: Instant::now() })
    }
}

impl Peer {
    /// To a server that shows what its registration says.
    pub(super) fn new(
        server: &RemoteServer,
        client: &Arc<FrontProxyClient>,
        of_system: &str,
    ) -> Result<Self, String> {
        let name = server.server_name();
        let name =
            ServerName::try_from(name.clone()).map_err(|_| format!("{name:?} is no name of a server"))?;
        let tls = trust::tls_config(server, client.clone(), of_system)?;
        Ok(Self {
            tls: TlsConnector::from(Arc::new(tls)),
            name,
            idle: Mutex::default(),
            room: Room::default(),
            doubt: Notify::new(),
        })
    }

    /// It could not be reached: it is to be looked at.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Waits until somebody could not reach it.
    pub(super) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// A place for a user's request among those that the server holds. `sends` tells that it has a body.
    pub(super) fn enter(&self, user: &str, sends: bool) -> Option<Entered> {
        self.room.enter(user, sends)
    }

    /// Sends a request to it at a place, and gives the head of the answer. One that may be sent twice is, where a
    /// connection that was kept turns out to be gone.
    pub(super) async fn send(
        &self,
        state: &Arc<State>,
        at: &Place,
        request: Request<Sent>,
    ) -> Result<Answered, Silent> {
        let mut request = request;
        while let Some(mut line) = self.take(at) {
            let again = copy(&request);
            match line.sender.try_send_request(request).await {
                Ok(answer) => return Ok(Answered { answer, line }),
                Err(mut error) => match error.take_message().or(again) {
                    Some(unsent) => request = unsent,
                    None => return Err(Silent(words(&error.into_error()))),
                },
            }
        }
        self.send_apart(state, at, request).await
    }

    /// Asks for something itself, and gives the answer, whose body may have so many bytes.
    pub(super) async fn ask(
        self: &Arc<Self>,
        state: &Arc<State>,
        at: &Place,
        path: &str,
        headers: &[(header::HeaderName, &str)],
        most: usize,
    ) -> Result<Response<Bytes>, String> {
        let mut request = Request::new(Either::Left(Full::default()));
        *request.uri_mut() = path.parse::<Uri>().map_err(|error| error.to_string())?;
        let own = request.headers_mut();
        let text = |value: &str| HeaderValue::from_str(value).map_err(|error| error.to_string());
        own.insert(header::HOST, text(&host(at))?);
        own.insert(header::USER_AGENT, HeaderValue::from_static("kube-apiserver"));
        own.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in headers {
            own.insert(name.clone(), text(value)?);
        }
        introduce(own, &aggregator()).map_err(|error| error.to_string())?;
        let answer = self.send(state, at, request).await.map_err(|why| why.to_string())?;
        let Answered { answer, line } = answer;
        let (parts, mut body) = answer.into_parts();
        let mut text = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|error| words(&error))?.into_data() else { continue };
            if text.len() + piece.len() > most {
                return Err(format!("the answer has more than {most} bytes"));
            }
            text.extend_from_slice(&piece);
        }
        self.keep(line);
        Ok(Response::from_parts(parts, text.freeze()))
    }

    /// Whether one of the places answers at a path: the first alone, and where it does not, or not soon, others of
    /// them and again that one, at the same time, as a server may just be going.
    pub(super) async fn answers(
        self: &Arc<Self>,
        state: &Arc<State>,
        places: &[Place],
        path: &str,
        patience: Duration,
    ) -> Result<Place, String> {
        const ATTEMPTS: usize = 4;
        const SOON: Duration = Duration::from_secs(1);
        let one = |at: Place| async move {
            let url = format!("https://{}{path}", host(&at));
            let answer = match tokio::time::timeout(patience, self.ask(state, &at, path, &[], 1 << 20)).await
            {
                Ok(answer) => answer,
                Err(_) => return Err(format!("timed out waiting for {url}")),
            };
            let failed = |why: String| format!("failing or missing response from {url}: {why}");
            let answer = answer.map_err(|why| failed(format!("Get \"{url}\": {why}")))?;
            if answer.status().is_success() {
                return Ok(at);
            }
            Err(failed(format!("bad status from {url}: {}", answer.status().as_u16())))
        };
        let Some(first) = places.first() else { return Err("there is no place to ask at".to_owned()) };
        let mut asking = FuturesUnordered::new();
        asking.push(one(first.clone()));
        let mut soon = std::pin::pin!(tokio::time::sleep(SOON));
        let (mut why, mut is_alone) = (None, true);
        loop {
            tokio::select! {
                outcome = asking.next() => match outcome {
                    Some(Ok(at)) => return Ok(at),
                    Some(Err(error)) => why = why.or(Some(error)),
                    // What was said first, so that mostly the same is told.
                    None => return Err(why.unwrap_or_default()),
                },
                () = &mut soon, if is_alone => {}
            }
            if std::mem::replace(&mut is_alone, false) {
                asking.extend((1..=ATTEMPTS).map(|number| one(places[number % places.len()].clone())));
            }
        }
    }

    /// A connection for one request that leaves HTTP behind it.
    pub(super) async fn send_apart(
        &self,
        state: &Arc<State>,
        at: &Place,
        request: Request<Sent>,
    ) -> Result<Answered, Silent> {
        let mut line = self.connect(state, at).await?;
        let answer = line.sender.send_request(request).await.map_err(|error| Silent(words(&error)))?;
        Ok(Answered { answer, line })
    }

    async fn connect(&self, state: &Arc<State>, at: &Place) -> Result<Line, Silent> {
        let connecting = async {
            let plain = dial(state, at)
                .await
                .map_err(|error| format!("dial tcp {}: {}", host(at), crate::proxy::words(&error)))?;
            let secure = self.tls.connect(self.name.clone(), plain).await;
            secure.map_err(|error| format!("tls: {error}"))
        };
        let connected = tokio::time::timeout(CONNECTING, connecting).await;
        let connected = connected.unwrap_or_else(|_| Err(format!("dial tcp {}: i/o timeout", host(at))));
        let connection = connected.map_err(Silent)?;
        let line = Line::over(Some(state), at.clone(), connection).await;
        line.map_err(|error| Silent(words(&error)))
    }

    /// A connection that nobody uses.
    fn take(&self, at: &Place) -> Option<Line> {
        let mut idle = self.idle.lock();
        idle.retain(|one| !one.sender.is_closed() && one.since.elapsed() < IDLE_TIME);
        // The one that was used last.
        let place = idle.iter().rposition(|one| one.at == *at && one.sender.is_ready())?;
        Some(idle.remove(place))
    }

    /// Keeps a connection for the next request: the answer to this one is over. Whether it is good for another is seen
    /// when there is one.
    pub(super) fn keep(&self, mut line: Line) {
        line.since = Instant::now();
        let mut idle = self.idle.lock();
        if idle.len() >= IDLE {
            idle.remove(0);
        }
        idle.push(line);
    }
}

impl std::fmt::Display for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// As whom the server asks for something itself.
fn aggregator() -> Identity {
    Identity {
        user: "system:kube-aggregator".to_owned(),
        groups: vec![ADMINISTRATORS.to_owned()],
        ..Identity::default()
    }
}

/// Says in the headers of a request whose it is.
pub(super) fn introduce(
    headers: &mut HeaderMap,
    identity: &Identity,
) -> Result<(), header::InvalidHeaderValue> {
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes());
    headers.insert(certificate::USER, value(&identity.user)?);
    if !identity.uid.is_empty() {
        headers.insert(certificate::UID, value(&identity.uid)?);
    }
    for group in &identity.groups {
        headers.append(certificate::GROUP, value(group)?);
    }
    for (key, values) in &identity.extra {
        let name = format!("{}{}", certificate::EXTRA, escaped(key));
        let Ok(name) = name.parse::<header::HeaderName>() else { continue };
        for text in values {
            headers.append(name.clone(), value(text)?);
        }
    }
    Ok(())
}

/// A key as a part of a header's name: what cannot stand there is written as its number.
fn escaped(key: &str) -> String {
    let mut text = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// What a place is called in an address.
pub(super) fn host(at: &Place) -> String {
    match at {
        Place::Address { address, .. } => address.to_string(),
        Place::Name(name, port) => format!("{name}:{port}"),
    }
}

async fn dial(state: &Arc<State>, at: &Place) -> std::io::Result<Box<dyn Duplex>> {
    match at {
        Place::Address { node, address } => state.nodes.dial(node.clone(), *address).await,
        Place::Name(name, port) => names::dial_for_service(state, name, *port).await,
    }
}

/// A request that may be sent twice: it asks for something and has no body that is gone once it is sent.
fn copy(request: &Request<Sent>) -> Option<Request<Sent>> {
    let reads = matches!(*request.method(), http::Method::GET | http::Method::HEAD);
    let Either::Left(body) = request.body() else { return None };
    let mut again = Request::new(Either::Left(body.clone()));
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    reads.then_some(again)
}

fn words(error: &hyper::Error) -> String {
    base::error::chain(error).to_string()
}

/// Whether an answer says that there is nothing of the kind.
pub(super) fn is_missing(code: StatusCode) -> bool {
    matches!(code, StatusCode::NOT_FOUND | StatusCode::NOT_ACCEPTABLE | StatusCode::FORBIDDEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_to_one_that_does_not_read_ends_with_its_request() {
        use tokio::io::AsyncReadExt as _;
        let (own, mut other) = tokio::io::duplex(1 << 10);
        let at = Place::Name("h".to_owned(), 1);
        let mut line = Line::over(None, at, own).await.expect("a connection");
        let body = Bytes::from(vec![0; 1 << 20]);
        let request: Request<Sent> = Request::new(Either::Left(Full::new(body)));
        let mut sending = Box::pin(line.sender.send_request(request));
        for _ in 0..100 {
            assert!(futures::poll!(&mut sending).is_pending());
            tokio::task::yield_now().await;
        }
        drop(sending);
        drop(line);
        tokio::task::yield_now().await;
        let mut all = Vec::new();
        other.read_to_end(&mut all).await.expect("it ends");
        assert!(!all.is_empty() && all.len() <= 1 << 10, "{} bytes came", all.len());
    }

    #[test]
    fn a_request_says_whose_it_is() {
        let mut identity = Identity::new("jané", ["a", "b"]);
        identity.uid = "7".to_owned();
        identity.extra.insert("acme.com/te%am".to_owned(), vec!["x".to_owned(), "y".to_owned()]);
        let mut headers = HeaderMap::new();
        introduce(&mut headers, &identity).expect("it can be said");
        let all = |name: &str| -> Vec<String> {
            let values = headers.get_all(name).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
        };
        assert_eq!(all("X-Remote-User"), ["jané"]);
        assert_eq!(all("X-Remote-Uid"), ["7"]);
        assert_eq!(all("X-Remote-Group"), ["a", "b", "system:authenticated"]);
        assert_eq!(all("X-Remote-Extra-acme.com%2Fte%25am"), ["x", "y"]);
        let evil = Identity::new("a\r\nX-Remote-Group: system:masters", [""; 0]);
        assert!(introduce(&mut HeaderMap::new(), &evil).is_err());
    }
}
