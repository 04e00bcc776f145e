//! Choosing subnets and addresses: pure.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::AddressPool;

/// Whether two subnets have an address in common.
pub(crate) fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The first subnet of `pools` that overlaps with none of `taken`.
pub(crate) fn free_subnet(pools: &[AddressPool], taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    pools
        .iter()
        .filter_map(|pool| pool.base.subnets(pool.size).ok())
        .flatten()
        .find(|candidate| !taken.iter().any(|net| overlap(*net, *candidate)))
}

/// The gateway that a subnet gets unless told otherwise: its host bits, or its first address.
pub(crate) fn default_gateway(subnet: Ipv4Net) -> Option<Ipv4Addr> {
    if subnet.addr() == subnet.network() { subnet.hosts().next() } else { Some(subnet.addr()) }
}

/// The next free address of `range` inside `subnet` after `last`, wrapping around.
///
/// Going on from the last one keeps a freed address unused for as long as possible, so that a
/// client that still remembers it does not reach somebody else.
pub(crate) fn free_address(
    subnet: Ipv4Net,
    range: Ipv4Net,
    last: Option<Ipv4Addr>,
    taken: &BTreeSet<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let usable = |address: &Ipv4Addr| {
        let edge =
            subnet.prefix_len() < 31 && (*address == subnet.network() || *address == subnet.broadcast());
        subnet.contains(address) && !edge && !taken.contains(address)
    };
    let (first, end) = (u32::from(range.network()), u32::from(range.broadcast()));
    let start = last.map(u32::from).filter(|last| (first..end).contains(last)).map_or(first, |last| last + 1);
    (start..=end).chain(first..start).map(Ipv4Addr::from).find(usable)
}

/// The hardware address that Docker derives from an address.
pub(crate) fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// A hardware address for a link of our own, made of random bytes: for one host, not for a group.
pub(crate) fn mac_from(random: [u8; 6]) -> [u8; 6] {
    const GROUP: u8 = 1;
    const LOCAL: u8 = 2;
    // Set in none of those that are made of an IP address (see [`mac_of`]).
    const OURS: u8 = 8;
    let mut mac = random;
    mac[0] = mac[0] & !GROUP | LOCAL | OURS;
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a subnet")
    }

    #[test]
    fn the_first_subnet_that_overlaps_with_none_is_taken() {
        let check = |taken: &[&str], expected: Option<&str>| {
            let pools = [
                AddressPool { base: net("172.17.0.0/16"), size: 16 },
                AddressPool { base: net("192.168.0.0/16"), size: 20 },
            ];
            let taken: Vec<_> = taken.iter().map(|text| net(text)).collect();
            assert_eq!(free_subnet(&pools, &taken), expected.map(net), "taken: {taken:?}");
        };
        check(&[], Some("172.17.0.0/16"));
        check(&["172.17.5.0/24"], Some("192.168.0.0/20"));
        check(&["172.16.0.0/12", "192.168.1.0/24"], Some("192.168.16.0/20"));
        check(&["172.16.0.0/12", "192.168.0.0/16"], None);
    }

    #[test]
    fn addresses_go_on_from_the_last_one_and_skip_what_is_taken() {
        let check = |range: &str, last: Option<&str>, taken: &[&str], expected: Option<&str>| {
            let parse = |text: &&str| text.parse::<Ipv4Addr>().expect("an address");
            let taken = taken.iter().map(parse).collect();
            let found = free_address(net("10.0.0.0/29"), net(range), last.as_ref().map(parse), &taken);
            assert_eq!(found, expected.as_ref().map(parse), "{range} after {last:?} without {taken:?}");
        };
        check("10.0.0.0/29", None, &["10.0.0.1"], Some("10.0.0.2"));
        check("10.0.0.0/29", Some("10.0.0.3"), &["10.0.0.1"], Some("10.0.0.4"));
        check("10.0.0.0/29", Some("10.0.0.6"), &["10.0.0.1"], Some("10.0.0.2"));
        check("10.0.0.4/30", None, &[], Some("10.0.0.4"));
        check("10.0.0.4/30", Some("10.0.0.1"), &["10.0.0.4"], Some("10.0.0.5"));
        check("10.0.0.4/30", None, &["10.0.0.4", "10.0.0.5", "10.0.0.6"], None);
    }

    #[test]
    fn the_gateway_is_the_first_address_unless_host_bits_name_another() {
        assert_eq!(default_gateway(net("172.17.0.0/16")), Some(Ipv4Addr::new(172, 17, 0, 1)));
        assert_eq!(default_gateway(net("172.17.0.5/16")), Some(Ipv4Addr::new(172, 17, 0, 5)));
    }
}
