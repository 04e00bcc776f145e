//! What a pod may not have, check by check, each in the versions in which it says something else.

mod capabilities;
mod host;
mod profiles;
mod users;
mod volumes;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::policy::{Level, Standard, Version};

/// A pod, or the template of one, as checks see it.
#[derive(Clone, Copy)]
pub(super) struct Pod<'a> {
    pub(super) annotations: Option<&'a Map<String, Value>>,
    pub(super) spec: &'a Value,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What it is, in few words.
    pub(super) reason: String,
    /// Where it is, and what would be right.
    detail: String,
}

/// Finds what one check is about.
type Look = fn(&Pod<'_>) -> Option<Finding>;

/// A check.
struct Check {
    /// By this, checks put others aside.
    id: &'static str,
    /// Baseline checks are made at the restricted level too.
    level: Level,
    /// From which minor release on it is made, and how.
    versions: &'static [(i64, Look)],
    /// The baseline check that it is made instead of.
    instead_of: Option<&'static str>,
}

const fn baseline(id: &'static str, versions: &'static [(i64, Look)]) -> Check {
    Check { id, level: Level::Baseline, versions, instead_of: None }
}

const fn restricted(
    id: &'static str,
    versions: &'static [(i64, Look)],
    instead_of: Option<&'static str>,
) -> Check {
    Check { id, level: Level::Restricted, versions, instead_of }
}

/// All checks of Kubernetes 1.36, in the order in which what they find is told.
const CHECKS: [Check; 19] = [
    baseline("appArmorProfile", &[(0, profiles::apparmor)]),
    baseline("capabilities_baseline", &[(0, capabilities::baseline)]),
    baseline("hostNamespaces", &[(0, host::namespaces)]),
    baseline("hostPathVolumes", &[(0, volumes::host_paths)]),
    baseline("hostPorts", &[(0, host::ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, host::probes_and_hooks)]),
    baseline("privileged", &[(0, users::privileged)]),
    baseline("procMount", &[(0, host::proc_mounts), (35, host::proc_mounts_of_host_users)]),
    baseline("seLinuxOptions", &[(0, profiles::selinux), (31, profiles::selinux_31)]),
    baseline(
        "seccompProfile_baseline",
        &[(0, profiles::seccomp_annotations), (19, profiles::seccomp_baseline)],
    ),
    baseline(
        "sysctls",
        &[(0, host::sysctls), (27, host::sysctls_27), (29, host::sysctls_29), (32, host::sysctls_32)],
    ),
    baseline("windowsHostProcess", &[(0, host::windows_processes)]),
    restricted("allowPrivilegeEscalation", &[(8, users::escalation), (25, users::escalation_25)], None),
    restricted(
        "capabilities_restricted",
        &[(22, capabilities::restricted), (25, capabilities::restricted_25)],
        Some("capabilities_baseline"),
    ),
    restricted("procMount_restricted", &[(35, host::proc_mounts)], Some("procMount")),
    restricted("restrictedVolumes", &[(0, volumes::restricted)], Some("hostPathVolumes")),
    restricted("runAsNonRoot", &[(0, users::non_root), (35, users::non_root_of_host_users)], None),
    restricted("runAsUser", &[(23, users::user), (35, users::user_of_host_users)], None),
    restricted(
        "seccompProfile_restricted",
        &[(19, profiles::seccomp_restricted), (25, profiles::seccomp_restricted_25)],
        Some("seccompProfile_baseline"),
    ),
];

/// What a pod has that a standard does not allow.
pub(super) fn findings(standard: Standard, pod: &Pod<'_>) -> Vec<Finding> {
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    let minor = match standard.version {
        Version::Minor(minor) => minor,
        Version::Latest => i64::MAX,
    };
    let look =
        |check: &Check| check.versions.iter().rev().find(|(from, _)| *from <= minor).map(|(_, look)| *look);
    let made = |check: &&Check| check.level <= standard.level && look(check).is_some();
    let aside: Vec<&str> = CHECKS.iter().filter(made).filter_map(|check| check.instead_of).collect();
    CHECKS
        .iter()
        .filter(|check| check.level <= standard.level && !aside.contains(&check.id))
        .filter_map(|check| look(check)?(pod))
        .collect()
}

/// All that was found, in words.
pub(super) fn details(findings: &[Finding]) -> String {
    let all: Vec<String> = findings
        .iter()
        .map(|Finding { reason, detail }| match detail.as_str() {
            "" => reason.clone(),
            detail => format!("{reason} ({detail})"),
        })
        .collect();
    all.join(", ")
}

/// All that was found, without saying where.
pub(super) fn reasons(findings: &[Finding]) -> String {
    let all: Vec<&str> = findings.iter().map(|finding| finding.reason.as_str()).collect();
    all.join(", ")
}

impl Finding {
    fn new(reason: impl Into<String>, detail: String) -> Self {
        Self { reason: reason.into(), detail }
    }
}

impl<'a> Pod<'a> {
    /// All containers: those that begin it, its own, those that were added later.
    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        let lists = ["initContainers", "containers", "ephemeralContainers"].into_iter();
        lists.flat_map(move |list| items(&spec[list]))
    }

    /// The names of the containers of which something is so, in their order.
    fn containers_that(&self, is_so: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| is_so(container)).map(name).collect()
    }

    /// What the pod says of its security.
    fn security(&self) -> &'a Value {
        &self.spec["securityContext"]
    }

    /// Who says something that is so: the pod itself, and the containers by name.
    fn setters(&self, is_so: impl Fn(&'a Value) -> bool) -> Vec<String> {
        let mut setters = Vec::new();
        if is_so(self.security()) {
            setters.push("pod".to_owned());
        }
        let containers = self.containers_that(|container| is_so(&container["securityContext"]));
        if !containers.is_empty() {
            setters.push(of_containers(&containers));
        }
        setters
    }

    /// Whether it has users of its own, so that its root is nobody's.
    fn has_own_users(&self) -> bool {
        self.spec["hostUsers"] == false
    }

    /// Whether it is for Windows, where much of this means nothing.
    fn is_for_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn name(value: &Value) -> &str {
    text(value, "name")
}

/// The word for one, or the one for several.
fn plural(one: &'static str, several: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { several }
}

/// `"a", "b"`.
fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("\"{}\"", name.as_ref())).collect();
    names.join(", ")
}

/// `containers "a", "b"`.
fn of_containers<T: AsRef<str>>(names: &[T]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// The different ones, in order.
fn distinct<'a>(values: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    values.into_iter().collect()
}

#[cfg(test)]
mod tests;
