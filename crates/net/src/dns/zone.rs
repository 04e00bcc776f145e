//! The cluster's zone: names of services and endpoints, as Kubernetes' DNS specification 1.1.0 has them.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Answer, Data, Kind};
use crate::{DnsAddress, DnsEndpoint, DnsService, DnsTable};

/// The version of the specification that is followed, which clients may ask for.
const SPECIFICATION: &str = "1.1.0";

/// The zone as it is now, for the server and for whoever replaces it.
pub(crate) struct SharedZone {
    zone: RwLock<Arc<Zone>>,
}

/// Records by name. A name without records exists: something below it has some.
pub(super) struct Zone {
    domain: String,
    /// Whether the names were told; until then a name that is missing may exist.
    told: bool,
    records: HashMap<String, Vec<Data>>,
}

impl SharedZone {
    /// The zone of `domain` before anybody has told its names.
    pub(crate) fn new(domain: &str) -> Self {
        let zone = Zone { domain: domain.to_ascii_lowercase(), told: false, records: HashMap::new() };
        Self { zone: RwLock::new(Arc::new(zone)) }
    }

    /// Answers for `table` from now on.
    pub(crate) fn replace(&self, table: &DnsTable) {
        let domain = self.now().domain.clone();
        *self.zone.write() = Arc::new(Zone::new(&domain, table));
    }

    /// The zone as it is now.
    pub(super) fn now(&self) -> Arc<Zone> {
        self.zone.read().clone()
    }
}

impl Zone {
    /// The zone for `table`.
    pub(super) fn new(domain: &str, table: &DnsTable) -> Self {
        let mut zone = Self { domain: domain.to_ascii_lowercase(), told: true, records: HashMap::new() };
        let domain = zone.domain.clone();
        zone.records.insert(domain.clone(), Vec::new());
        zone.records.insert(format!("svc.{domain}"), Vec::new());
        zone.add(format!("dns-version.{domain}"), Data::Text(SPECIFICATION.to_owned()));
        for service in &table.services {
            zone.add_service(service);
        }
        zone
    }

    /// The domain that everything else is below of.
    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    /// What there is of `kind` for `name` (lower case, no dot at the end).
    pub(super) fn answer(&self, name: &str, kind: Kind) -> Answer {
        if let Some(records) = self.records.get(name) {
            let fits =
                |data: &&Data| data.kind() == kind || matches!(data, Data::Alias(_)) || kind == Kind::Any;
            return Answer::Records(records.iter().filter(fits).cloned().collect());
        }
        let Some(below) =
            name.strip_suffix(&self.domain).filter(|below| below.is_empty() || below.ends_with('.'))
        else {
            return Answer::Elsewhere;
        };
        if !self.told {
            return Answer::NotYet;
        }
        match pod_address(below) {
            Some(address) if matches!(kind, Kind::Address | Kind::Any) => {
                Answer::Records(vec![Data::Address(address)])
            }
            Some(_) => Answer::Records(Vec::new()),
            None => Answer::NoSuchName,
        }
    }

    fn add(&mut self, name: String, data: Data) {
        let records = self.records.entry(name).or_default();
        if !records.contains(&data) {
            records.push(data);
        }
    }

    fn add_service(&mut self, service: &DnsService) {
        let namespace = format!("{}.svc.{}", service.namespace, self.domain).to_ascii_lowercase();
        let name = format!("{}.{namespace}", service.name.to_ascii_lowercase());
        self.records.entry(namespace).or_default();
        self.records.entry(name.clone()).or_default();
        match &service.address {
            DnsAddress::Cluster(address) => {
                self.add(name.clone(), Data::Address(*address));
                self.add(reverse(*address), Data::Pointer(name.clone()));
                self.add_ports(service, &name, std::slice::from_ref(&name));
            }
            DnsAddress::Headless(endpoints) => {
                let mut targets = Vec::with_capacity(endpoints.len());
                for endpoint in endpoints {
                    let target = format!("{}.{name}", label(endpoint));
                    self.add(name.clone(), Data::Address(endpoint.address));
                    self.add(target.clone(), Data::Address(endpoint.address));
                    self.add(reverse(endpoint.address), Data::Pointer(target.clone()));
                    targets.push(target);
                }
                self.add_ports(service, &name, &targets);
            }
            DnsAddress::External(target) => {
                let target = target.trim_end_matches('.').to_ascii_lowercase();
                self.add(name, Data::Alias(target));
            }
        }
    }

    fn add_ports(&mut self, service: &DnsService, name: &str, targets: &[String]) {
        for port in &service.ports {
            let Some(port_name) = port.name.as_deref().filter(|port_name| !port_name.is_empty()) else {
                continue;
            };
            let protocol = format!("_{}.{name}", port.protocol);
            let record = format!("_{}.{protocol}", port_name.to_ascii_lowercase());
            self.records.entry(protocol).or_default();
            for target in targets {
                self.add(record.clone(), Data::Service { port: port.port, target: target.clone() });
            }
        }
    }
}

