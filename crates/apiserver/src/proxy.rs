//! Passing requests on to what runs in the cluster: a pod, an endpoint of a service.
//!
//! What is asked, and what is answered, goes through as it is, but for what is said between neighbours only,
//! for who the client is, and for links: a page that leads to itself leads to itself through this server.
//! A connection that both sides switch to another protocol becomes a pipe.

mod html;
mod links;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::Status;
use tokio_rustls::TlsConnector;

use crate::account::Account;
use crate::body::{Body, BrokenOff};
use crate::call::{Call, Takeover};
use crate::error::{Error, Result};
use crate::node::{Duplex, NodeRequest};
use crate::payload::Payload;
use crate::state::State;

use links::Links;

/// How long a connection may take to come about, TLS included.
const CONNECTING: Duration = Duration::from_secs(30);
/// What only neighbours say to each other (RFC 9110, section 7.6.1, and what others made of it).
const BETWEEN_NEIGHBOURS: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// By what a client shows who it is, which is nobody's business but this server's.
const CREDENTIALS: [&str; 3] = ["authorization", "impersonate-user", "impersonate-uid"];
const CREDENTIALS_START: [&str; 2] = ["impersonate-", "x-remote-"];
/// What a page may say of others' pages, and would say of this server's.
const OF_OTHER_ORIGINS: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Where a request is passed on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The node from which the address is reached.
    pub node: String,
    /// The address.
    pub address: SocketAddr,
    /// Whether TLS is spoken there. Whoever is there may have any certificate.
    pub tls: bool,
}

type Sent = Either<Full<Bytes>, Incoming>;

