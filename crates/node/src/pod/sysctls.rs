//! Which kernel parameters a pod may set.
//!
//! Only those are let through that act on the pod alone: the kubelet's safe ones, and of those that have a
//! namespace what the node's owner allows.
//! Source: <https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/>.

use std::str::FromStr;

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

/// Bytes of a name.
const LONGEST: usize = 253;

/// The namespace that a kernel parameter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Network,
}

impl Namespace {
    /// That of a parameter with dots between its words; nothing if it is the whole machine's.
    fn of(name: &str) -> Option<Self> {
        let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        match () {
            () if name == "kernel.sem" || begins(&["kernel.shm", "kernel.msg", "fs.mqueue."]) => {
                Some(Self::Ipc)
            }
            () if begins(&["net."]) => Some(Self::Network),
            () => None,
        }
    }
}

/// Kernel parameters that pods may set besides the safe ones, as the kubelet's `allowedUnsafeSysctls`: names,
/// and beginnings of names before a `*`, with commas between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedSysctls(Vec<String>);

/// Why kernel parameters cannot be allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowedSysctlsError {
    /// It is no name.
    #[error("\"{0}\" is no name of a kernel parameter, nor the beginning of one before a `*`")]
    Form(String),
    /// It would be set for the whole machine.
    #[error("the sysctls \"{0}\" are not known to be namespaced")]
    NotNamespaced(String),
}

impl FromStr for AllowedSysctls {
    type Err = AllowedSysctlsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let listed = text.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
        let patterns = listed.map(|pattern| {
            let begins = pattern.strip_suffix('*').unwrap_or(pattern);
            let known =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_./".contains(&byte);
            if begins.is_empty() || begins.len() > LONGEST || !begins.bytes().all(known) {
                return Err(AllowedSysctlsError::Form(pattern.to_owned()));
            }
            let plain = plain(pattern);
            match Namespace::of(plain.trim_end_matches('*')) {
                Some(_) => Ok(plain),
                None => Err(AllowedSysctlsError::NotNamespaced(pattern.to_owned())),
            }
        });
        patterns.collect::<Result<_, _>>().map(Self)
    }
}

impl AllowedSysctls {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(begins) => name.starts_with(begins),
            None => pattern == name,
        })
    }
}

/// Why a pod is not run: what the kubelet says of the reason `SysctlForbidden`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// It is neither known to be safe, nor allowed.
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
pub fn check(pod: &Pod, allowed: &AllowedSysctls) -> Result<(), Forbidden> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let listed = spec.security_context.as_ref().and_then(|security| security.sysctls.as_ref());
    for sysctl in listed.into_iter().flatten() {
        let name = plain(&sysctl.name);
        match Namespace::of(&name) {
            Some(_) if !SAFE.contains(&name.as_str()) && !allowed.has(&name) => {
                return Err(Forbidden::Unsafe(name));
            }
            Some(Namespace::Network) if spec.host_network == Some(true) => {
                return Err(Forbidden::HostNetwork(name));
            }
            Some(Namespace::Ipc) if spec.host_ipc == Some(true) => return Err(Forbidden::HostIpc(name)),
            Some(_) => {}
            None => return Err(Forbidden::Unsafe(name)),
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
    fn check_allowed(allowed: &str, name: &str, more: serde_json::Value, expected: Result<(), &str>) {
        let mut spec = more;
        spec["containers"] = json!([]);
        spec["securityContext"] = json!({"sysctls": [{"name": name, "value": "1"}]});
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).expect("a pod");
        let allowed = allowed.parse().expect("names that can be allowed");
        let found = check(&pod, &allowed).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(|message| format!("forbidden sysctl: {message}")));
    }

    #[track_caller]
    fn check_spec(name: &str, more: serde_json::Value, expected: Result<(), &str>) {
        check_allowed("", name, more, expected);
    }

    #[test]
    fn only_parameters_that_are_safe_are_let_through() {
        check_spec("net.ipv4.tcp_syncookies", json!({}), Ok(()));
        check_spec("net/ipv4/tcp_syncookies", json!({}), Ok(()));
        check_spec("kernel.shm_rmid_forced", json!({}), Ok(()));
        check_spec("kernel.msgmax", json!({}), Err("\"kernel.msgmax\" not allowlisted"));
        check_spec("kernel/msgmax", json!({}), Err("\"kernel.msgmax\" not allowlisted"));
        check_spec("net.core.somaxconn", json!({}), Err("\"net.core.somaxconn\" not allowlisted"));
        check_spec("vm.swappiness", json!({}), Err("\"vm.swappiness\" not allowlisted"));
        let host = json!({"hostNetwork": true, "hostIPC": true});
        check_spec(
            "net.ipv4.tcp_syncookies",
            host.clone(),
            Err("\"net.ipv4.tcp_syncookies\" not allowed with host net enabled"),
        );
        check_spec(
            "kernel.shm_rmid_forced",
            host.clone(),
            Err("\"kernel.shm_rmid_forced\" not allowed with host ipc enabled"),
        );
        check_spec("net.core.somaxconn", host, Err("\"net.core.somaxconn\" not allowlisted"));
    }

    #[test]
    fn what_the_node_allows_is_let_through_where_the_pod_has_it_for_itself() {
        let allowed = "net/core/somaxconn, kernel.msg*";
        check_allowed(allowed, "net.core.somaxconn", json!({}), Ok(()));
        check_allowed(allowed, "kernel.msgmax", json!({}), Ok(()));
        check_allowed(allowed, "kernel.sem", json!({}), Err("\"kernel.sem\" not allowlisted"));
        check_allowed(
            allowed,
            "kernel.msgmax",
            json!({"hostIPC": true}),
            Err("\"kernel.msgmax\" not allowed with host ipc enabled"),
        );
    }

    #[test]
    fn nothing_is_allowed_that_is_the_whole_machine_s() {
        let refused = |text: &str| text.parse::<AllowedSysctls>().expect_err("refused").to_string();
        for text in ["vm.swappiness", "*", "kernel.*", "kernel.shm*,kernel.panic", "net.core.somaxconn;x"] {
            let said = refused(text);
            assert!(said.contains("not known to be namespaced") || said.contains("is no name"), "{said}");
        }
        assert_eq!("".parse(), Ok(AllowedSysctls::default()));
    }
}
