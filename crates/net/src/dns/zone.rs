//! The cluster's zone: names of services and endpoints, as Kubernetes' DNS specification 1.1.0 has them.
//!
//! The records of a service are made when it changes, and put into maps that share everything else with
//! what they were before: a change costs what the service has, and whoever answers meanwhile waits for
//! nobody and sees all of it or nothing.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use rpds::HashTrieMapSync;

use super::{Answer, Data, Kind};
use crate::{DnsAddress, DnsChanges, DnsEndpoint, DnsService, DnsTable, ServiceName};

/// The version of the specification that is followed, which clients may ask for.
const SPECIFICATION: &str = "1.1.0";

/// The zone as it is now, for the server and for whoever changes it.
pub(crate) struct SharedZone {
    zone: ArcSwap<Zone>,
    /// Held by whoever makes the next zone of this one.
    changing: Mutex<()>,
}

/// What there is below a domain.
#[derive(Clone)]
pub(super) struct Zone {
    domain: Arc<str>,
    /// Whether the names were told; until then a name that is missing may exist.
    told: bool,
    namespaces: HashTrieMapSync<String, Services>,
    /// The services that name an address, and the names.
    pointers: HashTrieMapSync<IpAddr, Vec<(ServiceName, String)>>,
}

/// The services of a namespace.
type Services = HashTrieMapSync<String, Arc<Records>>;

/// The records of a service.
#[derive(Debug, Default)]
struct Records {
    /// By what stands before the service's name. A name without records exists: something below it has some.
    by_name: HashMap<String, Named>,
    /// Whose names the addresses lead back to.
    pointers: Vec<(IpAddr, String)>,
}

/// The records of a name.
#[derive(Debug, Default)]
struct Named {
    data: Vec<Data>,
    /// A bit for each kind that is among them: of many, not all are looked at to say that none is asked for.
    kinds: u16,
}

/// Which of the records of a name are told, where there may be more than a message holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portion<'a> {
    /// Where to begin, one further for each answer that has several: clients that take the first spread, also those
    /// that ask for two kinds each time. From the first on without it.
    pub(super) turn: Option<&'a AtomicUsize>,
    /// How many at most.
    pub(super) most: usize,
}

impl Portion<'_> {
    /// From the first on, as many as a message of this length can hold.
    pub(super) fn within(length: usize) -> Self {
        /// The shortest record: an address, under a name that is a reference.
        const SHORTEST: usize = 16;
        // One more than fits, so that it is seen that they do not.
        Self { turn: None, most: length / SHORTEST + 1 }
    }
}

impl SharedZone {
    /// The zone of `domain` before anybody has told its names.
    pub(crate) fn new(domain: &str) -> Self {
        Self { zone: ArcSwap::from_pointee(Zone::new(domain)), changing: Mutex::default() }
    }

    /// Answers for `table` and nothing else from now on.
    pub(crate) fn replace(&self, table: DnsTable) {
        let _changing = self.changing.lock();
        let mut zone = Zone::new(&self.now().domain);
        zone.told = true;
        for (name, service) in table {
            zone.set(name, Some(service));
        }
        self.publish(zone);
    }

    /// Answers for what the named services are from now on.
    pub(crate) fn change(&self, changes: DnsChanges) {
        let _changing = self.changing.lock();
        let mut zone = Zone::clone(&self.now());
        for (name, service) in changes {
            zone.set(name, service);
        }
        self.publish(zone);
    }

    /// Shows the next zone. What only the one before had is freed here: that takes a while where it is much,
    /// and whoever answers from it holds it for some microseconds.
    fn publish(&self, zone: Zone) {
        /// Who has it for longer than that frees it himself.
        const LOOKS: usize = 10_000;
        let before = self.zone.swap(Arc::new(zone));
        let mut looks = 0;
        while Arc::strong_count(&before) > 1 && looks < LOOKS {
            std::thread::yield_now();
            looks += 1;
        }
    }

    /// The zone as it is now.
    pub(super) fn now(&self) -> Guard<Arc<Zone>> {
        self.zone.load()
    }
}