impl Call {
    /// Passes the request on, and the answer back. What the path has behind the subresource is the path there.
    pub async fn proxy(mut self, to: Upstream) -> Result<Response<Body>> {
        let (prefix, rest) = self.split_path();
        let (prefix, rest) = (prefix.to_owned(), rest.to_owned());
        let upgrades = asks_to_upgrade(&self.headers);
        let reads = self.method == Method::GET || self.method == Method::HEAD;
        if rest.is_empty() && reads && !upgrades {
            return moved(&prefix, self.uri.query());
        }
        let host = self.host();
        let request = self.request_to(&to, &prefix, &rest, upgrades)?;
        let takeover = if upgrades { self.upgrade.take() } else { None };
        if upgrades && takeover.is_none() {
            let why = "this connection cannot be upgraded; streams need HTTP/1.1";
            return Err(Error::bad_request(why));
        }
        let mut answer = self.send(&to, request).await.map_err(|error| unreachable(&error))?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return match takeover {
                Some(takeover) => Ok(self.switch(takeover, answer)),
                None => Err(unreachable("it switches protocols without being asked")),
            };
        }
        clean(answer.headers_mut());
        for name in OF_OTHER_ORIGINS {
            answer.headers_mut().remove(name);
        }
        Ok(self.passed_back(answer, &Links::new(prefix, host)))
    }

    /// Passes the request on to the agent of a node, and the answer back.
    pub async fn ask_node(self, node: String) -> Result<Response<Body>> {
        let (prefix, rest) = self.split_path();
        let reads = self.method == Method::GET || self.method == Method::HEAD;
        if rest.is_empty() && reads {
            return moved(prefix, self.uri.query());
        }
        let request = NodeRequest {
            method: self.method.clone(),
            path: if rest.is_empty() { "/".to_owned() } else { rest.to_owned() },
            query: self.uri.query().map(str::to_owned),
        };
        let finding = self.state.nodes.ask(node, request);
        let Ok(found) = tokio::time::timeout(CONNECTING, finding).await else {
            return Err(unreachable("context deadline exceeded"));
        };
        let answering = found?;
        let stop = self.state.stop.clone();
        let answer = tokio::select! {
            answer = answering => answer?,
            () = stop.cancelled() => return Err(Status::unavailable("the server has stopped").into()),
        };
        Ok(answer
            .map(|pieces| Body::stream(pieces.take_until(async move { stop.cancelled().await })).patient()))
    }

    /// The segments of the path behind the subresource, decoded.
    pub fn rest(&self) -> Vec<&str> {
        self.target.rest.split('/').filter(|segment| !segment.is_empty()).collect()
    }

    /// The path as it was written, up to the subresource and behind it.
    fn split_path(&self) -> (&str, &str) {
        let target = &self.target;
        let of_group = if target.group.is_empty() { 2 } else { 3 };
        let of_namespace = if self.resource.namespaced { 2 } else { 0 };
        let path = self.uri.path();
        let (mut left, mut at) = (of_group + of_namespace + 3, 0);
        for segment in path.split('/') {
            at += segment.len();
            left -= usize::from(!segment.is_empty());
            if left == 0 {
                break;
            }
            at += 1;
        }
        path.split_at(at.min(path.len()))
    }

    /// What the client calls this server.
    fn host(&self) -> String {
        let named = self.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let authority = || self.uri.authority().map(http::uri::Authority::as_str);
        named.or_else(authority).unwrap_or_default().to_owned()
    }

    fn request_to(
        &mut self,
        to: &Upstream,
        prefix: &str,
        rest: &str,
        upgrades: bool,
    ) -> Result<Request<Sent>> {
        let path = if rest.is_empty() { "/" } else { rest };
        let path = match self.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let uri: Uri = path.parse().map_err(|_| Error::bad_request("the path cannot be passed on"))?;
        let mut headers = self.headers.clone();
        passed_on(&mut headers, upgrades);
        if !headers.contains_key(header::HOST) {
            let host = self.host();
            let host = if host.is_empty() { to.address.to_string() } else { host };
            headers.insert(header::HOST, HeaderValue::from_str(&host).map_err(malformed)?);
        }
        if let Some(remote) = self.remote {
            came_from(&mut headers, remote).map_err(malformed)?;
        }
        let whole = format!("{prefix}{rest}");
        headers.insert(FORWARDED_URI, HeaderValue::from_str(&whole).map_err(malformed)?);
        let body = match self.payload.take() {
            Some(Payload::Arriving(body)) if !upgrades => Either::Right(body),
            Some(Payload::Ready(bytes)) => Either::Left(Full::new(bytes)),
            _ => Either::Left(Full::default()),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Connects and asks; fails in words that follow "error trying to reach service".
    async fn send(&self, to: &Upstream, request: Request<Sent>) -> Result<Response<Incoming>, String> {
        let mut sender = connect(&self.state, to).await?;
        sender.send_request(request).await.map_err(|error| base::error::chain(&error).to_string())
    }

    /// Both sides speak another protocol from here on.
    fn switch(&self, takeover: Takeover, answer: Response<Incoming>) -> Response<Body> {
        switch(&self.state, &self.account, takeover, answer)
    }

    /// The answer as the client gets it, with links that lead through this server.
    fn passed_back(&self, answer: Response<Incoming>, links: &Links) -> Response<Body> {
        let (mut parts, body) = answer.into_parts();
        let stop = self.state.stop.clone();
        let pieces = stream::unfold(Some(body), |body| async move {
            let mut body = body?;
            loop {
                match body.frame().await? {
                    Ok(frame) => {
                        if let Ok(bytes) = frame.into_data() {
                            return Some((Ok(bytes), Some(body)));
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a proxied answer broke off");
                        return Some((Err(BrokenOff), None));
                    }
                }
            }
        });
        let pieces = pieces.take_until(async move { stop.cancelled().await });
        let location = parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        if let Some(location) = location {
            if let Ok(value) = HeaderValue::from_str(&links.rewrite(location)) {
                parts.headers.insert(header::LOCATION, value);
            }
            return Response::from_parts(parts, Body::carried(pieces).patient());
        }
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_html =
            kind.is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim() == "text/html");
        let coding = parts.headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        let rewriting = is_html && self.method != Method::HEAD;
        let Some(page) = html::Page::new(coding.unwrap_or_default(), links.clone()).filter(|_| rewriting)
        else {
            return Response::from_parts(parts, Body::carried(pieces).patient());
        };
        parts.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(parts, Body::carried(page.rewrite(pieces)).patient())
    }
}

/// A connection to whoever is there, on which one request can be made.
pub(crate) async fn connect<B>(state: &State, to: &Upstream) -> Result<http1::SendRequest<B>, String>
where
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let connecting = async {
        let dialled = state.nodes.dial(to.node.clone(), to.address).await;
        let plain = dialled.map_err(|error| format!("dial tcp {}: {}", to.address, words(&error)))?;
        if !to.tls {
            return Ok(plain);
        }
        let connector = TlsConnector::from(Arc::new(tls::client_of_anyone()));
        let name = rustls_pki_types::ServerName::from(to.address.ip());
        let secure = connector.connect(name, plain).await.map_err(|error| error.to_string())?;
        Ok(Box::new(secure) as Box<dyn Duplex>)
    };
    let connected = tokio::time::timeout(CONNECTING, connecting).await;
    let connection = connected.unwrap_or_else(|_| Err(format!("dial tcp {}: i/o timeout", to.address)))?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(connection)).await.map_err(|error| error.to_string())?;
    let stop = state.stop.clone();
    state.tasks.spawn(async move {
        // It ends with the answer, or when nobody wants that any more.
        tokio::select! {
            _ = connection.with_upgrades() => {}
            () = stop.cancelled_owned() => {}
        }
    });
    Ok(sender)
}

