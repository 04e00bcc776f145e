//! Rules of a pod's spec, in a Pod and in the templates of other kinds.

use std::collections::HashSet;

use serde_json::Value;

use model::field::{FieldError, Path};
use model::names;
use model::object::StringMap;
use model::validate::{Errors, address, flag, invalid, list, metadata, number, one_of, text};

use super::container::{self, Surroundings};
use super::security::{annotations, windows};
use super::volume::set;
use super::{affinity, resources, security, volume};

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const MAX_ID: i64 = i32::MAX as i64;
/// What the resolver of a C library takes.
const MOST_NAMESERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
const LONGEST_SEARCHES: usize = 2048;
/// Bytes of the name that the kernel has of a host.
const LONGEST_HOSTNAME: usize = 64;

/// What is said of a pod as a whole, which the rules of its parts ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole<'a> {
    pub(crate) spec: &'a Value,
    /// The pod's name; none in a template.
    pub(crate) pod_name: Option<&'a str>,
    /// A pod itself is looked at more closely than a template.
    pub(crate) is_pod: bool,
}

impl<'a> Whole<'a> {
    /// A pod with a name.
    pub(crate) fn pod(spec: &'a Value, name: &'a str) -> Self {
        Self { spec, pod_name: Some(name), is_pod: true }
    }

    /// A template of pods.
    pub(crate) fn template(spec: &'a Value) -> Self {
        Self { spec, pod_name: None, is_pod: false }
    }

    /// Whether its users are the host's.
    pub(crate) fn has_users_of_host(self) -> bool {
        self.spec.get("hostUsers").and_then(Value::as_bool) != Some(false)
    }

    /// When its containers are restarted.
    pub(crate) fn restart_policy(self) -> &'a str {
        text(self.spec, "restartPolicy")
    }

    /// How many seconds it has to end.
    pub(crate) fn grace(self) -> Option<i64> {
        number(self.spec, "terminationGracePeriodSeconds")
    }
}

/// The names of all containers.
pub(crate) fn names(spec: &Value) -> HashSet<&str> {
    let kinds = ["containers", "initContainers", "ephemeralContainers"];
    kinds.into_iter().flat_map(|kind| list(spec, kind)).map(|one| text(one, "name")).collect()
}

/// Rules of a template: labels, annotations and the pod's spec.
pub(crate) fn template(template: &Value, path: &Path<'_>, errors: &mut Errors) {
    let field = |name: &str| {
        StringMap::new(template.get("metadata").and_then(|m| m.get(name)).and_then(Value::as_object))
    };
    // Kubernetes leaves the metadata out of the path.
    let of_annotations = path.child("annotations");
    metadata::labels(field("labels"), &path.child("labels"), errors);
    metadata::annotations(field("annotations"), &of_annotations, errors);
    let empty = Value::Null;
    let of_template = template.get("spec").unwrap_or(&empty);
    annotations::all(field("annotations"), of_template, &of_annotations, errors);
    let of_spec = path.child("spec");
    spec(Whole::template(of_template), &of_spec, errors);
    annotations::agree(field("annotations"), of_template, &of_spec, errors);
    if !list(of_template, "ephemeralContainers").is_empty() {
        let message = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&of_spec.child("ephemeralContainers"), message));
    }
}