impl Zone {
    fn new(domain: &str) -> Self {
        Self {
            domain: domain.to_ascii_lowercase().into(),
            told: false,
            namespaces: HashTrieMapSync::new_sync(),
            pointers: HashTrieMapSync::new_sync(),
        }
    }

    /// The domain that everything else is below of.
    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    /// What there is of `kind` for `name` (lower case, no dot at the end), or the portion of it.
    pub(super) fn answer(&self, name: &str, kind: Kind, portion: Portion<'_>) -> Answer {
        let below = name.strip_suffix(&*self.domain).filter(|below| below.is_empty() || below.ends_with('.'));
        let Some(below) = below else { return self.answer_reverse(name, kind, portion) };
        if !self.told {
            return Answer::NotYet;
        }
        if let Some(records) = self.records(below) {
            return Answer::Records(records.some(kind, portion));
        }
        if below == "dns-version." {
            let is_asked = matches!(kind, Kind::Text | Kind::Any);
            return Answer::Records(
                is_asked.then(|| Data::Text(SPECIFICATION.to_owned())).into_iter().collect(),
            );
        }
        match pod_address(below) {
            Some(address) => {
                let data = Data::Address(address);
                let is_asked = kind == Kind::Any || kind == data.kind();
                Answer::Records(is_asked.then_some(data).into_iter().collect())
            }
            None => Answer::NoSuchName,
        }
    }

    /// The records at a name, given by what stands before the domain; none if there is no such name.
    fn records(&self, below: &str) -> Option<&Named> {
        const NONE: &Named = &Named { data: Vec::new(), kinds: 0 };
        if ["", "svc."].contains(&below) {
            return Some(NONE);
        }
        let name = below.strip_suffix(".svc.")?;
        let (rest, namespace) = split(name);
        let services = self.namespaces.get(namespace)?;
        let Some(rest) = rest else { return Some(NONE) };
        let (rest, service) = split(rest);
        services.get(service)?.by_name.get(rest.unwrap_or_default())
    }

    /// Addresses of others are asked of others.
    fn answer_reverse(&self, name: &str, kind: Kind, portion: Portion<'_>) -> Answer {
        let address = parse_reverse(name).filter(|address| reverse(*address) == name);
        match address.and_then(|address| self.pointers.get(&address)) {
            Some(names) if matches!(kind, Kind::Pointer | Kind::Any) => {
                let names = names.iter().take(portion.most);
                Answer::Records(names.map(|(_, name)| Data::Pointer(name.clone())).collect())
            }
            Some(_) => Answer::Records(Vec::new()),
            None => Answer::Elsewhere,
        }
    }

    /// Makes a service what it is now, or none.
    fn set(&mut self, name: ServiceName, service: Option<DnsService>) {
        let namespace = name.namespace.to_ascii_lowercase();
        let label = name.name.to_ascii_lowercase();
        let mut services = self.namespaces.get(&namespace).cloned().unwrap_or_else(Services::new_sync);
        let before = services.get(&label).cloned();
        let after = service.map(|service| {
            let full = format!("{label}.{namespace}.svc.{}", self.domain);
            Arc::new(Records::of(&service, &full))
        });
        // Mostly all but a few stay: those are left where they are.
        let known: HashSet<_> = before.iter().flat_map(|before| &before.pointers).collect();
        let next: HashSet<_> = after.iter().flat_map(|after| &after.pointers).collect();
        for (address, target) in known.difference(&next) {
            self.pointers_change(*address, |names| {
                names.retain(|(of, text)| (of, text) != (&name, target));
            });
        }
        for (address, target) in next.difference(&known) {
            self.pointers_change(*address, |names| {
                let one = (name.clone(), target.clone());
                if let Err(place) = names.binary_search(&one) {
                    names.insert(place, one);
                }
            });
        }
        match after {
            Some(after) => services.insert_mut(label, after),
            None => drop(services.remove_mut(&label)),
        }
        if services.is_empty() {
            self.namespaces.remove_mut(&namespace);
        } else {
            self.namespaces.insert_mut(namespace, services);
        }
    }

