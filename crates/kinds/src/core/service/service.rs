//! Services: cluster addresses and node ports are allocated while they are admitted.

mod columns;
mod defaults;
mod proxy;
mod rules;
mod warnings;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use apiserver::resource::{Installation, Permanent};
use apiserver::{
    Admitting, Claim, Context, Error, Refusal, Resource, Result, Strategy, Subresource, at_once,
};
use k8s_openapi::api::core::v1::Service;
use model::field::{FieldError, Path};
use model::names::dns1035_label;
use model::select::Selectable;
use model::validate::Functions;
use model::{GroupVersionKind, Object, Status};
use serde_json::{Value, json};

use crate::proxied::VERBS;

pub(crate) fn resource() -> Resource {
    Resource::of::<Service>()
        .short(&["svc"])
        .category("all")
        .status()
        .subresource(
            Subresource::new("proxy", &VERBS, proxy::handle)
                .kind(GroupVersionKind::new("", "v1", "ServiceProxyOptions"))
                .stream(),
        )
        .defaults(defaults::object)
        .rules(Functions::of(rules::object).name(dns1035_label).change(rules::change).status(rules::status))
        .warnings(warnings::object)
        .made_by_update()
        .columns(columns::COLUMNS, columns::cells)
        .selectable(["spec.clusterIP", "spec.type"].map(Selectable::text))
        .hook("bootstrap-controller")
        .permanent(permanent)
        .strategy(Services)
}

/// The service by which pods reach the server.
fn permanent(installation: &Installation) -> Vec<Permanent> {
    vec![Permanent::Made(json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": installation.service_address,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": installation.port}],
        },
    }))]
}

struct Services;

impl Strategy for Services {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        object.set(&["status"], json!({"loadBalancer": {}}));
        at_once(allocate(context, object, &[]))
    }

    fn admit_update<'a>(
        &'a self,
        context: &'a Context<'_>,
        object: &'a mut Object,
        old: &'a Object,
    ) -> Admitting<'a> {
        keep_allocated(object, old);
        at_once(allocate(context, object, &claims(old)))
    }

    fn has_claims(&self) -> bool {
        true
    }

    fn claims(&self, object: &Object) -> Vec<Claim> {
        claims(object)
    }

    fn answers_deleted_object(&self) -> bool {
        true
    }
}

/// What a service holds: its cluster address and its node ports.
fn claims(service: &Object) -> Vec<Claim> {
    let address = service.get_str(&["spec", "clusterIP"]).and_then(|a| a.parse().ok()).map(Claim::Address);
    let ports = service.get_list(&["spec", "ports"]).iter().filter_map(|p| named(p, "nodePort"));
    let ports = ports.chain(named_health_port(service)).filter_map(|number| u16::try_from(number).ok());
    let mut claims: Vec<Claim> = address.into_iter().chain(ports.map(Claim::Port)).collect();
    // One number may serve a port in several protocols.
    claims.sort_unstable();
    claims.dedup();
    claims
}

fn kind(service: &Object) -> &str {
    service.get_str(&["spec", "type"]).unwrap_or("ClusterIP")
}

fn has_node_ports(service: &Object) -> bool {
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => {
            service.get(&["spec", "allocateLoadBalancerNodePorts"]).and_then(Value::as_bool).unwrap_or(true)
        }
        _ => false,
    }
}

/// Whether nodes tell balancers outside on a port of its own whether they have endpoints.
fn has_health_port(service: &Object) -> bool {
    kind(service) == "LoadBalancer" && service.get_str(&["spec", "externalTrafficPolicy"]) == Some("Local")
}

fn named_health_port(service: &Object) -> Option<i64> {
    service.get(&["spec"]).and_then(|spec| named(spec, "healthCheckNodePort"))
}

