//! Slices that show exactly the endpoints that there are, with as few writes as that takes: pure.
//!
//! An endpoint stays in the slice that it is in, and one that comes goes to a slice that has room: one pod
//! more or less changes one slice, however many there are. Where an endpoint has to go to another slice, it
//! is there before it leaves the one that it is in: whoever looks in between finds it twice, and never not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::Resource as _;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

/// So many endpoints are in one slice at most.
pub(super) const SLICE: usize = 100;

/// What stands behind a service at one place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    /// The endpoint as slices have it.
    pub(super) endpoint: Endpoint,
    /// Numbers of the service's ports there, in the service's order.
    pub(super) ports: Vec<EndpointPort>,
}

/// One thing to do. They are done in their order.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Make a slice.
    Create(Box<EndpointSlice>),
    /// Replace a slice by this. It may come twice, the second on top of the first.
    Update(Box<EndpointSlice>),
    /// Remove a slice.
    Delete(Arc<EndpointSlice>),
}

/// Endpoints with the same ports, by their addresses.
struct Group<'a> {
    ports: &'a [EndpointPort],
    open: BTreeMap<&'a [String], &'a Endpoint>,
}

/// A slice as it is to be.
struct Filled<'a> {
    slice: &'a Arc<EndpointSlice>,
    /// Which endpoints belong into it.
    group: usize,
    endpoints: Vec<Endpoint>,
    changed: bool,
    /// Those of its endpoints that have to go to another.
    leaving: Vec<Endpoint>,
    /// Whether any has come.
    grows: bool,
}

/// What makes `slices` show exactly `members`; those that are made and changed are otherwise like `template`.
pub(super) fn plan(template: &EndpointSlice, members: &[Member], slices: &[Arc<EndpointSlice>]) -> Vec<Step> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut of_address: BTreeMap<&[String], usize> = BTreeMap::new();
    for Member { endpoint, ports } in members {
        let at = groups.iter().position(|group| group.ports == *ports).unwrap_or_else(|| {
            groups.push(Group { ports, open: BTreeMap::new() });
            groups.len() - 1
        });
        groups[at].open.insert(&endpoint.addresses, endpoint);
        of_address.insert(&endpoint.addresses, at);
    }
    let mut present: Vec<&Arc<EndpointSlice>> = slices.iter().collect();
    present.sort_by_key(|slice| slice.name().to_owned());
    let mut filled: Vec<Filled<'_>> = Vec::new();
    let mut gone: Vec<Step> = Vec::new();
    for slice in present {
        match group_of(slice, &groups, &of_address) {
            Some(group) => filled.push(keep(slice, group, &mut groups, &of_address)),
            None => gone.push(Step::Delete(Arc::clone(slice))),
        }
    }
    // Those that are written anyway take up others first.
    filled.sort_by_key(|one| !one.changed);
    for one in &mut filled {
        // One that has other ports from now on is written after those that leave it are elsewhere: who comes
        // from a third slice may have left that by then.
        if one.slice.ports.as_deref().unwrap_or_default() != groups[one.group].ports
            && !one.leaving.is_empty()
        {
            continue;
        }
        let room = SLICE.saturating_sub(one.endpoints.len());
        let coming: Vec<&[String]> = groups[one.group].open.keys().take(room).copied().collect();
        for address in coming {
            one.endpoints.extend(groups[one.group].open.remove(address).cloned());
            (one.changed, one.grows) = (true, true);
        }
    }
    let (mut first, mut then) = (Vec::new(), Vec::new());
    for group in &groups {
        let open: Vec<Endpoint> = group.open.values().map(|endpoint| (*endpoint).clone()).collect();
        let made = open.chunks(SLICE).map(|chunk| {
            let mut slice = template.clone();
            (slice.endpoints, slice.ports) = (Some(chunk.to_vec()), Some(group.ports.to_vec()));
            Step::Create(Box::new(slice))
        });
        first.extend(made);
    }
    for one in filled {
        if one.endpoints.is_empty() {
            gone.push(Step::Delete(Arc::clone(one.slice)));
            continue;
        }
        let ports = groups[one.group].ports;
        let same_ports = one.slice.ports.as_deref().unwrap_or_default() == ports;
        let mut changed = EndpointSlice::clone(one.slice);
        changed.metadata.labels.clone_from(&template.metadata.labels);
        changed.metadata.annotations.clone_from(&template.metadata.annotations);
        let told = changed.metadata == one.slice.metadata;
        if !one.changed && same_ports && told {
            continue;
        }
        (changed.endpoints, changed.ports) = (Some(one.endpoints.clone()), Some(ports.to_vec()));
        if one.leaving.is_empty() {
            first.push(Step::Update(Box::new(changed)));
            continue;
        }
        if one.grows && same_ports {
            let mut with_both = changed.clone();
            with_both.endpoints = Some([one.endpoints, one.leaving].concat());
            first.push(Step::Update(Box::new(with_both)));
        }
        then.push(Step::Update(Box::new(changed)));
    }
    [first, then, gone].concat()
}

