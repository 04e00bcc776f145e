//! Which resolver configuration whom gets.
//!
//! Where systemd's resolver runs, the host's file names only its stub at a loopback address, which a
//! container does not reach. What that resolver itself asks is in another file, and counts instead,
//! as it does for dockerd and the kubelet. Both are read anew each time: they change with the links.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::{Inner, NetworkId, NetworkKind};
use crate::{Config, ResolvConf, sandbox};

/// Where systemd's resolver listens: in full, and as a plain proxy.
const STUBS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54))];

/// For a container: by name through us in networks that know names, otherwise what the host asks.
pub(super) fn container(inner: &Inner, network: &NetworkId) -> ResolvConf {
    let mut conf = outside(inner);
    if knows_names(inner, network) {
        conf.nameservers = vec![sandbox::RESOLVER.into()];
        conf.options.retain(|option| !option.starts_with("ndots:"));
        conf.options.push("ndots:0".to_owned());
    }
    conf
}

/// Whether the containers of a network find each other by name.
pub(super) fn knows_names(inner: &Inner, network: &NetworkId) -> bool {
    inner.state.lock().networks().get(network).is_some_and(|network| network.kind == NetworkKind::User)
}

/// For a pod that looks in the cluster first.
pub(super) fn pod(inner: &Inner, namespace: &str) -> ResolvConf {
    let domain = &inner.config.cluster_domain;
    let mut search = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    search.extend(host(inner).search);
    ResolvConf { nameservers: inner.config.cluster_dns.clone(), search, options: vec!["ndots:5".to_owned()] }
}

/// The host's own, for whoever is in the host's network.
pub(super) fn host(inner: &Inner) -> ResolvConf {
    read(&inner.config.host_resolv_conf)
}

/// What the host asks, as far as it is reached from a network of its own.
pub(super) fn outside(inner: &Inner) -> ResolvConf {
    let mut conf = upstream(&inner.config);
    conf.nameservers.retain(|server| !server.is_loopback());
    if conf.nameservers.is_empty() {
        // The host asks itself, where a container cannot: we pass the question on.
        conf.nameservers = inner.config.cluster_dns.clone();
    }
    conf
}

/// Whom a question that is not ours is passed on to; may name a loopback address, which we reach.
pub(crate) fn upstream(config: &Config) -> ResolvConf {
    let conf = read(&config.host_resolv_conf);
    if conf.nameservers.is_empty() || !conf.nameservers.iter().all(|server| STUBS.contains(server)) {
        return conf;
    }
    let behind = read(&config.resolved_resolv_conf);
    if behind.nameservers.is_empty() {
        // It may have other ways than servers to ask, or not run yet.
        return conf;
    }
    ResolvConf { nameservers: behind.nameservers, ..conf }
}

fn read(path: &Path) -> ResolvConf {
    // Without the file there is nobody to ask, which is what an empty configuration says.
    offload::in_place(|| std::fs::read_to_string(path))
        .map_or_else(|_| ResolvConf::default(), |text| ResolvConf::parse(&text))
}
