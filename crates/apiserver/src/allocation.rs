//! Which cluster addresses and node ports are taken, and by whom.
//!
//! Rebuilt from the services at start. What is taken belongs to a uid, so that a request that fails
//! afterwards gives back its own and nobody else's.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use base::Random;
use parking_lot::Mutex;

use crate::config::ServiceCidr;

/// The addresses and ports of services.
pub(crate) struct Allocations {
    cidr: ServiceCidr,
    ports: RangeInclusive<u16>,
    random: Arc<dyn Random>,
    taken: Mutex<Taken>,
}

/// Why something cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It lies outside the range.
    Outside,
    /// Someone else has it.
    Taken,
}

#[derive(Default)]
struct Taken {
    addresses: BTreeMap<Ipv4Addr, String>,
    ports: BTreeMap<u16, String>,
}

impl Allocations {
    pub(crate) fn new(cidr: ServiceCidr, ports: RangeInclusive<u16>, random: Arc<dyn Random>) -> Self {
        Self { cidr, ports, random, taken: Mutex::default() }
    }

    /// Takes one address; taking it again by the same uid is fine.
    pub(crate) fn take_address(&self, uid: &str, address: Ipv4Addr) -> Result<(), Refusal> {
        let last = self.cidr.nth(self.cidr.size() - 1);
        if !self.cidr.contains(address.into()) || self.cidr.nth(0) == Some(address) || last == Some(address) {
            return Err(Refusal::Outside);
        }
        take(&mut self.taken.lock().addresses, address, uid)
    }

    /// Takes any free address. The low part of the network is left for those that are named, such
    /// as the cluster's DNS server, until nothing else is free.
    pub(crate) fn any_address(&self, uid: &str) -> Option<Ipv4Addr> {
        let size = self.cidr.size();
        let low = (size / 16).clamp(16, 256).min(size - 1);
        let mut taken = self.taken.lock();
        let reserved = [self.cidr.api(), self.cidr.dns()];
        let mut any = |from: u32, until: u32| {
            let count = until.saturating_sub(from);
            let start = self.pick(count);
            (0..count)
                .filter_map(|i| self.cidr.nth(from + (start + i) % count))
                .find(|address| !reserved.contains(address) && !taken.addresses.contains_key(address))
                .inspect(|address| drop(taken.addresses.insert(*address, uid.to_owned())))
        };
        any(low, size - 1).or_else(|| any(1, low))
    }

    /// Takes one port; taking it again by the same uid is fine.
    pub(crate) fn take_port(&self, uid: &str, port: u16) -> Result<(), Refusal> {
        if !self.ports.contains(&port) {
            return Err(Refusal::Outside);
        }
        take(&mut self.taken.lock().ports, port, uid)
    }

    /// Takes any free port.
    pub(crate) fn any_port(&self, uid: &str) -> Option<u16> {
        let (first, last) = (u32::from(*self.ports.start()), u32::from(*self.ports.end()));
        let count = (last + 1).saturating_sub(first);
        let start = self.pick(count);
        let mut taken = self.taken.lock();
        let port = (0..count)
            .filter_map(|i| u16::try_from(first + (start + i) % count).ok())
            .find(|port| !taken.ports.contains_key(port))?;
        taken.ports.insert(port, uid.to_owned());
        Some(port)
    }

    /// From now on `uid` has these and nothing else.
    pub(crate) fn settle(&self, uid: &str, addresses: &[Ipv4Addr], ports: &[u16]) {
        let mut taken = self.taken.lock();
        taken.addresses.retain(|address, owner| owner != uid || addresses.contains(address));
        taken.ports.retain(|port, owner| owner != uid || ports.contains(port));
        for address in addresses {
            taken.addresses.entry(*address).or_insert_with(|| uid.to_owned());
        }
        for port in ports {
            taken.ports.entry(*port).or_insert_with(|| uid.to_owned());
        }
    }

    fn pick(&self, count: u32) -> u32 {
        let random = self.random.next_u64() % u64::from(count.max(1));
        u32::try_from(random).unwrap_or_default()
    }
}

fn take<K: Ord>(taken: &mut BTreeMap<K, String>, key: K, uid: &str) -> Result<(), Refusal> {
    match taken.get(&key) {
        Some(owner) if owner != uid => Err(Refusal::Taken),
        Some(_) => Ok(()),
        None => {
            taken.insert(key, uid.to_owned());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocations(cidr: &str) -> Allocations {
        Allocations::new(cidr.parse().expect("a network"), 30000..=30001, Arc::new(base::SystemRandom))
    }

    #[test]
    fn an_address_has_one_owner_until_it_lets_go() {
        let all = allocations("10.43.0.0/16");
        let address = Ipv4Addr::new(10, 43, 0, 10);
        assert_eq!(all.take_address("a", address), Ok(()));
        assert_eq!(all.take_address("a", address), Ok(()));
        assert_eq!(all.take_address("b", address), Err(Refusal::Taken));
        all.settle("b", &[], &[]);
        assert_eq!(all.take_address("b", address), Err(Refusal::Taken));
        all.settle("a", &[], &[]);
        assert_eq!(all.take_address("b", address), Ok(()));
        assert_eq!(all.take_address("b", Ipv4Addr::new(10, 44, 0, 1)), Err(Refusal::Outside));
    }

    #[test]
    fn a_full_range_says_so_and_never_gives_the_fixed_addresses_away() {
        let all = allocations("10.43.0.0/28");
        let mut given: Vec<Ipv4Addr> = Vec::new();
        while let Some(address) = all.any_address("a") {
            given.push(address);
        }
        // 16 addresses without the first, the last, the API's and the DNS server's.
        assert_eq!(given.len(), 12);
        assert!(!given.contains(&Ipv4Addr::new(10, 43, 0, 1)));
        assert!(!given.contains(&Ipv4Addr::new(10, 43, 0, 10)));
        assert!(all.any_port("a").is_some() && all.any_port("a").is_some());
        assert_eq!(all.any_port("a"), None);
    }
}
