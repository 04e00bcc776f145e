//! Services and slices in, one line per port or name out.

use super::*;
use serde_json::{Value, json};

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

fn service(spec: Value) -> Vec<Service> {
    vec![parse(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}))]
}

/// A slice of endpoints, each `address` or `address:condition`.
fn slice(port_name: &str, port: u16, endpoints: &[&str]) -> Vec<EndpointSlice> {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|text| {
            let (address, state) = text.split_once(':').unwrap_or((text, "ready"));
            json!({"addresses": [address], "nodeName": if address.ends_with(".1") { "here" } else { "there" },
                   "hostname": address.ends_with(".9").then_some("nine"),
                   "conditions": {"ready": state == "ready", "serving": state != "down", "terminating": state == "ending"}})
        })
        .collect();
    vec![parse(json!({
        "metadata": {"name": "web-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
    }))]
}

#[track_caller]
fn check_proxy(spec: Value, slices: &[EndpointSlice], expected: &[&str]) {
    let services = service(spec);
    let table = service_table(&join(&services, slices), "here");
    let lines: Vec<String> = table
        .values()
        .flat_map(|ports| ports.values())
        .map(|port| {
            let to: Vec<_> = port
                .endpoints
                .iter()
                .map(|e| format!("{}:{}{}", e.address, e.port, if e.local { "*" } else { "" }))
                .collect();
            let node = port.node_port.map(|port| format!(" node {port}")).unwrap_or_default();
            let external = &port.external_addresses;
            let external = if external.is_empty() { String::new() } else { format!(" and {external:?}") };
            format!("{:?}{external}:{}{node} -> {}", port.addresses, port.port, to.join(" "))
        })
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn a_service_leads_to_its_ready_endpoints() {
    let spec = json!({"clusterIP": "10.43.0.5", "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
    check_proxy(
        spec,
        &slice("http", 8080, &["10.42.0.1", "10.42.0.2:down", "10.42.0.3"]),
        &["[10.43.0.5]:80 node 30080 -> 10.42.0.1:8080* 10.42.0.3:8080"],
    );
}

#[test]
fn what_the_cluster_gave_is_told_from_what_was_asked_for() {
    let spec =
        json!({"clusterIP": "10.43.0.5", "externalIPs": ["10.43.0.1", "192.0.2.1"], "ports": [{"port": 80}]});
    let expected = "[10.43.0.5] and [10.43.0.1, 192.0.2.1]:80 -> 10.42.0.1:80*";
    check_proxy(spec, &slice("", 80, &["10.42.0.1"]), &[expected]);
}

#[test]
fn while_none_is_ready_those_that_end_still_serve() {
    let spec = json!({"clusterIP": "10.43.0.5", "ports": [{"port": 80}]});
    check_proxy(
        spec.clone(),
        &slice("", 80, &["10.42.0.2:ending", "10.42.0.3:down"]),
        &["[10.43.0.5]:80 -> 10.42.0.2:80"],
    );
    check_proxy(spec, &slice("", 80, &["10.42.0.3:down"]), &["[10.43.0.5]:80 -> "]);
}

#[test]
fn a_service_without_an_address_is_not_balanced() {
    check_proxy(json!({"clusterIP": "None", "ports": [{"port": 80}]}), &slice("", 80, &["10.42.0.1"]), &[]);
    check_proxy(json!({"type": "ExternalName", "externalName": "example.org"}), &[], &[]);
}

#[track_caller]
fn check_dns(spec: Value, slices: &[EndpointSlice], expected: &str) {
    let services = service(spec);
    let table = dns_table(&join(&services, slices));
    let (name, found) = table.first_key_value().expect("one service");
    let ports: Vec<_> =
        found.ports.iter().map(|p| format!("{}/{}", p.name.as_deref().unwrap_or("-"), p.port)).collect();
    let address = match &found.address {
        DnsAddress::Cluster(ips) => ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        DnsAddress::External(other) => other.clone(),
        DnsAddress::Headless(all) => all
            .iter()
            .map(|e| format!("{}={}", e.hostname.as_deref().unwrap_or("-"), e.address))
            .collect::<Vec<_>>()
            .join(" "),
    };
    assert_eq!(format!("{}.{} {address} {}", name.name, name.namespace, ports.join(",")), expected);
}

use net::DnsAddress;

#[test]
fn names_stand_for_cluster_addresses_endpoints_or_other_names() {
    let ports = json!([{"name": "http", "port": 80}]);
    check_dns(json!({"clusterIP": "10.43.0.5", "ports": ports}), &[], "web.shop 10.43.0.5 http/80");
    check_dns(
        json!({"clusterIP": "None", "ports": ports}),
        &slice("http", 8080, &["10.42.0.9", "10.42.0.2:down"]),
        "web.shop nine=10.42.0.9 http/8080",
    );
    check_dns(
        json!({"clusterIP": "None", "publishNotReadyAddresses": true}),
        &slice("", 80, &["10.42.0.2:down"]),
        "web.shop -=10.42.0.2 -/80",
    );
    check_dns(json!({"type": "ExternalName", "externalName": "example.org"}), &[], "web.shop example.org ");
}

#[test]
fn a_service_of_another_proxy_is_left_to_it_and_its_name_is_answered() {
    let spec = json!({"clusterIP": "10.43.0.5", "ports": [{"name": "http", "port": 80}]});
    let slices = slice("http", 8080, &["10.42.0.1"]);
    for (label, led) in [
        ("service.kubernetes.io/service-proxy-name", false),
        ("service.kubernetes.io/headless", false),
        ("some-other", true),
    ] {
        let metadata = json!({"name": "web", "namespace": "shop", "labels": {label: "mine"}});
        let services: Vec<Service> = vec![parse(json!({"metadata": metadata, "spec": spec}))];
        let backed = join(&services, &slices);
        let ports = service_table(&backed, "here");
        assert_eq!(ports.values().any(|ports| !ports.is_empty()), led, "{label}");
        assert_eq!(dns_table(&backed).len(), 1, "{label}");
    }
}

#[test]
fn a_client_keeps_its_endpoint_for_as_long_as_the_service_says() {
    let check = |more: Value, expected: Option<u32>| {
        let mut spec = json!({"clusterIP": "10.43.0.5", "ports": [{"port": 80}]});
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let services = service(spec);
        let table = service_table(&join(&services, &[]), "here");
        let ports: Vec<_> = table.values().flat_map(|ports| ports.values()).collect();
        assert_eq!(ports[0].client_affinity, expected, "{more}");
    };
    check(json!({}), None);
    check(json!({"sessionAffinity": "None"}), None);
    check(json!({"sessionAffinity": "ClientIP"}), Some(10_800));
    let seconds = json!({"clientIP": {"timeoutSeconds": 30}});
    check(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": seconds}), Some(30));
}
