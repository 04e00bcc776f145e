//! Columns of Service.

use base::Timestamp;
use model::Object;
use serde_json::Value;

use apiserver::table::{AGE, Column, NAME, NONE, UNKNOWN, age, or, pairs, text, wide};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    text("Type", "How it is exposed."),
    text("Cluster-IP", "Its address inside the cluster."),
    text("External-IP", "Its addresses outside the cluster."),
    text("Port(s)", "Its ports, with those of the nodes."),
    AGE,
    wide("Selector", "The labels of the pods behind it."),
];

pub(super) fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let kind = object.get_str(&["spec", "type"]).unwrap_or_default();
    vec![
        object.name().into(),
        kind.into(),
        or(object.get_str(&["spec", "clusterIP"]), NONE).into(),
        external(object, kind).into(),
        ports(object).into(),
        age(object, now),
        pairs(object.get(&["spec", "selector"])).into(),
    ]
}

fn external(object: &Object, kind: &str) -> String {
    let listed = object.get_list(&["spec", "externalIPs"]).iter().filter_map(Value::as_str);
    let ingress = object.get_list(&["status", "loadBalancer", "ingress"]).iter();
    let balanced = ingress.filter_map(|one| {
        ["ip", "hostname"].into_iter().find_map(|name| one[name].as_str().filter(|text| !text.is_empty()))
    });
    let join = |addresses: Vec<&str>, otherwise: &str| {
        if addresses.is_empty() { otherwise.to_owned() } else { addresses.join(",") }
    };
    match kind {
        "ClusterIP" | "NodePort" => join(listed.collect(), NONE),
        "LoadBalancer" => join(balanced.chain(listed).collect(), "<pending>"),
        "ExternalName" => object.get_str(&["spec", "externalName"]).unwrap_or_default().to_owned(),
        _ => UNKNOWN.to_owned(),
    }
}

fn ports(object: &Object) -> String {
    let ports = object.get_list(&["spec", "ports"]).iter().map(|port| {
        let number = |name: &str| port[name].as_i64().unwrap_or_default();
        let protocol = port["protocol"].as_str().unwrap_or_default();
        match number("nodePort") {
            0 => format!("{}/{protocol}", number("port")),
            outside => format!("{}:{outside}/{protocol}", number("port")),
        }
    });
    let ports: Vec<String> = ports.collect();
    if ports.is_empty() { NONE.to_owned() } else { ports.join(",") }
}
