//! Which cluster addresses and node ports are taken, and by which object.
//!
//! Each that is taken is an entry of the store, written and removed in the same transaction as the
//! object that holds it, on condition that nobody else has it: of two that want one port, one
//! is refused by the store itself. What is free is looked up in memory (`crate::cache` follows these
//! entries like any others); where memory is late, the transaction fails and the choice is made anew.
//!
//! Addresses are kept as the objects that Kubernetes keeps them as, `networking.k8s.io/v1 IPAddress`, of
//! which ports have no counterpart there. [`repair`] makes the entries at start that objects of an
//! earlier version lack, and removes those of objects that are gone, as [`tidy`] does from then on: what a
//! write was to let go of after it stays where it was cut off, perhaps by the end of another server.

mod networks;
mod restoring;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use base::Timestamp;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use model::{Encoded, Object};
use serde_json::json;
use store::{Compare, KeyRange, Op, Put, Txn};

use crate::cache;
use crate::resource::{Resource, partition};
use crate::state::State;
use crate::version::{revision_of, version_at};

pub(crate) use networks::Networks;
pub(crate) use restoring::keep;

/// What an object takes that no other may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// A cluster address.
    Address(Ipv4Addr),
    /// A port on every node, for health checks too.
    Port(u16),
}

/// Why something cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It lies outside the range.
    Outside,
    /// Someone else has it.
    Taken,
}

/// Who has something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Holder {
    group: String,
    resource: String,
    namespace: String,
    name: String,
}

const ADDRESSES: &str = "networking.k8s.io/ipaddresses";
const PORTS: &str = "nodeports.gantry.dev/nodeports";
/// How many things an object can take in one write. Each is a condition and a step of the transaction that
/// the object is stored in; the object is one, its namespace another condition, and the network of an address too.
pub(crate) const TAKEN_AT_ONCE: usize = store::OPERATION_LIMIT - 3;
/// By which those who look after addresses know theirs.
const MANAGED_BY: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
const FAMILY: (&str, &str) = ("ipaddress.kubernetes.io/ip-family", "IPv4");
/// How many entries are written at once while repairing.
const AT_ONCE: usize = 64;

impl Claim {
    /// The key of its entry.
    pub(crate) fn key(self) -> String {
        cache::key(self.partition(), "", &self.name())
    }

    /// Its entry, for an object of a resource.
    pub(crate) fn entry(self, state: &State, resource: &Resource, object: &Object, now: Timestamp) -> Bytes {
        let (api_version, kind) = match self {
            Self::Address(_) => ("networking.k8s.io/v1", "IPAddress"),
            Self::Port(_) => ("nodeports.gantry.dev/v1", "NodePort"),
        };
        let mut entry = json!({
            "kind": kind, "apiVersion": api_version,
            "metadata": {"name": self.name(), "uid": state.new_uid()},
            "spec": {"parentRef": {
                "group": resource.group, "resource": resource.plural,
                "namespace": object.namespace().unwrap_or_default(), "name": object.name(),
            }},
        });
        if matches!(self, Self::Address(_)) {
            entry["metadata"]["labels"] = json!({FAMILY.0: FAMILY.1, MANAGED_BY.0: MANAGED_BY.1});
        }
        let mut entry = Object::from_value(entry).expect("an entry is an object");
        entry.set_creation_timestamp(now);
        Encoded::encode(&entry)
    }

    /// Who has it, as far as memory shows.
    pub(crate) fn holder(self, state: &State) -> Option<Holder> {
        let entry = state.cache.partition(self.partition()).get(&self.name())?.object();
        Some(Holder::in_entry(&entry))
    }

    /// Whether `object`, which has `own` already, may have it.
    pub(crate) fn check(
        self,
        state: &State,
        resource: &Resource,
        object: &Object,
        own: &[Self],
    ) -> Result<(), Refusal> {
        if own.contains(&self) {
            return Ok(());
        }
        let inside = match self {
            Self::Address(address) => state.networks.now(state).iter().any(|network| network.has(address)),
            Self::Port(port) => state.node_ports.contains(&port),
        };
        if !inside {
            return Err(Refusal::Outside);
        }
        match self.holder(state) {
            Some(holder) if holder != Holder::of(resource, object) => Err(Refusal::Taken),
            _ => Ok(()),
        }
    }

