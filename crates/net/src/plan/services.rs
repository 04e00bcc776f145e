//! Services as elements of maps: what a change of some of them changes in the rules.
//!
//! A service is reached at *fronts*: an address with a port, or a port of the node. Of several services
//! that want the same front the first by name that has endpoints has it, whole; but nobody has another's
//! cluster address. What is kept here is what the services are,
//! and of everything that they share (fronts, chains, addresses that need a masquerade) who wants it or
//! how many; so a change is worked out from the services that it names and from nothing else.
//!
//! An endpoint has a number in its service. Those that stay keep theirs, one that comes gets that of one
//! that went, or the next; so that one endpoint more or less is one element or two.
//!
//! Where a client keeps its endpoint, the front has a chain of its own, and a set for each endpoint that
//! remembers its clients until they have not come for the time that the service says. For whoever is in none
//! of them one is drawn at random. An endpoint that goes takes its set along, one that comes begins with
//! nobody, and no other client notices; rules that are written anew leave the sets alone. A set that is full
//! remembers no more; its endpoint is led to still.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{FAMILIES, HOST_FRONT, add, front, sets};
use crate::nft::{
    Chain, Content, Field, IpFamily, Leads, Rule, Ruleset, Rulesets, Set, Statement, Target, Value,
};
use crate::services::ServiceKey;
use crate::{Protocol, ServiceEndpoint, ServicePort, ServiceTable};

/// The services as the rules have them.
#[derive(Debug)]
pub(crate) struct Services {
    families: Vec<IpFamily>,
    limits: Limits,
    ports: BTreeMap<ServiceKey, ServicePort>,
    /// Who wants a front; the first with endpoints has it.
    fronts: BTreeMap<Front, BTreeSet<Claim>>,
    /// How many ports want what they share.
    shared: BTreeMap<Shared, u32>,
    /// How many fronts use a chain.
    picks: BTreeMap<Pick, u32>,
}

/// What services are not to have, whoever makes them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    /// Cluster addresses are from here, and no external ones.
    pub(crate) service_cidrs: Vec<IpNet>,
    /// What they may lead to at this host's own loopback.
    pub(crate) loopback_targets: Vec<SocketAddr>,
}

/// A port of a service that wants a front.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    rank: Rank,
    key: ServiceKey,
}

/// What a front is to whoever wants it: the first goes before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Given to it by the cluster.
    Own,
    /// Whatever its maker wrote down.
    Asked,
}

/// A change, worked out and taken up: the same parts of the ruleset before and after, and the ports.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) before: Rulesets,
    pub(crate) after: Rulesets,
    pub(crate) ports: Changes,
}

/// Ports as they were and as they are, their endpoints in the order of their numbers.
pub(crate) type Changes = BTreeMap<ServiceKey, Change>;

/// A port as it was and as it is.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) old: Option<ServicePort>,
    pub(crate) new: Option<ServicePort>,
}

/// What a service is reached at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Front {
    /// An address of its own.
    Address(IpAddr, Protocol, u16),
    /// A port on every address of the host that is of a family.
    Node(IpFamily, Protocol, u16),
}

/// What several services may have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    /// An endpoint here, which may ask itself.
    Hairpin(IpAddr),
    /// An endpoint elsewhere.
    Remote(IpAddr, Protocol, u16),
}

/// A chain that chooses one of so many endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pick {
    family: IpFamily,
    node: bool,
    count: u32,
}

/// Where a front leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lead {
    pick: Pick,
    targets: Vec<Target>,
    /// For how many seconds a client keeps its endpoint, if it does.
    keeps: Option<u32>,
}

