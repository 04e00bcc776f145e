//! Which cluster addresses and node ports are taken, and by which object.
//!
//! Each that is taken is an entry of the store, written and removed in the same transaction as the
//! object that holds it, on condition that nobody else has it: of two that want one port, one
//! is refused by the store itself. What is free is looked up in memory (`crate::cache` follows these
//! entries like any others); where memory is late, the transaction fails and the choice is made anew.
//!
//! Addresses are kept as the objects that Kubernetes keeps them as, `networking.k8s.io/v1 IPAddress`, of
//! which ports have no counterpart there. [`repair`] makes the entries at start that objects of an
//! earlier version lack, and removes those of objects that are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use base::Timestamp;
use bytes::Bytes;
use model::Object;
use serde_json::json;
use store::{KeyRange, Op, Put, Txn};

use crate::cache;
use crate::resource::Resource;
use crate::state::State;

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    group: String,
    resource: String,
    namespace: String,
    name: String,
}

const ADDRESSES: &str = "networking.k8s.io/ipaddresses";
const PORTS: &str = "nodeports.gantry.dev/nodeports";
/// How many entries are written at once while repairing.
const BATCH: usize = 64;

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
            entry["metadata"]["labels"] = json!({
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            });
        }
        let mut entry = Object::from_value(entry).expect("an entry is an object");
        entry.set_creation_timestamp(now);
        cache::encode(&entry)
    }

    /// Who has it, as far as memory shows.
    pub(crate) fn holder(self, state: &State) -> Option<Holder> {
        let entry = state.cache.partition(self.partition()).get(&self.name())?.object();
        let part = |name: &str| entry.get_str(&["spec", "parentRef", name]).unwrap_or_default().to_owned();
        let [group, resource, namespace, name] = ["group", "resource", "namespace", "name"].map(part);
        Some(Holder { group, resource, namespace, name })
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
            Self::Address(address) => {
                let cidr = state.service_cidr;
                let ends = [cidr.nth(0), cidr.nth(cidr.size() - 1)];
                cidr.contains(address.into()) && !ends.contains(&Some(address))
            }
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
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.resource, self.namespace, self.name)
    }
}

/// Any free address. The low part of the network is left for those that are named, such as the cluster's
/// DNS server, until nothing else is free.
pub(crate) fn any_address(state: &State) -> Option<Ipv4Addr> {
    let cidr = state.service_cidr;
    let size = cidr.size();
    let low = (size / 16).clamp(16, 256).min(size - 1);
    let reserved = [cidr.api(), cidr.dns()];
    let any = |from: u32, until: u32| {
        places(state, until.saturating_sub(from))
            .filter_map(|place| cidr.nth(from + place))
            .find(|address| !reserved.contains(address) && Claim::Address(*address).is_free(state))
    };
    any(low, size - 1).or_else(|| any(1, low))
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

/// Makes the entries what the objects of these resources say. Only before anybody else writes.
pub(crate) async fn repair(state: &State, resources: &[Arc<Resource>]) -> Result<(), store::Error> {
    let mut objects: Vec<(Holder, Object, &Resource)> = Vec::new();
    for resource in resources.iter().filter(|resource| resource.strategy.has_claims()) {
        let (stored, _) = state.cache.partition(&resource.storage.partition).snapshot(0, "");
        for object in stored.iter().map(|stored| stored.object()) {
            objects.push((Holder::of(resource, &object), object, resource));
        }
    }
    // Where two have one, which earlier versions let happen, the elder keeps it.
    objects.sort_by_cached_key(|(holder, object, _)| (object.creation_timestamp(), holder.clone()));
    let mut holders: BTreeMap<Claim, &(Holder, Object, &Resource)> = BTreeMap::new();
    for one in &objects {
        let (holder, object, resource) = one;
        for claim in resource.strategy.claims(object) {
            match holders.get(&claim) {
                Some((elder, ..)) if elder != holder => tracing::error!(
                    ?claim,
                    object = %holder,
                    holder = %elder,
                    "two have the same: delete the first and make it anew to give it another"
                ),
                _ => drop(holders.insert(claim, one)),
            }
        }
    }
    let mut ops = Vec::new();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for (claim, (holder, object, resource)) in holders {
        known.insert(claim.key());
        if claim.holder(state).as_ref() != Some(holder) {
            let entry = claim.entry(state, resource, object, state.clock.now());
            ops.push(Op::Put(Put::new(claim.key(), entry)));
        }
    }
    for name in [ADDRESSES, PORTS] {
        for stored in state.cache.partition(name).snapshot(0, "").0 {
            let key = cache::key(name, "", &stored.name);
            if !known.contains(&key) {
                ops.push(Op::Delete(KeyRange::key(key)));
            }
        }
    }
    if !ops.is_empty() {
        tracing::info!(
            entries = ops.len(),
            "bringing the entries of addresses and ports in line with their holders"
        );
    }
    let mut ops = ops.into_iter().peekable();
    let mut last = 0;
    while ops.peek().is_some() {
        let txn = ops.by_ref().take(BATCH).fold(Txn::new(), Txn::then);
        last = state.store.txn(txn).await?.revision;
    }
    // Late is better than never: what memory does not show is refused by the transaction.
    let _ = state.cache.wait_for(last).await;
    Ok(())
}