/// What was allocated stays where the new form does not mention it.
fn keep_allocated(service: &mut Object, old: &Object) {
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

/// Fills in what the service leaves open, and checks what it names, unless it has that already.
fn allocate(context: &Context<'_>, service: &mut Object, own: &[Claim]) -> Result<()> {
    allocate_address(context, service, own)?;
    let mut chosen = BTreeSet::new();
    allocate_ports(context, service, own, &mut chosen)?;
    allocate_health_port(context, service, own, &mut chosen)
}

fn allocate_address(context: &Context<'_>, service: &mut Object, own: &[Claim]) -> Result<()> {
    if kind(service) == "ExternalName" {
        return Ok(());
    }
    let none: [Value; 0] = [];
    let first = service.get_str(&["spec", "clusterIP"]).unwrap_or_default().to_owned();
    if !first.is_empty() && service.get_list(&["spec", "clusterIPs"]) == none {
        service.set(&["spec", "clusterIPs"], json!([first]));
    }
    let mut errors = Vec::new();
    rules::cluster_addresses(
        service.get(&["spec"]).unwrap_or(&Value::Null),
        &Path::root("spec"),
        &mut errors,
    );
    if errors.is_empty() {
        families(service, &mut errors);
    }
    if !errors.is_empty() {
        return Err(all_invalid(service, &errors));
    }
    let spec = Path::root("spec");
    let path = spec.child("clusterIPs");
    let address = match first {
        none if none == "None" => none,
        text if !text.is_empty() => {
            let address: Ipv4Addr = text.parse().map_err(|_| {
                invalid(service, FieldError::invalid(&path, json!([text]), "must be an IPv4 address"))
            })?;
            let has_another = own.iter().any(|claim| matches!(claim, Claim::Address(has) if *has != address));
            // It may not, as the rules will say.
            if has_another {
                return Ok(());
            }
            context.allocation().check(Claim::Address(address), service, own).map_err(|refusal| {
                let why = match refusal {
                    Refusal::Outside => {
                        format!(
                            "failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. \
                             The range of valid IPs is {}",
                            context.allocation().addresses()
                        )
                    }
                    Refusal::Taken => {
                        "failed to allocate IP ".to_owned() + &text + ": provided IP is already allocated"
                    }
                };
                invalid(service, FieldError::invalid(&path, json!([text]), why))
            })?;
            text
        }
        _ => context
            .allocation()
            .any_address()
            .ok_or_else(|| Error::from(Status::internal("failed to allocate a serviceIP: range is full")))?
            .to_string(),
    };
    service.set(&["spec", "clusterIP"], address.as_str());
    service.set(&["spec", "clusterIPs"], json!([address]));
    Ok(())
}

/// Fills in the families of a service's addresses, of which this cluster has one.
fn families(service: &mut Object, errors: &mut Vec<FieldError>) {
    let spec = Path::root("spec");
    let of_policy = spec.child("ipFamilyPolicy");
    let policy = service.get_str(&["spec", "ipFamilyPolicy"]).map(str::to_owned);
    let families: Vec<String> = service
        .get_list(&["spec", "ipFamilies"])
        .iter()
        .filter_map(|family| family.as_str().map(str::to_owned))
        .collect();
    let addresses = service.get_list(&["spec", "clusterIPs"]).len();
    let is_headless = service.get_str(&["spec", "clusterIP"]) == Some("None");
    let selects =
        service.get(&["spec", "selector"]).and_then(Value::as_object).is_some_and(|s| !s.is_empty());
    let policy = policy.unwrap_or_else(|| {
        // Where the endpoints are somebody else's affair, they may be of any family.
        let both = addresses == 2 || families.len() == 2 || (is_headless && !selects);
        if both { "RequireDualStack" } else { "SingleStack" }.to_owned()
    });
    let mut chosen = families.clone();
    if chosen.is_empty() {
        chosen.push("IPv4".to_owned());
    }
    if is_headless && !selects {
        if let ([one], true) = (&chosen[..], policy != "SingleStack") {
            let other = if one == "IPv4" { "IPv6" } else { "IPv4" };
            chosen.push(other.to_owned());
        }
    } else {
        for (number, what) in [(addresses, "clusterIPs"), (families.len(), "ipFamilies")] {
            if policy == "SingleStack" && number == 2 {
                let message =
                    format!("must be RequireDualStack or PreferDualStack when multiple {what} are specified");
                errors.push(FieldError::invalid(&of_policy, policy.as_str(), message));
            }
        }
        if policy == "RequireDualStack" {
            let message = "this cluster is not configured for dual-stack services";
            errors.push(FieldError::invalid(&of_policy, policy.as_str(), message));
        }
        let of_families = spec.child("ipFamilies");
        for (index, family) in families.iter().enumerate().filter(|(_, family)| *family != "IPv4") {
            let message = "not configured on this cluster";
            errors.push(FieldError::invalid(&of_families.index(index), family.as_str(), message));
        }
    }
    service.set(&["spec", "ipFamilies"], json!(chosen));
    service.set(&["spec", "ipFamilyPolicy"], policy);
}

fn allocate_ports(
    context: &Context<'_>,
    service: &mut Object,
    own: &[Claim],
    chosen: &mut BTreeSet<u16>,
) -> Result<()> {
    // The rules refuse those that are named there.
    if kind(service) == "ClusterIP" {
        return Ok(());
    }
    check_number(context, service, own)?;
    let mut ports = service.get_list(&["spec", "ports"]).to_vec();
    // Those that are named come first, lest one that is free to choose takes their place. They are held
    // where none would be chosen, too.
    for (index, port) in ports.iter().enumerate() {
        if let Some(number) = named(port, "nodePort") {
            let spec = Path::root("spec");
            let list = spec.child("ports");
            let item = list.index(index);
            chosen.insert(check_port(context, service, own, number, &item.child("nodePort"))?);
        }
    }
    if !has_node_ports(service) {
        return Ok(());
    }
    // One number serves a port in several protocols, as DNS needs it.
    let mut by_port: BTreeMap<u64, u16> = BTreeMap::new();
    for port in &mut ports {
        let number = port["port"].as_u64().unwrap_or_default();
        if named(port, "nodePort").is_some() {
            continue;
        }
        let node_port = match by_port.get(&number) {
            Some(node_port) => *node_port,
            None => choose_port(context, chosen)?,
        };
        by_port.insert(number, node_port);
        if let Some(port) = port.as_object_mut() {
            port.insert("nodePort".to_owned(), json!(node_port));
        }
    }
    service.set(&["spec", "ports"], ports);
    Ok(())
}

/// Refuses more ports on nodes than one write can take, beside an address and a port for health checks.
fn check_number(context: &Context<'_>, service: &Object, own: &[Claim]) -> Result<()> {
    let ports = service.get_list(&["spec", "ports"]);
    // One number serves a port in several protocols, whether it is named or not.
    let numbers: BTreeSet<i64> = ports.iter().filter_map(|port| named(port, "nodePort")).collect();
    let open = ports.iter().filter(|port| has_node_ports(service) && named(port, "nodePort").is_none());
    let open: BTreeSet<u64> = open.map(|port| port["port"].as_u64().unwrap_or_default()).collect();
    let own: BTreeSet<&Claim> = own.iter().collect();
    let is_own = |number: &i64| u16::try_from(*number).is_ok_and(|port| own.contains(&Claim::Port(port)));
    let held = numbers.iter().filter(|number| is_own(number)).count();
    let (wanted, most) = (numbers.len() + open.len(), held + context.allocation().at_once() - 2);
    if wanted <= most {
        return Ok(());
    }
    let spec = Path::root("spec");
    Err(invalid(service, FieldError::too_many(&spec.child("ports"), wanted, most)))
}

fn allocate_health_port(
    context: &Context<'_>,
    service: &mut Object,
    own: &[Claim],
    chosen: &mut BTreeSet<u16>,
) -> Result<()> {
    // The rules refuse one that is named there.
    if !has_health_port(service) {
        return Ok(());
    }
    let number = match named_health_port(service) {
        Some(number) => {
            let spec = Path::root("spec");
            let path = spec.child("healthCheckNodePort");
            let number = check_port(context, service, own, number, &path)?;
            if chosen.contains(&number) {
                let why = "provided port is already allocated";
                return Err(invalid(service, FieldError::invalid(&path, json!(number), why)));
            }
            number
        }
        None => choose_port(context, chosen)?,
    };
    service.set(&["spec", "healthCheckNodePort"], number);
    Ok(())
}

/// A port that is named, if the service may have it.
fn check_port(
    context: &Context<'_>,
    service: &Object,
    own: &[Claim],
    number: i64,
    path: &Path<'_>,
) -> Result<u16> {
    let port = u16::try_from(number).map_err(|_| Refusal::Outside);
    let may = |port| context.allocation().check(Claim::Port(port), service, own).map(|()| port);
    port.and_then(may).map_err(|refusal| {
        let why = match refusal {
            Refusal::Outside => format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                context.allocation().ports().start(),
                context.allocation().ports().end()
            ),
            Refusal::Taken => "provided port is already allocated".to_owned(),
        };
        invalid(service, FieldError::invalid(path, json!(number), why))
    })
}

fn choose_port(context: &Context<'_>, chosen: &mut BTreeSet<u16>) -> Result<u16> {
    let port = context
        .allocation()
        .any_port(chosen)
        .ok_or_else(|| Error::from(Status::internal("failed to allocate a nodePort: range is full")))?;
    chosen.insert(port);
    Ok(port)
}

/// The number that a field names, whatever it is; none where that is left open.
fn named(of: &Value, field: &str) -> Option<i64> {
    of.get(field).and_then(Value::as_i64).filter(|number| *number != 0)
}

fn invalid(service: &Object, error: FieldError) -> Error {
    all_invalid(service, &[error])
}

fn all_invalid(service: &Object, errors: &[FieldError]) -> Error {
    Status::invalid(&model::GroupKind::new("", "Service"), service.name(), errors).into()
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