/// The sets of services for addresses of these families, without elements.
pub(super) fn empty(families: &[IpFamily]) -> Rulesets {
    let mut rulesets = Rulesets::default();
    for family in families {
        let (family, sets, front) = (*family, sets(*family), front(*family));
        let numbered = |key: &[Field]| [key, &[Field::Random(1)]].concat();
        let hairpin = [Field::Source(family), Field::Destination(family)];
        let all = [
            (sets.services, Set::new(front, Content::Chains)),
            (sets.node_ports, Set::new(HOST_FRONT, Content::Chains)),
            (sets.endpoints, Set::new(numbered(&front), Content::Targets(family))),
            (sets.node_endpoints, Set::new(numbered(&HOST_FRONT), Content::Targets(family))),
            (sets.keepers, Set::new(numbered(&front), Content::Chains)),
            (sets.node_keepers, Set::new(numbered(&HOST_FRONT), Content::Chains)),
            (sets.hairpin, Set::new(hairpin, Content::Nothing)),
            (sets.remote, Set::new(front, Content::Nothing)),
        ];
        add(rulesets.main(families), all);
    }
    add(&mut rulesets.ip, [(OPEN, Set::new(HOST_FRONT, Content::Nothing))]);
    rulesets
}

/// The node ports that are open, for connections that take the detour.
const OPEN: &str = "node-ports-open";

impl Default for Services {
    fn default() -> Self {
        Self::of_families(FAMILIES)
    }
}

impl Services {
    /// No services yet; those that come are reached at addresses of these families.
    pub(super) fn of_families(families: &[IpFamily]) -> Self {
        Self {
            families: families.to_vec(),
            limits: Limits::default(),
            ports: BTreeMap::new(),
            fronts: BTreeMap::new(),
            shared: BTreeMap::new(),
            picks: BTreeMap::new(),
        }
    }

    /// Takes up ports whose endpoints have their numbers already.
    pub(crate) fn restore(ports: BTreeMap<ServiceKey, ServicePort>, limits: Limits) -> Self {
        let mut services = Self { limits, ..Self::default() };
        let changes = ports.into_iter().map(|(key, port)| (key, Change { old: None, new: Some(port) }));
        services.take(&changes.collect());
        services
    }

    /// The ports, their endpoints in the order of their numbers.
    pub(crate) fn ports(&self) -> &BTreeMap<ServiceKey, ServicePort> {
        &self.ports
    }

    /// The elements and chains of all services, and the sets.
    pub(crate) fn rulesets(&self) -> Rulesets {
        let mut rulesets = empty(&self.families);
        for front in self.fronts.keys() {
            self.write(&mut rulesets, *front, self.lead(*front).as_ref(), None);
        }
        let main = rulesets.main(&self.families);
        self.shared.keys().for_each(|shared| shared.write(main));
        self.picks.keys().for_each(|pick| pick.write(main));
        rulesets
    }

    /// Makes the named services what `table` says; if it is `all` of them, there are no others.
    pub(crate) fn change(&mut self, table: ServiceTable, all: bool) -> Step {
        let mut changes = Changes::new();
        if all {
            let gone = self.ports.keys().filter(|key| !table.contains_key(&key.service));
            changes.extend(gone.map(|key| (key.clone(), Change { old: None, new: None })));
        }
        for (service, ports) in table {
            let gone = self.ports_of(&service).filter(|key| !ports.contains_key(&key.port));
            changes.extend(gone.map(|key| (key.clone(), Change { old: None, new: None })));
            for (port, wanted) in ports {
                let key = ServiceKey { service: service.clone(), port };
                let wanted = numbered(self.ports.get(&key), wanted);
                changes.insert(key, Change { old: None, new: Some(wanted) });
            }
        }
        changes.retain(|key, change| {
            let old = self.ports.get(key);
            let differs = old != change.new.as_ref();
            change.old = if differs { old.cloned() } else { None };
            differs
        });
        let (before, after) = self.take(&changes);
        Step { before, after, ports: changes }
    }

    /// Takes back a step that the kernel did not.
    pub(crate) fn undo(&mut self, step: Step) {
        let back = |(key, Change { old, new })| (key, Change { old: new, new: old });
        self.take(&step.ports.into_iter().map(back).collect());
    }

