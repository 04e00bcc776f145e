//! One attempt of a probe or of a lifecycle hook.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use tokio::net::TcpStream;

use super::{Target, grpc, http, port_number};

/// So much of what a probe is answered is kept.
pub(super) const KEPT: usize = 10 << 10;

/// Who asks, in the kubelet's words.
pub(super) const USER_AGENT: &str = "kube-probe/1.36";

/// An attempt that did not fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Passed {
    /// As it should.
    Well,
    /// It passed, and this is to be told.
    Warned(String),
}

/// Makes one attempt; `Err` says why it failed, in the words of the kubelet's events.
pub async fn check(target: &Target, probe: &Probe, timeout: Duration) -> Result<Passed, String> {
    if let Some(action) = &probe.exec {
        return exec(target, action.command.clone().unwrap_or_default(), timeout)
            .await
            .map(|()| Passed::Well);
    }
    if let Some(action) = &probe.http_get {
        return http::get(target.address, &target.ports, action, timeout).await;
    }
    if let Some(action) = &probe.grpc {
        return grpc::check(target.address, action, timeout).await.map(|()| Passed::Well);
    }
    let attempt = async {
        if let Some(action) = &probe.tcp_socket {
            let port =
                port_number(&action.port, &target.ports).ok_or("couldn't find the port of the TCP probe")?;
            let address = address(action.host.as_deref(), target.address)?;
            return connect(SocketAddr::new(address, port)).await.map(|_| Passed::Well);
        }
        Err("the probe has no handler: use exec, httpGet, grpc or tcpSocket".to_owned())
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

pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("dial tcp {address}: connect: connection refused"),
        _ => format!("dial tcp {address}: {error}"),
    })
}

pub(super) fn address(host: Option<&str>, pod: IpAddr) -> Result<IpAddr, String> {
    match host.filter(|host| !host.is_empty()) {
        None => Ok(pod),
        Some("localhost") => Ok(IpAddr::from([127, 0, 0, 1])),
        Some(text) => text.parse().map_err(|_| format!("the probe's host {text} is no IP address")),
    }
}