/// Rules of a pod's spec.
pub(crate) fn spec(whole: Whole<'_>, path: &Path<'_>, errors: &mut Errors) {
    let spec = whole.spec;
    if whole.grace().is_none() {
        errors.push(FieldError::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let volumes = volume::all(spec, whole, &path.child("volumes"), errors);
    resources::claims(spec, path, errors);
    let claims = list(spec, "resourceClaims").iter().map(|claim| text(claim, "name"));
    let claims = claims.filter(|name| !name.is_empty()).collect();
    container::all(spec, &Surroundings { whole, volumes, claims }, path, errors);
    resources::of_pod(spec, path, errors);
    container::ports_of_host(spec, whole, path, errors);
    one_of(errors, spec, "restartPolicy", path, &RESTART_POLICIES);
    one_of(errors, spec, "dnsPolicy", path, &DNS_POLICIES);
    let selector = StringMap::new(spec.get("nodeSelector").and_then(Value::as_object));
    metadata::labels(selector, &path.child("nodeSelector"), errors);
    security::of_pod(spec, path, errors);
    affinity::affinity(spec, path, errors);
    dns_config(spec, path, errors);
    gates(spec, path, errors);
    scheduling_group(spec, path, errors);
    affinity::spread(spec, path, errors);
    windows::host_processes(spec, path, errors);
    host_users(whole, path, errors);
    subdomain(spec, "serviceAccountName", path, errors);
    subdomain(spec, "nodeName", path, errors);
    if let Some(seconds) = number(spec, "activeDeadlineSeconds") {
        invalid(errors, &path.child("activeDeadlineSeconds"), seconds, names::in_range(seconds, 1, MAX_ID));
    }
    host_names(spec, path, errors);
    tolerations(spec, path, errors);
    host_aliases(spec, path, errors);
    subdomain(spec, "priorityClassName", path, errors);
    if let Some(class) = set(spec, "runtimeClassName").and_then(Value::as_str) {
        invalid(errors, &path.child("runtimeClassName"), class, names::dns1123_subdomain(class));
    }
    if set(spec, "preemptionPolicy").is_some() {
        one_of(errors, spec, "preemptionPolicy", path, &["PreemptLowerPriority", "Never"]);
    }
    resources::overhead(spec, path, errors);
    windows::system(spec, path, errors);
}

/// A name of some other object, where there is one.
fn subdomain(spec: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) {
    let value = text(spec, name);
    if !value.is_empty() {
        invalid(errors, &path.child(name), value, names::dns1123_subdomain(value));
    }
}

/// What the pod's own host is called.
fn host_names(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    for name in ["hostname", "subdomain"] {
        let value = text(spec, name);
        if !value.is_empty() {
            invalid(errors, &path.child(name), value, names::dns1123_label(value));
        }
        if name == "hostname"
            && let Some(value) = set(spec, "hostnameOverride").and_then(Value::as_str)
        {
            let path = path.child("hostnameOverride");
            if value.len() > LONGEST_HOSTNAME {
                errors.push(FieldError::too_long(&path, LONGEST_HOSTNAME));
            }
            invalid(errors, &path, value, names::dns1123_subdomain(value));
            for other in ["hostNetwork", "setHostnameAsFQDN"] {
                if flag(spec, other) {
                    let message = format!("may not be set when `{other}` is true");
                    errors.push(FieldError::forbidden(&path, message));
                }
            }
        }
    }
}

fn host_aliases(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let aliases = path.child("hostAliases");
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = aliases.index(index);
        address(errors, &path.child("ip"), text(alias, "ip"));
        let names_path = path.child("hostnames");
        for (at, name) in list(alias, "hostnames").iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            invalid(errors, &names_path.index(at), name, names::dns1123_subdomain(name));
        }
    }
}

