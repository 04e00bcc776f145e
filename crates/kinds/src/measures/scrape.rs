//! What programs in pods tell of themselves, of those pods that say that they may be asked.
//!
//! | annotation | what |
//! | --- | --- |
//! | `prometheus.io/scrape` | `"true"`: it may be asked |
//! | `prometheus.io/port` | at which port; the first that a container names where it says nothing |
//! | `prometheus.io/path` | at which path; `/metrics` |
//! | `prometheus.io/scheme` | `http` or `https`, with whatever certificate; `http` |

use std::net::SocketAddr;
use std::time::Duration;

use apiserver::{Bounds, Call, Error, Reach, Result, Upstream};
use futures::StreamExt as _;
use futures::stream;
use model::select::LabelSelector;
use model::validate::{list, number};
use model::{GroupResource, Object};
use observe::{Pages, Program, Value};

use crate::proxied::address;

/// What a page may cost.
const BOUNDS: Bounds = Bounds { bytes: 1 << 20, time: Duration::from_secs(3) };
/// So many pods are asked at once.
const AT_ONCE: usize = 32;
/// What is understood.
const ACCEPT: &str = "text/plain;version=0.0.4;q=1,*/*;q=0.1";

/// Where a pod is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    upstream: Upstream,
    path: String,
}

/// The pods of a namespace that are selected and run.
pub(super) fn pods(call: &Call, selector: &LabelSelector) -> Vec<Object> {
    let all = call.context().list(&GroupResource::new("", "pods"), call.namespace());
    let runs = |pod: &Object| pod.get_str(&["status", "phase"]) == Some("Running");
    all.into_iter().filter(|pod| runs(pod) && selector.matches(pod)).collect()
}

/// What pods tell by a name, those that tell something; what a pod does not tell, or tells badly, is left out, and
/// why is added to `failures`.
pub(super) async fn values<'a>(
    pages: &Pages,
    reach: &Reach,
    pods: &'a [Object],
    name: &str,
    failures: &mut Vec<String>,
) -> Vec<(&'a Object, Vec<Value>)> {
    let now = || (reach.elapsed(), reach.now());
    let one = |(place, target): (usize, Target)| async move {
        let pod = &pods[place];
        let at = format!("{} {} {}", target.upstream.address, target.upstream.tls, target.path);
        let program = Program { namespace: pod.namespace().unwrap_or_default(), id: pod.uid(), place: &at };
        (place, pages.values(program, name, now, || page(reach, &target)).await)
    };
    let mut targets = Vec::new();
    for (place, pod) in pods.iter().enumerate() {
        let Some(target) = target(pod) else { continue };
        targets.push((place, target));
    }
    let asked: Vec<_> = stream::iter(targets).map(one).buffered(AT_ONCE).collect().await;
    let mut told = Vec::new();
    for (place, outcome) in asked {
        let pod = &pods[place];
        match outcome {
            Ok(values) if values.is_empty() => {}
            Ok(values) => told.push((pod, values)),
            Err(error) => failures.push(format!("pod {}: {}", pod.name(), base::error::chain(&error))),
        }
    }
    told
}

async fn page(reach: &Reach, target: &Target) -> Result<String> {
    let page = reach.pod(&target.upstream, &target.path, ACCEPT, BOUNDS).await?;
    String::from_utf8(page.into()).map_err(|error| Error::internal(&error))
}

/// Where a pod says that it may be asked.
fn target(pod: &Object) -> Option<Target> {
    let said =
        |name: &str| pod.annotation(&format!("prometheus.io/{name}")).filter(|value| !value.is_empty());
    if said("scrape") != Some("true") {
        return None;
    }
    let port = match said("port") {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => first_port(pod)?,
    };
    let tls = match said("scheme") {
        None | Some("http") => false,
        Some("https") => true,
        Some(_) => return None,
    };
    let path = said("path").unwrap_or("/metrics");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let ip = address(pod.get_str(&["status", "podIP"])?).ok()?;
    let node = pod.get_str(&["spec", "nodeName"])?.to_owned();
    Some(Target { upstream: Upstream { node, address: SocketAddr::new(ip, port), tls }, path })
}

fn first_port(pod: &Object) -> Option<u16> {
    let mut containers = pod.get_list(&["spec", "containers"]).iter();
    let port = containers.find_map(|container| list(container, "ports").first())?;
    number(port, "containerPort").and_then(|port| u16::try_from(port).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Where a pod with these annotations is asked, which has one port and this address.
    fn check(annotations: Value, ip: &str, expected: Option<&str>) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "annotations": annotations},
            "spec": {"nodeName": "n", "containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 80}]}]},
            "status": {"podIP": ip, "phase": "Running"},
        });
        let target = target(&Object::from_value(pod).expect("a pod"));
        let found = target.map(|target| {
            let scheme = if target.upstream.tls { "https" } else { "http" };
            format!("{scheme}://{}{}", target.upstream.address, target.path)
        });
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn a_pod_says_where_it_may_be_asked() {
        let said = |more: Value| {
            let mut all = json!({"prometheus.io/scrape": "true"});
            for (name, value) in more.as_object().expect("an object") {
                all[format!("prometheus.io/{name}")] = value.clone();
            }
            all
        };
        let ip = "10.42.0.7";
        check(json!({}), ip, None);
        check(json!({"prometheus.io/scrape": "false"}), ip, None);
        check(said(json!({})), ip, Some("http://10.42.0.7:80/metrics"));
        check(
            said(json!({"port": "9090", "path": "x?y=1", "scheme": "https"})),
            ip,
            Some("https://10.42.0.7:9090/x?y=1"),
        );
        for bad in [json!({"port": "0"}), json!({"port": "web"}), json!({"scheme": "gopher"})] {
            check(said(bad), ip, None);
        }
        // Nobody is led to the node itself.
        check(said(json!({})), "127.0.0.1", None);
        check(said(json!({})), "", None);
    }
}
