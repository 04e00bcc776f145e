//! What was allocated to a service stays with it, and what only a type has goes with the type.

use std::collections::HashMap;

use model::Object;
use serde_json::{Value, json};

use super::{has_health_port, has_node_ports, kind, named, named_health_port};

/// What was allocated stays where the new form does not mention it.
pub(super) fn keep_allocated(service: &mut Object, old: &Object) {
    keep_address(service, old);
    keep_health_port(service, old);
    keep_ports(service, old);
    drop_of_type(service, old);
}

/// What only the type that a service was of has goes with it, where the new form has not said something else:
/// whoever changes the type of what it has read need not know what that has by itself.
fn drop_of_type(service: &mut Object, old: &Object) {
    let is_balanced = |service: &Object| kind(service) == "LoadBalancer";
    let lost = |may_have: fn(&Object) -> bool| may_have(old) && !may_have(service);
    let fields = [
        ("externalTrafficPolicy", lost(is_reached_from_outside)),
        ("allocateLoadBalancerNodePorts", lost(is_balanced)),
        ("loadBalancerClass", lost(is_balanced)),
    ];
    for (field, lost) in fields {
        if lost && service.get(&["spec", field]) == old.get(&["spec", field]) {
            service.remove(&["spec", field]);
        }
    }
    if is_balanced(old) && !is_balanced(service) {
        service.set(&["status", "loadBalancer"], json!({}));
    }
}

/// Whether a service is reached from outside of the cluster.
fn is_reached_from_outside(service: &Object) -> bool {
    match kind(service) {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !service.get_list(&["spec", "externalIPs"]).is_empty(),
        _ => false,
    }
}

fn keep_address(service: &mut Object, old: &Object) {
    if kind(service) == "ExternalName" {
        if kind(old) != "ExternalName" {
            let same = |field: &str| service.get(&["spec", field]) == old.get(&["spec", field]);
            let same_addresses = same("clusterIP") && same("clusterIPs");
            let drops = [
                ("clusterIP", same_addresses),
                ("clusterIPs", same_addresses),
                ("ipFamilies", same("ipFamilies")),
                ("ipFamilyPolicy", same("ipFamilyPolicy")),
            ];
            for (field, _) in drops.into_iter().filter(|(_, drops)| *drops) {
                service.remove(&["spec", field]);
            }
        }
        return;
    }
    follow(service, old);
    if service.get_str(&["spec", "clusterIP"]).is_none_or(str::is_empty) {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(value) = old.get(&["spec", field]) {
                service.set(&["spec", field], value.clone());
            }
        }
    }
}

/// Whoever changes one of the two fields that say the same means both.
fn follow(service: &mut Object, old: &Object) {
    let has_changed =
        |service: &Object, field: &str| service.get(&["spec", field]) != old.get(&["spec", field]);
    let first = service.get_list(&["spec", "clusterIPs"]).first().cloned();
    let one = service.get(&["spec", "clusterIP"]).filter(|one| *one != "").cloned();
    match (has_changed(service, "clusterIP"), has_changed(service, "clusterIPs")) {
        (true, false) => match (one, first) {
            (Some(one), Some(_)) => service.set(&["spec", "clusterIPs"], json!([one])),
            _ => drop(service.remove(&["spec", "clusterIPs"])),
        },
        (false, true) => match first {
            Some(first) => service.set(&["spec", "clusterIP"], first),
            None => drop(service.remove(&["spec", "clusterIP"])),
        },
        _ => {}
    }
}

fn keep_health_port(service: &mut Object, old: &Object) {
    let Some(number) = named_health_port(old) else { return };
    match (has_health_port(service), named_health_port(service)) {
        (true, None) => service.set(&["spec", "healthCheckNodePort"], number),
        (false, Some(named)) if named == number => {
            service.remove(&["spec", "healthCheckNodePort"]);
        }
        _ => {}
    }
}

