//! The networks that services get addresses of: those of the ServiceCIDRs that are ready and there to stay.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use model::Object;
use parking_lot::Mutex;
use store::Compare;

use crate::cache;
use crate::state::State;
use crate::version::revision_of;

const CIDRS: &str = "networking.k8s.io/servicecidrs";
/// The one that the server makes itself, of the network that it is configured with.
const OWN: &str = "kubernetes";

/// A network, of which services get addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    net: Ipv4Net,
    /// The key of the ServiceCIDR that it is of, and the version in which that was read; none of the configured one
    /// before there is one.
    source: Option<(String, u64)>,
}

/// All networks as they were when they were last looked at.
#[derive(Default)]
pub(crate) struct Networks(Mutex<Option<Known>>);

struct Known {
    version: u64,
    networks: Arc<[Network]>,
}

impl Networks {
    /// The networks as memory shows them.
    pub(crate) fn now(&self, state: &State) -> Arc<[Network]> {
        let partition = state.cache.partition(CIDRS);
        let version = partition.last();
        if let Some(known) = self.0.lock().as_ref().filter(|known| known.version == version) {
            return known.networks.clone();
        }
        let (all, _) = partition.snapshot(0, "");
        let all: Vec<(Object, u64)> = all.iter().map(|stored| (stored.object(), stored.revision())).collect();
        let configured = state.service_cidr.to_string().parse().ok();
        let networks: Arc<[Network]> = read(&all, configured).into();
        *self.0.lock() = Some(Known { version, networks: networks.clone() });
        networks
    }
}

/// The networks of these ServiceCIDRs; the configured one, too, where none of them is the server's own with that.
fn read(all: &[(Object, u64)], configured: Option<Ipv4Net>) -> Vec<Network> {
    let (mut networks, mut has_own) = (Vec::new(), false);
    for (object, version) in all {
        let nets: Vec<Ipv4Net> = object
            .get_list(&["spec", "cidrs"])
            .iter()
            .filter_map(|cidr| cidr.as_str()?.parse().ok())
            .collect();
        has_own |= object.name() == OWN && configured.is_some_and(|configured| nets.contains(&configured));
        if is_ready(object) && !object.is_being_deleted() {
            let source = Some((cache::key(CIDRS, "", object.name()), *version));
            networks.extend(nets.into_iter().map(|net| Network { net, source: source.clone() }));
        }
    }
    networks.extend(configured.filter(|_| !has_own).map(|net| Network { net, source: None }));
    networks
}

/// One of which nobody has said anything is.
fn is_ready(cidr: &Object) -> bool {
    let conditions = cidr.get_list(&["status", "conditions"]);
    conditions
        .iter()
        .find(|condition| condition["type"] == "Ready")
        .is_none_or(|ready| ready["status"] == "True")
}

impl Network {
    /// Whether a service may have an address: the first and the last are nobody's.
    pub(super) fn has(&self, address: Ipv4Addr) -> bool {
        let ends = [self.net.network(), self.net.broadcast()];
        self.net.contains(&address) && !ends.contains(&address)
    }

    /// The addresses that services may have: the upper ones, and those below that are left for whoever names one
    /// until nothing else is free. Each by its place in the network and how many there are.
    pub(super) fn parts(&self) -> [(u32, u32); 2] {
        let last = u32::from(self.net.broadcast()) - u32::from(self.net.network());
        let (usable, all) = (last.saturating_sub(1), u64::from(last) + 1);
        let low = if all <= 16 { 0 } else { u32::try_from((all / 16).clamp(16, 256)).unwrap_or(256) };
        let low = low.min(usable);
        [(1 + low, usable - low), (1, low)]
    }

    /// The address at a place.
    pub(super) fn nth(&self, place: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.net.network()).wrapping_add(place))
    }
}

/// What has to be so for an address to be given: the network that it is of is what it was. None where it is of the
/// configured one, which nobody takes away, or of none.
pub(crate) fn condition(state: &State, address: Ipv4Addr) -> Option<Compare> {
    let networks = state.networks.now(state);
    let mut having = networks.iter().filter(|network| network.has(address));
    let (key, version) = having.next()?.source.clone()?;
    Some(Compare::mod_revision(key, revision_of(version)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn networks_are_those_that_are_ready_and_stay() {
        let cidr = |name: &str, cidrs: &[&str], ready: &str, going: bool| {
            let mut object = json!({"metadata": {"name": name}, "spec": {"cidrs": cidrs}});
            if !ready.is_empty() {
                object["status"] = json!({"conditions": [{"type": "Ready", "status": ready}]});
            }
            if going {
                object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            }
            (Object::from_value(object).expect("an object"), 7)
        };
        let check = |all: &[(Object, u64)], expected: &[&str]| {
            let found = read(all, "10.43.0.0/16".parse().ok());
            let shown: Vec<String> = found
                .iter()
                .map(|it| format!("{}{}", it.net, if it.source.is_some() { "" } else { "!" }))
                .collect();
            assert_eq!(shown, expected);
        };
        check(&[], &["10.43.0.0/16!"]);
        let own = cidr("kubernetes", &["10.43.0.0/16"], "", false);
        check(std::slice::from_ref(&own), &["10.43.0.0/16"]);
        check(
            &[own.clone(), cidr("b", &["fd00::/112", "10.9.0.0/24"], "True", false)],
            &["10.43.0.0/16", "10.9.0.0/24"],
        );
        check(&[own.clone(), cidr("b", &["10.9.0.0/24"], "False", false)], &["10.43.0.0/16"]);
        check(&[own, cidr("b", &["10.9.0.0/24"], "True", true)], &["10.43.0.0/16"]);
        // One that the server has itself goes like others; another than it is configured with is one more.
        check(&[cidr("kubernetes", &["10.43.0.0/16"], "True", true)], &[]);
        check(&[cidr("kubernetes", &["10.50.0.0/16"], "", false)], &["10.50.0.0/16", "10.43.0.0/16!"]);
    }

    #[test]
    fn the_ends_of_a_network_are_nobodys_and_its_lower_part_comes_last() {
        let check = |net: &str, parts: [(u32, u32); 2], inside: &[(&str, bool)]| {
            let network = Network { net: net.parse().expect("a network"), source: None };
            assert_eq!(network.parts(), parts, "{net}");
            for (address, expected) in inside {
                assert_eq!(network.has(address.parse().expect("an address")), *expected, "{net} {address}");
            }
        };
        check(
            "10.0.0.0/16",
            [(257, 65278), (1, 256)],
            &[("10.0.0.0", false), ("10.0.0.1", true), ("10.0.255.255", false), ("10.1.0.0", false)],
        );
        check("10.0.0.0/24", [(17, 238), (1, 16)], &[("10.0.0.254", true), ("10.0.0.255", false)]);
        check("10.0.0.0/28", [(1, 14), (1, 0)], &[("10.0.0.14", true)]);
        check("10.0.0.0/30", [(1, 2), (1, 0)], &[]);
        check("10.0.0.0/31", [(1, 0), (1, 0)], &[("10.0.0.0", false), ("10.0.0.1", false)]);
        check("10.0.0.9/32", [(1, 0), (1, 0)], &[("10.0.0.9", false)]);
    }
}
