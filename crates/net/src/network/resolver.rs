//! Which resolver configuration whom gets.

use std::net::IpAddr;
use std::path::Path;

use super::{Inner, NetworkId, NetworkKind};
use crate::{ResolvConf, sandbox};

/// What systemd's resolver, itself at a loopback address, asks.
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// For a container: by name through us in user-defined networks, otherwise what the host asks.
pub(super) fn container(inner: &Inner, network: &NetworkId) -> ResolvConf {
    let user =
        inner.state.lock().networks.get(network).is_some_and(|network| network.kind == NetworkKind::User);
    let mut conf = host(inner);
    if user {
        conf.nameservers = vec![sandbox::RESOLVER.into()];
        conf.options.retain(|option| !option.starts_with("ndots:"));
        conf.options.push("ndots:0".to_owned());
        return conf;
    }
    conf.nameservers.retain(|server| !server.is_loopback());
    if conf.nameservers.is_empty() {
        conf.nameservers = read(Path::new(BEHIND_RESOLVED)).nameservers;
        conf.nameservers.retain(|server| !server.is_loopback());
    }
    if conf.nameservers.is_empty() {
        // The host asks itself, where a container cannot: we pass the question on.
        conf.nameservers = vec![inner.config.cluster_dns.into()];
    }
    conf
}

/// For a pod that looks in the cluster first.
pub(super) fn pod(inner: &Inner, namespace: &str) -> ResolvConf {
    let domain = &inner.config.cluster_domain;
    let mut search = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    search.extend(host(inner).search);
    ResolvConf {
        nameservers: vec![IpAddr::V4(inner.config.cluster_dns)],
        search,
        options: vec!["ndots:5".to_owned()],
    }
}

/// The host's own.
pub(super) fn host(inner: &Inner) -> ResolvConf {
    read(&inner.config.host_resolv_conf)
}

fn read(path: &Path) -> ResolvConf {
    // Without the file there is nobody to ask, which is what an empty configuration says.
    std::fs::read_to_string(path).map_or_else(|_| ResolvConf::default(), |text| ResolvConf::parse(&text))
}