    /// What has to be so for it to be taken, besides that nobody has it.
    pub(crate) fn condition(self, state: &State) -> Option<Compare> {
        match self {
            Self::Address(address) => networks::condition(state, address),
            Self::Port(_) => None,
        }
    }

    fn is_free(self, state: &State) -> bool {
        state.cache.partition(self.partition()).get(&self.name()).is_none()
    }

    fn partition(self) -> &'static str {
        match self {
            Self::Address(_) => ADDRESSES,
            Self::Port(_) => PORTS,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Port(port) => port.to_string(),
        }
    }
}

impl Holder {
    /// An object as a holder.
    pub(crate) fn of(resource: &Resource, object: &Object) -> Self {
        Self {
            group: resource.group.clone(),
            resource: resource.plural.clone(),
            namespace: object.namespace().unwrap_or_default().to_owned(),
            name: object.name().to_owned(),
        }
    }

    /// Whom an entry names.
    pub(crate) fn in_entry(entry: &Object) -> Self {
        let part = |name: &str| entry.get_str(&["spec", "parentRef", name]).unwrap_or_default().to_owned();
        let [group, resource, namespace, name] = ["group", "resource", "namespace", "name"].map(part);
        Self { group, resource, namespace, name }
    }

    /// Its key in the store.
    fn key(&self) -> String {
        cache::key(&partition(&self.group, &self.resource), &self.namespace, &self.name)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.resource, self.namespace, self.name)
    }
}

/// Any free address of any of the networks. The low part of each is left for those that are named, such as the
/// cluster's DNS server, until nothing else is free in it.
pub(crate) fn any_address(state: &State) -> Option<Ipv4Addr> {
    let reserved = [state.service_cidr.api(), state.service_cidr.dns()];
    let networks = state.networks.now(state);
    let count = u32::try_from(networks.len()).unwrap_or(u32::MAX);
    let in_network = |network: &networks::Network| {
        network.parts().into_iter().find_map(|(from, count)| {
            places(state, count)
                .map(|place| network.nth(from + place))
                .find(|address| !reserved.contains(address) && Claim::Address(*address).is_free(state))
        })
    };
    places(state, count).find_map(|index| in_network(networks.get(index as usize)?))
}

/// Any free port but those that the same service has chosen already.
pub(crate) fn any_port(state: &State, chosen: &BTreeSet<u16>) -> Option<u16> {
    let (first, last) = (u32::from(*state.node_ports.start()), u32::from(*state.node_ports.end()));
    places(state, (last + 1).saturating_sub(first))
        .filter_map(|place| u16::try_from(first + place).ok())
        .find(|port| !chosen.contains(port) && Claim::Port(*port).is_free(state))
}

/// All numbers below `count`, beginning anywhere.
fn places(state: &State, count: u32) -> impl Iterator<Item = u32> {
    let random = state.random.next_u64() % u64::from(count.max(1));
    let start = u32::try_from(random).unwrap_or_default();
    (0..count).map(move |place| (start + place) % count)
}

/// An object that may hold something, as memory shows it.
struct Found<'a> {
    holder: Holder,
    object: Object,
    version: u64,
    resource: &'a Resource,
}

/// Whether objects of the resource may hold something; of one that has several versions the stored one says.
fn may_hold(resource: &Resource) -> bool {
    resource.strategy.has_claims() && resource.is_stored_version()
}

/// Makes the entries what the objects of these resources say. Another server may be at work meanwhile:
/// what changes is left to whoever changes it.
pub(crate) async fn repair(state: &State, resources: &[Arc<Resource>]) -> Result<(), store::Error> {
    let mut objects: Vec<Found<'_>> = Vec::new();
    for resource in resources.iter().filter(|resource| may_hold(resource)) {
        let (all, _) = state.cache.partition(&resource.storage.partition).snapshot(0, "");
        for stored in all {
            let object = stored.object();
            let holder = Holder::of(resource, &object);
            objects.push(Found { holder, object, version: stored.revision(), resource });
        }
    }
    // Where two have one, which earlier versions let happen, the elder keeps it.
    objects.sort_by_cached_key(|found| (found.object.creation_timestamp(), found.holder.clone()));
    let mut holders: BTreeMap<Claim, &Found<'_>> = BTreeMap::new();
    for found in &objects {
        for claim in found.resource.strategy.claims(&found.object) {
            match holders.get(&claim) {
                Some(elder) if elder.holder != found.holder => tracing::error!(
                    ?claim,
                    object = %found.holder,
                    holder = %elder.holder,
                    "two have the same: delete the first and make it anew to give it another"
                ),
                _ => drop(holders.insert(claim, found)),
            }
        }
    }
    let mut repairs = Vec::new();
    let held: BTreeSet<Claim> = holders.keys().copied().collect();
    let versions = objects.iter().map(|found| (found.holder.clone(), found.version)).collect();
    for (claim, found) in holders {
        if claim.holder(state).as_ref() == Some(&found.holder) {
            continue;
        }
        let entry = claim.entry(state, found.resource, &found.object, state.clock.now());
        let shown = state.cache.find(&claim.key()).map_or(0, |stored| stored.revision());
        repairs.push(
            Txn::new()
                .when(Compare::mod_revision(claim.key(), revision_of(shown)))
                .when(Compare::mod_revision(found.holder.key(), revision_of(found.version)))
                .then(Op::Put(Put::new(claim.key(), entry))),
        );
    }
    repairs.append(&mut strays(state, &held, &versions).await);
    if !repairs.is_empty() {
        tracing::info!(
            entries = repairs.len(),
            "bringing the entries of addresses and ports in line with their holders"
        );
    }
    write(state, repairs).await
}

