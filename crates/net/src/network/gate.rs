//! The gate: a cable with both ends on the host, by which connections from outside to published
//! ports pass the host's own input rules before they are translated.

use std::net::IpAddr;

use super::{Inner, tag};
use crate::driver::random_mac;
use crate::link::{Links, Route, ipv6_disable};
use crate::plan::{GATE_ADDRESS, GATE_NEIGHBOUR, Gate};
use crate::{Config, KernelError};

/// Names of the two ends: where copies go out, where they come back.
pub(super) fn names(config: &Config) -> (String, String) {
    let tag = tag(&config.instance);
    (format!("{tag}-gate"), format!("{tag}-gated"))
}

/// Whether packets that come back by the link `back` are dropped for where they claim to be from.
pub(super) fn strict(back: &str) -> bool {
    let value = |of: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{of}/rp_filter"));
        text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0u8)
    };
    value("all").max(value(back)) == 1
}

/// Makes the gate, if it is not there.
pub(super) fn open(inner: &Inner) -> Result<(), KernelError> {
    let (out, back) = names(&inner.config);
    let mut links = inner.links.lock();
    let gate = make(&mut links, &out, &back)
        .map_err(|source| KernelError::new(format!("make links `{out}` and `{back}`"), source))?;
    inner.state.lock().gate = Some(gate);
    Ok(())
}

fn make(links: &mut Links, out: &str, back: &str) -> std::io::Result<Gate> {
    if links.find(out)?.is_none() {
        links.cable_add((out, random_mac()), (back, random_mac()))?;
    }
    ipv6_disable(out)?;
    ipv6_disable(back)?;
    let missing = std::io::ErrorKind::NotFound;
    let there = links.find(out)?.ok_or(missing)?;
    let here = links.find(back)?.ok_or(missing)?;
    // What checks sources by the route back takes a link with an address only.
    links.address_add(here.index, IpAddr::from(GATE_ADDRESS).into())?;
    links.cable_up(there.index)?;
    links.cable_up(here.index)?;
    links.neighbour_set(there.index, GATE_NEIGHBOUR.into(), here.mac)?;
    // One for each instance, told apart by the link.
    let route = Route {
        destination: IpAddr::from(GATE_NEIGHBOUR).into(),
        gateway: None,
        link: there.index,
        metric: there.index,
    };
    links.route_replace(route)?;
    Ok(Gate { out: there.index, back: back.to_owned() })
}
