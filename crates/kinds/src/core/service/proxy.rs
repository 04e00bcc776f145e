//! Requests to a service, passed on by the server to one of the pods behind it.

use std::net::SocketAddr;

use apiserver::{Body, Call, Context, Error, Result, Upstream};
use http::Response;
use model::field::quote;
use model::validate::{list, number, text};
use model::{GroupResource, Object, Status};
use serde_json::Value;

use crate::conversation::admit_proxied;
use crate::proxied::{Wanted, address};

pub(super) async fn handle(call: Call) -> Result<Response<Body>> {
    let named = call.name().to_owned();
    let wanted = Wanted::parse(&named, "service")?;
    admit_proxied(&call, "ServiceProxyOptions").await?;
    let service = call.named(wanted.name).await?;
    let upstream = upstream(&call.context(), &service, wanted)?;
    call.proxy(upstream).await
}

fn upstream(context: &Context<'_>, service: &Object, wanted: Wanted<'_>) -> Result<Upstream> {
    let port = port_name(service, wanted)?;
    let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
    let slices = context.list(&slices, context.namespace());
    let pods = GroupResource::new("", "pods");
    let mut all = Vec::new();
    for slice in slices.iter().filter(|slice| slice.label("kubernetes.io/service-name") == Some(wanted.name))
    {
        let ports = slice.get_list(&["ports"]).iter().filter(|one| text(one, "name") == port);
        let Some(number) = ports.filter_map(|port| number(port, "port")).next() else { continue };
        let Ok(number) = u16::try_from(number) else { continue };
        for endpoint in slice.get_list(&["endpoints"]).iter().filter(|endpoint| is_ready(endpoint)) {
            let Some(ip) = list(endpoint, "addresses").first().and_then(Value::as_str) else { continue };
            let Ok(ip) = address(ip) else { continue };
            // Nobody is led to what is no pod: whoever may write endpoints may not reach all that the server can.
            let pod = &endpoint["targetRef"];
            let is_pod = text(pod, "kind") == "Pod"
                && context
                    .find(&pods, context.namespace(), text(pod, "name"))
                    .is_some_and(|pod| has_address(&pod, ip));
            if is_pod {
                let node = text(endpoint, "nodeName").to_owned();
                all.push(Upstream { node, address: SocketAddr::new(ip, number), tls: wanted.tls });
            }
        }
    }
    if all.is_empty() {
        let name = quote(wanted.name);
        return Err(Status::unavailable(format!("no endpoints available for service {name}")).into());
    }
    let chosen = usize::try_from(context.random() % all.len() as u64).unwrap_or_default();
    Ok(all.swap_remove(chosen))
}

/// The name of the port that is meant, which may be named by its number.
fn port_name(service: &Object, wanted: Wanted<'_>) -> Result<String> {
    let Ok(wanted_number) = wanted.port.parse::<i64>() else { return Ok(wanted.port.to_owned()) };
    let mut ports = service.get_list(&["spec", "ports"]).iter();
    let found = ports.find(|port| number(port, "port") == Some(wanted_number));
    found.map(|port| text(port, "name").to_owned()).ok_or_else(|| {
        let name = quote(wanted.name);
        Error::from(Status::unavailable(format!("no service port {wanted_number} found for service {name}")))
    })
}

/// Whether an endpoint takes requests. One of which nothing is known does.
fn is_ready(endpoint: &Value) -> bool {
    endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true)
}

fn has_address(pod: &Object, address: std::net::IpAddr) -> bool {
    let mut all = pod.get_list(&["status", "podIPs"]).iter().filter_map(|one| one["ip"].as_str());
    let first = pod.get_str(&["status", "podIP"]);
    all.any(|one| one.parse() == Ok(address)) || first.is_some_and(|one| one.parse() == Ok(address))
}
