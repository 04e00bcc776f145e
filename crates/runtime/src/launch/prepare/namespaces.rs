//! Namespaces, what belongs to them, and identity maps.

use std::ffi::CString;
use std::fmt::Write;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use super::super::plan::NamespacePlan;
use super::super::{Inherited, ProcessError};
use super::{c_string, host};
use crate::shim::descriptors::Descriptors;
use crate::spec::{IdMapping, Linux, NamespaceKind, Spec};

pub(super) fn prepare(
    spec: &Spec,
    linux: &Linux,
    inherited: Inherited,
    given: Option<&mut Descriptors>,
) -> Result<NamespacePlan, ProcessError> {
    check(linux)?;
    let mut plan = NamespacePlan { joins: joins(linux, given)?, ..NamespacePlan::default() };
    for namespace in linux.namespaces.iter().filter(|namespace| namespace.path.is_none()) {
        match namespace.kind {
            NamespaceKind::Cgroup => plan.new_cgroup = true,
            NamespaceKind::Time => plan.time_offsets = Some(time_offsets(linux)?),
            kind => plan.new |= kind.flag(),
        }
    }
    let has_uts = inherited.uts || linux.namespace(NamespaceKind::Uts).is_some();
    for (name, value) in [("hostname", &spec.hostname), ("domainname", &spec.domainname)] {
        if value.is_some() && !has_uts {
            return Err(ProcessError::invalid(format!("`{name}` needs a UTS namespace")));
        }
    }
    plan.user = linux.namespace(NamespaceKind::User).is_some();
    plan.loopback = plan.new & NamespaceKind::Network.flag() != 0;
    plan.hostname = spec.hostname.clone().filter(|name| !name.is_empty());
    plan.domainname = spec.domainname.clone().filter(|name| !name.is_empty());
    Ok(plan)
}

/// Opens the namespaces that are joined, the user namespace last: entering it gives up the rights
/// that the others need. Those that this process is in already are left out.
fn joins(linux: &Linux, mut given: Option<&mut Descriptors>) -> Result<Vec<(OwnedFd, u64)>, ProcessError> {
    let mut joins = Vec::new();
    let mut ordered: Vec<_> = linux.namespaces.iter().collect();
    ordered.sort_by_key(|namespace| namespace.kind == NamespaceKind::User);
    for namespace in ordered {
        let Some(path) = &namespace.path else { continue };
        let file = match &mut given {
            Some(given) => File::from(given.take_namespace(namespace.kind).ok_or_else(|| {
                let kind = namespace.kind.file();
                ProcessError::invalid(format!("the {kind} namespace to join was not handed over"))
            })?),
            None => File::open(path).map_err(|error| host("open namespace", path, error))?,
        };
        let theirs = file.metadata().map_err(|error| host("look at namespace", path, error))?;
        let own = std::fs::metadata(format!("/proc/self/ns/{}", namespace.kind.file()));
        let same = own.is_ok_and(|own| (own.dev(), own.ino()) == (theirs.dev(), theirs.ino()));
        if !same {
            joins.push((file.into(), namespace.kind.flag()));
        }
    }
    Ok(joins)
}

/// Kernel parameters, each of which must belong to a namespace that the container has for itself.
pub(super) fn sysctls(linux: &Linux, inherited: Inherited) -> Result<Vec<(CString, String)>, ProcessError> {
    linux
        .sysctl
        .iter()
        .map(|(name, value)| {
            let parts = sysctl_parts(name).ok_or_else(|| {
                ProcessError::invalid(format!("`{name}` is not the name of a kernel parameter"))
            })?;
            let path = format!("sys/{}", parts.join("/"));
            let name = parts.join(".");
            let owner = sysctl_owner(&name).ok_or_else(|| {
                ProcessError::invalid(format!("kernel parameter `{name}` belongs to the whole host"))
            })?;
            let has = linux.namespace(owner).is_some()
                || match owner {
                    NamespaceKind::Network => inherited.network,
                    NamespaceKind::Ipc => inherited.ipc,
                    _ => inherited.uts,
                };
            if !has {
                let kind = owner.file();
                return Err(ProcessError::invalid(format!(
                    "kernel parameter `{name}` needs a {kind} namespace"
                )));
            }
            Ok((c_string(path)?, value.clone()))
        })
        .collect()
}

/// A map in the form of `/proc/<pid>/uid_map`.
pub(in super::super) fn id_map(mappings: &[IdMapping]) -> String {
    mappings.iter().fold(String::new(), |mut text, mapping| {
        let _ = writeln!(text, "{} {} {}", mapping.container_id, mapping.host_id, mapping.size);
        text
    })
}

