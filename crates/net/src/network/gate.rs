//! The gate: a cable with both ends on the host, by which connections from outside to published
//! ports pass the host's own input rules before they are translated.

use super::{Inner, tag};
use crate::KernelError;
use crate::link::{Links, Route};
use crate::plan::{GATE_NEIGHBOUR, Gate};

/// Refuses packets whose source is not reached by the link that they came in by.
const STRICT: &str = "/proc/sys/net/ipv4/conf/all/rp_filter";

/// Names of the two ends: where copies go out, where they come back.
pub(super) fn names(inner: &Inner) -> (String, String) {
    let tag = tag(&inner.config.instance);
    (format!("{tag}-gate"), format!("{tag}-gated"))
}

/// Whether this host drops whatever comes back by the gate.
pub(super) fn strict() -> bool {
    std::fs::read_to_string(STRICT).is_ok_and(|value| value.trim() == "1")
}

/// Makes the gate, if it is not there and can work here.
pub(super) fn open(inner: &Inner) -> Result<(), KernelError> {
    if strict() {
        tracing::warn!("`{STRICT}` is 1: published ports are not subject to the host's input rules");
        return Ok(());
    }
    let (out, back) = names(inner);
    let mut links = inner.links.lock();
    let gate = make(&mut links, &out, &back)
        .map_err(|source| KernelError::new(format!("make links `{out}` and `{back}`"), source))?;
    inner.state.lock().gate = Some(gate);
    Ok(())
}

fn make(links: &mut Links, out: &str, back: &str) -> std::io::Result<Gate> {
    if links.find(out)?.is_none() {
        links.cable_add(out, back)?;
    }
    let missing = std::io::ErrorKind::NotFound;
    let there = links.find(out)?.ok_or(missing)?;
    let here = links.find(back)?.ok_or(missing)?;
    links.cable_up(there.index)?;
    links.cable_up(here.index)?;
    links.neighbour_set(there.index, GATE_NEIGHBOUR, here.mac)?;
    // One for each instance, told apart by the link.
    let route =
        Route { destination: GATE_NEIGHBOUR.into(), gateway: None, link: there.index, metric: there.index };
    links.route_replace(route)?;
    Ok(Gate { out: there.index, back: back.to_owned() })
}
