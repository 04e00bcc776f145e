//! An HTTP GET of a probe or of a lifecycle hook.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{HTTPGetAction, HTTPHeader};
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use super::check::{self, KEPT, Passed};
use super::{port_number, tls};
use crate::runtime::Port;

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// So many requests one attempt makes at most: where it is led on to counts too.
const REQUESTS: usize = 10;

/// What came back.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    text: String,
}

/// A GET of a program at `address` with these named ports, which passes with an answer from 200 to 399. It follows to other places of the same host; one that
/// leads to another host has passed, and is told.
pub async fn get(
    address: IpAddr,
    ports: &[(String, Port)],
    action: &HTTPGetAction,
    timeout: Duration,
) -> Result<Passed, String> {
    let address = check::address(action.host.as_deref(), address)?;
    let mut asked = first_url(address, ports, action)?;
    let attempt =
        async { follow(&mut asked, address, action.http_headers.as_deref().unwrap_or_default()).await };
    match tokio::time::timeout(timeout, attempt).await {
        Ok(answer) => verdict(answer?),
        Err(_) => {
            Err(failed(&asked, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"))
        }
    }
}

fn first_url(address: IpAddr, ports: &[(String, Port)], action: &HTTPGetAction) -> Result<Url, String> {
    let port = port_number(&action.port, ports).ok_or("couldn't find the port of the HTTP probe")?;
    let scheme = if action.scheme.as_deref() == Some("HTTPS") { "https" } else { "http" };
    let address = SocketAddr::new(address, port);
    let path = action.path.as_deref().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    Url::parse(&format!("{scheme}://{address}{slash}{path}"))
        .map_err(|error| format!("the probe's path {path:?} makes no URL: {error}"))
}

async fn follow(asked: &mut Url, address: IpAddr, headers: &[HTTPHeader]) -> Result<Answer, String> {
    let mut headers = request_headers(asked, headers)?;
    for _ in 0..REQUESTS {
        let answer = ask(asked, address, headers.clone()).await.map_err(|error| failed(asked, &error))?;
        let Some(location) = answer.location.as_deref().filter(|_| leads_on(answer.status)) else {
            return Ok(answer);
        };
        let next = asked.join(location).map_err(|error| {
            failed(asked, &format!("failed to parse Location header {location:?}: {error}"))
        })?;
        if next.host() != asked.host() || !matches!(next.scheme(), "http" | "https") {
            return Ok(answer);
        }
        // A name that was asked for stays as long as only the path changes.
        if Url::parse(location).is_ok() {
            headers.insert(HOST, host_of(&next)?);
        }
        *asked = next;
    }
    Err(failed(asked, &format!("stopped after {REQUESTS} redirects")))
}

fn leads_on(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn verdict(answer: Answer) -> Result<Passed, String> {
    match answer.status.as_u16() {
        200..=299 => Ok(Passed::Well),
        300..=399 => {
            Ok(Passed::Warned(format!("Probe terminated redirects, Response body: {}", answer.text)))
        }
        status => Err(format!("HTTP probe failed with statuscode: {status}")),
    }
}

fn failed(asked: &Url, why: &str) -> String {
    format!("Get \"{asked}\": {why}")
}

fn host_of(url: &Url) -> Result<http::HeaderValue, String> {
    url.authority().parse().map_err(|error| failed(url, &format!("{error}")))
}

fn request_headers(asked: &Url, wanted: &[HTTPHeader]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, host_of(asked)?);
    let mut own = HeaderMap::new();
    for HTTPHeader { name, value } in wanted {
        let name: http::HeaderName = name
            .parse()
            .map_err(|_| failed(asked, &format!("net/http: invalid header field name {name:?}")))?;
        let value: http::HeaderValue = value.parse().map_err(|_| {
            failed(asked, &format!("net/http: invalid header field value for {:?}", name.as_str()))
        })?;
        own.append(name, value);
    }
    for (name, default) in [(USER_AGENT, check::USER_AGENT), (ACCEPT, "*/*")] {
        match own.get(&name) {
            None => drop(headers.insert(name, http::HeaderValue::from_static(default))),
            // An empty one asks for none.
            Some(value) if value.is_empty() => drop(own.remove(&name)),
            Some(_) => {}
        }
    }
    headers.extend(own);
    Ok(headers)
}

/// One request over a connection of its own.
async fn ask(url: &Url, address: IpAddr, headers: HeaderMap) -> Result<Answer, String> {
    let address = SocketAddr::new(address, url.port_or_known_default().unwrap_or(80));
    let stream = check::connect(address).await?;
    let stream: Box<dyn Stream> = if url.scheme() == "https" {
        Box::new(tls::connect(stream, address.ip()).await.map_err(|error| error.to_string())?)
    } else {
        Box::new(stream)
    };
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let mut request =
        http::Request::get(path).body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    *request.headers_mut() = headers;
    // The connection lives as long as this attempt: both are dropped together.
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = answer.into_parts();
        let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = Limited::new(body, KEPT).collect().await;
        let text =
            body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        Ok(Answer { status: head.status, location, text })
    };
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // A server that closes after its answer has ended the connection, not the attempt.
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// What a server that answers each path with these lines makes of a probe of `path`.
    async fn probed(
        path: &str,
        headers: serde_json::Value,
        answers: &'static [(&str, &str)],
    ) -> Result<Passed, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.expect("a request"));
                }
                let request = String::from_utf8(request).expect("text").to_ascii_lowercase();
                let path = request.split(' ').nth(1).unwrap_or_default();
                let known = answers.iter().find(|(known, _)| *known == path);
                let head = known.map_or("404 Not Found", |(_, head)| head).replace("PORT", &port.to_string());
                let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{request}", request.len());
                stream.write_all(answer.as_bytes()).await.expect("an answer");
            }
        });
        let action = serde_json::from_value(json!({"path": path, "port": port, "httpHeaders": headers}));
        let address = IpAddr::from([127, 0, 0, 1]);
        let found = get(address, &[], &action.expect("an action"), Duration::from_secs(20)).await;
        server.abort();
        found.map_err(|error| error.replace(&port.to_string(), "PORT"))
    }

    const ANSWERS: &[(&str, &str)] = &[
        ("/ok?deep=1", "200 OK"),
        ("/away", "302 Found\r\nLocation: http://127.0.0.2:1/ok"),
        ("/here", "301 Moved\r\nLocation: /there"),
        ("/there", "307 Moved\r\nLocation: http://127.0.0.1:PORT/ok?deep=1"),
        ("/broken", "302 Found\r\nLocation: /missing"),
        ("/round", "308 Moved\r\nLocation: round"),
        ("/nowhere", "302 Found"),
    ];

    #[tokio::test]
    async fn it_follows_where_the_same_host_leads_it_and_no_further() {
        for path in ["/ok?deep=1", "ok?deep=1", "/here", "/there"] {
            assert_eq!(probed(path, json!([]), ANSWERS).await, Ok(Passed::Well), "{path}");
        }
        for path in ["/away", "/nowhere"] {
            match probed(path, json!([]), ANSWERS).await {
                Ok(Passed::Warned(why)) => {
                    assert!(why.starts_with("Probe terminated redirects, Response body: get "), "{why}");
                }
                other => panic!("{path}: {other:?}"),
            }
        }
        assert_eq!(
            probed("/broken", json!([]), ANSWERS).await,
            Err("HTTP probe failed with statuscode: 404".to_owned())
        );
        assert_eq!(
            probed("/round", json!([]), ANSWERS).await,
            Err("Get \"http://127.0.0.1:PORT/round\": stopped after 10 redirects".to_owned())
        );
    }

    #[tokio::test]
    async fn headers_are_sent_as_they_are_given_and_the_host_may_be_another() {
        let headers = json!([
            {"name": "Host", "value": "shop.example"}, {"name": "X-One", "value": "1"}, {"name": "X-One", "value": "2"},
            {"name": "Accept", "value": ""},
        ]);
        let Ok(Passed::Warned(sent)) = probed("/away", headers, ANSWERS).await else {
            panic!("it is led away")
        };
        for part in ["host: shop.example\r\n", "x-one: 1\r\n", "x-one: 2\r\n", "user-agent: kube-probe/"] {
            assert!(sent.contains(part), "{part}: {sent}");
        }
        assert!(!sent.contains("accept:") && !sent.contains("127.0.0.1"), "{sent}");
        let wrong = probed("/ok", json!([{"name": "X One", "value": "1"}]), ANSWERS).await;
        assert!(wrong.expect_err("no such header").contains("invalid header field name"));
    }
}
