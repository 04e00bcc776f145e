//! Which of root's powers containers may have.

use serde_json::Value;

use super::{Finding, Pod, distinct, items, name, of_containers, quoted};

/// Those that containers have unless they say otherwise.
const USUAL: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Those that a container adds and that are not allowed.
fn added(container: &Value, is_allowed: impl Fn(&str) -> bool) -> Vec<&str> {
    let added = items(&container["securityContext"]["capabilities"]["add"]).filter_map(Value::as_str);
    added.filter(|name| !is_allowed(name)).collect()
}

/// What is said of containers that add such.
fn must_not_add(pod: &Pod<'_>, is_allowed: impl Fn(&str) -> bool) -> Option<String> {
    let containers = pod.containers_that(|container| !added(container, &is_allowed).is_empty());
    let all = distinct(pod.containers().flat_map(|container| added(container, &is_allowed)));
    (!containers.is_empty()).then(|| {
        let (containers, all) = (of_containers(&containers), quoted(all));
        format!("{containers} must not include {all} in securityContext.capabilities.add")
    })
}

pub(super) fn baseline(pod: &Pod<'_>) -> Option<Finding> {
    let detail = must_not_add(pod, |name| USUAL.contains(&name))?;
    Some(Finding::new("non-default capabilities", detail))
}

pub(super) fn restricted(pod: &Pod<'_>) -> Option<Finding> {
    let keep: Vec<&str> = pod
        .containers()
        .filter(|container| {
            !items(&container["securityContext"]["capabilities"]["drop"]).any(|it| it == "ALL")
        })
        .map(name)
        .collect();
    let keeping = (!keep.is_empty()).then(|| {
        let containers = of_containers(&keep);
        format!(r#"{containers} must set securityContext.capabilities.drop=["ALL"]"#)
    });
    let adding = must_not_add(pod, |name| name == "NET_BIND_SERVICE");
    let details: Vec<String> = keeping.into_iter().chain(adding).collect();
    (!details.is_empty()).then(|| Finding::new("unrestricted capabilities", details.join("; ")))
}

pub(super) fn restricted_25(pod: &Pod<'_>) -> Option<Finding> {
    if pod.is_for_windows() { None } else { restricted(pod) }
}