    /// Puts the new ports in place of the old ones; gives what they change in the rules.
    fn take(&mut self, changes: &Changes) -> (Rulesets, Rulesets) {
        let (mut fronts, mut shared) = (BTreeSet::new(), BTreeMap::<Shared, i64>::new());
        for change in changes.values() {
            for (port, by) in [(&change.old, -1), (&change.new, 1)] {
                let Some(port) = port else { continue };
                fronts.extend(self.fronts_of(port).into_keys());
                for one in self.shared_by(port) {
                    *shared.entry(one).or_default() += by;
                }
            }
        }
        let leads = |services: &Self| -> Vec<Option<Lead>> {
            fronts.iter().map(|front| services.lead(*front)).collect()
        };
        let old = leads(self);
        for (key, change) in changes {
            self.put(key, change);
        }
        let new = leads(self);
        let (mut before, mut after) = (empty(&self.families), empty(&self.families));
        let mut picks = BTreeMap::<Pick, i64>::new();
        for (front, (old, new)) in fronts.iter().zip(old.iter().zip(&new)) {
            self.write(&mut before, *front, old.as_ref(), new.as_ref());
            self.write(&mut after, *front, new.as_ref(), old.as_ref());
            for (lead, by) in [(old, -1), (new, 1)] {
                if let Some(lead) = lead.as_ref().filter(|lead| lead.keeps.is_none()) {
                    *picks.entry(lead.pick).or_default() += by;
                }
            }
        }
        let (out, into) = (before.main(&self.families), after.main(&self.families));
        let (gone, come) = count(&mut self.shared, shared);
        gone.iter().for_each(|one| one.write(out));
        come.iter().for_each(|one| one.write(into));
        let (gone, come) = count(&mut self.picks, picks);
        gone.iter().for_each(|pick| pick.write(out));
        come.iter().for_each(|pick| pick.write(into));
        (before, after)
    }

    fn put(&mut self, key: &ServiceKey, change: &Change) {
        let fronts = |port: &Option<ServicePort>| -> BTreeMap<Front, Rank> {
            port.iter().flat_map(|port| self.fronts_of(port)).collect()
        };
        let (old, new) = (fronts(&change.old), fronts(&change.new));
        for (front, rank) in old {
            if let Some(wanting) = self.fronts.get_mut(&front) {
                wanting.remove(&Claim { rank, key: key.clone() });
                if wanting.is_empty() {
                    self.fronts.remove(&front);
                }
            }
        }
        for (front, rank) in new {
            let wanting = self.fronts.entry(front).or_default();
            wanting.insert(Claim { rank, key: key.clone() });
            if wanting.len() > 1 {
                tracing::warn!(service = %key, ?front, "another service has this address and port too");
            }
        }
        match &change.new {
            Some(port) => self.ports.insert(key.clone(), port.clone()),
            None => self.ports.remove(key),
        };
    }

