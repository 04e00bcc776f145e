//! A pod's sandbox, in the runtime's words.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::container_spec::protocol;
use super::groups;
use super::resources::quality_of_service;
use crate::runtime::{Dns, PodMetadata, PodNetwork, PodSandboxConfig, Port, PortMapping};

/// What a sandbox is made from, besides the pod.
pub struct Context<'a> {
    /// The cluster's DNS server.
    pub cluster_dns: IpAddr,
    /// The cluster's domain.
    pub cluster_domain: &'a str,
    /// The host's own name resolution.
    pub host_dns: &'a Dns,
}

/// What the sandbox of `pod` should be.
pub fn sandbox_spec(context: &Context<'_>, pod: &Pod) -> PodSandboxConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let host_network = spec.host_network.unwrap_or(false);
    let name = pod.metadata.name.clone().unwrap_or_default();
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    PodSandboxConfig {
        hostname: match host_network {
            true => String::new(),
            false => full_hostname(&spec, &name, &namespace, context.cluster_domain),
        },
        network: if host_network { PodNetwork::Host } else { PodNetwork::Pod },
        host_pid: spec.host_pid.unwrap_or(false),
        share_pid: spec.share_process_namespace.unwrap_or(false),
        host_ipc: spec.host_ipc.unwrap_or(false),
        own_users: spec.host_users == Some(false),
        dns: dns(context, &spec, &namespace),
        port_mappings: if host_network { Vec::new() } else { host_ports(&spec) },
        cgroup_parent: groups::parent(quality_of_service(pod)).to_owned(),
        resources: groups::of_pod(pod),
        sysctls: sysctls(&spec),
        metadata: metadata(pod),
    }
}

/// Which pod this is, in the runtime's words.
pub fn metadata(pod: &Pod) -> PodMetadata {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    PodMetadata {
        name: text(&pod.metadata.name),
        namespace: text(&pod.metadata.namespace),
        uid: text(&pod.metadata.uid),
    }
}

/// The pod's host name: its own wish, or its name cut to what the kernel takes.
pub fn hostname(spec: &PodSpec, name: &str) -> String {
    let wanted = spec.hostname.as_deref().filter(|hostname| !hostname.is_empty()).unwrap_or(name);
    let cut = &wanted[..wanted.len().min(63)];
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// Bytes of the longest host name that the kernel takes.
pub const LONGEST_HOSTNAME: usize = 64;

/// What the pod's host is called inside: its name with its domain where it wants that.
pub fn full_hostname(spec: &PodSpec, name: &str, namespace: &str, domain: &str) -> String {
    let hostname = hostname(spec, name);
    match spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty()) {
        Some(subdomain) if spec.set_hostname_as_fqdn == Some(true) => {
            format!("{hostname}.{subdomain}.{namespace}.svc.{domain}")
        }
        _ => hostname,
    }
}

/// Name resolution by `dnsPolicy`, with `dnsConfig` on top.
fn dns(context: &Context<'_>, spec: &PodSpec, namespace: &str) -> Dns {
    let host_network = spec.host_network.unwrap_or(false);
    let mut dns = match spec.dns_policy.as_deref() {
        Some("None") => Dns::default(),
        Some("Default") => context.host_dns.clone(),
        Some("ClusterFirstWithHostNet") => cluster_dns(context, namespace),
        _ if host_network => context.host_dns.clone(),
        _ => cluster_dns(context, namespace),
    };
    if let Some(extra) = &spec.dns_config {
        let servers = extra.nameservers.iter().flatten().filter_map(|server| server.parse().ok());
        dns.servers = unique(dns.servers.into_iter().chain(servers));
        dns.searches = unique(dns.searches.into_iter().chain(extra.searches.iter().flatten().cloned()));
        for option in extra.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            dns.options.retain(|known| known.split(':').next() != Some(name.as_str()));
            dns.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    dns
}

fn cluster_dns(context: &Context<'_>, namespace: &str) -> Dns {
    let domain = context.cluster_domain;
    let cluster = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
    Dns {
        servers: vec![context.cluster_dns],
        searches: unique(cluster.into_iter().chain(context.host_dns.searches.iter().cloned())),
        options: vec!["ndots:5".to_owned()],
    }
}

fn unique<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(Vec::new(), |mut seen, item| {
        if !seen.contains(&item) {
            seen.push(item);
        }
        seen
    })
}