    fn pointers_change(&mut self, address: IpAddr, change: impl FnOnce(&mut Vec<(ServiceName, String)>)) {
        let mut names = self.pointers.get(&address).cloned().unwrap_or_default();
        change(&mut names);
        if names.is_empty() {
            self.pointers.remove_mut(&address);
        } else {
            self.pointers.insert_mut(address, names);
        }
    }
}

impl Records {
    /// The records of a service whose whole name is `full`.
    fn of(service: &DnsService, full: &str) -> Self {
        let mut records = Self::default();
        records.by_name.insert(String::new(), Named::default());
        match &service.address {
            DnsAddress::Cluster(addresses) => {
                for address in addresses {
                    records.add(String::new(), Data::Address(*address));
                    records.pointers.push((*address, full.to_owned()));
                }
                records.add_ports(service, &[full.to_owned()]);
            }
            DnsAddress::Headless(endpoints) => {
                let mut targets = Vec::with_capacity(endpoints.len());
                // Several endpoints may have one name, and an address several; most have not.
                let mut addresses = HashSet::with_capacity(endpoints.len());
                for endpoint in endpoints {
                    let label = label(endpoint);
                    let target = format!("{label}.{full}");
                    if addresses.insert(endpoint.address) {
                        let all = records.by_name.entry(String::new()).or_default();
                        all.push(Data::Address(endpoint.address));
                    }
                    records.add(label, Data::Address(endpoint.address));
                    records.pointers.push((endpoint.address, target.clone()));
                    targets.push(target);
                }
                records.add_ports(service, &targets);
            }
            DnsAddress::External(target) => {
                let target = target.trim_end_matches('.').to_ascii_lowercase();
                records.add(String::new(), Data::Alias(target));
            }
        }
        records
    }

    /// Adds a record where there are few, unless it is there.
    fn add(&mut self, name: String, data: Data) {
        let records = self.by_name.entry(name).or_default();
        if !records.data.contains(&data) {
            records.push(data);
        }
    }

    fn add_ports(&mut self, service: &DnsService, targets: &[String]) {
        let mut seen = HashSet::with_capacity(targets.len());
        let targets: Vec<_> = targets.iter().filter(|target| seen.insert(*target)).collect();
        let mut seen = Vec::with_capacity(service.ports.len());
        for port in &service.ports {
            let Some(port_name) = port.name.as_deref().filter(|port_name| !port_name.is_empty()) else {
                continue;
            };
            if seen.contains(&port) {
                continue;
            }
            seen.push(port);
            let protocol = format!("_{}", port.protocol);
            let record = format!("_{}.{protocol}", port_name.to_ascii_lowercase());
            self.by_name.entry(protocol).or_default();
            let services =
                targets.iter().map(|target| Data::Service { port: port.port, target: (*target).clone() });
            let named = self.by_name.entry(record).or_default();
            services.for_each(|data| named.push(data));
        }
    }
}

impl Named {
    fn push(&mut self, data: Data) {
        self.kinds |= bit(data.kind());
        self.data.push(data);
    }

    /// The records of a kind, or the portion of them. An alias is one of every kind.
    fn some(&self, kind: Kind, portion: Portion<'_>) -> Vec<Data> {
        let wanted = if kind == Kind::Any { u16::MAX } else { bit(kind) | bit(Kind::Alias) };
        if self.kinds & wanted == 0 {
            return Vec::new();
        }
        let fits = |data: &&Data| bit(data.kind()) & wanted != 0;
        let has_several = self.data.iter().filter(fits).nth(1).is_some();
        let turn = portion.turn.filter(|_| has_several);
        let from = turn.map_or(0, |turn| turn.fetch_add(1, Ordering::Relaxed) % self.data.len());
        let (first, rest) = self.data.split_at(from);
        rest.iter().chain(first).filter(fits).take(portion.most).cloned().collect()
    }
}

fn bit(kind: Kind) -> u16 {
    1 << kind as u16
}

/// The last label of a name, and what stands before it.
fn split(name: &str) -> (Option<&str>, &str) {
    name.rsplit_once('.').map_or((None, name), |(rest, last)| (Some(rest), last))
}

/// The name under which an address is looked up.
pub(super) fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits = format!("{:032x}", u128::from(address));
            let parts: Vec<String> = digits.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", parts.join("."))
        }
    }
}

