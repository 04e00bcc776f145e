//! Requests to a node itself: to its agent, or to another port of it.

use std::net::SocketAddr;

use apiserver::node::{PodTarget, StreamOptions};
use apiserver::{Body, Call, Error, Result, Upstream};
use http::{HeaderValue, Response, StatusCode, header};
use model::validate::{list, number, text};
use model::{GroupResource, Object};

use crate::conversation::admit_proxied;
use crate::proxied::{Wanted, address};

/// Where a node's agent listens that does not say.
const AGENT: &str = "10250";
/// What the parameters are called by which an agent is asked for streams.
const STREAMS: [&str; 4] = ["input", "output", "error", "tty"];

pub(super) async fn handle(call: Call) -> Result<Response<Body>> {
    let named = call.name().to_owned();
    let wanted = Wanted::parse(&named, "node")?;
    admit_proxied(&call, "NodeProxyOptions").await?;
    let node = call.named(wanted.name).await?;
    if !wanted.port.is_empty() && wanted.port != agent_port(&node) {
        let upstream = upstream(&node, wanted)?;
        return call.proxy(upstream).await;
    }
    let name = node.name().to_owned();
    let rest: Vec<String> = call.rest().into_iter().map(str::to_owned).collect();
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let (what, namespace, pod, uid, container) = match *rest.as_slice() {
        [what @ ("exec" | "attach"), namespace, pod, container] => (what, namespace, pod, None, container),
        [what @ ("exec" | "attach"), namespace, pod, uid, container] => {
            (what, namespace, pod, Some(uid), container)
        }
        [what @ "portForward", namespace, pod] => (what, namespace, pod, None, ""),
        [what @ "portForward", namespace, pod, uid] => (what, namespace, pod, Some(uid), ""),
        _ => return call.ask_node(name).await,
    };
    // Who may only look at a node does not run commands on it.
    call.may_create().await?;
    let found = call.context().find(&GroupResource::new("", "pods"), namespace, pod);
    let here = found.filter(|pod| pod.get_str(&["spec", "nodeName"]) == Some(&*name));
    let Some(found) = here else { return Ok(said(StatusCode::NOT_FOUND, "pod does not exist")) };
    if uid.is_some_and(|uid| uid != found.uid()) {
        return Ok(said(StatusCode::NOT_FOUND, "pod not found"));
    }
    let target = PodTarget {
        namespace: namespace.to_owned(),
        name: pod.to_owned(),
        uid: found.uid().to_owned(),
        node: name,
    };
    if what == "portForward" {
        return call.port_session()?.forward(target);
    }
    if !has_container(&found, container) {
        return Ok(said(StatusCode::NOT_FOUND, "container not found"));
    }
    let session = call.command_session_by(STREAMS)?;
    let command = session.call().query().all("command").map(str::to_owned).collect();
    let options = StreamOptions { container: container.to_owned(), command, tty: session.tty() };
    if what == "attach" { session.attach(target, options) } else { session.exec(target, options) }
}

/// Where a node says that its agent listens.
fn agent_port(node: &Object) -> String {
    let endpoint = node.get(&["status", "daemonEndpoints", "kubeletEndpoint"]);
    let port = endpoint.and_then(|endpoint| number(endpoint, "Port")).filter(|port| *port > 0);
    port.map_or_else(|| AGENT.to_owned(), |port| port.to_string())
}

fn has_container(pod: &Object, container: &str) -> bool {
    let kinds = ["containers", "initContainers", "ephemeralContainers"];
    kinds.iter().flat_map(|kind| pod.get_list(&["spec", kind])).any(|found| text(found, "name") == container)
}

/// Another port of the node, by its address.
fn upstream(node: &Object, wanted: Wanted<'_>) -> Result<Upstream> {
    let empty = serde_json::Value::Null;
    let addresses = list(node.get(&["status"]).unwrap_or(&empty), "addresses");
    let internal = addresses.iter().find(|address| text(address, "type") == "InternalIP");
    let ip = address(internal.map_or("", |internal| text(internal, "address")))?;
    let port = wanted.port.parse().map_err(|_| {
        let port = model::field::quote(wanted.port);
        Error::bad_request(format!("invalid port {port}: a node's is named by its number"))
    })?;
    Ok(Upstream { node: node.name().to_owned(), address: SocketAddr::new(ip, port), tls: wanted.tls })
}

/// What an agent says, in its words.
fn said(code: StatusCode, text: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::full(text));
    *answer.status_mut() = code;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}
