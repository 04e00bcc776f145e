//! Columns of Node.

use std::collections::BTreeSet;

use base::Timestamp;
use model::Object;
use serde_json::Value;

use apiserver::table::{AGE, Column, NAME, NONE, UNKNOWN, age, or, text, wide};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "Whether it is ready and takes pods."),
    text("Roles", "What it is labelled to do."),
    AGE,
    text("Version", "The version of its agent."),
    wide("Internal-IP", "Its address inside the cluster."),
    wide("External-IP", "Its address outside the cluster."),
    wide("OS-Image", "Its operating system."),
    wide("Kernel-Version", "Its kernel."),
    wide("Container-Runtime", "What runs its containers."),
];

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

pub(super) fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let system = |name: &str| or(object.get_str(&["status", "nodeInfo", name]), UNKNOWN).to_owned();
    let version = object.get_str(&["status", "nodeInfo", "kubeletVersion"]).unwrap_or_default();
    vec![
        object.name().into(),
        status(object).into(),
        roles(object).into(),
        age(object, now),
        version.into(),
        address(object, "InternalIP").into(),
        address(object, "ExternalIP").into(),
        system("osImage").into(),
        system("kernelVersion").into(),
        system("containerRuntimeVersion").into(),
    ]
}

fn status(object: &Object) -> String {
    let conditions = object.get_list(&["status", "conditions"]);
    let mut status = match conditions.iter().find(|condition| condition["type"] == "Ready") {
        Some(condition) if condition["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object.get(&["spec", "unschedulable"]) == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(object: &Object) -> String {
    let roles: BTreeSet<&str> = object
        .labels()
        .iter()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None => (key == ROLE_LABEL).then_some(value),
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { NONE.to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn address<'a>(object: &'a Object, kind: &str) -> &'a str {
    let addresses = object.get_list(&["status", "addresses"]);
    let found = addresses.iter().find(|address| address["type"] == kind);
    or(found.and_then(|address| address["address"].as_str()), NONE)
}
