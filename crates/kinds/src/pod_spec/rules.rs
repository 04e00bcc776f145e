//! Rules of a pod's spec, in a Pod and in the templates of other kinds.

use std::collections::HashSet;

use serde_json::Value;

use model::validate::{Errors, address, flag, invalid, list, metadata, not_negative, number, one_of, text};

use super::{container, resources, security, volume};
use model::field::{FieldError, Path};
use model::names;
use model::object::StringMap;

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const MAX_ID: i64 = i32::MAX as i64;

/// The names of all containers.
pub(crate) fn names(spec: &Value) -> HashSet<&str> {
    let kinds = ["containers", "initContainers", "ephemeralContainers"];
    kinds.into_iter().flat_map(|kind| list(spec, kind)).map(|one| text(one, "name")).collect()
}

/// Rules of a template: labels, annotations and the pod's spec.
pub(crate) fn template(template: &Value, path: &Path<'_>, errors: &mut Errors) {
    let metadata_path = path.child("metadata");
    let field = |name: &str| {
        StringMap::new(template.get("metadata").and_then(|m| m.get(name)).and_then(Value::as_object))
    };
    metadata::labels(field("labels"), &metadata_path.child("labels"), errors);
    metadata::annotations(field("annotations"), &metadata_path.child("annotations"), errors);
    let empty = Value::Null;
    let of_template = template.get("spec").unwrap_or(&empty);
    spec(of_template, &path.child("spec"), errors);
    let path = metadata_path.child("annotations");
    security::apparmor_annotations(field("annotations"), &names(of_template), &path, errors);
}

pub(crate) fn spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let volumes = volume::all(list(spec, "volumes"), &path.child("volumes"), errors);
    containers(spec, path, &volumes, errors);
    one_of(errors, spec, "restartPolicy", path, &RESTART_POLICIES);
    one_of(errors, spec, "dnsPolicy", path, &DNS_POLICIES);
    let selector = StringMap::new(spec.get("nodeSelector").and_then(Value::as_object));
    metadata::labels(selector, &path.child("nodeSelector"), errors);
    security_context(spec, path, errors);
    let account = text(spec, "serviceAccountName");
    if !account.is_empty() {
        invalid(errors, &path.child("serviceAccountName"), account, names::dns1123_subdomain(account));
    }
    let node = text(spec, "nodeName");
    if !node.is_empty() {
        invalid(errors, &path.child("nodeName"), node, names::dns1123_subdomain(node));
    }
    for name in ["hostname", "subdomain"] {
        let value = text(spec, name);
        if !value.is_empty() {
            invalid(errors, &path.child(name), value, names::dns1123_label(value));
        }
    }
    if let Some(seconds) = number(spec, "activeDeadlineSeconds") {
        invalid(errors, &path.child("activeDeadlineSeconds"), seconds, names::in_range(seconds, 1, MAX_ID));
    }
    not_negative(errors, spec, "terminationGracePeriodSeconds", path);
    let secrets = path.child("imagePullSecrets");
    for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            errors.push(FieldError::required(&secrets.index(index).child("name"), ""));
        }
    }
    host_users(spec, path, errors);
    tolerations(spec, path, errors);
    dns_config(spec, path, errors);
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
    resources::overhead(spec, path, errors);
}

/// What cannot go together with users of the pod's own.
fn host_users(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if spec.get("hostUsers").and_then(Value::as_bool) != Some(false) {
        return;
    }
    const WHY: &str = "when `hostUsers` is false";
    // Kubernetes writes the latter two with capital letters.
    for (name, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if flag(spec, name) {
            errors.push(FieldError::forbidden(&path.child(shown), WHY));
        }
    }
    for kind in ["initContainers", "containers", "ephemeralContainers"] {
        let of_kind = path.child(kind);
        for (index, container) in list(spec, kind).iter().enumerate() {
            if !list(container, "volumeDevices").is_empty() {
                let path = of_kind.index(index);
                errors.push(FieldError::forbidden(&path.child("volumeDevices"), WHY));
            }
        }
    }
}