    fn ports_of<'a>(
        &'a self,
        service: &'a crate::ServiceName,
    ) -> impl Iterator<Item = &'a ServiceKey> + use<'a> {
        let first = ServiceKey { service: service.clone(), port: String::new() };
        self.ports.range(first..).map(|(key, _)| key).take_while(move |key| key.service == *service)
    }

    fn fronts_of(&self, port: &ServicePort) -> BTreeMap<Front, Rank> {
        let is_served = |address: &&IpAddr| self.families.contains(&IpFamily::of(**address));
        let front = |address: IpAddr| Front::Address(address, port.protocol, port.port);
        let is_outside =
            |address: &&IpAddr| !self.limits.service_cidrs.iter().any(|net| net.contains(*address));
        let external = port.external_addresses.iter().filter(is_served).filter(is_outside);
        let mut fronts: BTreeMap<Front, Rank> =
            external.map(|address| (front(*address), Rank::Asked)).collect();
        for address in port.addresses.iter().filter(is_served) {
            fronts.insert(front(*address), Rank::Own);
            let node = |node_port| Front::Node(IpFamily::of(*address), port.protocol, node_port);
            fronts.extend(port.node_port.map(|node_port| (node(node_port), Rank::Own)));
        }
        fronts
    }

    fn shared_by<'a>(&'a self, port: &'a ServicePort) -> impl Iterator<Item = Shared> + use<'a> {
        let served = |endpoint: &&ServiceEndpoint| {
            self.families.contains(&IpFamily::of(endpoint.address)) && self.limits.may_lead(endpoint)
        };
        port.endpoints.iter().filter(served).map(|endpoint| match endpoint.local {
            true => Shared::Hairpin(endpoint.address),
            false => Shared::Remote(endpoint.address, port.protocol, endpoint.port),
        })
    }

    /// Where a front leads to; nowhere if nobody wants it who has an endpoint: then it is not translated,
    /// and so refused further on.
    fn lead(&self, front: Front) -> Option<Lead> {
        let wanting = self.fronts.get(&front)?;
        let rank = wanting.first()?.rank;
        let mut first = wanting.iter().take_while(|claim| claim.rank == rank);
        first.find_map(|claim| self.limits.lead(front, self.ports.get(&claim.key)?))
    }

    /// Writes the elements of a front that leads to `lead`, but for those that it has in `other` too.
    fn write(&self, rulesets: &mut Rulesets, front: Front, lead: Option<&Lead>, other: Option<&Lead>) {
        let Some(lead) = lead else { return };
        let sets = sets(front.family());
        let (dispatch, endpoints) = match front {
            Front::Address(..) => (sets.services, sets.endpoints),
            Front::Node(..) => (sets.node_ports, sets.node_endpoints),
        };
        let key = front.key();
        match lead.keeps {
            Some(seconds) => {
                let main = rulesets.main(&self.families);
                // Whole: what of them is the same in both is left alone.
                front.keep(main, &lead.targets, seconds);
                let other = other.filter(|other| other.keeps.is_some());
                let keepers = elements(main, front.keepers());
                for (number, target) in (0u32..).zip(&lead.targets) {
                    let same = other.and_then(|other| other.targets.get(number as usize)) == Some(target);
                    if !same {
                        let leads = Leads::Chain(front.keeping_at(*target));
                        keepers.insert([&key[..], &[Value::Number(number)]].concat(), leads);
                    }
                }
            }
            None => {
                let other = other.filter(|other| other.keeps.is_none());
                let targets = elements(rulesets.main(&self.families), endpoints);
                for (number, target) in (0u32..).zip(&lead.targets) {
                    let same = other.and_then(|other| other.targets.get(number as usize)) == Some(target);
                    if !same {
                        targets.insert([&key[..], &[Value::Number(number)]].concat(), Leads::Target(*target));
                    }
                }
            }
        }
        // Connections of IPv4 alone take the detour by which the host's own rules judge them.
        if other.is_none() && matches!(front, Front::Node(IpFamily::V4, ..)) {
            elements(&mut rulesets.ip, OPEN).insert(key.clone(), Leads::Nowhere);
        }
        if other.is_none_or(|other| other.chain(front) != lead.chain(front)) {
            elements(rulesets.main(&self.families), dispatch).insert(key, Leads::Chain(lead.chain(front)));
        }
    }
}

impl Lead {
    /// The chain that chooses.
    fn chain(&self, front: Front) -> String {
        match self.keeps {
            Some(_) => front.keeping(),
            None => self.pick.name(),
        }
    }
}

impl Front {
    /// The chain that leads clients to the endpoints that they keep.
    fn keeping(self) -> String {
        match self {
            Self::Address(address, protocol, port) => format!("keep-{protocol}-{address}-{port}"),
            Self::Node(IpFamily::V4, protocol, port) => format!("keep-node-{protocol}-{port}"),
            Self::Node(IpFamily::V6, protocol, port) => format!("keep6-node-{protocol}-{port}"),
        }
        // No name has the colons of an address of IPv6.
        .replace(':', "_")
    }

