//! Which quotas count which objects.

use model::validate::{list, text};
use model::{GroupResource, Object};
use serde_json::{Value, json};

use super::usage;
use crate::resource_names::{HUGE_PAGES, REQUESTS, is_native};

/// What there is to count of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// What they ask for.
    Pods,
    /// How they are reached from outside.
    Services,
    /// How much storage they ask for.
    Claims,
    /// That they are there.
    Other(&'a str, &'a str),
}

/// Core kinds that have been counted since there are quotas, by their plural names alone.
const BY_NAME: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];
const COUNT: &str = "count/";
/// What claims to a class are counted by.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
const OF_CLAIMS: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
const OF_SERVICES: [&str; 3] = ["services", "services.nodeports", "services.loadbalancers"];
const OF_PODS: [&str; 10] = [
    "pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

impl<'a> Kind<'a> {
    /// Those of which each object has to be looked at.
    pub(super) const COUNTED_BY_OBJECT: [Kind<'static>; 3] = [Kind::Pods, Kind::Services, Kind::Claims];

    /// What there is to count of this resource.
    pub(super) fn of(group: &'a str, plural: &'a str) -> Self {
        match (group, plural) {
            ("", "pods") => Self::Pods,
            ("", "services") => Self::Services,
            ("", "persistentvolumeclaims") => Self::Claims,
            _ => Self::Other(group, plural),
        }
    }

    /// The resource.
    pub(super) fn resource(self) -> GroupResource {
        match self {
            Self::Pods => GroupResource::new("", "pods"),
            Self::Services => GroupResource::new("", "services"),
            Self::Claims => GroupResource::new("", "persistentvolumeclaims"),
            Self::Other(group, plural) => GroupResource::new(group, plural),
        }
    }

    /// What its objects are counted by, all alike.
    pub(super) fn count_name(self) -> String {
        let GroupResource { group, resource } = self.resource();
        if group.is_empty() { format!("{COUNT}{resource}") } else { format!("{COUNT}{resource}.{group}") }
    }

    /// The older name for the same, where there is one.
    pub(super) fn plain_name(self) -> Option<&'a str> {
        match self {
            Self::Other("", plural) if BY_NAME.contains(&plural) => Some(plural),
            _ => None,
        }
    }

    /// Whether an amount of this name is one of its objects'.
    pub(super) fn counts(self, name: &str) -> bool {
        if name == self.count_name() || self.plain_name() == Some(name) {
            return true;
        }
        match self {
            Self::Pods => {
                let huge = name.strip_prefix(REQUESTS).unwrap_or(name).starts_with(HUGE_PAGES);
                OF_PODS.contains(&name) || huge || name.starts_with(REQUESTS) && !is_native(name)
            }
            Self::Services => OF_SERVICES.contains(&name),
            Self::Claims => {
                let of_class = name.split_once(OF_CLASS).map(|(_, what)| what);
                OF_CLAIMS.contains(&name) || of_class.is_some_and(|what| OF_CLAIMS.contains(&what))
            }
            Self::Other(..) => false,
        }
    }
}

/// The resource whose objects are all that an amount of this name counts.
pub(super) fn counted_resource(name: &str) -> Option<GroupResource> {
    if BY_NAME.contains(&name) {
        return Some(GroupResource::new("", name));
    }
    let counted = name.strip_prefix(COUNT)?;
    let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
    // Those of which each object is looked at are counted then.
    let is_counted = Kind::COUNTED_BY_OBJECT.contains(&Kind::of(group, plural));
    (!is_counted).then(|| GroupResource::new(group, plural))
}

/// What a quota asks of the objects that it counts.
pub(super) fn scopes(quota: &Object) -> Vec<Value> {
    let whether = quota.get_list(&["spec", "scopes"]).iter();
    let whether = whether.map(|scope| json!({"scopeName": scope, "operator": "Exists"}));
    whether.chain(quota.get_list(&["spec", "scopeSelector", "matchExpressions"]).iter().cloned()).collect()
}

/// Whether a quota counts an object, of which it bounds what is `counted`.
pub(super) fn matches(quota: &Object, kind: Kind<'_>, counted: &[&str], object: &Object) -> bool {
    !counted.is_empty() && scopes(quota).iter().all(|scope| is_in(scope, kind, object))
}

/// Whether an object is of what a scope asks for.
pub(super) fn is_in(scope: &Value, kind: Kind<'_>, object: &Object) -> bool {
    match (kind, text(scope, "scopeName")) {
        (Kind::Pods, "Terminating") => has_deadline(object),
        (Kind::Pods, "NotTerminating") => !has_deadline(object),
        (Kind::Pods, "BestEffort") => usage::is_best_effort(object),
        (Kind::Pods, "NotBestEffort") => !usage::is_best_effort(object),
        (Kind::Pods, "PriorityClass") => {
            let class = object.get_str(&["spec", "priorityClassName"]).filter(|class| !class.is_empty());
            among(scope, class.into_iter())
        }
        (Kind::Pods, "CrossNamespacePodAffinity") => looks_elsewhere(object),
        (Kind::Claims, "VolumeAttributesClass") => {
            let places: [&[&str]; 3] = [
                &["spec", "volumeAttributesClassName"],
                &["status", "currentVolumeAttributesClassName"],
                &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
            ];
            let classes = places.into_iter().filter_map(|place| object.get_str(place));
            among(scope, classes.filter(|class| !class.is_empty()))
        }
        _ => false,
    }
}

/// Whether one of the names, or their absence, is what a scope asks for.
fn among<'a>(scope: &Value, names: impl Iterator<Item = &'a str>) -> bool {
    let wanted = |name: &str| list(scope, "values").iter().any(|value| value == name);
    let names: Vec<&str> = names.collect();
    match text(scope, "operator") {
        "Exists" => !names.is_empty(),
        "DoesNotExist" => names.is_empty(),
        "In" => names.iter().any(|name| wanted(name)),
        "NotIn" => names.is_empty() || names.iter().any(|name| !wanted(name)),
        _ => false,
    }
}

fn has_deadline(pod: &Object) -> bool {
    pod.get_i64(&["spec", "activeDeadlineSeconds"]).is_some_and(|seconds| seconds >= 0)
}

/// Whether a pod's affinity looks at pods of other namespaces.
fn looks_elsewhere(pod: &Object) -> bool {
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let terms = |when: &str| pod.get_list(&["spec", "affinity", kind, when]).iter();
        let required = terms("requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = terms("preferredDuringSchedulingIgnoredDuringExecution");
        let preferred = preferred.filter_map(|term| term.get("podAffinityTerm"));
        required
            .chain(preferred)
            .any(|term| !list(term, "namespaces").is_empty() || term.get("namespaceSelector").is_some())
    })
}
