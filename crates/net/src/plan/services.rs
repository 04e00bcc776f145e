//! Services as elements of maps.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::{FRONT, HOST_FRONT};
use crate::nft::{Chain, Content, Field, Leads, Ruleset, Set, Statement, Target, Value};
use crate::{ServiceEndpoint, ServicePort, ServiceTable};

/// How one endpoint of several is chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    Random,
    /// The same for a client as long as the endpoints stay the same.
    BySource,
}

/// What a service is reached at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Front {
    /// An address of its own.
    Address(Ipv4Addr),
    /// A port on every address of the host.
    Node,
}

/// Adds the sets and chains for `table`.
pub(super) fn plan(ruleset: &mut Ruleset, table: &ServiceTable) {
    let mut maps = Maps {
        services: Set::new(FRONT, Content::Chains),
        node_ports: Set::new(HOST_FRONT, Content::Chains),
        endpoints: Set::new([&FRONT[..], &[Field::Random(1)]].concat(), Content::Targets),
        node_endpoints: Set::new([&HOST_FRONT[..], &[Field::Random(1)]].concat(), Content::Targets),
    };
    let mut hairpin = Set::new([Field::Source, Field::Destination], Content::Nothing);
    let mut remote = Set::new(FRONT, Content::Nothing);
    for port in &table.ports {
        let choice = if port.client_affinity { Choice::BySource } else { Choice::Random };
        let inside = chosen(port, port.internal_local);
        for address in &port.addresses {
            maps.add(ruleset, Front::Address(*address), port, port.port, choice, &inside);
        }
        if let Some(node_port) = port.node_port {
            maps.add(ruleset, Front::Node, port, node_port, choice, &chosen(port, port.external_local));
        }
        for endpoint in &port.endpoints {
            if endpoint.local {
                let address = Value::Address(endpoint.address);
                hairpin.elements.insert(vec![address.clone(), address], Leads::Nowhere);
            } else {
                let key = vec![
                    Value::Address(endpoint.address),
                    Value::Protocol(port.protocol),
                    Value::Port(endpoint.port),
                ];
                remote.elements.insert(key, Leads::Nowhere);
            }
        }
    }
    // The kernel cannot ask a map of chains without following it.
    let mut open = Set::new(HOST_FRONT, Content::Nothing);
    open.elements.extend(maps.node_ports.elements.keys().map(|key| (key.clone(), Leads::Nowhere)));
    let sets = [
        ("node-ports-open", open),
        ("services", maps.services),
        ("node-ports", maps.node_ports),
        ("endpoints", maps.endpoints),
        ("node-endpoints", maps.node_endpoints),
        ("hairpin", hairpin),
        ("remote", remote),
    ];
    ruleset.sets.extend(sets.map(|(name, set)| (name.to_owned(), set)));
}

struct Maps {
    services: Set,
    node_ports: Set,
    endpoints: Set,
    node_endpoints: Set,
}

impl Maps {
    fn add(
        &mut self,
        ruleset: &mut Ruleset,
        front: Front,
        service: &ServicePort,
        port: u16,
        choice: Choice,
        endpoints: &BTreeSet<ServiceEndpoint>,
    ) {
        // Nothing to lead to: not translated, and so refused further on.
        let Some(count) = u32::try_from(endpoints.len()).ok().filter(|count| *count > 0) else { return };
        let mut key = vec![Value::Protocol(service.protocol), Value::Port(port)];
        let (dispatch, targets) = match front {
            Front::Address(address) => {
                key.insert(0, Value::Address(address));
                (&mut self.services, &mut self.endpoints)
            }
            Front::Node => (&mut self.node_ports, &mut self.node_endpoints),
        };
        if dispatch.elements.contains_key(&key) {
            tracing::warn!(service = service.name, port, "another service has this address and port already");
            return;
        }
        for (number, endpoint) in (0u32..).zip(endpoints) {
            let target = Target { address: endpoint.address, port: endpoint.port };
            let key = [&key[..], &[Value::Number(number)]].concat();
            targets.elements.insert(key, Leads::Target(target));
        }
        dispatch.elements.insert(key, Leads::Chain(pick(ruleset, front, choice, count)));
    }
}

/// The chain that chooses one of `count` endpoints, made if there is none yet.
fn pick(ruleset: &mut Ruleset, front: Front, choice: Choice, count: u32) -> String {
    let (place, fields, map) = match front {
        Front::Address(_) => ("pick", &FRONT[..], "endpoints"),
        Front::Node => ("pick-node", &HOST_FRONT[..], "node-endpoints"),
    };
    let (kind, number) = match choice {
        Choice::Random => ("", Field::Random(count)),
        Choice::BySource => ("-sticky", Field::SourceHash(count)),
    };
    let name = format!("{place}{kind}-{count}");
    ruleset.chains.entry(name.clone()).or_insert_with(|| Chain {
        hook: None,
        rules: vec![vec![Statement::Translate { fields: [fields, &[number]].concat(), map }]],
    });
    name
}

/// The endpoints that take part; in a fixed order, so that an unchanged service changes nothing.
fn chosen(port: &ServicePort, only_local: bool) -> BTreeSet<ServiceEndpoint> {
    port.endpoints.iter().filter(|endpoint| endpoint.local || !only_local).copied().collect()
}