fn malformed(_: header::InvalidHeaderValue) -> Error {
    Error::bad_request("the request cannot be passed on: it has what no header may have")
}

fn unreachable(why: &str) -> Error {
    Status::unavailable(format!("error trying to reach service: {why}")).into()
}

/// Takes from what a client says what is not for whoever the request is passed on to: what is said between neighbours
/// only, and by what the client shows who it is.
pub(crate) fn passed_on(headers: &mut HeaderMap, upgrades: bool) {
    let wanted = headers.get(header::UPGRADE).cloned().filter(|_| upgrades);
    clean(headers);
    for name in CREDENTIALS {
        headers.remove(name);
    }
    let more: Vec<HeaderName> = headers
        .keys()
        .filter(|name| CREDENTIALS_START.iter().any(|start| name.as_str().starts_with(start)))
        .cloned()
        .collect();
    for name in more {
        headers.remove(name);
    }
    if let Some(wanted) = wanted {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, wanted);
    }
}

/// Says from where a request came, behind what was said of that before.
pub(crate) fn came_from(headers: &mut HeaderMap, remote: IpAddr) -> Result<(), header::InvalidHeaderValue> {
    let before: Vec<&str> =
        headers.get_all(&FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let all = [&before[..], &[&remote.to_string()]].concat().join(", ");
    headers.insert(FORWARDED_FOR, HeaderValue::from_str(&all)?);
    Ok(())
}

/// Takes from an answer what was said between neighbours only.
pub(crate) fn passed_back(headers: &mut HeaderMap) {
    clean(headers);
}

/// Makes a pipe of two connections on which another protocol is spoken from here on.
pub(crate) fn switch(
    state: &Arc<State>,
    account: &Arc<Account>,
    takeover: Takeover,
    mut answer: Response<Incoming>,
) -> Response<Body> {
    let theirs = hyper::upgrade::on(&mut answer);
    let Takeover { connection, seat } = takeover;
    if let Some(seat) = &seat {
        seat.take_over();
    }
    let (stop, account) = (state.stop.clone(), account.clone());
    state.tasks.spawn(async move {
        // Whose connection it is does not change by what it carries; the request goes on with it.
        let (_seat, _account) = (seat, account);
        let piping = async {
            let (ours, theirs) = tokio::join!(connection, theirs);
            let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return };
            let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
            if let Err(error) = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await {
                tracing::debug!(%error, "a proxied connection ended");
            }
        };
        tokio::select! {
            () = piping => {}
            () = stop.cancelled_owned() => {}
        }
    });
    let (parts, _) = answer.into_parts();
    Response::from_parts(parts, Body::empty())
}

/// Why a connection could not be made, as Kubernetes words it.
pub(crate) fn words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether the client asks for another protocol on its connection.
pub(crate) fn asks_to_upgrade(headers: &HeaderMap) -> bool {
    let mut options = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    headers.contains_key(header::UPGRADE)
        && options.any(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case("upgrade")))
}

/// Takes away what is said between neighbours only, and what they say is so.
fn clean(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in named.iter().map(String::as_str).chain(BETWEEN_NEIGHBOURS) {
        headers.remove(name);
    }
}

/// Relative links of a page lead below it only if its own address ends with a slash.
fn moved(prefix: &str, query: Option<&str>) -> Result<Response<Body>> {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    // With two slashes at its beginning it would name a host.
    let prefix = prefix.trim_start_matches('/');
    let location = HeaderValue::from_str(&format!("/{prefix}/{query}")).map_err(malformed)?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}
