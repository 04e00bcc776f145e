//! Rules of containers.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, address, flag, invalid, list, number, one_of, text};

use super::resources::Of;
use super::rules::Whole;
use super::volume::set;
use super::{environment, mounts, probe, resources, security};

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: [&str; 2] = ["File", "FallbackToLogsOnError"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const RESTART_ACTIONS: [&str; 2] = ["Restart", "RestartAllContainers"];
/// Rules by which a container is restarted, and exit codes of one.
const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;
/// What helps a container to serve others, or keeps it from others' way; one that looks at others does neither.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// What the rules of containers have to know of their pod.
pub(crate) struct Surroundings<'a> {
    pub(crate) whole: Whole<'a>,
    /// The volumes that are sound, by their names.
    pub(crate) volumes: HashMap<&'a str, &'a Value>,
    /// The names of the claims of devices.
    pub(crate) claims: BTreeSet<&'a str>,
}

/// All containers of a pod.
pub(crate) fn all(spec: &Value, around: &Surroundings<'_>, path: &Path<'_>, errors: &mut Errors) {
    let mut names = HashSet::new();
    main(spec, around, &path.child("containers"), &mut names, errors);
    init(spec, around, &path.child("initContainers"), &mut names, errors);
    ephemeral(spec, around, &path.child("ephemeralContainers"), names, errors);
}

/// The images of containers: what is wrong with them in pods alone.
pub(crate) fn images(containers: &[Value], path: &Path<'_>, errors: &mut Errors) {
    for (index, container) in containers.iter().enumerate() {
        image(container, &path.index(index), errors);
    }
}

fn image(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let image = text(container, "image");
    if image != image.trim() {
        let message = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(&path.child("image"), image, message));
    }
}

fn main<'a>(
    spec: &'a Value,
    around: &Surroundings<'_>,
    path: &Path<'_>,
    names: &mut HashSet<&'a str>,
    errors: &mut Errors,
) {
    let containers = list(spec, "containers");
    if containers.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        common(container, &path, around, errors);
        let name = text(container, "name");
        if !names.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        served(container, around, &path, errors);
        restart(container, &path, errors);
    }
    let mut ports = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        host_ports(container, &path.index(index), &mut ports, errors);
    }
}

fn init<'a>(
    spec: &'a Value,
    around: &Surroundings<'_>,
    path: &Path<'_>,
    names: &mut HashSet<&'a str>,
    errors: &mut Errors,
) {
    for (index, container) in list(spec, "initContainers").iter().enumerate() {
        let of_container = path.index(index);
        common(container, &of_container, around, errors);
        restart(container, &of_container, errors);
        let name = text(container, "name");
        if names.contains(name) {
            errors.push(FieldError::duplicate(&of_container.child("name"), name));
        } else if !name.is_empty() {
            names.insert(name);
        }
        // They run one after another; Kubernetes always calls it the first.
        host_ports(container, &path.index(0), &mut HashSet::new(), errors);
        if text(container, "restartPolicy") == "Always" {
            served(container, around, &of_container, errors);
            continue;
        }
        for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if set(container, name).is_some() {
                let message = "may not be set for init containers without restartPolicy=Always";
                errors.push(FieldError::forbidden(&of_container.child(name), message));
            }
        }
    }
}

fn ephemeral<'a>(
    spec: &'a Value,
    around: &Surroundings<'_>,
    path: &Path<'_>,
    others: HashSet<&'a str>,
    errors: &mut Errors,
) {
    let mut names = others.clone();
    for (index, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let path = path.index(index);
        common(container, &path, around, errors);
        image(container, &path, errors);
        let name = text(container, "name");
        if !names.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.push(FieldError::not_found(&path.child("targetContainerName"), target));
        }
        const WHY: &str = "cannot be set for an Ephemeral Container";
        for name in NOT_EPHEMERAL {
            let is_empty = |value: &Value| match value {
                Value::Object(fields) => fields.is_empty(),
                Value::Array(items) => items.is_empty(),
                _ => false,
            };
            // Resources are there in all containers, and may be empty.
            let is_set = set(container, name)
                .is_some_and(|value| !is_empty(value) || (name != "resources" && value.is_object()));
            if is_set {
                errors.push(FieldError::forbidden(&path.child(name), WHY));
            }
        }
        let mounts = path.child("volumeMounts");
        for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
            for name in ["subPath", "subPathExpr"] {
                if !text(mount, name).is_empty() {
                    errors.push(FieldError::forbidden(&mounts.index(index).child(name), WHY));
                }
            }
        }
    }
}

