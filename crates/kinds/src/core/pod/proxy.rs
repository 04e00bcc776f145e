//! Requests to a pod itself, passed on by the server.

use std::net::SocketAddr;

use apiserver::{Body, Call, Error, Result, Upstream};
use http::Response;
use model::Object;
use model::validate::{list, number};

use crate::conversation::admit_proxied;
use crate::proxied::{Wanted, address};

pub(super) async fn handle(call: Call) -> Result<Response<Body>> {
    let named = call.name().to_owned();
    let wanted = Wanted::parse(&named, "pod")?;
    admit_proxied(&call, "PodProxyOptions").await?;
    let pod = call.named(wanted.name).await?;
    let upstream = upstream(&pod, wanted)?;
    call.proxy(upstream).await
}

fn upstream(pod: &Object, wanted: Wanted<'_>) -> Result<Upstream> {
    let ip = pod.get_str(&["status", "podIP"]).unwrap_or_default();
    let ip = address(ip)?;
    let port = match wanted.port {
        "" => first_port(pod).unwrap_or(if wanted.tls { 443 } else { 80 }),
        named => named.parse().map_err(|_| {
            Error::bad_request(format!(
                "invalid port {}: a pod's is named by its number",
                model::field::quote(named)
            ))
        })?,
    };
    let node = pod.get_str(&["spec", "nodeName"]).unwrap_or_default().to_owned();
    Ok(Upstream { node, address: SocketAddr::new(ip, port), tls: wanted.tls })
}

/// The first port of the first container that names one.
fn first_port(pod: &Object) -> Option<u16> {
    let mut containers = pod.get_list(&["spec", "containers"]).iter();
    let port = containers.find_map(|container| list(container, "ports").first())?;
    number(port, "containerPort").and_then(|port| u16::try_from(port).ok())
}