    /// The set of the clients that an endpoint keeps, and the chain that leads others to it.
    fn keeping_at(self, target: Target) -> String {
        format!("{}-{}-{}", self.keeping(), target.address, target.port).replace(':', "_")
    }

    /// The map that leads newcomers to such chains.
    fn keepers(self) -> &'static str {
        let sets = sets(self.family());
        match self {
            Self::Address(..) => sets.keepers,
            Self::Node(..) => sets.node_keepers,
        }
    }

    /// Writes the chains and the sets by which clients keep their endpoints.
    fn keep(self, ruleset: &mut Ruleset, targets: &[Target], seconds: u32) {
        let family = self.family();
        let protocol = match self {
            Self::Address(_, protocol, _) | Self::Node(_, protocol, _) => protocol,
        };
        // Whoever came here has it; `nft` does not read a rule that leads to a port without it.
        let is_of =
            || Statement::Is { field: Field::Protocol, value: Value::Protocol(protocol), negate: false };
        let begin = || [Statement::Family(family), is_of()];
        let lead = |target: &Target| {
            let remember = Statement::Remember { family, set: self.keeping_at(*target), seconds };
            [remember, Statement::TranslateTo(*target)]
        };
        let known = targets.iter().map(|target| {
            let known = Statement::Known { family, set: self.keeping_at(*target) };
            begin().into_iter().chain([known]).chain(lead(target)).collect()
        });
        let fields = match self {
            Self::Address(..) => front(family).to_vec(),
            Self::Node(..) => HOST_FRONT.to_vec(),
        };
        let number = Field::Random(u32::try_from(targets.len()).expect("a lead has counted them"));
        let drawn = Statement::Dispatch { fields: [&fields[..], &[number]].concat(), map: self.keepers() };
        let rules: Vec<Rule> = known.chain([vec![Statement::Family(family), drawn]]).collect();
        ruleset.chains.insert(self.keeping(), Chain { hook: None, rules });
        for target in targets {
            let name = self.keeping_at(*target);
            // The first rule ends where the set is full.
            let remembered = begin().into_iter().chain(lead(target)).collect();
            let led = begin().into_iter().chain([Statement::TranslateTo(*target)]).collect();
            ruleset.chains.insert(name.clone(), Chain { hook: None, rules: vec![remembered, led] });
            ruleset.sets.insert(name, Set::new([Field::Source(family)], Content::Remembered));
        }
    }

    fn key(self) -> Vec<Value> {
        match self {
            Self::Address(address, protocol, port) => {
                vec![Value::Address(address), Value::Protocol(protocol), Value::Port(port)]
            }
            Self::Node(_, protocol, port) => vec![Value::Protocol(protocol), Value::Port(port)],
        }
    }

    fn family(self) -> IpFamily {
        match self {
            Self::Address(address, ..) => IpFamily::of(address),
            Self::Node(family, ..) => family,
        }
    }
}

impl Shared {
    fn write(&self, ruleset: &mut Ruleset) {
        let (set, key) = match *self {
            Self::Hairpin(address) => {
                (sets(IpFamily::of(address)).hairpin, vec![Value::Address(address), Value::Address(address)])
            }
            Self::Remote(address, protocol, port) => (
                sets(IpFamily::of(address)).remote,
                vec![Value::Address(address), Value::Protocol(protocol), Value::Port(port)],
            ),
        };
        elements(ruleset, set).insert(key, Leads::Nowhere);
    }
}

impl Pick {
    fn name(self) -> String {
        let family = if self.family == IpFamily::V6 { "6" } else { "" };
        let place = if self.node { "-node" } else { "" };
        format!("pick{family}{place}-{}", self.count)
    }