/// The name under which an address is looked up.
pub(super) fn reverse(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

/// The address that a reverse name stands for.
pub(super) fn parse_reverse(name: &str) -> Option<Ipv4Addr> {
    let octets: Vec<u8> = name
        .strip_suffix(".in-addr.arpa")?
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [d, c, b, a] = octets.try_into().ok()?;
    Some(Ipv4Addr::new(a, b, c, d))
}

/// `10-42-0-7.default.pod.`: the address is in the name, whether there is such a pod or not.
fn pod_address(below: &str) -> Option<Ipv4Addr> {
    let (address, namespace) = below.strip_suffix(".pod.")?.split_once('.')?;
    if namespace.contains('.') { None } else { address.replace('-', ".").parse().ok() }
}

fn label(endpoint: &DnsEndpoint) -> String {
    match &endpoint.hostname {
        Some(hostname) => hostname.to_ascii_lowercase(),
        None => endpoint.address.to_string().replace('.', "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DnsPort, Protocol};

    fn zone() -> Zone {
        let port = |name: &str, port| DnsPort { name: Some(name.into()), protocol: Protocol::Tcp, port };
        let service = |name: &str, address| DnsService {
            namespace: "default".into(),
            name: name.into(),
            address,
            ports: vec![port("http", 80)],
        };
        let endpoint = |last, hostname: Option<&str>| DnsEndpoint {
            address: Ipv4Addr::new(10, 42, 0, last),
            hostname: hostname.map(str::to_owned),
        };
        let table = DnsTable {
            services: vec![
                service("web", DnsAddress::Cluster(Ipv4Addr::new(10, 43, 0, 7))),
                service("db", DnsAddress::Headless(vec![endpoint(3, Some("db-0")), endpoint(4, None)])),
                service("far", DnsAddress::External("Example.ORG.".into())),
                service("empty", DnsAddress::Headless(Vec::new())),
            ],
        };
        Zone::new("cluster.local", &table)
    }

    #[test]
    fn names_lead_to_what_the_specification_says() {
        let zone = zone();
        let check = |name: &str, kind, expected: &str| {
            let found = match zone.answer(name, kind) {
                Answer::Records(records) => {
                    records.iter().map(Data::to_string).collect::<Vec<_>>().join(", ")
                }
                Answer::NoSuchName => "no such name".to_owned(),
                Answer::NotYet => "not yet".to_owned(),
                Answer::Elsewhere => "elsewhere".to_owned(),
            };
            assert_eq!(found, expected, "{name} {kind:?}");
        };
        check("web.default.svc.cluster.local", Kind::Address, "10.43.0.7");
        check("web.default.svc.cluster.local", Kind::Other, "");
        check("_http._tcp.web.default.svc.cluster.local", Kind::Service, "80 web.default.svc.cluster.local");
        check("7.0.43.10.in-addr.arpa", Kind::Pointer, "web.default.svc.cluster.local");
        check("db.default.svc.cluster.local", Kind::Address, "10.42.0.3, 10.42.0.4");
        check("db-0.db.default.svc.cluster.local", Kind::Address, "10.42.0.3");
        check("10-42-0-4.db.default.svc.cluster.local", Kind::Address, "10.42.0.4");
        check(
            "_http._tcp.db.default.svc.cluster.local",
            Kind::Service,
            "80 db-0.db.default.svc.cluster.local, 80 10-42-0-4.db.default.svc.cluster.local",
        );
        check("3.0.42.10.in-addr.arpa", Kind::Pointer, "db-0.db.default.svc.cluster.local");
        check("far.default.svc.cluster.local", Kind::Address, "example.org");
        check("empty.default.svc.cluster.local", Kind::Address, "");
        check("10-42-0-9.default.pod.cluster.local", Kind::Address, "10.42.0.9");
        check("default.svc.cluster.local", Kind::Address, "");
        check("dns-version.cluster.local", Kind::Text, "1.1.0");
        check("missing.default.svc.cluster.local", Kind::Address, "no such name");
        check("web.default.svc.cluster.local.example.org", Kind::Address, "elsewhere");
        check("notcluster.local", Kind::Address, "elsewhere");
        check("9.0.0.10.in-addr.arpa", Kind::Pointer, "elsewhere");
    }

    #[test]
    fn a_reverse_name_is_read_as_it_was_written() {
        let address = Ipv4Addr::new(10, 1, 2, 3);
        assert_eq!(parse_reverse(&reverse(address)), Some(address));
        assert_eq!(parse_reverse("1.2.3.in-addr.arpa"), None);
    }
}