fn check(linux: &Linux) -> Result<(), ProcessError> {
    for (index, namespace) in linux.namespaces.iter().enumerate() {
        if linux.namespaces[..index].iter().any(|earlier| earlier.kind == namespace.kind) {
            let kind = namespace.kind.file();
            return Err(ProcessError::invalid(format!("the {kind} namespace is listed twice")));
        }
    }
    match linux.namespace(NamespaceKind::Mount) {
        Some(namespace) if namespace.path.is_none() => {}
        _ => return Err(ProcessError::invalid("a container needs a mount namespace of its own")),
    }
    let user = linux.namespace(NamespaceKind::User);
    let maps = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    match user {
        Some(namespace)
            if namespace.path.is_none()
                && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty()) =>
        {
            Err(ProcessError::invalid("a new user namespace needs mappings of users and groups"))
        }
        None if maps => Err(ProcessError::invalid("mappings of users or groups need a user namespace")),
        _ => Ok(()),
    }
}

fn time_offsets(linux: &Linux) -> Result<String, ProcessError> {
    let mut text = String::new();
    for (clock, offset) in &linux.time_offsets {
        if clock != "monotonic" && clock != "boottime" {
            return Err(ProcessError::invalid(format!("clock `{clock}` has no offset")));
        }
        let _ = writeln!(text, "{clock} {} {}", offset.secs, offset.nanosecs);
    }
    Ok(text)
}

/// The names from `/proc/sys` to a kernel parameter, as sysctl(8) understands it: whichever of `.`
/// and `/` comes first separates, and the other stands for a dot in a name, for example that of an
/// interface (`net.ipv4.conf.eth0/1.forwarding`).
fn sysctl_parts(name: &str) -> Option<Vec<String>> {
    let separator = name.chars().find(|letter| ['.', '/'].contains(letter)).unwrap_or('.');
    let parts: Vec<_> = name.split(separator).map(|part| part.replace('/', ".")).collect();
    parts.iter().all(|part| !part.is_empty() && part != "." && part != "..").then_some(parts)
}

/// The namespace that a kernel parameter belongs to.
fn sysctl_owner(name: &str) -> Option<NamespaceKind> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if name.starts_with("net.") {
        Some(NamespaceKind::Network)
    } else if name.starts_with("fs.mqueue.") || IPC.contains(&name) {
        Some(NamespaceKind::Ipc)
    } else if name == "kernel.domainname" || name == "kernel.hostname" {
        Some(NamespaceKind::Uts)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Namespace;

    fn with(kinds: &[NamespaceKind]) -> Linux {
        Linux { namespaces: kinds.iter().copied().map(Namespace::new).collect(), ..Linux::default() }
    }

    #[test]
    fn kernel_parameters_of_the_whole_host_are_refused() {
        let mut linux = with(&[NamespaceKind::Network, NamespaceKind::Ipc]);
        linux.sysctl.insert("vm.swappiness".to_owned(), "1".to_owned());
        assert!(sysctls(&linux, Inherited::default()).is_err());
    }

    #[test]
    fn a_kernel_parameter_needs_its_namespace_to_be_the_containers_own() {
        let mut linux = with(&[NamespaceKind::Mount]);
        linux.sysctl.insert("net.ipv4.conf.eth0/1.forwarding".to_owned(), "1".to_owned());
        assert!(sysctls(&linux, Inherited::default()).is_err());
        let sandbox = Inherited { network: true, ..Inherited::default() };
        let planned = sysctls(&linux, sandbox).expect("the sandbox has a network");
        assert_eq!(planned[0].0.to_str(), Ok("sys/net/ipv4/conf/eth0.1/forwarding"));
    }

    #[track_caller]
    fn check_sysctl(name: &str, expected: &str) {
        let mut linux = with(&[NamespaceKind::Network, NamespaceKind::Ipc]);
        linux.sysctl.insert(name.to_owned(), "1".to_owned());
        let text = match sysctls(&linux, Inherited::default()) {
            Ok(planned) => planned[0].0.to_string_lossy().into_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected, "{name}");
    }

    #[test]
    fn kernel_parameters_are_named_with_dots_or_slashes() {
        check_sysctl("net/ipv4/ip_forward", "sys/net/ipv4/ip_forward");
        check_sysctl("net/ipv4/conf/eth0.1/forwarding", "sys/net/ipv4/conf/eth0.1/forwarding");
        check_sysctl("kernel/shmmax", "sys/kernel/shmmax");
        check_sysctl(
            "kernel/core_pattern",
            "kernel parameter `kernel.core_pattern` belongs to the whole host",
        );
        for name in
            ["net/../kernel/core_pattern", "net.//.kernel.core_pattern", "net..x", "/net/x", "net.", ""]
        {
            check_sysctl(name, &format!("`{name}` is not the name of a kernel parameter"));
        }
    }

    #[test]
    fn a_container_without_a_mount_namespace_or_with_half_a_user_namespace_is_refused() {
        assert!(check(&with(&[NamespaceKind::Pid])).is_err());
        assert!(check(&with(&[NamespaceKind::Mount, NamespaceKind::User])).is_err());
        let mut unmapped = with(&[NamespaceKind::Mount]);
        unmapped.uid_mappings = vec![IdMapping { container_id: 0, host_id: 1000, size: 1 }];
        assert!(check(&unmapped).is_err());
        assert!(check(&with(&[NamespaceKind::Mount, NamespaceKind::Mount])).is_err());
        assert!(check(&with(&[NamespaceKind::Mount])).is_ok());
    }
}