/// The address that a reverse name stands for.
pub(super) fn parse_reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".ip6.arpa") {
        let parts: Vec<&str> = digits.split('.').rev().collect();
        let is_whole = parts.len() == 32 && parts.iter().all(|part| part.len() == 1);
        return is_whole
            .then(|| u128::from_str_radix(&parts.concat(), 16).ok())
            .flatten()
            .map(Ipv6Addr::from)
            .map(IpAddr::V6);
    }
    let octets: Vec<u8> = name
        .strip_suffix(".in-addr.arpa")?
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [d, c, b, a] = octets.try_into().ok()?;
    Some(Ipv4Addr::new(a, b, c, d).into())
}

/// `10-42-0-7.default.pod.`: the address is in the name, whether there is such a pod or not. In one of
/// IPv6 colons are dashes.
fn pod_address(below: &str) -> Option<IpAddr> {
    let (address, namespace) = below.strip_suffix(".pod.")?.split_once('.')?;
    if namespace.contains('.') {
        return None;
    }
    let v4 = address.replace('-', ".").parse().map(IpAddr::V4);
    v4.or_else(|_| address.replace('-', ":").parse().map(IpAddr::V6)).ok()
}

fn label(endpoint: &DnsEndpoint) -> String {
    match &endpoint.hostname {
        Some(hostname) => hostname.to_ascii_lowercase(),
        None => endpoint.address.to_string().replace(['.', ':'], "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DnsPort, Protocol};

    fn zone() -> SharedZone {
        let port = |name: &str, port| DnsPort { name: Some(name.into()), protocol: Protocol::Tcp, port };
        let service = |name: &str, address| {
            (ServiceName::new("default", name), DnsService { address, ports: vec![port("http", 80)] })
        };
        let endpoint = |last, hostname: Option<&str>| DnsEndpoint {
            address: [10, 42, 0, last].into(),
            hostname: hostname.map(str::to_owned),
        };
        let table = [
            service("web", DnsAddress::Cluster(vec![[10, 43, 0, 7].into()])),
            service("db", DnsAddress::Headless(vec![endpoint(3, Some("db-0")), endpoint(4, None)])),
            service("far", DnsAddress::External("Example.ORG.".into())),
            service("empty", DnsAddress::Headless(Vec::new())),
        ];
        let zone = SharedZone::new("Cluster.Local");
        zone.replace(table.into());
        zone
    }

    #[track_caller]
    fn check(zone: &SharedZone, name: &str, kind: Kind, expected: &str) {
        let found = match zone.now().answer(name, kind, Portion::within(512)) {
            Answer::Records(records) => records.iter().map(Data::to_string).collect::<Vec<_>>().join(", "),
            Answer::NoSuchName => "no such name".to_owned(),
            Answer::NotYet => "not yet".to_owned(),
            Answer::Elsewhere => "elsewhere".to_owned(),
        };
        assert_eq!(found, expected, "{name} {kind:?}");
    }

    #[test]
    fn names_lead_to_what_the_specification_says() {
        let zone = zone();
        let check = |name: &str, kind, expected: &str| check(&zone, name, kind, expected);
        check("web.default.svc.cluster.local", Kind::Ipv4, "10.43.0.7");
        check("web.default.svc.cluster.local", Kind::Other, "");
        check("_http._tcp.web.default.svc.cluster.local", Kind::Service, "80 web.default.svc.cluster.local");
        check("7.0.43.10.in-addr.arpa", Kind::Pointer, "web.default.svc.cluster.local");
        check("db.default.svc.cluster.local", Kind::Ipv4, "10.42.0.3, 10.42.0.4");
        check("db-0.db.default.svc.cluster.local", Kind::Ipv4, "10.42.0.3");
        check("10-42-0-4.db.default.svc.cluster.local", Kind::Ipv4, "10.42.0.4");
        check(
            "_http._tcp.db.default.svc.cluster.local",
            Kind::Service,
            "80 db-0.db.default.svc.cluster.local, 80 10-42-0-4.db.default.svc.cluster.local",
        );
        check("3.0.42.10.in-addr.arpa", Kind::Pointer, "db-0.db.default.svc.cluster.local");
        check("far.default.svc.cluster.local", Kind::Ipv4, "example.org");
        check("empty.default.svc.cluster.local", Kind::Ipv4, "");
        check("10-42-0-9.default.pod.cluster.local", Kind::Ipv4, "10.42.0.9");
        check("default.svc.cluster.local", Kind::Ipv4, "");
        check("_tcp.web.default.svc.cluster.local", Kind::Service, "");
        check("svc.cluster.local", Kind::Ipv4, "");
        check("cluster.local", Kind::Ipv4, "");
        check("other.svc.cluster.local", Kind::Ipv4, "no such name");
        check("a._http._tcp.web.default.svc.cluster.local", Kind::Service, "no such name");
        check("pod.cluster.local", Kind::Ipv4, "no such name");
        check("dns-version.cluster.local", Kind::Ipv4, "");
        check("7.0.43.10.in-addr.arpa", Kind::Ipv4, "");
        check("07.0.43.10.in-addr.arpa", Kind::Pointer, "elsewhere");
        check("dns-version.cluster.local", Kind::Text, "1.1.0");
        check("missing.default.svc.cluster.local", Kind::Ipv4, "no such name");
        check("web.default.svc.cluster.local.example.org", Kind::Ipv4, "elsewhere");
        check("notcluster.local", Kind::Ipv4, "elsewhere");
        check("9.0.0.10.in-addr.arpa", Kind::Pointer, "elsewhere");
    }

    #[test]
    fn before_the_names_were_told_nothing_is_said_not_to_exist() {
        let zone = SharedZone::new("cluster.local");
        check(&zone, "web.default.svc.cluster.local", Kind::Ipv4, "not yet");
        check(&zone, "example.org", Kind::Ipv4, "elsewhere");
    }

    #[test]
    fn a_change_touches_the_services_that_it_names_and_no_other() {
        let zone = zone();
        let headless = |lasts: &[u8]| {
            let endpoint = |last: &u8| DnsEndpoint { address: [10, 42, 0, *last].into(), hostname: None };
            let address = DnsAddress::Headless(lasts.iter().map(endpoint).collect());
            Some(DnsService { address, ports: Vec::new() })
        };
        let name = |name: &str| ServiceName::new("default", name);
        let before = Zone::clone(&zone.now());
        zone.change(
            [(name("db"), headless(&[4, 5])), (name("web"), None), (name("also"), headless(&[4]))].into(),
        );
        check(&zone, "db.default.svc.cluster.local", Kind::Ipv4, "10.42.0.4, 10.42.0.5");
        check(&zone, "db-0.db.default.svc.cluster.local", Kind::Ipv4, "no such name");
        check(&zone, "3.0.42.10.in-addr.arpa", Kind::Pointer, "elsewhere");
        check(
            &zone,
            "4.0.42.10.in-addr.arpa",
            Kind::Pointer,
            "10-42-0-4.also.default.svc.cluster.local, 10-42-0-4.db.default.svc.cluster.local",
        );
        check(&zone, "web.default.svc.cluster.local", Kind::Ipv4, "no such name");
        check(&zone, "7.0.43.10.in-addr.arpa", Kind::Pointer, "elsewhere");
        check(&zone, "far.default.svc.cluster.local", Kind::Ipv4, "example.org");
        // Whoever was answering meanwhile still sees all of what there was.
        assert_eq!(
            before.answer("web.default.svc.cluster.local", Kind::Ipv4, Portion::within(512)),
            Answer::Records(vec![Data::Address([10, 43, 0, 7].into())])
        );
        zone.change([(name("db"), None)].into());
        check(&zone, "4.0.42.10.in-addr.arpa", Kind::Pointer, "10-42-0-4.also.default.svc.cluster.local");
        zone.change([(name("also"), None), (name("far"), None), (name("empty"), None)].into());
        check(&zone, "default.svc.cluster.local", Kind::Ipv4, "no such name");
    }

    #[test]
    fn of_very_many_records_a_portion_is_told_and_all_have_their_turn() {
        let zone = zone();
        let address = |number: u32| IpAddr::V4(Ipv4Addr::from(0x0a2a_0000 + number));
        let endpoints = (0..1000).map(|number| DnsEndpoint { address: address(number), hostname: None });
        let many = DnsService { address: DnsAddress::Headless(endpoints.collect()), ports: Vec::new() };
        zone.change([(ServiceName::new("default", "many"), Some(many))].into());
        let told = |kind, from| {
            let turn = AtomicUsize::new(from);
            let portion = Portion { turn: Some(&turn), most: 3 };
            match zone.now().answer("many.default.svc.cluster.local", kind, portion) {
                Answer::Records(data) => data,
                other => panic!("{other:?}"),
            }
        };
        let expected = |numbers: [u32; 3]| numbers.map(|number| Data::Address(address(number)));
        assert_eq!(told(Kind::Ipv4, 0), expected([0, 1, 2]));
        assert_eq!(told(Kind::Any, 2998), expected([998, 999, 0]));
        assert_eq!(told(Kind::Ipv6, 5), []);
    }

    #[test]
    fn who_asks_for_two_kinds_each_time_meets_all_records() {
        let zone = zone();
        let address = |last: u8| IpAddr::V4(Ipv4Addr::new(10, 42, 0, last));
        let endpoints = [1, 2].map(|last| DnsEndpoint { address: address(last), hostname: None });
        let two = DnsService { address: DnsAddress::Headless(endpoints.into()), ports: Vec::new() };
        zone.change([(ServiceName::new("default", "two"), Some(two))].into());
        let turn = AtomicUsize::new(0);
        let mut first = Vec::new();
        for kind in [Kind::Ipv4, Kind::Ipv6, Kind::Ipv4, Kind::Ipv6, Kind::Ipv4] {
            let portion = Portion { turn: Some(&turn), most: 9 };
            match zone.now().answer("two.default.svc.cluster.local", kind, portion) {
                Answer::Records(data) => first.extend(data.first().cloned()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(first, [1, 2, 1].map(|last| Data::Address(address(last))));
    }

    #[test]
    fn a_service_of_both_families_has_records_of_both() {
        let zone = zone();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let both = DnsService {
            address: DnsAddress::Cluster(vec![address("10.43.0.9"), address("fd00::9")]),
            ports: Vec::new(),
        };
        let endpoint = |text| DnsEndpoint { address: address(text), hostname: None };
        let headless = DnsService {
            address: DnsAddress::Headless(vec![endpoint("10.42.0.8"), endpoint("fd00:1::8")]),
            ports: Vec::new(),
        };
        let name = |name: &str| ServiceName::new("default", name);
        zone.change([(name("both"), Some(both)), (name("headless"), Some(headless))].into());
        check(&zone, "both.default.svc.cluster.local", Kind::Ipv4, "10.43.0.9");
        check(&zone, "both.default.svc.cluster.local", Kind::Ipv6, "fd00::9");
        check(&zone, "both.default.svc.cluster.local", Kind::Any, "10.43.0.9, fd00::9");
        check(&zone, &reverse(address("fd00::9")), Kind::Pointer, "both.default.svc.cluster.local");
        check(&zone, "headless.default.svc.cluster.local", Kind::Ipv6, "fd00:1::8");
        check(&zone, "fd00-1--8.headless.default.svc.cluster.local", Kind::Ipv6, "fd00:1::8");
        check(&zone, "fd00-1--8.default.pod.cluster.local", Kind::Ipv6, "fd00:1::8");
        check(&zone, "fd00-1--8.default.pod.cluster.local", Kind::Ipv4, "");
        check(&zone, "web.default.svc.cluster.local", Kind::Ipv6, "");
    }

    #[test]
    fn a_reverse_name_is_read_as_it_was_written() {
        for text in ["10.1.2.3", "fd00::1:2ab", "::"] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(parse_reverse(&reverse(address)), Some(address), "{text}");
        }
        let all = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa";
        assert_eq!(parse_reverse(all), "4321:0:1:2:3:4:567:89ab".parse().ok(), "the example of RFC 3596");
        for cut in ["1.2.3.in-addr.arpa", "1.2.ip6.arpa", "ip6.arpa"] {
            assert_eq!(parse_reverse(cut), None, "{cut}");
        }
    }
}
