//! Where a service is reached, or why it is not: pure. Reasons and messages are Kubernetes' own.

use std::net::SocketAddr;

use apiserver::aggregation::{Absence, Place, ServiceReference};
use model::Object;
use model::field::quote;
use model::validate::{list, number, text};
use serde_json::Value;

use crate::proxied::address;

use super::OF_SERVICE;

/// What is to be known of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Service {
    kind: String,
    external_name: String,
    /// Numbers and names.
    ports: Vec<(i64, String)>,
}

/// What is to be known of a slice of endpoints.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Endpoints {
    pub(super) service: String,
    /// Names and numbers.
    ports: Vec<(String, i64)>,
    /// Addresses and nodes of those that take requests.
    ready: Vec<(String, String)>,
}

impl Service {
    pub(super) fn of(object: &Object) -> Self {
        let text_of = |name: &str| object.get_str(&["spec", name]).unwrap_or_default().to_owned();
        let ports = object.get_list(&["spec", "ports"]).iter();
        let ports =
            ports.map(|port| (number(port, "port").unwrap_or_default(), text(port, "name").to_owned()));
        Self { kind: text_of("type"), external_name: text_of("externalName"), ports: ports.collect() }
    }
}

impl Endpoints {
    pub(super) fn of(object: &Object) -> Self {
        let ports = object.get_list(&["ports"]).iter();
        let ports = ports.filter_map(|port| Some((text(port, "name").to_owned(), number(port, "port")?)));
        let is_ready = |endpoint: &&Value| {
            endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true)
        };
        let ready = object.get_list(&["endpoints"]).iter().filter(is_ready).filter_map(|endpoint| {
            let address = list(endpoint, "addresses").first()?.as_str()?;
            Some((address.to_owned(), text(endpoint, "nodeName").to_owned()))
        });
        let service = object.label(OF_SERVICE).unwrap_or_default().to_owned();
        Self { service, ports: ports.collect(), ready: ready.collect() }
    }
}

/// Where a port of a service is reached, of which these are the endpoints.
pub(super) fn of(
    wanted: &ServiceReference,
    service: Option<&Service>,
    endpoints: &[&Endpoints],
) -> Result<Vec<Place>, Absence> {
    let ServiceReference { namespace, name, port } = wanted;
    let absent = |reason: &'static str, message: String| Err(Absence { reason, message });
    let (namespace, quoted) = (quote(namespace), quote(name));
    let Some(service) = service else {
        return absent("ServiceNotFound", format!("service/{name} in {namespace} is not present"));
    };
    // A cluster's own address is looked at before it is asked at, others are just asked.
    let of_cluster = matches!(service.kind.as_str(), "ClusterIP" | "");
    if service.kind == "ExternalName" {
        return Ok(vec![Place::Name(service.external_name.clone(), *port)]);
    }
    let found = service.ports.iter().find(|(number, _)| *number == i64::from(*port));
    let Some((_, port_name)) = found else {
        return if of_cluster {
            absent(
                "ServicePortError",
                format!("service/{name} in {namespace} is not listening on port {port}"),
            )
        } else {
            absent("FailedDiscoveryCheck", format!("no service port {port} found for service {quoted}"))
        };
    };
    if endpoints.is_empty() && of_cluster {
        return absent(
            "EndpointsNotFound",
            format!("cannot find endpointslices for service/{name} in {namespace}"),
        );
    }
    let mut places = Vec::new();
    for slice in endpoints {
        let Some((_, number)) = slice.ports.iter().find(|(name, _)| name == port_name) else { continue };
        let Ok(number) = u16::try_from(*number) else { continue };
        for (ip, node) in &slice.ready {
            let Ok(ip) = address(ip) else { continue };
            places.push(Place::Address { node: node.clone(), address: SocketAddr::new(ip, number) });
        }
    }
    if places.is_empty() {
        return if of_cluster {
            let port_name = quote(port_name);
            let what = format!("endpointslices for service/{name} in {namespace}");
            absent("MissingEndpoints", format!("{what} have no addresses with port name {port_name}"))
        } else {
            absent("FailedDiscoveryCheck", format!("no endpoints available for service {quoted}"))
        };
    }
    places.sort();
    places.dedup();
    Ok(places)
}