/// What others must say before a pod is ready, or before it is given a node.
fn gates(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let readiness = path.child("readinessGates");
    for (index, gate) in list(spec, "readinessGates").iter().enumerate() {
        let kind = text(gate, "conditionType");
        invalid(errors, &readiness.index(index).child("conditionType"), kind, names::qualified(kind));
    }
    let (scheduling, mut known) = (path.child("schedulingGates"), HashSet::new());
    for (index, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let (path, name) = (scheduling.index(index), text(gate, "name"));
        invalid(errors, &path, name, names::qualified(name));
        if !known.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
}

/// The group that the pod is placed with, named in one of the ways that there are.
fn scheduling_group(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(group) = set(spec, "schedulingGroup") else { return };
    let path = path.child("schedulingGroup");
    match set(group, "podGroupName").and_then(Value::as_str) {
        None => errors.push(FieldError::invalid(&path, "", "must specify one of: `podGroupName`")),
        Some(name) => invalid(errors, &path.child("podGroupName"), name, names::dns1123_subdomain(name)),
    }
}

/// What cannot go together with users of the pod's own.
fn host_users(whole: Whole<'_>, path: &Path<'_>, errors: &mut Errors) {
    if whole.has_users_of_host() {
        return;
    }
    const WHY: &str = "when `hostUsers` is false";
    // Kubernetes writes the latter two with capital letters.
    for (name, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if flag(whole.spec, name) {
            errors.push(FieldError::forbidden(&path.child(shown), WHY));
        }
    }
    for kind in ["initContainers", "containers", "ephemeralContainers"] {
        let of_kind = path.child(kind);
        for (index, container) in list(whole.spec, kind).iter().enumerate() {
            if !list(container, "volumeDevices").is_empty() {
                let path = of_kind.index(index);
                errors.push(FieldError::forbidden(&path.child("volumeDevices"), WHY));
            }
        }
    }
}

/// What taints a pod does not mind.
pub(crate) fn tolerations(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let tolerations = path.child("tolerations");
    for (index, toleration) in list(spec, "tolerations").iter().enumerate() {
        let path = tolerations.index(index);
        let (key, operator, value) =
            (text(toleration, "key"), text(toleration, "operator"), text(toleration, "value"));
        if !key.is_empty() {
            invalid(errors, &path.child("key"), key, names::qualified(key));
        } else if operator != "Exists" {
            let message =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(&path.child("operator"), operator, message));
        }
        if set(toleration, "tolerationSeconds").is_some() && text(toleration, "effect") != "NoExecute" {
            let message = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(&path.child("effect"), text(toleration, "effect"), message));
        }
        match operator {
            "" | "Equal" => {
                let messages = names::label_value(value);
                if !messages.is_empty() {
                    errors.push(FieldError::invalid(&path.child("operator"), value, messages.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                let message = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(&path.child("operator"), value, message));
            }
            "Exists" => {}
            other => {
                errors.push(FieldError::not_supported(&path.child("operator"), other, &["Equal", "Exists"]))
            }
        }
        let effect = text(toleration, "effect");
        if !effect.is_empty() {
            taint_effect(effect, &path.child("effect"), errors);
        }
    }
}

/// What a taint does to pods that mind it.
pub(crate) fn taint_effect(effect: &str, path: &Path<'_>, errors: &mut Errors) {
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if !effects.contains(&effect) {
        errors.push(FieldError::not_supported(path, effect, &effects));
    }
}

fn dns_config(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("dnsConfig");
    let servers_path = path.child("nameservers");
    let is_own = text(spec, "dnsPolicy") == "None";
    let Some(config) = set(spec, "dnsConfig") else {
        if is_own {
            let message = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(FieldError::required(&path, message));
        }
        return;
    };
    let servers = list(config, "nameservers");
    if is_own && servers.is_empty() {
        let message = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(&servers_path, message));
        return;
    }
    if servers.len() > MOST_NAMESERVERS {
        let message = format!("must not have more than {MOST_NAMESERVERS} nameservers");
        errors.push(FieldError::invalid(&servers_path, servers.to_vec(), message));
    }
    for (index, server) in servers.iter().enumerate() {
        address(errors, &servers_path.index(index), server.as_str().unwrap_or_default());
    }
    let searches = list(config, "searches");
    let of_searches = path.child("searches");
    if searches.len() > MOST_SEARCHES {
        let message = format!("must not have more than {MOST_SEARCHES} search paths");
        errors.push(FieldError::invalid(&of_searches, searches.to_vec(), message));
    }
    let together: usize = searches.iter().map(|search| search.as_str().map_or(0, str::len)).sum();
    // With the spaces between them.
    if together + searches.len().saturating_sub(1) > LONGEST_SEARCHES {
        let message = format!(
            "must not have more than {LONGEST_SEARCHES} characters (including spaces) in the search list"
        );
        errors.push(FieldError::invalid(&of_searches, searches.to_vec(), message));
    }
    for (index, search) in searches.iter().enumerate() {
        let search = search.as_str().unwrap_or_default();
        if search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            invalid(
                errors,
                &of_searches.index(index),
                search,
                names::dns1123_subdomain_with_underscores(search),
            );
        }
    }
    let options = path.child("options");
    for (index, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.push(FieldError::required(&options.index(index), "must not be empty"));
        }
    }
}
