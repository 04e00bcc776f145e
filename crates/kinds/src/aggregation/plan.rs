//! What APIServices are to say: of the group versions that this server serves, and of whether others answer. Pure;
//! labels, priorities, reasons and messages are Kubernetes' own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apiserver::aggregation::{Amend, Availability, Registration};
use base::Timestamp;
use http::Method;
use model::Object;
use model::gvk::GroupVersion;
use model::validate::text;
use serde_json::{Value, json};

use super::{GROUP, PLURAL, registration};

/// Says of an APIService that the server made it for itself, and when it looks after it.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const AT_START: &str = "onstart";
const ALWAYS: &str = "true";
const AVAILABLE: &str = "Available";

/// How much group versions are preferred that are made by definitions.
const OF_DEFINITIONS: (i64, i64) = (1000, 100);

/// What is served from the beginning, and how much it is preferred.
const OWN: [(&str, &str, i64, i64); 21] = [
    ("", "v1", 18_000, 1),
    ("apps", "v1", 17_800, 15),
    ("events.k8s.io", "v1", 17_750, 15),
    ("authentication.k8s.io", "v1", 17_700, 15),
    ("authorization.k8s.io", "v1", 17_600, 15),
    ("autoscaling", "v1", 17_500, 15),
    ("autoscaling", "v2", 17_500, 30),
    ("batch", "v1", 17_400, 15),
    ("certificates.k8s.io", "v1", 17_300, 15),
    ("networking.k8s.io", "v1", 17_200, 15),
    ("policy", "v1", 17_100, 15),
    ("rbac.authorization.k8s.io", "v1", 17_000, 15),
    ("storage.k8s.io", "v1", 16_800, 15),
    ("apiextensions.k8s.io", "v1", 16_700, 15),
    ("admissionregistration.k8s.io", "v1", 16_700, 15),
    ("scheduling.k8s.io", "v1", 16_600, 15),
    ("coordination.k8s.io", "v1", 16_500, 15),
    ("node.k8s.io", "v1", 16_300, 15),
    ("discovery.k8s.io", "v1", 16_200, 15),
    ("resource.k8s.io", "v1", 16_200, 20),
    ("flowcontrol.apiserver.k8s.io", "v1", 16_100, 21),
];

/// What this server serves too, and what in Kubernetes comes with programs of others: they find no APIService there,
/// and make their own. What is registered for the registrations themselves is nothing, as there.
const OF_OTHERS: [&str; 4] = ["metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io", GROUP];

/// What is known of an APIService.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) registration: Arc<Registration>,
    managed: Option<String>,
    resource_version: String,
    conditions: Vec<Value>,
}

impl Known {
    pub(super) fn of(object: &Object) -> Self {
        Self {
            registration: Arc::new(registration(object)),
            managed: managed(object).map(str::to_owned),
            resource_version: object.resource_version().to_owned(),
            conditions: object.get_list(&["status", "conditions"]).to_vec(),
        }
    }

    /// What is to be written where its condition does not say this.
    pub(super) fn told(&self, name: &str, availability: &Availability, now: Timestamp) -> Option<Amend> {
        let mut conditions = self.conditions.clone();
        let mut wanted = available(availability, now);
        match conditions.iter_mut().find(|condition| text(condition, "type") == AVAILABLE) {
            Some(condition) => {
                let same = |field: &str| text(condition, field) == text(&wanted, field);
                if ["status", "reason", "message"].iter().all(|field| same(field)) {
                    return None;
                }
                if same("status") {
                    wanted["lastTransitionTime"] = condition["lastTransitionTime"].clone();
                }
                *condition = wanted;
            }
            None => conditions.push(wanted),
        }
        let path = format!("/apis/{GROUP}/v1/{PLURAL}/{name}/status");
        let object = json!({
            "metadata": {"uid": self.registration.uid, "resourceVersion": self.resource_version},
            "status": {"conditions": conditions},
        });
        Some(Amend { method: Method::PATCH, path, object })
    }
}

/// That this server serves it.
pub(crate) const LOCAL: Availability = Availability::Local;

/// The condition that says so.
pub(crate) fn available(availability: &Availability, now: Timestamp) -> Value {
    let (status, reason, message) = match availability {
        Availability::Local => ("True", "Local", "Local APIServices are always available"),
        Availability::Passed => ("True", "Passed", "all checks passed"),
        Availability::Absent(absence) => ("False", absence.reason, absence.message.as_str()),
    };
    json!({
        "type": AVAILABLE, "status": status, "lastTransitionTime": model::time::format(now),
        "reason": reason, "message": message,
    })
}

/// The condition that an APIService has.
pub(super) fn condition(object: &Object) -> Option<&Value> {
    let conditions = object.get_list(&["status", "conditions"]);
    conditions.iter().find(|condition| text(condition, "type") == AVAILABLE)
}

/// How the server looks after an APIService, if it does.
pub(crate) fn managed(object: &Object) -> Option<&str> {
    object.label(MANAGED).filter(|how| [AT_START, ALWAYS].contains(how))
}

/// The APIServices of what is served from the beginning.
pub(crate) fn local_services() -> impl Iterator<Item = Value> {
    OWN.iter().map(|(group, version, of_group, of_version)| {
        local(&GroupVersion::new(*group, *version), (*of_group, *of_version), AT_START)
    })
}

fn local(version: &GroupVersion, (of_group, of_version): (i64, i64), managed: &str) -> Value {
    let GroupVersion { group, version } = version;
    let mut spec =
        json!({"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version});
    if !group.is_empty() {
        spec["group"] = group.as_str().into();
    }
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {MANAGED: managed}},
        "spec": spec,
    })
}

/// What is to be done for what definitions make to be registered, and nothing else that was registered for such.
pub(super) fn register(known: &BTreeMap<String, Known>, served: &BTreeSet<GroupVersion>) -> Vec<Amend> {
    let path = format!("/apis/{GROUP}/v1/{PLURAL}");
    let is_own = |version: &&GroupVersion| {
        OWN.iter()
            .any(|(group, own, ..)| (*group, *own) == (version.group.as_str(), version.version.as_str()))
            || OF_OTHERS.contains(&version.group.as_str())
    };
    let mut amends = Vec::new();
    let mut wanted = BTreeSet::new();
    for version in served.iter().filter(|version| !is_own(version)) {
        let object = || local(version, OF_DEFINITIONS, ALWAYS);
        let name = format!("{}.{}", version.version, version.group);
        match known.get(&name) {
            None => amends.push(Amend { method: Method::POST, path: path.clone(), object: object() }),
            Some(known) if known.managed.as_deref() == Some(ALWAYS) => {
                let Registration { remote, priority, .. } = &*known.registration;
                if remote.is_some() || (priority.group, priority.version) != OF_DEFINITIONS {
                    let mut spec = object()["spec"].take();
                    for field in ["service", "caBundle", "insecureSkipTLSVerify"] {
                        spec[field] = Value::Null;
                    }
                    let object = json!({"metadata": {"uid": known.registration.uid}, "spec": spec});
                    amends.push(Amend { method: Method::PATCH, path: format!("{path}/{name}"), object });
                }
            }
            Some(_) => {}
        }
        wanted.insert(name);
    }
    for (name, known) in known {
        if known.managed.as_deref() == Some(ALWAYS) && !wanted.contains(name) {
            let object = json!({
                "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": known.registration.uid},
            });
            amends.push(Amend { method: Method::DELETE, path: format!("{path}/{name}"), object });
        }
    }
    amends
}