/// What was there when nothing was left over: the last changes of the entries, and of what may hold them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tidied(Option<Vec<u64>>);

/// Removes the entries of objects that are gone, or need them no more. Costs nothing where nothing has
/// changed since the last time.
pub(crate) async fn tidy(state: &State, tidied: &mut Tidied) -> Result<(), store::Error> {
    let resources: Vec<_> = state.table.all().into_iter().filter(|resource| may_hold(resource)).collect();
    let partitions = resources.iter().map(|resource| &*resource.storage.partition).chain([ADDRESSES, PORTS]);
    // Before they are read: what changes meanwhile is looked at the next time.
    let now: Vec<u64> = partitions.map(|name| state.cache.partition(name).last()).collect();
    if tidied.0.as_ref() == Some(&now) {
        return Ok(());
    }
    let (mut held, mut versions) = (BTreeSet::new(), HashMap::new());
    for resource in &resources {
        let (all, _) = state.cache.partition(&resource.storage.partition).snapshot(0, "");
        for stored in all {
            let object = stored.object();
            held.extend(resource.strategy.claims(&object));
            versions.insert(Holder::of(resource, &object), stored.revision());
            tokio::task::coop::consume_budget().await;
        }
    }
    let strays = strays(state, &held, &versions).await;
    *tidied = Tidied(Some(now).filter(|_| strays.is_empty()));
    if !strays.is_empty() {
        tracing::info!(entries = strays.len(), "letting go of what objects that are gone have held");
    }
    write(state, strays).await
}

/// Removes the entries that nobody holds who is there, on condition that they and the one whom they name are
/// as memory shows them: `versions` of all that may hold something, of which some is `held`.
async fn strays(state: &State, held: &BTreeSet<Claim>, versions: &HashMap<Holder, u64>) -> Vec<Txn> {
    let held: BTreeSet<String> = held.iter().map(|claim| claim.key()).collect();
    let mut removals = Vec::new();
    for name in [ADDRESSES, PORTS] {
        for stored in state.cache.partition(name).snapshot(0, "").0 {
            let key = cache::key(name, "", &stored.name);
            if held.contains(&key) {
                continue;
            }
            let entry = stored.object();
            // What others have set aside for themselves is theirs.
            if name == ADDRESSES && entry.label(MANAGED_BY.0) != Some(MANAGED_BY.1) {
                continue;
            }
            let holder = Holder::in_entry(&entry);
            let shown = versions.get(&holder).copied().unwrap_or_default();
            removals.push(
                Txn::new()
                    .when(Compare::mod_revision(key.clone(), revision_of(stored.revision())))
                    .when(Compare::mod_revision(holder.key(), revision_of(shown)))
                    .then(Op::Delete(KeyRange::key(key))),
            );
            tokio::task::coop::consume_budget().await;
        }
    }
    removals
}

async fn write(state: &State, changes: Vec<Txn>) -> Result<(), store::Error> {
    let written = futures::stream::iter(changes).map(|txn| state.store.txn(txn)).buffer_unordered(AT_ONCE);
    let last = written.try_fold(0, async |last, done| Ok(done.revision.max(last))).await?;
    // Late is better than never: what memory does not show is refused by the transaction.
    let _ = state.cache.wait_for(version_at(last)).await;
    Ok(())
}
