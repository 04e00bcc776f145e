//! Capabilities, the system call filter, hidden paths, device rules.

use std::path::{Path, PathBuf};

use runtime::cgroup::Hierarchies;
use runtime::defaults;
use runtime::spec::{Capabilities, DeviceRule, LinuxDevice};

use crate::container::{ContainerSpec, NamespaceMode, Seccomp, Security};
use crate::error::{Error, Result};

/// The capabilities that a container has, by name (`CAP_CHOWN`).
pub(crate) fn capability_names(security: &Security) -> Result<Vec<String>> {
    let all = defaults::all_capabilities();
    if security.privileged {
        return Ok(all);
    }
    let read = |names: &[String]| -> Result<Vec<String>> {
        names
            .iter()
            .map(|name| {
                let upper = name.to_ascii_uppercase();
                let full =
                    if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
                if full == "ALL" || all.contains(&full) {
                    Ok(full)
                } else {
                    Err(Error::invalid(format!("invalid CapAdd: unknown capability: \"{full}\"")))
                }
            })
            .collect()
    };
    let (add, drop) = (read(&security.cap_add)?, read(&security.cap_drop)?);
    let has = |list: &[String], name: &str| list.iter().any(|have| have == name);
    let every = |list: &[String]| has(list, "ALL");
    // Taking all and giving some gives those; giving all and taking some leaves the others.
    let base = if every(&add) {
        all
    } else if every(&drop) {
        Vec::new()
    } else {
        defaults::capabilities()
    };
    let mut names: Vec<String> = base.into_iter().filter(|name| !has(&drop, name)).collect();
    for name in add {
        if name != "ALL" && !has(&names, &name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Refuses what this host cannot enforce.
pub(crate) fn check(spec: &ContainerSpec) -> Result<()> {
    let security = &spec.security;
    crate::apparmor::Host::get().profile(security)?;
    if let Seccomp::Profile(_) = &security.seccomp {
        seccomp(security, &capability_names(security)?, false)?;
    }
    if security.writable_cgroups == Some(true) {
        let delegates = || Hierarchies::detect().is_ok_and(|found| found.delegates());
        check_writable_cgroups(super::is_unified(), delegates, &spec.namespaces.cgroup)?;
    }
    spec.resources.device_rules.iter().try_for_each(|text| parse_rule(text).map(drop))
}

/// Refuses writable control groups where no border keeps a container from writing to those above its own.
fn check_writable_cgroups(
    unified: bool,
    delegates: impl FnOnce() -> bool,
    namespace: &NamespaceMode,
) -> Result<()> {
    let missing = if !unified {
        "needs cgroup v2: on v1 a container that can write there lifts its own limits"
    } else if !delegates() {
        "needs cgroup v2 mounted with nsdelegate: without, a container that can write there lifts its own limits"
    } else if *namespace == NamespaceMode::Host {
        "cannot go with the host's cgroup namespace: the container could order every group of the host"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("option WritableCgroups {missing}")))
}

/// The sets of a process: one that is not root has them only in reach of set-user-id programs.
pub(crate) fn capability_sets(names: &[String], uid: u32) -> Capabilities {
    if uid == 0 {
        Capabilities::of(names)
    } else {
        Capabilities { bounding: names.to_vec(), ..Capabilities::default() }
    }
}

/// Whether a container leaves the quotas of disks as they are.
pub(crate) fn guards_quotas(security: &Security) -> bool {
    let guards = || -> Result<bool> {
        let capabilities = capability_names(security)?;
        let Some(profile) = seccomp(security, &capabilities, true)? else { return Ok(false) };
        // One that cannot be compiled lets nothing start.
        Ok(runtime::seccomp::guards_quotas(&profile, &capabilities).unwrap_or(true))
    };
    guards().unwrap_or(true)
}

/// The filter of a container; `quotas` says that there are quotas of projects for it to leave alone.
pub(super) fn seccomp(
    security: &Security,
    capabilities: &[String],
    quotas: bool,
) -> Result<Option<runtime::spec::Seccomp>> {
    use runtime::seccomp;
    match &security.seccomp {
        // Who names a profile means it, for a privileged container too.
        Seccomp::Profile(text) => {
            seccomp::from_docker(text, capabilities, seccomp::kernel()).map_err(|error| match error {
                seccomp::ProfileError::Json(source) => {
                    Error::invalid("Decoding seccomp profile failed").with_source(source)
                }
                error => Error::invalid(error.to_string()),
            })
        }
        Seccomp::Default if security.privileged => Ok(None),
        Seccomp::Default if quotas => Ok(Some(seccomp::docker_default_with_quotas(capabilities))),
        Seccomp::Default => Ok(Some(seccomp::docker_default(capabilities))),
        Seccomp::Unconfined => Ok(None),
    }
}

pub(super) fn masked_paths(security: &Security) -> Vec<PathBuf> {
    match &security.masked_paths {
        _ if security.privileged => Vec::new(),
        Some(paths) => paths.iter().map(PathBuf::from).collect(),
        None => defaults::masked_paths(),
    }
}

pub(super) fn read_only_paths(security: &Security) -> Vec<PathBuf> {
    match &security.read_only_paths {
        _ if security.privileged => Vec::new(),
        Some(paths) => paths.iter().map(PathBuf::from).collect(),
        None => defaults::readonly_paths(),
    }
}

pub(super) fn device_rules(spec: &ContainerSpec, devices: &[LinuxDevice]) -> Result<Vec<DeviceRule>> {
    if spec.security.privileged {
        return Ok(vec![DeviceRule { allow: true, access: Some("rwm".to_owned()), ..DeviceRule::default() }]);
    }
    let mut rules = defaults::device_rules();
    for device in devices {
        // The nearest: a device, or the directory that it was found in. Of two the last, as for its node.
        let asked = spec
            .resources
            .devices
            .iter()
            .filter(|asked| device.path.starts_with(&asked.container_path))
            .max_by_key(|asked| Path::new(&asked.container_path).components().count());
        rules.push(DeviceRule {
            allow: true,
            kind: Some(device.kind.clone()),
            major: Some(device.major),
            minor: Some(device.minor),
            access: Some(asked.map_or_else(|| "rwm".to_owned(), |asked| asked.permissions.clone())),
        });
    }
    for text in &spec.resources.device_rules {
        rules.push(parse_rule(text)?);
    }
    Ok(rules)
}

/// Reads a rule of the device cgroup: `c 13:* rwm`.
fn parse_rule(text: &str) -> Result<DeviceRule> {
    let bad = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let mut words = text.split_whitespace();
    let (Some(kind @ ("a" | "b" | "c")), Some(numbers), Some(access), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| bad()),
    };
    if access.is_empty() || !access.bytes().all(|byte| b"rwm".contains(&byte)) {
        return Err(bad());
    }
    Ok(DeviceRule {
        allow: true,
        kind: Some(kind.to_owned()),
        major: number(major)?,
        minor: number(minor)?,
        access: Some(access.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_are_writable_only_behind_a_border() {
        let check = |unified, delegates, namespace: NamespaceMode, expected: &str| {
            let found = check_writable_cgroups(unified, || delegates, &namespace);
            let found = found.err().map(|error| error.message().to_owned()).unwrap_or_default();
            assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{found}");
        };
        check(false, false, NamespaceMode::Private, "needs cgroup v2: on v1");
        check(true, false, NamespaceMode::Private, "mounted with nsdelegate");
        check(true, true, NamespaceMode::Host, "cannot go with the host's cgroup namespace");
        check(true, true, NamespaceMode::Private, "");
    }

    #[test]
    fn only_a_filter_guards_quotas() {
        let guards = |change: fn(&mut Security)| {
            let mut security = Security::default();
            change(&mut security);
            guards_quotas(&security)
        };
        assert!(guards(|_| {}));
        assert!(guards(|security| security.cap_add = vec!["SYS_ADMIN".to_owned()]));
        assert!(!guards(|security| security.privileged = true));
        assert!(!guards(|security| security.seccomp = Seccomp::Unconfined));
        assert!(!guards(|security| {
            security.seccomp = Seccomp::Profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#.into());
        }));
        assert!(guards(|security| {
            security.seccomp = Seccomp::Profile(r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#.into());
        }));
    }
}
