//! The host's own addresses, read from procfs: no interface is asked one by one.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The host's addresses on which clients may reach it; link-local ones are left out.
pub(super) fn host_addresses() -> BTreeSet<IpAddr> {
    // Either file may be missing where that protocol is off; then there are no such addresses.
    let read = |path| offload::in_place(|| std::fs::read_to_string(path)).unwrap_or_default();
    let (v4, v6) = (read("/proc/net/fib_trie"), read("/proc/net/if_inet6"));
    let mut addresses = parse_fib_trie(&v4);
    addresses.extend(parse_if_inet6(&v6));
    addresses
}

/// The kernel's name of this host.
pub(super) fn host_name() -> Option<String> {
    let name = offload::in_place(|| std::fs::read_to_string("/proc/sys/kernel/hostname")).ok()?;
    let name = name.trim();
    let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    valid.then(|| name.to_owned())
}

/// In the trie, a line `|-- 10.0.0.2` followed by `/32 host LOCAL` is an address of the host.
fn parse_fib_trie(text: &str) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in text.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse().ok();
        } else if line.contains("/32 host LOCAL")
            && let Some(address) = last
            && !address.is_link_local()
        {
            found.insert(IpAddr::V4(address));
        }
    }
    found
}

/// Each line begins with 32 hexadecimal digits of an address; the fourth field is its scope.
fn parse_if_inet6(text: &str) -> BTreeSet<IpAddr> {
    const LINK_SCOPE: &str = "20";
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let address = u128::from_str_radix(fields.next()?, 16).ok()?;
            let scope = fields.nth(2)?;
            (scope != LINK_SCOPE).then(|| IpAddr::V6(Ipv6Addr::from(address)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_addresses_are_found_in_the_kernels_tables() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                    |-- 10.0.0.2\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(parse_fib_trie(trie), BTreeSet::from(["10.0.0.2".parse().expect("an address")]));
        let inet6 = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe800000000000000000000000000001 02 40 20 80     eth0\n";
        assert_eq!(parse_if_inet6(inet6), BTreeSet::from(["::1".parse().expect("an address")]));
    }
}
