//! Taking everything of an instance out of the kernel.

use super::open::{FORWARDING, forwarding_of};
use super::{Inner, Strangers, gate};
use crate::KernelError;
use crate::link::Link;

/// Removes links, rules and what is kept on disk.
pub(super) fn teardown(inner: &Inner) -> Result<(), KernelError> {
    let name = &inner.config.instance;
    let failed = |what: String| move |source| KernelError::new(what, source);
    inner.table.lock().remove().map_err(failed(format!("remove nftables table `{name}`")))?;
    let mut links = inner.links.lock();
    let gate = gate::names(&inner.config).0;
    let all = links.list().map_err(failed("list links".to_owned()))?;
    if all.iter().any(|link| link.kind == "veth" && link.name == gate) {
        links.remove(&gate).map_err(failed(format!("remove link `{gate}`")))?;
    }
    inner.driver.clear(&[], &[])?;
    let owners = inner.pins.owners();
    let given_up = owners.and_then(|owners| owners.iter().try_for_each(|owner| inner.pins.give_up(owner)));
    given_up.map_err(failed("give up network namespaces".to_owned()))?;
    close_the_way(&inner.state.lock().strangers, &links.list().map_err(failed("list links".to_owned()))?);
    inner.disk.clear().map_err(|error| {
        KernelError::new(format!("remove network state `{}`", error.path.display()), error.source)
    })?;
    inner.state.lock().clear();
    Ok(())
}

/// Has the host pass nothing on again, where we had it do so and no link has come since that may need it.
fn close_the_way(strangers: &Strangers, links: &[Link]) {
    let is_as_before = links.iter().all(|link| link.name == "lo" || strangers.all.contains(&link.name));
    // Of a guess nothing follows: the host may have been a router before us.
    if strangers.all.is_empty() || strangers.guessed || !is_as_before {
        return;
    }
    tracing::info!("turning off forwarding of packets (net.ipv4.ip_forward)");
    if let Err(error) = std::fs::write(FORWARDING, "0") {
        tracing::warn!(%error, "turn off `{FORWARDING}`");
        return;
    }
    // Which turned off those of single links too, of which some were on.
    for link in strangers.all.iter().filter(|link| !strangers.barred.contains(link)) {
        let switch = forwarding_of(link);
        match std::fs::write(&switch, "1") {
            // It has gone meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "turn on `{switch}` as before"),
            Ok(()) => {}
        }
    }
}
