//! Revisions: which set was the newest when, for `kubectl rollout history` and `undo`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The number of a revision, on sets and on the deployment.
pub(super) const ANNOTATION: &str = "deployment.kubernetes.io/revision";
/// Numbers that a set had before it became the newest again.
pub(super) const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How many replicas the deployment wanted when the set was scaled last.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// How many replicas there could be at most then.
pub(super) const MOST: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations of a deployment that are not for its sets.
const NOT_COPIED: [&str; 5] =
    ["kubectl.kubernetes.io/last-applied-configuration", ANNOTATION, HISTORY, DESIRED, MOST];

/// The revision that an object carries; 0 without one.
pub(super) fn of(metadata: &ObjectMeta) -> i64 {
    let text = metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The annotations of a deployment that its sets get too.
pub(super) fn copied(deployment: &ObjectMeta) -> BTreeMap<String, String> {
    let all = deployment.annotations.iter().flatten();
    all.filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
