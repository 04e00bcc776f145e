//! Rules of containers.

use std::collections::HashSet;

use serde_json::Value;

use model::validate::{Errors, flag, invalid, list, number, one_of, text};

use super::{probe, resources, volume};
use model::field::{FieldError, Path};
use model::names;

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: [&str; 2] = ["FallbackToLogsOnError", "File"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// What a variable's `fieldRef` may name, besides single labels and annotations.
const VARIABLE_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Rules of containers and init containers alike.
pub(crate) fn common<'a>(
    container: &'a Value,
    path: &Path<'_>,
    volumes: &HashSet<&str>,
    host_network: bool,
    names: &mut HashSet<&'a str>,
    errors: &mut Errors,
) {
    let name = text(container, "name");
    let name_path = path.child("name");
    if name.is_empty() {
        errors.push(FieldError::required(&name_path, ""));
    } else {
        invalid(errors, &name_path, name, names::dns1123_label(name));
        if !names.insert(name) {
            errors.push(FieldError::duplicate(&name_path, name));
        }
    }
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(&path.child("image"), ""));
    } else if image != image.trim() {
        let message = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(&path.child("image"), image, message));
    }
    one_of(errors, container, "terminationMessagePolicy", path, &MESSAGE_POLICIES);
    ports(container, &path.child("ports"), host_network, errors);
    environment(container, path, errors);
    volume::mounts(container, path, volumes, errors);
    one_of(errors, container, "imagePullPolicy", path, &PULL_POLICIES);
    resources::requirements(container.get("resources"), &path.child("resources"), errors);
    security(container, path, errors);
}

/// Rules of ordinary containers alone.
pub(crate) fn main(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    lifecycle(container, path, errors);
    probe::all(container, path, errors);
}

/// Rules of init containers alone: only those that are restarted always may be probed.
pub(crate) fn init(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let policy = text(container, "restartPolicy");
    if policy == "Always" {
        return main(container, path, errors);
    }
    for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if container.get(name).is_some() {
            let message = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(&path.child(name), message));
        }
    }
}

/// A host's port can be had once in a pod.
pub(crate) fn host_ports(
    container: &Value,
    path: &Path<'_>,
    taken: &mut HashSet<(String, String, i64)>,
    errors: &mut Errors,
) {
    let ports = path.child("ports");
    for (index, port) in list(container, "ports").iter().enumerate() {
        let Some(number) = number(port, "hostPort").filter(|number| *number != 0) else { continue };
        let (protocol, address) = (text(port, "protocol"), text(port, "hostIP"));
        if !taken.insert((protocol.to_owned(), address.to_owned(), number)) {
            let value = format!("{protocol}/{address}/{number}");
            errors.push(FieldError::duplicate(&ports.index(index).child("hostPort"), value));
        }
    }
}

fn ports(container: &Value, path: &Path<'_>, host_network: bool, errors: &mut Errors) {
    let mut names = HashSet::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            let messages = names::port_name(name);
            if messages.is_empty() && !names.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
            invalid(errors, &path.child("name"), name, messages);
        }
        let inside = number(port, "containerPort").unwrap_or_default();
        if inside == 0 {
            errors.push(FieldError::required(&path.child("containerPort"), ""));
        } else {
            invalid(errors, &path.child("containerPort"), inside, names::port_number(inside));
        }
        let outside = number(port, "hostPort").unwrap_or_default();
        if outside != 0 {
            invalid(errors, &path.child("hostPort"), outside, names::port_number(outside));
        }
        if host_network && outside != inside {
            let message = "must match `hostPort` when `hostNetwork` is true";
            errors.push(FieldError::invalid(&path.child("containerPort"), inside, message));
        }
        one_of(errors, port, "protocol", &path, &PROTOCOLS);
    }
}

fn environment(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let variables = path.child("env");
    for (index, variable) in list(container, "env").iter().enumerate() {
        let path = variables.index(index);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else {
            invalid(errors, &path.child("name"), name, names::environment_variable(name));
        }
        if let Some(source) = variable.get("valueFrom") {
            variable_source(source, variable, &path.child("valueFrom"), errors);
        }
    }
    let sources = path.child("envFrom");
    for (index, source) in list(container, "envFrom").iter().enumerate() {
        let path = sources.index(index);
        let given: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|name| source.get(*name).is_some()).collect();
        match given.as_slice() {
            [] => {
                let message = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(FieldError::invalid(&path, "", message));
            }
            [one] => {
                if text(&source[*one], "name").is_empty() {
                    errors.push(FieldError::required(&path.child(one).child("name"), ""));
                }
            }
            _ => {
                let message = "may not have more than one field specified at a time";
                errors.push(FieldError::invalid(&path, "", message));
            }
        }
    }
}

