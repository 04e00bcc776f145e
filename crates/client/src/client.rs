//! Sends requests and reads answers; [`crate::Api`] puts them into Kubernetes' words.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use model::Status;
use model::shared::Share;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::transport::{Body, Transport, UpgradeAnswer};

/// How long an answer may take, unless it is a stream.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// What informers hold of views, unless it is said.
const VIEW_LIMIT: usize = 16 << 20;

/// A way to talk to one API server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    view_limit: usize,
    user_agent: HeaderValue,
}

/// A request in the making.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) content_type: &'static str,
    pub(crate) accept: &'static str,
    pub(crate) body: Bytes,
    /// Objects are taken instead of text.
    pub(crate) share: bool,
}

impl Client {
    /// A client over any transport.
    pub fn new(transport: impl Transport) -> Self {
        let user_agent = HeaderValue::from_static(concat!("gantry/", env!("CARGO_PKG_VERSION")));
        Self { transport: Arc::new(transport), view_limit: VIEW_LIMIT, user_agent }
    }

    /// Says who asks: the server takes that for the manager of what is written, unless a write names one.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.user_agent = HeaderValue::from_static(name);
        self
    }

    /// Lets each informer over this client hold the views of so many bytes of text, 16 MiB unless it is
    /// said: the views take a few times as much.
    #[must_use]
    pub fn with_view_limit(mut self, bytes: usize) -> Self {
        self.view_limit = bytes;
        self
    }

    pub(crate) fn view_limit(&self) -> usize {
        self.view_limit
    }

    /// Sends a request of one's own making and gives the answer, whatever its status.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, Error> {
        let name = format!("{} {}", request.method(), request.uri());
        self.transport.send(request).await.map_err(|source| Error::Transport { request: name, source })
    }

    /// Asks for a stream of bytes in both directions (`exec`, `attach`, `port-forward`).
    pub async fn upgrade(&self, request: Request<Bytes>) -> Result<UpgradeAnswer, Error> {
        let name = format!("{} {}", request.method(), request.uri());
        self.transport.upgrade(request).await.map_err(|source| Error::Transport { request: name, source })
    }

    /// Reads any path as JSON: `/version`, discovery, and other things that are no resource.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.call(Call::new(Method::GET, path.to_owned())).await
    }

    /// As [`Client::get`], in another form than plain JSON, which is JSON too.
    pub async fn get_as<T: DeserializeOwned>(&self, path: &str, accept: &'static str) -> Result<T, Error> {
        self.call(Call { accept, ..Call::new(Method::GET, path.to_owned()) }).await
    }

    /// Sends a request and reads the whole answer as text, such as a container's log.
    pub async fn get_text(&self, path: &str) -> Result<String, Error> {
        let (_, bytes) = self.call_bytes(Call::new(Method::GET, path.to_owned())).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let (request, bytes) = self.call_bytes(call).await?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Decode { request, source })
    }

    /// The name of the request and the bytes of its successful answer.
    pub(crate) async fn call_bytes(&self, call: Call) -> Result<(String, Bytes), Error> {
        let name = call.name();
        let exchange = async { self.read(&name, self.call_stream(call).await?).await };
        let bytes = in_time(&name, exchange).await?;
        Ok((name, bytes))
    }

    /// The body of an answer.
    pub(crate) async fn read(&self, request: &str, response: Response<Body>) -> Result<Bytes, Error> {
        let body = response.into_body().collect().await;
        let body = body.map_err(|source| Error::Transport { request: request.to_owned(), source })?;
        Ok(body.to_bytes())
    }

    /// The successful answer, its body still to be read.
    pub(crate) async fn call_stream(&self, call: Call) -> Result<Response<Body>, Error> {
        let name = call.name();
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(call.uri())
            .header(ACCEPT, call.accept)
            .header(USER_AGENT, self.user_agent.clone());
        if call.share {
            request = request.extension(Share);
        }
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, call.content_type);
        }
        let request =
            request.body(call.body).map_err(|source| Error::Request { request: name.clone(), source })?;
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|source| Error::Transport { request: name, source })?;
        Err(Error::from_status(read_status(code, &body.to_bytes())))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Call {
    pub(crate) fn new(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            content_type: "application/json",
            accept: "application/json",
            body: Bytes::new(),
            share: false,
        }
    }

    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.content_type = content_type;
        self.body = body.into();
        self
    }

    /// As errors name it.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn uri(&self) -> String {
        let mut uri = self.path.clone();
        for (index, (name, value)) in self.query.iter().enumerate() {
            uri.push(if index == 0 && !self.path.contains('?') { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            encode_query(&mut uri, value);
        }
        uri
    }
}

/// What an exchange gives, unless it takes too long.
pub(crate) async fn in_time<T>(
    request: &str,
    exchange: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let answer = tokio::time::timeout(ANSWER_LIMIT, exchange).await;
    answer.map_err(|_| Error::Timeout { request: request.to_owned(), limit: ANSWER_LIMIT })?
}

/// The server's words, or our own where it had none.
fn read_status(code: StatusCode, body: &[u8]) -> Status {
    match serde_json::from_slice::<Status>(body) {
        Ok(status) if !status.message.is_empty() || !status.reason.is_empty() => {
            Status { code: code.as_u16(), ..status }
        }
        _ => {
            let text = String::from_utf8_lossy(body);
            let text = if text.trim().is_empty() { code.to_string() } else { text.trim().to_owned() };
            Status::failure(code.as_u16(), "", text)
        }
    }
}

fn encode_query(uri: &mut String, value: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b',' => {
                uri.push(char::from(byte));
            }
            _ => {
                uri.push('%');
                uri.push(char::from(HEX[usize::from(byte >> 4)]));
                uri.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        let call = Call::new(Method::GET, "/api/v1/pods".to_owned())
            .query("labelSelector", "app in (a,b),x!=y")
            .query("continue", "ey+=&");
        assert_eq!(
            call.uri(),
            "/api/v1/pods?labelSelector=app%20in%20%28a,b%29,x%21%3Dy&continue=ey%2B%3D%26"
        );
    }

    #[test]
    fn a_failure_without_a_status_still_says_what_happened() {
        let check = |code: u16, body: &str, expected: &str| {
            let code = StatusCode::from_u16(code).expect("a code");
            assert_eq!(read_status(code, body.as_bytes()).message, expected);
        };
        check(404, "404 page not found\n", "404 page not found");
        check(502, "", "502 Bad Gateway");
        check(409, r#"{"kind":"Status","reason":"Conflict","message":"no"}"#, "no");
    }
}