fn keep_ports(service: &mut Object, old: &Object) {
    let was = old.get_list(&["spec", "ports"]).to_vec();
    // Of a balancer that is given none, those that are named stay.
    let drop_ports = !has_node_ports(service) && (has_node_ports(old) || kind(service) != "LoadBalancer");
    let keep_ports = has_node_ports(service) && has_node_ports(old);
    let Some(Value::Array(ports)) = service.fields_mut().get_mut("spec").and_then(|s| s.get_mut("ports"))
    else {
        return;
    };
    let place = |port: &Value| (port["port"].as_u64(), port["protocol"].as_str().map(str::to_owned));
    let mut before: HashMap<_, &Value> = HashMap::with_capacity(was.len());
    for port in &was {
        before.entry(place(port)).or_insert(port);
    }
    for port in ports {
        let before = before.get(&place(port));
        let Some(number) = before.and_then(|b| named(b, "nodePort")) else { continue };
        let Some(port) = port.as_object_mut() else { continue };
        if drop_ports && port.get("nodePort") == Some(&json!(number)) {
            port.shift_remove("nodePort");
        } else if keep_ports && port.get("nodePort").is_none_or(|p| p == &json!(0)) {
            port.insert("nodePort".to_owned(), json!(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    #[test]
    fn what_belongs_to_the_old_type_goes_with_it_and_what_is_said_anew_stays() {
        let balanced = json!({
            "type": "LoadBalancer", "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Local",
            "allocateLoadBalancerNodePorts": true, "loadBalancerClass": "a/b", "healthCheckNodePort": 30009,
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}],
        });
        let object = |spec: &Value| {
            let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
            let object = json!({"metadata": {"name": "s"}, "spec": spec, "status": status});
            Object::from_value(object).expect("an object")
        };
        let check = |to: &str, change: &[(&str, Value)], left: &[&str]| {
            let mut wanted = balanced.clone();
            wanted["type"] = to.into();
            for (field, value) in change {
                wanted[*field] = value.clone();
            }
            let mut service = object(&wanted);
            keep_allocated(&mut service, &object(&balanced));
            let spec = service.get(&["spec"]).and_then(Value::as_object).expect("it has one").clone();
            let mut fields: Vec<&str> = spec.keys().map(String::as_str).collect();
            fields.retain(|field| !["type", "ports"].contains(field));
            fields.sort_unstable();
            assert_eq!(fields, left, "{to}");
            let has_port = spec["ports"][0].get("nodePort").is_some();
            assert_eq!(has_port, to == "NodePort", "{to}");
            let balancer = service.get(&["status", "loadBalancer"]);
            assert_eq!(balancer, Some(&json!({})), "nobody balances it any more");
        };
        let address = ["clusterIP", "clusterIPs"];
        let of_cluster = [&address[..], &["ipFamilies", "ipFamilyPolicy"]].concat();
        check("ClusterIP", &[], &of_cluster);
        check(
            "NodePort",
            &[],
            &[&address[..], &["externalTrafficPolicy", "ipFamilies", "ipFamilyPolicy"]].concat(),
        );
        check("ExternalName", &[], &[]);
        check("ExternalName", &[("clusterIP", json!("10.43.0.8"))], &address);
        check(
            "ClusterIP",
            &[("loadBalancerClass", json!("c/d"))],
            &[&of_cluster[..], &["loadBalancerClass"]].concat(),
        );
    }

    #[test]
    fn ports_are_found_again_in_proportion_to_their_number() {
        let service = |ports: i64| {
            let ports: Vec<Value> = (1..=ports)
                .map(|port| json!({"port": port, "protocol": "TCP", "nodePort": 30000 + port % 2000}))
                .collect();
            let service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": ports}});
            Object::from_value(service).expect("an object")
        };
        let cost = |ports: i64| {
            let (old, mut new) = (service(ports), service(ports));
            for port in new.fields_mut()["spec"]["ports"].as_array_mut().expect("a list") {
                port.as_object_mut().expect("a port").remove("nodePort");
            }
            // Processor time of this thread: no load of the machine changes it.
            let time = || {
                let time = clock_gettime(ClockId::ThreadCPUTime);
                time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
            };
            let began = time();
            keep_allocated(&mut new, &old);
            let took = time() - began;
            assert_eq!(new.get_list(&["spec", "ports"]), old.get_list(&["spec", "ports"]));
            took
        };
        let least = |ports| (0..3).map(|_| cost(ports)).fold(f64::INFINITY, f64::min);
        let ratio = least(8000) / least(2000);
        assert!(ratio < 9.0, "four times the ports cost {ratio:.1} times as much");
    }
}