/// Rules of all containers.
fn common(container: &Value, path: &Path<'_>, around: &Surroundings<'_>, errors: &mut Errors) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        invalid(errors, &path.child("name"), name, names::dns1123_label(name));
    }
    if text(container, "image").is_empty() {
        errors.push(FieldError::required(&path.child("image"), ""));
    }
    one_of(errors, container, "terminationMessagePolicy", path, &MESSAGE_POLICIES);
    ports(container, &path.child("ports"), errors);
    environment::variables(container, path, &around.volumes, errors);
    mounts::all(container, path, &around.volumes, errors);
    one_of(errors, container, "imagePullPolicy", path, &PULL_POLICIES);
    let resources = path.child("resources");
    resources::requirements(set(container, "resources"), Of::Container, &around.claims, &resources, errors);
    resize(container, around.whole, &path.child("resizePolicy"), errors);
    if let Some(context) = set(container, "securityContext") {
        security::of_container(context, around.whole, &path.child("securityContext"), errors);
    }
}

/// Of containers that stay: hooks and probes.
fn served(container: &Value, around: &Surroundings<'_>, path: &Path<'_>, errors: &mut Errors) {
    let grace = around.whole.grace();
    probe::lifecycle(container, grace, path, errors);
    probe::all(container, grace, path, errors);
}

/// When a container is restarted, where it says so itself.
fn restart(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let rules = list(container, "restartPolicyRules");
    let of_policy = path.child("restartPolicy");
    match set(container, "restartPolicy").and_then(Value::as_str) {
        None if !rules.is_empty() => {
            let message = "must specify restartPolicy when restart rules are used";
            errors.push(FieldError::required(&of_policy, message));
        }
        Some(policy) if !RESTART_POLICIES.contains(&policy) => {
            errors.push(FieldError::not_supported(&of_policy, policy, &RESTART_POLICIES));
        }
        _ => {}
    }
    let of_rules = path.child("restartPolicyRules");
    if rules.len() > MOST_RULES {
        errors.push(FieldError::too_many(&of_rules, rules.len(), MOST_RULES));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = of_rules.index(index);
        let action = text(rule, "action");
        if !RESTART_ACTIONS.contains(&action) {
            errors.push(FieldError::not_supported(&path.child("action"), action, &RESTART_ACTIONS));
        }
        let path = path.child("exitCodes");
        let Some(codes) = set(rule, "exitCodes") else {
            errors.push(FieldError::required(&path, "must be specified"));
            continue;
        };
        let operator = text(codes, "operator");
        if !["In", "NotIn"].contains(&operator) {
            errors.push(FieldError::not_supported(&path.child("operator"), operator, &["In", "NotIn"]));
        }
        let values = list(codes, "values").len();
        if values > MOST_CODES {
            errors.push(FieldError::too_many(&path.child("values"), values, MOST_CODES));
        }
    }
}

/// What becomes of a container whose resources change.
fn resize(container: &Value, whole: Whole<'_>, path: &Path<'_>, errors: &mut Errors) {
    let mut known = HashSet::new();
    for (index, policy) in list(container, "resizePolicy").iter().enumerate() {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if !known.insert(resource) {
            errors.push(FieldError::duplicate(&path.index(index), resource));
        }
        let words = [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])];
        for (word, supported) in words {
            if word.is_empty() {
                errors.push(FieldError::required(path, ""));
            } else if !supported.contains(&word) {
                errors.push(FieldError::not_supported(path, word, &supported));
            }
        }
        if whole.restart_policy() == "Never" && restart != "NotRequired" {
            let message = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, restart, message));
        }
    }
}

/// A host's port can be had once in a pod.
fn host_ports<'a>(
    container: &'a Value,
    path: &Path<'_>,
    taken: &mut HashSet<(&'a str, &'a str, i64)>,
    errors: &mut Errors,
) {
    let ports = path.child("ports");
    for (index, port) in list(container, "ports").iter().enumerate() {
        let Some(number) = number(port, "hostPort").filter(|number| *number != 0) else { continue };
        let (protocol, address) = (text(port, "protocol"), text(port, "hostIP"));
        if !taken.insert((protocol, address, number)) {
            let value = format!("{protocol}/{address}/{number}");
            errors.push(FieldError::duplicate(&ports.index(index).child("hostPort"), value));
        }
    }
}

fn ports(container: &Value, path: &Path<'_>, errors: &mut Errors) {
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
        one_of(errors, port, "protocol", &path, &PROTOCOLS);
        let host = text(port, "hostIP");
        if !host.is_empty() {
            address(errors, &path.child("hostIP"), host);
        }
    }
}

/// In the host's network a port is the host's. In a template it may be left open.
pub(crate) fn ports_of_host(spec: &Value, whole: Whole<'_>, path: &Path<'_>, errors: &mut Errors) {
    if !flag(spec, "hostNetwork") {
        return;
    }
    let containers = path.child("containers");
    for (index, container) in list(spec, "containers").iter().enumerate() {
        let path = containers.index(index);
        let ports = path.child("ports");
        for (index, port) in list(container, "ports").iter().enumerate() {
            let of = |name: &str| number(port, name).unwrap_or_default();
            let (outside, inside) = (of("hostPort"), of("containerPort"));
            if (whole.is_pod || outside != 0) && outside != inside {
                let message = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&ports.index(index).child("hostPort"), outside, message));
            }
        }
    }
}