/// Which endpoints a slice is for: those with its ports, or those with which most of its endpoints go on.
fn group_of(
    slice: &EndpointSlice,
    groups: &[Group<'_>],
    of_address: &BTreeMap<&[String], usize>,
) -> Option<usize> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    if let Some(at) = groups.iter().position(|group| group.ports == ports) {
        return Some(at);
    }
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for endpoint in slice.endpoints.iter().flatten() {
        if let Some(at) = of_address.get(&*endpoint.addresses) {
            *counts.entry(*at).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(at, _)| at)
}

/// A slice with those of its endpoints that stay in it, as they are now.
fn keep<'a>(
    slice: &'a Arc<EndpointSlice>,
    group: usize,
    groups: &mut [Group<'a>],
    of_address: &BTreeMap<&[String], usize>,
) -> Filled<'a> {
    let mut one =
        Filled { slice, group, endpoints: Vec::new(), changed: false, leaving: Vec::new(), grows: false };
    let mut seen: BTreeSet<&[String]> = BTreeSet::new();
    for endpoint in slice.endpoints.iter().flatten() {
        let is_new = seen.insert(&endpoint.addresses);
        match groups[group].open.remove(&*endpoint.addresses).filter(|_| is_new) {
            Some(now) => {
                one.changed |= now != endpoint;
                one.endpoints.push(now.clone());
            }
            None => {
                one.changed = true;
                let elsewhere = of_address.get(&*endpoint.addresses).is_some_and(|at| *at != group);
                one.leaving.extend(elsewhere.then(|| endpoint.clone()));
            }
        }
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn port(number: i32) -> Vec<EndpointPort> {
        vec![EndpointPort { port: Some(number), ..EndpointPort::default() }]
    }

    fn member(address: usize, number: i32) -> Member {
        let addresses = vec![format!("10.42.{}.{}", address / 256, address % 256)];
        Member { endpoint: Endpoint { addresses, ..Endpoint::default() }, ports: port(number) }
    }

    /// A cluster that has these slices, by name.
    #[derive(Default)]
    struct World {
        slices: BTreeMap<String, EndpointSlice>,
        made: usize,
    }

    impl World {
        /// Does what is planned for `members`; gives how many writes that took. All of `always` are in a slice
        /// after each of them.
        fn settle(&mut self, members: &[Member], always: &[Member]) -> usize {
            let slices: Vec<_> = self.slices.values().cloned().map(Arc::new).collect();
            let steps = plan(&EndpointSlice::default(), members, &slices);
            let writes = steps.len();
            for step in steps {
                match step {
                    Step::Create(slice) => {
                        self.made += 1;
                        let name = format!("s{:03}", self.made);
                        let metadata = ObjectMeta { name: Some(name.clone()), ..slice.metadata };
                        self.slices.insert(name, EndpointSlice { metadata, ..*slice });
                    }
                    Step::Update(slice) => drop(self.slices.insert(slice.name().to_owned(), *slice)),
                    Step::Delete(slice) => drop(self.slices.remove(slice.name())),
                }
                let shown = self.shown();
                let missing = always.iter().find(|one| !shown.contains(&one.endpoint.addresses[0]));
                assert_eq!(missing, None, "in no slice");
            }
            let wanted: BTreeSet<(String, i32)> = members
                .iter()
                .map(|one| (one.endpoint.addresses[0].clone(), one.ports[0].port.expect("a port")))
                .collect();
            let mut found = Vec::new();
            for slice in self.slices.values() {
                let number = slice.ports.as_ref().and_then(|ports| ports[0].port).expect("a port");
                let addresses =
                    slice.endpoints.iter().flatten().map(|endpoint| endpoint.addresses[0].clone());
                let before = found.len();
                found.extend(addresses.map(|address| (address, number)));
                assert!((1..=SLICE).contains(&(found.len() - before)));
            }
            assert_eq!(found.len(), wanted.len(), "each is in one slice");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
            writes
        }

        fn shown(&self) -> BTreeSet<String> {
            let slices = self.slices.values().flat_map(|slice| slice.endpoints.iter().flatten());
            slices.map(|endpoint| endpoint.addresses[0].clone()).collect()
        }
    }

    #[test]
    fn one_endpoint_more_or_less_or_changed_is_one_write() {
        let mut world = World::default();
        let mut members: Vec<Member> = (0..250).map(|address| member(address, 80)).collect();
        assert_eq!(world.settle(&members, &[]), 3);
        assert_eq!(world.settle(&members, &members), 0, "nothing has changed");
        // The first of all in every order.
        let gone = members.remove(0);
        assert_eq!(world.settle(&members, &members), 1);
        members.insert(0, gone);
        let before = members[1..].to_vec();
        assert_eq!(world.settle(&members, &before), 1);
        members[120].endpoint.hostname = Some("db-0".to_owned());
        assert_eq!(world.settle(&members, &members), 1);
        // One comes and one goes.
        let before = members[1..].to_vec();
        members[0] = member(400, 80);
        assert_eq!(world.settle(&members, &before), 1);
        assert_eq!(world.slices.len(), 3);
    }

    #[test]
    fn an_endpoint_that_goes_to_another_slice_is_never_in_none() {
        let mut world = World::default();
        let mut members: Vec<Member> = (0..150).map(|address| member(address, 80)).collect();
        world.settle(&members, &[]);
        // Pods that have the port elsewhere, one after the other.
        for at in [0, 149, 70, 71] {
            members[at].ports = port(8080);
            assert!(world.settle(&members, &members) <= 3);
        }
        // Back, while others go there.
        members[0].ports = port(80);
        members[1].ports = port(8080);
        world.settle(&members, &members);
        // Each slice is for the other's ports, while one of each stays: who goes over is in one before it
        // leaves the other, whichever is written first.
        let mut crossed = World::default();
        let mut pairs: Vec<Member> =
            (0..200).map(|address| member(address, if address < 100 { 1 } else { 2 })).collect();
        crossed.settle(&pairs, &[]);
        for (address, one) in pairs.iter_mut().enumerate() {
            one.ports = port(if (address < 100) == (address % 100 < 60) { 3 } else { 4 });
        }
        crossed.settle(&pairs, &pairs);
        // All at once: slices are for other ports from now on.
        members.iter_mut().for_each(|member| member.ports = port(9090));
        world.settle(&members, &members);
        members.truncate(1);
        world.settle(&members, &members);
        assert_eq!(world.slices.len(), 1);
        world.settle(&[], &[]);
        assert!(world.slices.is_empty());
    }
}