fn containers(spec: &Value, path: &Path<'_>, volumes: &HashSet<&str>, errors: &mut Errors) {
    let host_network = flag(spec, "hostNetwork");
    let mut names: HashSet<&str> = HashSet::new();
    let main = list(spec, "containers");
    let main_path = path.child("containers");
    if main.is_empty() {
        errors.push(FieldError::required(&main_path, ""));
    }
    let mut ports = HashSet::new();
    for (index, one) in main.iter().enumerate() {
        let path = main_path.index(index);
        container::common(one, &path, volumes, host_network, &mut names, errors);
        container::main(one, &path, errors);
        of_security(spec, one, &path, errors);
        container::host_ports(one, &path, &mut ports, errors);
    }
    let init_path = path.child("initContainers");
    for (index, one) in list(spec, "initContainers").iter().enumerate() {
        let path = init_path.index(index);
        container::common(one, &path, volumes, host_network, &mut names, errors);
        container::init(one, &path, errors);
        of_security(spec, one, &path, errors);
    }
}

/// What a container's security context may say depends on its pod.
fn of_security(spec: &Value, container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(context) = container.get("securityContext") else { return };
    let own_users = spec.get("hostUsers") == Some(&Value::Bool(false));
    security::proc_mount(context, own_users, &path.child("securityContext"), errors);
    windows(spec, context, &path.child("securityContext"), errors);
}

/// A pod that says that it is for Linux has no options for Windows.
fn windows(spec: &Value, context: &Value, path: &Path<'_>, errors: &mut Errors) {
    let is_linux = spec.get("os").is_some_and(|os| text(os, "name") == "linux");
    if is_linux && context.get("windowsOptions").is_some_and(|options| !options.is_null()) {
        let message = "windows options cannot be set for a linux pod";
        errors.push(FieldError::forbidden(&path.child("windowsOptions"), message));
    }
}

fn security_context(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(context) = spec.get("securityContext") else { return };
    let path = path.child("securityContext");
    for name in ["runAsUser", "runAsGroup", "fsGroup"] {
        if let Some(id) = number(context, name) {
            invalid(errors, &path.child(name), id, names::in_range(id, 0, MAX_ID));
        }
    }
    let groups = path.child("supplementalGroups");
    for (index, group) in list(context, "supplementalGroups").iter().enumerate() {
        let id = group.as_i64().unwrap_or_default();
        invalid(errors, &groups.index(index), id, names::in_range(id, 0, MAX_ID));
    }
    security::seccomp(context, &path, errors);
    security::apparmor(context, &path, errors);
    windows(spec, context, &path, errors);
    if !text(context, "supplementalGroupsPolicy").is_empty() {
        one_of(errors, context, "supplementalGroupsPolicy", &path, &["Merge", "Strict"]);
    }
    let host = security::OfHost { network: flag(spec, "hostNetwork"), ipc: flag(spec, "hostIPC") };
    security::sysctls(context, host, &path, errors);
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        let message = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&path.child("shareProcessNamespace"), true, message));
    }
}

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
        if toleration.get("tolerationSeconds").is_some() && text(toleration, "effect") != "NoExecute" {
            let message = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(&path.child("effect"), text(toleration, "effect"), message));
        }
        match operator {
            "" | "Equal" => invalid(errors, &path.child("operator"), value, names::label_value(value)),
            "Exists" if !value.is_empty() => {
                let message = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(&path.child("operator"), toleration.clone(), message));
            }
            "Exists" => {}
            other => {
                errors.push(FieldError::not_supported(&path.child("operator"), other, &["Equal", "Exists"]))
            }
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        let effect = text(toleration, "effect");
        if !effect.is_empty() && !effects.contains(&effect) {
            errors.push(FieldError::not_supported(&path.child("effect"), effect, &effects));
        }
    }
}

fn dns_config(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("dnsConfig");
    let config = spec.get("dnsConfig");
    let servers = config.map_or(&[][..], |config| list(config, "nameservers"));
    if text(spec, "dnsPolicy") == "None" && servers.is_empty() {
        let message = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(&path.child("nameservers"), message));
    }
    let servers_path = path.child("nameservers");
    if servers.len() > 3 {
        errors.push(FieldError::invalid(
            &servers_path,
            servers.to_vec(),
            "must not have more than 3 nameservers",
        ));
    }
    for (index, server) in servers.iter().enumerate() {
        address(errors, &servers_path.index(index), server.as_str().unwrap_or_default());
    }
}
