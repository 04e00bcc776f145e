//! One attempt of a probe or of a lifecycle hook.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Target, port_number, tls};

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// So much of what a failing probe says is kept.
const KEPT: usize = 10 << 10;

/// Makes one attempt; `Err` says why it failed, in the words of the kubelet's events.
pub async fn check(target: &Target, probe: &Probe, timeout: Duration) -> Result<(), String> {
    if let Some(action) = &probe.exec {
        return exec(target, action.command.clone().unwrap_or_default(), timeout).await;
    }
    let attempt = async {
        if let Some(action) = &probe.http_get {
            return http_get(target, action, timeout).await;
        }
        if let Some(action) = &probe.tcp_socket {
            let port =
                port_number(&action.port, &target.ports).ok_or("couldn't find the port of the TCP probe")?;
            let address = address(action.host.as_deref(), target.address)?;
            return connect(SocketAddr::new(address, port)).await.map(drop);
        }
        Err("the probe has no handler that this node supports: use exec, httpGet or tcpSocket".to_owned())
    };
    match tokio::time::timeout(timeout, attempt).await {
        Ok(result) => result,
        Err(_) => Err("context deadline exceeded".to_owned()),
    }
}

async fn exec(target: &Target, command: Vec<String>, timeout: Duration) -> Result<(), String> {
    let shown = format!("{command:?}");
    let output = target.runtime.exec_sync(&target.container, command, Some(timeout), KEPT).await;
    let output = output.map_err(|error| error.full_message())?;
    match output.exit_code {
        Some(0) => Ok(()),
        Some(_) => {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            Err(text)
        }
        None => Err(format!("command {shown} timed out after {}s", timeout.as_secs())),
    }
}

/// A GET that counts as a success from 200 to 399.
pub async fn http_get(target: &Target, action: &HTTPGetAction, timeout: Duration) -> Result<(), String> {
    let secure = action.scheme.as_deref() == Some("HTTPS");
    let port = port_number(&action.port, &target.ports).ok_or("couldn't find the port of the HTTP probe")?;
    let address = SocketAddr::new(address(action.host.as_deref(), target.address)?, port);
    let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let url = format!("{}://{address}{path}", if secure { "https" } else { "http" });
    let fail = |what: String| format!("Get \"{url}\": {what}");

    let request = async {
        let stream = connect(address).await.map_err(&fail)?;
        let stream: Box<dyn Stream> = if secure {
            Box::new(tls::connect(stream, address.ip()).await.map_err(|error| fail(error.to_string()))?)
        } else {
            Box::new(stream)
        };
        let (mut sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| fail(error.to_string()))?;
        let mut builder =
            http::Request::get(&path).header("User-Agent", "kube-probe/1.36").header("Accept", "*/*");
        let mut host = address.to_string();
        for header in action.http_headers.iter().flatten() {
            if header.name.eq_ignore_ascii_case("host") {
                host.clone_from(&header.value);
            } else {
                builder = builder.header(&header.name, &header.value);
            }
        }
        let request = builder
            .header("Host", host)
            .body(Empty::<Bytes>::new())
            .map_err(|error| fail(error.to_string()))?;
        // The connection lives as long as this attempt: both are dropped together.
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|error| fail(error.to_string()))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), KEPT).collect().await;
            let text =
                body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
            Ok((status, text))
        };
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // A server that closes after its answer has ended the connection, not the attempt.
            ended = connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(fail(error.to_string())),
            },
        }
    };
    let (status, _body): (http::StatusCode, String) = match tokio::time::timeout(timeout, request).await {
        Ok(answer) => answer?,
        Err(_) => {
            return Err(fail(
                "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned(),
            ));
        }
    };
    if status.as_u16() >= 200 && status.as_u16() < 400 {
        return Ok(());
    }
    Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("dial tcp {address}: connect: connection refused"),
        _ => format!("dial tcp {address}: {error}"),
    })
}

fn address(host: Option<&str>, pod: IpAddr) -> Result<IpAddr, String> {
    match host.filter(|host| !host.is_empty()) {
        None => Ok(pod),
        Some("localhost") => Ok(IpAddr::from([127, 0, 0, 1])),
        Some(text) => text.parse().map_err(|_| format!("the probe's host {text} is no IP address")),
    }
}
