//! Services as elements of maps: what a change of some of them changes in the rules.
//!
//! A service is reached at *fronts*: an address with a port, or a port of the node. Of several services
//! that want the same front the first by name that has endpoints has it, whole. What is kept here is what the services are,
//! and of everything that they share (fronts, chains, addresses that need a masquerade) who wants it or
//! how many; so a change is worked out from the services that it names and from nothing else.
//!
//! An endpoint has a number in its service. Those that stay keep theirs, one that comes gets that of one
//! that went, or the next; so that one endpoint more or less is one element or two.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{FRONT, HOST_FRONT};
use crate::nft::{Chain, Content, Field, Leads, Ruleset, Set, Statement, Target, Value};
use crate::services::ServiceKey;
use crate::{Protocol, ServiceEndpoint, ServicePort, ServiceTable};

/// The services as the rules have them.
#[derive(Debug, Default)]
pub(crate) struct Services {
    ports: BTreeMap<ServiceKey, ServicePort>,
    /// Who wants a front; the first with endpoints has it.
    fronts: BTreeMap<Front, BTreeSet<ServiceKey>>,
    /// How many ports want what they share.
    shared: BTreeMap<Shared, u32>,
    /// How many fronts use a chain.
    picks: BTreeMap<Pick, u32>,
}

/// A change, worked out and taken up: the same parts of the ruleset before and after, and the ports.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) before: Ruleset,
    pub(crate) after: Ruleset,
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
    Address(Ipv4Addr, Protocol, u16),
    /// A port on every address of the host.
    Node(Protocol, u16),
}

/// What several services may have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    /// An endpoint here, which may ask itself.
    Hairpin(Ipv4Addr),
    /// An endpoint elsewhere.
    Remote(Ipv4Addr, Protocol, u16),
}

/// A chain that chooses one of so many endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pick {
    node: bool,
    choice: Choice,
    count: u32,
}

/// How one endpoint of several is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Choice {
    Random,
    /// The same for a client as long as the endpoints stay the same.
    BySource,
}

/// Where a front leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lead {
    pick: Pick,
    targets: Vec<Target>,
}

/// The sets of services, without elements.
pub(super) fn empty() -> Ruleset {
    let sets = [
        // The kernel cannot ask a map of chains without following it.
        ("node-ports-open", Set::new(HOST_FRONT, Content::Nothing)),
        ("services", Set::new(FRONT, Content::Chains)),
        ("node-ports", Set::new(HOST_FRONT, Content::Chains)),
        ("endpoints", Set::new([&FRONT[..], &[Field::Random(1)]].concat(), Content::Targets)),
        ("node-endpoints", Set::new([&HOST_FRONT[..], &[Field::Random(1)]].concat(), Content::Targets)),
        ("hairpin", Set::new([Field::Source, Field::Destination], Content::Nothing)),
        ("remote", Set::new(FRONT, Content::Nothing)),
    ];
    Ruleset { sets: sets.map(|(name, set)| (name.to_owned(), set)).into(), chains: BTreeMap::new() }
}

impl Services {
    /// Takes up ports whose endpoints have their numbers already.
    pub(crate) fn restore(ports: BTreeMap<ServiceKey, ServicePort>) -> Self {
        let mut services = Self::default();
        let changes = ports.into_iter().map(|(key, port)| (key, Change { old: None, new: Some(port) }));
        services.take(&changes.collect());
        services
    }

    /// The ports, their endpoints in the order of their numbers.
    pub(crate) fn ports(&self) -> &BTreeMap<ServiceKey, ServicePort> {
        &self.ports
    }