    fn write(&self, ruleset: &mut Ruleset) {
        let family = self.family;
        let (sets, front) = (sets(family), front(family));
        let (fields, map) =
            if self.node { (&HOST_FRONT[..], sets.node_endpoints) } else { (&front[..], sets.endpoints) };
        let number = Field::Random(self.count);
        let translate = Statement::Translate { family, fields: [fields, &[number]].concat(), map };
        let rules = vec![vec![Statement::Family(family), translate]];
        ruleset.chains.insert(self.name(), Chain { hook: None, rules });
    }
}

fn elements<'a>(ruleset: &'a mut Ruleset, set: &str) -> &'a mut BTreeMap<Vec<Value>, Leads> {
    &mut ruleset.sets.get_mut(set).expect("all sets of services are in it from the beginning").elements
}

/// Changes how many want each thing; gives those that nobody wants any more, and those that somebody does now.
fn count<T: Copy + Ord>(counts: &mut BTreeMap<T, u32>, changes: BTreeMap<T, i64>) -> (Vec<T>, Vec<T>) {
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    for (one, by) in changes {
        let before = counts.get(&one).copied().unwrap_or(0);
        let after = u32::try_from(i64::from(before) + by).unwrap_or(0);
        match (before, after) {
            (0, 0) => {}
            (_, 0) => {
                counts.remove(&one);
                gone.push(one);
            }
            _ => {
                counts.insert(one, after);
                if before == 0 {
                    come.push(one);
                }
            }
        }
    }
    (gone, come)
}

impl Limits {
    /// Whether a service may lead to an endpoint. Nobody else is at such an address: what is translated to
    /// it reaches this host's own, past the guards, which see where a packet is sent to in the beginning.
    fn may_lead(&self, endpoint: &ServiceEndpoint) -> bool {
        let is_own = match endpoint.address {
            IpAddr::V4(address) => {
                address.is_unspecified()
                    || address.is_loopback()
                    || address.is_link_local()
                    || address.is_multicast()
                    || address.is_broadcast()
            }
            IpAddr::V6(address) => {
                address.is_unspecified()
                    || address.is_loopback()
                    || address.is_unicast_link_local()
                    || address.is_multicast()
                    || address.to_ipv4_mapped().is_some()
            }
        };
        !is_own || self.loopback_targets.contains(&(endpoint.address, endpoint.port).into())
    }

    /// Where a front of `port` leads to.
    fn lead(&self, front: Front, port: &ServicePort) -> Option<Lead> {
        let (node, only_local) = match front {
            Front::Address(..) => (false, port.internal_local),
            Front::Node(..) => (true, port.external_local),
        };
        let family = front.family();
        let of_family = port.endpoints.iter().filter(|endpoint| IpFamily::of(endpoint.address) == family);
        let chosen = of_family.filter(|endpoint| (endpoint.local || !only_local) && self.may_lead(endpoint));
        let targets: Vec<Target> =
            chosen.map(|endpoint| Target { address: endpoint.address, port: endpoint.port }).collect();
        let count = u32::try_from(targets.len()).ok().filter(|count| *count > 0)?;
        Some(Lead { pick: Pick { family, node, count }, targets, keeps: port.client_affinity })
    }
}

/// The port `wanted` with its endpoints in the order of their numbers: those that were there keep theirs.
fn numbered(old: Option<&ServicePort>, wanted: ServicePort) -> ServicePort {
    let mut coming: BTreeSet<ServiceEndpoint> = wanted.endpoints.iter().copied().collect();
    let mut places = vec![None; coming.len()];
    let before = old.map_or(&[][..], |old| &old.endpoints);
    for (place, endpoint) in places.iter_mut().zip(before) {
        *place = coming.take(endpoint);
    }
    let mut coming = coming.into_iter();
    let endpoints = places.into_iter().map(|place| place.or_else(|| coming.next()));
    ServicePort { endpoints: endpoints.flatten().collect(), ..wanted }
}
