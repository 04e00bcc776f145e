//! What of the host pods may see and change.

use serde_json::Value;

use super::{Finding, Pod, distinct, items, name, of_containers, plural, quoted, text};

pub(super) fn namespaces(pod: &Pod<'_>) -> Option<Finding> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[*field] == true);
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    (!shared.is_empty()).then(|| Finding::new("host namespaces", shared.join(", ")))
}

pub(super) fn ports(pod: &Pod<'_>) -> Option<Finding> {
    fn taken(container: &Value) -> impl Iterator<Item = i64> {
        items(&container["ports"]).filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0)
    }
    let containers = pod.containers_that(|container| taken(container).next().is_some());
    // In the order of their texts.
    let ports: Vec<String> = pod.containers().flat_map(taken).map(|port| port.to_string()).collect();
    let ports: Vec<&str> = distinct(ports.iter().map(String::as_str)).into_iter().collect();
    (!containers.is_empty()).then(|| {
        let detail = format!(
            "{} {} {} {}",
            of_containers(&containers),
            plural("uses", "use", containers.len()),
            plural("hostPort", "hostPorts", ports.len()),
            ports.join(", ")
        );
        Finding::new("hostPort", detail)
    })
}

/// The hosts that the probes and hooks of a container ask, where they do not ask the pod itself.
fn asked(container: &Value) -> impl Iterator<Item = &str> {
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| &container[probe]);
    let hooks = ["postStart", "preStop"].map(|hook| &container["lifecycle"][hook]);
    probes.into_iter().chain(hooks).flat_map(hosts).filter(|host| !host.is_empty())
}

/// The hosts that one of them names, in whichever way it asks.
fn hosts(handler: &Value) -> [&str; 2] {
    ["httpGet", "tcpSocket"].map(|kind| text(&handler[kind], "host"))
}

pub(super) fn probes_and_hooks(pod: &Pod<'_>) -> Option<Finding> {
    let containers = distinct(pod.containers_that(|container| asked(container).next().is_some()));
    let containers: Vec<&str> = containers.into_iter().collect();
    let hosts = distinct(pod.containers().flat_map(asked));
    (!containers.is_empty()).then(|| {
        let detail = format!(
            "{} {} {} {}",
            of_containers(&containers),
            plural("uses", "use", containers.len()),
            plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len()),
            quoted(hosts)
        );
        Finding::new("probe or lifecycle host", detail)
    })
}

pub(super) fn proc_mounts(pod: &Pod<'_>) -> Option<Finding> {
    let mount = |container: &Value| container["securityContext"]["procMount"].as_str().map(str::to_owned);
    let bad = |container: &Value| mount(container).filter(|mount| mount != "Default");
    let containers = pod.containers_that(|container| bad(container).is_some());
    let mounts: Vec<String> = pod.containers().filter_map(bad).collect();
    (!containers.is_empty()).then(|| {
        let (containers, mounts) =
            (of_containers(&containers), quoted(distinct(mounts.iter().map(String::as_str))));
        Finding::new("procMount", format!("{containers} must not set securityContext.procMount to {mounts}"))
    })
}

pub(super) fn proc_mounts_of_host_users(pod: &Pod<'_>) -> Option<Finding> {
    if pod.has_own_users() { None } else { proc_mounts(pod) }
}

pub(super) fn windows_processes(pod: &Pod<'_>) -> Option<Finding> {
    let setters = pod.setters(|context| context["windowsOptions"]["hostProcess"] == true);
    (!setters.is_empty()).then(|| {
        let setters = setters.join(" and ");
        Finding::new(
            "hostProcess",
            format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"),
        )
    })
}

/// Kernel parameters that are the pod's own, in the order in which they were found to be so.
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn sysctls_of(pod: &Pod<'_>, allowed: &[&str]) -> Option<Finding> {
    let set = items(&pod.security()["sysctls"]).map(name);
    let forbidden: Vec<&str> = set.filter(|name| !allowed.contains(name)).collect();
    (!forbidden.is_empty()).then(|| Finding::new("forbidden sysctls", forbidden.join(", ")))
}

pub(super) fn sysctls(pod: &Pod<'_>) -> Option<Finding> {
    sysctls_of(pod, &SYSCTLS[..5])
}

pub(super) fn sysctls_27(pod: &Pod<'_>) -> Option<Finding> {
    sysctls_of(pod, &SYSCTLS[..6])
}

pub(super) fn sysctls_29(pod: &Pod<'_>) -> Option<Finding> {
    sysctls_of(pod, &SYSCTLS[..10])
}

pub(super) fn sysctls_32(pod: &Pod<'_>) -> Option<Finding> {
    sysctls_of(pod, &SYSCTLS)
}