    /// The elements and chains of all services, and the sets.
    pub(crate) fn ruleset(&self) -> Ruleset {
        let mut ruleset = empty();
        for front in self.fronts.keys() {
            write(&mut ruleset, *front, self.lead(*front).as_ref(), None);
        }
        self.shared.keys().for_each(|shared| shared.write(&mut ruleset));
        self.picks.keys().for_each(|pick| pick.write(&mut ruleset));
        ruleset
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
    fn take(&mut self, changes: &Changes) -> (Ruleset, Ruleset) {
        let (mut fronts, mut shared) = (BTreeSet::new(), BTreeMap::<Shared, i64>::new());
        for change in changes.values() {
            for (port, by) in [(&change.old, -1), (&change.new, 1)] {
                let Some(port) = port else { continue };
                fronts.extend(fronts_of(port));
                for one in shared_by(port) {
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
        let (mut before, mut after) = (empty(), empty());
        let mut picks = BTreeMap::<Pick, i64>::new();
        for (front, (old, new)) in fronts.iter().zip(old.iter().zip(&new)) {
            write(&mut before, *front, old.as_ref(), new.as_ref());
            write(&mut after, *front, new.as_ref(), old.as_ref());
            for (lead, by) in [(old, -1), (new, 1)] {
                if let Some(lead) = lead {
                    *picks.entry(lead.pick).or_default() += by;
                }
            }
        }
        let (gone, come) = count(&mut self.shared, shared);
        gone.iter().for_each(|one| one.write(&mut before));
        come.iter().for_each(|one| one.write(&mut after));
        let (gone, come) = count(&mut self.picks, picks);
        gone.iter().for_each(|pick| pick.write(&mut before));
        come.iter().for_each(|pick| pick.write(&mut after));
        (before, after)
    }

    fn put(&mut self, key: &ServiceKey, change: &Change) {
        for front in change.old.iter().flat_map(fronts_of) {
            if let Some(wanting) = self.fronts.get_mut(&front) {
                wanting.remove(key);
                if wanting.is_empty() {
                    self.fronts.remove(&front);
                }
            }
        }
        for front in change.new.iter().flat_map(fronts_of) {
            let wanting = self.fronts.entry(front).or_default();
            wanting.insert(key.clone());
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

    /// Where a front leads to; nowhere if nobody wants it who has an endpoint: then it is not translated,
    /// and so refused further on.
    fn lead(&self, front: Front) -> Option<Lead> {
        self.fronts.get(&front)?.iter().find_map(|key| lead(front, self.ports.get(key)?))
    }
}

impl Front {
    fn key(self) -> Vec<Value> {
        match self {
            Self::Address(address, protocol, port) => {
                vec![Value::Address(address), Value::Protocol(protocol), Value::Port(port)]
            }
            Self::Node(protocol, port) => vec![Value::Protocol(protocol), Value::Port(port)],
        }
    }
}

impl Shared {
    fn write(&self, ruleset: &mut Ruleset) {
        let (set, key) = match *self {
            Self::Hairpin(address) => ("hairpin", vec![Value::Address(address), Value::Address(address)]),
            Self::Remote(address, protocol, port) => {
                ("remote", vec![Value::Address(address), Value::Protocol(protocol), Value::Port(port)])
            }
        };
        elements(ruleset, set).insert(key, Leads::Nowhere);
    }
}

impl Pick {
    fn name(self) -> String {
        let place = if self.node { "pick-node" } else { "pick" };
        let kind = if self.choice == Choice::BySource { "-sticky" } else { "" };
        format!("{place}{kind}-{}", self.count)
    }

    fn write(&self, ruleset: &mut Ruleset) {
        let (fields, map) =
            if self.node { (&HOST_FRONT[..], "node-endpoints") } else { (&FRONT[..], "endpoints") };
        let number = match self.choice {
            Choice::Random => Field::Random(self.count),
            Choice::BySource => Field::SourceHash(self.count),
        };
        let rules = vec![vec![Statement::Translate { fields: [fields, &[number]].concat(), map }]];
        ruleset.chains.insert(self.name(), Chain { hook: None, rules });
    }
}

/// Writes the elements of a front that leads to `lead`, but for those that it has in `other` too.
fn write(ruleset: &mut Ruleset, front: Front, lead: Option<&Lead>, other: Option<&Lead>) {
    let Some(lead) = lead else { return };
    let (dispatch, endpoints) = match front {
        Front::Address(..) => ("services", "endpoints"),
        Front::Node(..) => ("node-ports", "node-endpoints"),
    };
    let key = front.key();
    let targets = elements(ruleset, endpoints);
    for (number, target) in (0u32..).zip(&lead.targets) {
        let same = other.and_then(|other| other.targets.get(number as usize)) == Some(target);
        if !same {
            targets.insert([&key[..], &[Value::Number(number)]].concat(), Leads::Target(*target));
        }
    }
    if other.is_none() && lead.pick.node {
        elements(ruleset, "node-ports-open").insert(key.clone(), Leads::Nowhere);
    }
    if other.is_none_or(|other| other.pick != lead.pick) {
        elements(ruleset, dispatch).insert(key, Leads::Chain(lead.pick.name()));
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

fn fronts_of(port: &ServicePort) -> BTreeSet<Front> {
    let addresses = port.addresses.iter().map(|address| Front::Address(*address, port.protocol, port.port));
    addresses.chain(port.node_port.map(|node_port| Front::Node(port.protocol, node_port))).collect()
}

/// Where a front of `port` leads to.
fn lead(front: Front, port: &ServicePort) -> Option<Lead> {
    let (node, only_local) = match front {
        Front::Address(..) => (false, port.internal_local),
        Front::Node(..) => (true, port.external_local),
    };
    let chosen = port.endpoints.iter().filter(|endpoint| endpoint.local || !only_local);
    let targets: Vec<Target> =
        chosen.map(|endpoint| Target { address: endpoint.address, port: endpoint.port }).collect();
    let choice = if port.client_affinity { Choice::BySource } else { Choice::Random };
    let count = u32::try_from(targets.len()).ok().filter(|count| *count > 0)?;
    Some(Lead { pick: Pick { node, choice, count }, targets })
}

fn shared_by(port: &ServicePort) -> impl Iterator<Item = Shared> + use<'_> {
    port.endpoints.iter().map(|endpoint| match endpoint.local {
        true => Shared::Hairpin(endpoint.address),
        false => Shared::Remote(endpoint.address, port.protocol, endpoint.port),
    })
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
