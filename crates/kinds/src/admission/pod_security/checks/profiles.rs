//! What confines containers in the kernel: AppArmor, SELinux, seccomp.

use std::collections::BTreeSet;

use model::field::quote;
use serde_json::Value;

use super::{Finding, Pod, name, of_containers, plural, quoted, text};

/// What was said before there were fields for it.
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// The type of a profile that a security context names, if it names one.
fn profile<'a>(context: &'a Value, field: &str) -> Option<&'a str> {
    context.get(field).filter(|profile| !profile.is_null()).map(|profile| text(profile, "type"))
}

/// One that confines no less than others are confined.
fn confines(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

/// The types of profiles that confine less, which the pod or its containers name.
fn lax<'a>(pod: &Pod<'a>, field: &str) -> BTreeSet<&'a str> {
    let contexts = pod.containers().map(|container| &container["securityContext"]);
    let all = std::iter::once(pod.security()).chain(contexts);
    all.filter_map(|context| profile(context, field)).filter(|kind| !confines(kind)).collect()
}

fn is_lax(context: &Value, field: &str) -> bool {
    profile(context, field).is_some_and(|kind| !confines(kind))
}

pub(super) fn apparmor(pod: &Pod<'_>) -> Option<Finding> {
    let mut setters = pod.setters(|context| is_lax(context, "appArmorProfile"));
    let mut values: Vec<String> = lax(pod, "appArmorProfile").into_iter().map(str::to_owned).collect();
    let is_allowed =
        |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations = pod.annotations.into_iter().flatten();
    let mut forbidden: Vec<String> = annotations
        .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
        .filter(|(key, value)| key.starts_with(APPARMOR) && !is_allowed(value))
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    if !forbidden.is_empty() {
        forbidden.sort();
        setters.push(plural("annotation", "annotations", forbidden.len()).to_owned());
        values.append(&mut forbidden);
    }
    (!setters.is_empty()).then(|| {
        let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
        let setters = setters.join(" and ");
        Finding::new(reason, format!("{setters} must not set AppArmor profile type to {}", quoted(&values)))
    })
}

/// The types of processes that are confined as containers are; the last came later.
const SELINUX: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

fn selinux_of(pod: &Pod<'_>, allowed: &[&str]) -> Option<Finding> {
    let is_bad = |context: &Value| {
        let options = &context["seLinuxOptions"];
        let has = |field: &str| !text(options, field).is_empty();
        !allowed.contains(&text(options, "type")) || has("user") || has("role")
    };
    let setters = pod.setters(is_bad);
    if setters.is_empty() {
        return None;
    }
    let contexts = pod.containers().map(|container| &container["securityContext"]);
    let options: Vec<&Value> =
        std::iter::once(pod.security()).chain(contexts).map(|context| &context["seLinuxOptions"]).collect();
    let types: BTreeSet<&str> =
        options.iter().map(|options| text(options, "type")).filter(|kind| !allowed.contains(kind)).collect();
    let mut details = Vec::new();
    if !types.is_empty() {
        details.push(format!("{} {}", plural("type", "types", types.len()), quoted(types)));
    }
    for field in ["user", "role"] {
        if options.iter().any(|options| !text(options, field).is_empty()) {
            details.push(format!("{field} may not be set"));
        }
    }
    let setters = setters.join(" and ");
    let details = details.join("; ");
    Some(Finding::new(
        "seLinuxOptions",
        format!("{setters} set forbidden securityContext.seLinuxOptions: {details}"),
    ))
}

pub(super) fn selinux(pod: &Pod<'_>) -> Option<Finding> {
    selinux_of(pod, &SELINUX[..4])
}

pub(super) fn selinux_31(pod: &Pod<'_>) -> Option<Finding> {
    selinux_of(pod, &SELINUX)
}

pub(super) fn seccomp_annotations(pod: &Pod<'_>) -> Option<Finding> {
    let is_allowed = |value: &str| {
        matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
    };
    let keys = pod.containers().map(|container| format!("{SECCOMP}{}", name(container)));
    let keys = std::iter::once(SECCOMP_OF_POD.to_owned()).chain(keys);
    let forbidden: BTreeSet<String> = keys
        .filter_map(|key| {
            let value = pod.annotations?.get(&key)?.as_str().unwrap_or_default();
            (!is_allowed(value)).then(|| format!("{key}={}", quote(value)))
        })
        .collect();
    (!forbidden.is_empty()).then(|| {
        let what = plural("annotation", "annotations", forbidden.len());
        let forbidden: Vec<String> = forbidden.into_iter().collect();
        Finding::new("seccompProfile", format!("forbidden {what} {}", forbidden.join(", ")))
    })
}

pub(super) fn seccomp_baseline(pod: &Pod<'_>) -> Option<Finding> {
    let setters = pod.setters(|context| is_lax(context, "seccompProfile"));
    (!setters.is_empty()).then(|| {
        let (setters, kinds) = (setters.join(" and "), quoted(lax(pod, "seccompProfile")));
        Finding::new(
            "seccompProfile",
            format!("{setters} must not set securityContext.seccompProfile.type to {kinds}"),
        )
    })
}

pub(super) fn seccomp_restricted(pod: &Pod<'_>) -> Option<Finding> {
    if let Some(finding) = seccomp_baseline(pod) {
        return Some(finding);
    }
    if profile(pod.security(), "seccompProfile").is_some() {
        return None;
    }
    let without =
        pod.containers_that(|container| profile(&container["securityContext"], "seccompProfile").is_none());
    (!without.is_empty()).then(|| {
        let detail = format!(
            r#"pod or {} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost""#,
            of_containers(&without)
        );
        Finding::new("seccompProfile", detail)
    })
}

pub(super) fn seccomp_restricted_25(pod: &Pod<'_>) -> Option<Finding> {
    if pod.is_for_windows() { None } else { seccomp_restricted(pod) }
}
