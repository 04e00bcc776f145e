//! Addresses and ports that a service is given.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use apiserver::{Claim, Context, Error, Refusal, Result};
use model::field::{FieldError, Path};
use model::{Object, Status};
use serde_json::{Value, json};

use super::{has_health_port, has_node_ports, kind, named, named_health_port, rules};

/// Fills in what the service leaves open, and checks what it names, unless it has that already.
pub(super) fn allocate(context: &Context<'_>, service: &mut Object, own: &[Claim]) -> Result<()> {
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
                    Refusal::Outside => format!(
                        "failed to allocate IP {address}: the provided network does not match the current range"
                    ),
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

fn invalid(service: &Object, error: FieldError) -> Error {
    all_invalid(service, &[error])
}

fn all_invalid(service: &Object, errors: &[FieldError]) -> Error {
    Status::invalid(&model::GroupKind::new("", "Service"), service.name(), errors).into()
}