fn variable_source(source: &Value, variable: &Value, path: &Path<'_>, errors: &mut Errors) {
    const SOURCES: [&str; 5] =
        ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let given: Vec<&str> = SOURCES.into_iter().filter(|name| source.get(*name).is_some()).collect();
    if given.is_empty() {
        let message = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(FieldError::invalid(path, "", message));
    }
    if !text(variable, "value").is_empty() && !given.is_empty() {
        errors.push(FieldError::invalid(path, "", "may not be specified when `value` is not empty"));
    } else if given.len() > 1 {
        errors.push(FieldError::invalid(path, "", "may not have more than one field specified at a time"));
    }
    for name in given {
        let reference = &source[name];
        let path = path.child(name);
        match name {
            "fieldRef" => field_reference(reference, &path, &VARIABLE_FIELDS, errors),
            "resourceFieldRef" if text(reference, "resource").is_empty() => {
                errors.push(FieldError::required(&path.child("resource"), ""));
            }
            "configMapKeyRef" | "secretKeyRef" => {
                if text(reference, "name").is_empty() {
                    errors.push(FieldError::required(&path.child("name"), ""));
                }
                let key = text(reference, "key");
                if key.is_empty() {
                    errors.push(FieldError::required(&path.child("key"), ""));
                } else {
                    invalid(errors, &path.child("key"), key, names::config_key(key));
                }
            }
            _ => {}
        }
    }
}

/// A reference to a field of the pod itself.
pub(crate) fn field_reference(reference: &Value, path: &Path<'_>, allowed: &[&str], errors: &mut Errors) {
    if text(reference, "apiVersion").is_empty() {
        errors.push(FieldError::required(&path.child("apiVersion"), ""));
        return;
    }
    let field = text(reference, "fieldPath");
    let path = path.child("fieldPath");
    if field.is_empty() {
        errors.push(FieldError::required(&path, ""));
        return;
    }
    if let Some((base, key)) = field.strip_suffix("']").and_then(|rest| rest.split_once("['")) {
        match base {
            "metadata.labels" => invalid(errors, &path, key, names::qualified(key)),
            "metadata.annotations" => invalid(errors, &path, key, names::qualified(&key.to_lowercase())),
            _ => errors.push(FieldError::invalid(&path, base, "does not support subscript")),
        }
        return;
    }
    const KNOWN: [&str; 4] =
        ["metadata.labels", "metadata.annotations", "spec.restartPolicy", "spec.schedulerName"];
    if allowed.contains(&field) {
        return;
    }
    if KNOWN.contains(&field) || VARIABLE_FIELDS.contains(&field) {
        errors.push(FieldError::not_supported(&path, field, allowed));
    } else {
        let message = format!("error converting fieldPath: field label not supported: {field}");
        errors.push(FieldError::invalid(&path, field, message));
    }
}

fn lifecycle(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(lifecycle) = container.get("lifecycle") else { return };
    let path = path.child("lifecycle");
    for name in ["postStart", "preStop"] {
        if let Some(handler) = lifecycle.get(name) {
            probe::handler(handler, &path.child(name), errors);
        }
    }
}

fn security(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(context) = container.get("securityContext") else { return };
    let path = path.child("securityContext");
    for name in ["runAsUser", "runAsGroup"] {
        if let Some(id) = number(context, name) {
            invalid(errors, &path.child(name), id, names::in_range(id, 0, i64::from(i32::MAX)));
        }
    }
    super::security::seccomp(context, &path, errors);
    super::security::apparmor(context, &path, errors);
    if context.get("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        let adds_admin = context
            .get("capabilities")
            .is_some_and(|capabilities| list(capabilities, "add").iter().any(|one| one == "CAP_SYS_ADMIN"));
        let conflict = if flag(context, "privileged") {
            Some("cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        } else if adds_admin {
            Some("cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
        } else {
            None
        };
        if let Some(message) = conflict {
            errors.push(FieldError::invalid(&path, context.clone(), message));
        }
    }
}
