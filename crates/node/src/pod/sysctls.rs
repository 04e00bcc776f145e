//! Which kernel parameters a pod may set.
//!
//! Only those are let through that are known to act on the pod alone: the kubelet's safe ones.
//! Source: <https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/>.

use k8s_openapi::api::core::v1::Pod;

/// Those that are safe in every pod with a namespace of its own for them.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Why a pod is not run: what the kubelet says of the reason `SysctlForbidden`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// It is not known to be safe.
    #[error("forbidden sysctl: \"{0}\" not allowlisted")]
    Unsafe(String),
    /// The pod is in the host's network.
    #[error("forbidden sysctl: \"{0}\" not allowed with host net enabled")]
    HostNetwork(String),
    /// The pod is in the host's IPC namespace.
    #[error("forbidden sysctl: \"{0}\" not allowed with host ipc enabled")]
    HostIpc(String),
}

/// Refuses a pod that asks for a kernel parameter that it may not set.
pub fn check(pod: &Pod) -> Result<(), Forbidden> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let listed = spec.security_context.as_ref().and_then(|security| security.sysctls.as_ref());
    for sysctl in listed.into_iter().flatten() {
        let name = plain(&sysctl.name);
        if !SAFE.contains(&name.as_str()) {
            return Err(Forbidden::Unsafe(sysctl.name.clone()));
        }
        if name.starts_with("net.") && spec.host_network == Some(true) {
            return Err(Forbidden::HostNetwork(sysctl.name.clone()));
        }
        if name.starts_with("kernel.") && spec.host_ipc == Some(true) {
            return Err(Forbidden::HostIpc(sysctl.name.clone()));
        }
    }
    Ok(())
}

/// A name with dots between its words: where the first separator is a slash, the two are swapped.
pub fn plain(name: &str) -> String {
    if name.find(['.', '/']).is_none_or(|first| name.as_bytes()[first] == b'.') {
        return name.to_owned();
    }
    let swapped = |letter| match letter {
        '/' => '.',
        '.' => '/',
        letter => letter,
    };
    name.chars().map(swapped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check_spec(name: &str, more: serde_json::Value, expected: Result<(), &str>) {
        let mut spec = more;
        spec["containers"] = json!([]);
        spec["securityContext"] = json!({"sysctls": [{"name": name, "value": "1"}]});
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).expect("a pod");
        let found = check(&pod).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn only_parameters_that_are_safe_are_let_through() {
        check_spec("net.ipv4.tcp_syncookies", json!({}), Ok(()));
        check_spec("net/ipv4/tcp_syncookies", json!({}), Ok(()));
        check_spec("kernel.shm_rmid_forced", json!({}), Ok(()));
        check_spec("kernel.msgmax", json!({}), Err("forbidden sysctl: \"kernel.msgmax\" not allowlisted"));
        check_spec(
            "net.core.somaxconn",
            json!({}),
            Err("forbidden sysctl: \"net.core.somaxconn\" not allowlisted"),
        );
        check_spec("vm.swappiness", json!({}), Err("forbidden sysctl: \"vm.swappiness\" not allowlisted"));
        check_spec(
            "net.ipv4.tcp_syncookies",
            json!({"hostNetwork": true}),
            Err("forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled"),
        );
        check_spec(
            "kernel.shm_rmid_forced",
            json!({"hostIPC": true}),
            Err("forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host ipc enabled"),
        );
    }
}