fn host_ports(spec: &PodSpec) -> Vec<PortMapping> {
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let host_port = u16::try_from(port.host_port?).ok().filter(|&port| port > 0)?;
            Some(PortMapping {
                container: Port {
                    number: u16::try_from(port.container_port).ok()?,
                    protocol: protocol(port.protocol.as_deref()),
                },
                host_address: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
                host_port,
            })
        })
        .collect()
}

fn sysctls(spec: &PodSpec) -> std::collections::BTreeMap<String, String> {
    let listed = spec.security_context.as_ref().and_then(|security| security.sysctls.as_ref());
    listed
        .into_iter()
        .flatten()
        .map(|sysctl| (super::sysctls::plain(&sysctl.name), sysctl.value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(spec: serde_json::Value) -> PodSandboxConfig {
        let mut spec = spec;
        spec["containers"] = spec.get("containers").cloned().unwrap_or(json!([]));
        let pod = json!({"metadata": {"name": "web-0", "namespace": "shop", "uid": "u"}, "spec": spec});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let host = Dns {
            servers: vec!["9.9.9.9".parse().expect("an address")],
            searches: vec!["lan".to_owned()],
            options: vec![],
        };
        let context = Context {
            cluster_dns: "10.43.0.10".parse().expect("an address"),
            cluster_domain: "cluster.local",
            host_dns: &host,
        };
        sandbox_spec(&context, &pod)
    }

    fn dns_text(dns: &Dns) -> String {
        let servers: Vec<_> = dns.servers.iter().map(ToString::to_string).collect();
        format!("{} | {} | {}", servers.join(" "), dns.searches.join(" "), dns.options.join(" "))
    }

    #[test]
    fn names_resolve_by_the_dns_policy() {
        let cluster = "10.43.0.10 | shop.svc.cluster.local svc.cluster.local cluster.local lan | ndots:5";
        assert_eq!(dns_text(&spec(json!({})).dns), cluster);
        assert_eq!(dns_text(&spec(json!({"dnsPolicy": "Default"})).dns), "9.9.9.9 | lan | ");
        assert_eq!(dns_text(&spec(json!({"hostNetwork": true})).dns), "9.9.9.9 | lan | ");
        assert_eq!(
            dns_text(&spec(json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"})).dns),
            cluster
        );
        let config = json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]}});
        assert_eq!(dns_text(&spec(config).dns), "1.1.1.1 |  | ndots:2");
    }

    #[test]
    fn a_pod_with_a_subdomain_is_called_by_its_full_name_where_it_wants_that() {
        let found = spec(json!({"subdomain": "web"}));
        assert_eq!(found.hostname, "web-0");
        let found = spec(json!({"subdomain": "web", "setHostnameAsFQDN": true}));
        assert_eq!(found.hostname, "web-0.web.shop.svc.cluster.local");
        assert_eq!(spec(json!({"setHostnameAsFQDN": true})).hostname, "web-0");
    }

    #[test]
    fn only_ports_with_a_host_port_are_published() {
        let ports = json!([{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP", "hostPort": 5353, "hostIP": "127.0.0.1"}]);
        let found = spec(json!({"containers": [{"name": "c", "ports": ports}]}));
        assert_eq!(found.port_mappings.len(), 1);
        assert_eq!((found.port_mappings[0].container.number, found.port_mappings[0].host_port), (53, 5353));
    }
}
