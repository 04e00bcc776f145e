//! Which cluster addresses and node ports are taken, and by which service.
//!
//! Each that is taken is an entry of the store, written and removed in the same transaction as the
//! service that holds it, on condition that nobody else has it: of two services that want one port, one
//! is refused by the store itself. What is free is looked up in memory (`crate::cache` follows these
//! entries like any others); where memory is late, the transaction fails and the choice is made anew.
//!
//! Addresses are kept as the objects that Kubernetes keeps them as, `networking.k8s.io/v1 IPAddress`, of
//! which ports have no counterpart there. [`repair`] makes the entries at start that services of an
//! earlier version lack, and removes those of services that are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use base::Timestamp;
use bytes::Bytes;
use model::Object;
use serde_json::json;
use store::{KeyRange, Op, Put, Txn};

use crate::cache;
use crate::resource::partition;
use crate::state::State;

/// What a service takes that no other may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// A cluster address.
    Address(Ipv4Addr),
    /// A port on every node, for health checks too.
    Port(u16),
}

/// Why something cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It lies outside the range.
    Outside,
    /// Someone else has it.
    Taken,
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

    /// Its entry, for a service.
    pub(crate) fn entry(self, state: &State, service: &Object, now: Timestamp) -> Bytes {
        let (api_version, kind) = match self {
            Self::Address(_) => ("networking.k8s.io/v1", "IPAddress"),
            Self::Port(_) => ("nodeports.gantry.dev/v1", "NodePort"),
        };
        let mut object = json!({
            "kind": kind, "apiVersion": api_version,
            "metadata": {"name": self.name(), "uid": state.new_uid()},
            "spec": {"parentRef": {
                "group": "", "resource": "services",
                "namespace": service.namespace().unwrap_or_default(), "name": service.name(),
            }},
        });
        if matches!(self, Self::Address(_)) {
            object["metadata"]["labels"] = json!({
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            });
        }
        let mut object = Object::from_value(object).expect("an entry is an object");
        object.set_creation_timestamp(now);
        cache::encode(&object)
    }

    /// Who has it, as `NAMESPACE/NAME`, as far as memory shows.
    pub(crate) fn holder(self, state: &State) -> Option<String> {
        let entry = state.cache.partition(self.partition()).get(&self.name())?.object();
        let part = |name: &str| entry.get_str(&["spec", "parentRef", name]).unwrap_or_default().to_owned();
        Some(format!("{}/{}", part("namespace"), part("name")))
    }

    /// Whether `service`, which has `own` already, may have it.
    pub(crate) fn check(self, state: &State, service: &Object, own: &[Self]) -> Result<(), Refusal> {
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
            Some(holder) if holder != full_name(service) => Err(Refusal::Taken),
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

/// `NAMESPACE/NAME` of a service.
pub(crate) fn full_name(service: &Object) -> String {
    format!("{}/{}", service.namespace().unwrap_or_default(), service.name())
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

/// Makes the entries what the services say. Only before anybody else writes.
pub(crate) async fn repair(state: &State, claims: fn(&Object) -> Vec<Claim>) -> Result<(), store::Error> {
    let (services, _) = state.cache.partition(&partition("", "services")).snapshot(0, "");
    let mut services: Vec<Object> = services.iter().map(|stored| stored.object()).collect();
    // Where two have one, which earlier versions let happen, the elder keeps it.
    services.sort_by_cached_key(|service| (service.creation_timestamp(), full_name(service)));
    let mut holders: BTreeMap<Claim, &Object> = BTreeMap::new();
    for service in &services {
        for claim in claims(service) {
            match holders.get(&claim) {
                Some(elder) if full_name(elder) != full_name(service) => tracing::error!(
                    ?claim,
                    service = full_name(service),
                    holder = full_name(elder),
                    "two services have the same: delete the service and make it anew to give it another"
                ),
                _ => drop(holders.insert(claim, service)),
            }
        }
    }
    let mut ops = Vec::new();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for (claim, service) in holders {
        known.insert(claim.key());
        if claim.holder(state).as_deref() != Some(full_name(service).as_str()) {
            ops.push(Op::Put(Put::new(claim.key(), claim.entry(state, service, state.clock.now()))));
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
            "bringing the entries of addresses and ports in line with the services"
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
