//! Choosing subnets and addresses: pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::AddressPool;

/// Whether two subnets have an address in common.
pub(crate) fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The first subnet of `pools` that overlaps with none of `taken`.
pub(crate) fn free_subnet(pools: &[AddressPool], taken: &[IpNet]) -> Option<IpNet> {
    pools
        .iter()
        .filter_map(|pool| pool.base.subnets(pool.size).ok())
        .flatten()
        .find(|candidate| !taken.iter().any(|net| overlap(*net, *candidate)))
}

/// The gateway that a subnet gets unless told otherwise: its host bits, or its first address.
pub(crate) fn default_gateway(subnet: IpNet) -> Option<IpAddr> {
    if subnet.addr() != subnet.network() {
        return Some(subnet.addr());
    }
    // The first of a subnet of IPv6 means any router of it (RFC 4291, 2.6.1).
    subnet.hosts().find(|address| address.is_ipv4() || *address != subnet.network())
}

/// The next free address of `range` inside `subnet` after `last`, wrapping around; the lowest without `last`.
///
/// Going on from the last one keeps a freed address unused for as long as possible, so that a
/// client that still remembers it does not reach somebody else.
pub(crate) fn free_address(
    subnet: IpNet,
    range: IpNet,
    last: Option<IpAddr>,
    taken: &BTreeSet<IpAddr>,
) -> Option<IpAddr> {
    let is_v4 = subnet.addr().is_ipv4();
    let usable = |address: &IpAddr| {
        // A subnet of IPv6 has no broadcast.
        let edge = subnet.prefix_len() < subnet.max_prefix_len() - 1
            && (*address == subnet.network() || (is_v4 && *address == subnet.broadcast()));
        subnet.contains(address) && !edge && !taken.contains(address)
    };
    let (first, end) = (number(range.network()), number(range.broadcast()));
    let start = last.map(number).filter(|last| (first..end).contains(last)).map_or(first, |last| last + 1);
    let address = |number: u128| match u32::try_from(number) {
        Ok(number) if is_v4 => Ipv4Addr::from(number).into(),
        _ => Ipv6Addr::from(number).into(),
    };
    (start..=end).chain(first..start).map(address).find(usable)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The hardware address that Docker derives from an address; the end of it, for one of IPv6.
pub(crate) fn mac_of(address: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [a, b, c, d]
        }
    };
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

    fn net(text: &str) -> IpNet {
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
            let parse = |text: &&str| text.parse::<IpAddr>().expect("an address");
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
    fn subnets_of_ipv6_are_gone_through_as_others_are() {
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        let next = |last: Option<&str>| {
            let (subnet, taken) = (net("fd00::/64"), [parse("fd00::1")].into());
            free_address(subnet, subnet, last.map(parse), &taken)
        };
        assert_eq!(next(None), Some(parse("fd00::2")));
        assert_eq!(next(Some("fd00::2")), Some(parse("fd00::3")));
        assert_eq!(next(Some("fd00::ffff:ffff:ffff:fffe")), Some(parse("fd00::ffff:ffff:ffff:ffff")));
        assert!(!overlap(net("0.0.0.0/0"), net("::/0")), "they have no address in common");
    }

    #[test]
    fn the_gateway_is_the_first_address_unless_host_bits_name_another() {
        let check =
            |subnet: &str, expected: &str| assert_eq!(default_gateway(net(subnet)), expected.parse().ok());
        check("172.17.0.0/16", "172.17.0.1");
        check("172.17.0.5/16", "172.17.0.5");
        check("fd00::/64", "fd00::1");
    }
}
