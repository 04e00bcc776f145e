//! What the status of a namespace says of its end: pure. Types, reasons and messages are Kubernetes' own.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Timestamp;
use client::{Partial, ResourceKind};
use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What is left in a namespace though it was asked to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remains {
    /// How many objects of each resource (`pods.`, `deployments.apps`).
    resources: BTreeMap<String, usize>,
    /// How many objects each finalizer holds.
    finalizers: BTreeMap<String, usize>,
    /// What could not be deleted, and why.
    failures: BTreeMap<String, String>,
}

impl Remains {
    /// The objects that are `going`, and kinds of which some cannot be deleted.
    pub(super) fn new<'a>(
        going: &[(ResourceKind, Arc<Partial>)],
        failures: impl Iterator<Item = (&'a ResourceKind, String)>,
    ) -> Self {
        let mut remains = Self::default();
        for (kind, object) in going {
            *remains.resources.entry(resource(kind)).or_default() += 1;
            for finalizer in &object.metadata.finalizers {
                *remains.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
        }
        remains.failures = failures.map(|(kind, error)| (resource(kind), error)).collect();
        remains
    }

    /// Whether nothing is.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// As Kubernetes writes it: with the dot where the group is none.
fn resource(kind: &ResourceKind) -> String {
    format!("{}.{}", kind.plural, kind.group)
}

/// The conditions of a namespace that is held by `remains`; times of those that stay are kept, and so are
/// those that somebody else has set.
pub(super) fn conditions(
    known: &[NamespaceCondition],
    remains: &Remains,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let Remains { resources, finalizers, failures } = remains;
    let list = |counts: &BTreeMap<String, usize>, words: &dyn Fn(&str, usize) -> String| {
        counts.iter().map(|(name, count)| words(name, *count)).collect::<Vec<_>>().join(", ")
    };
    let of_resource = |name: &str, count: usize| format!("{name} has {count} resource instances");
    let of_finalizer = |name: &str, count: usize| format!("{name} in {count} resource instances");
    let failed: Vec<&str> = failures.values().map(String::as_str).collect();
    let found = [
        (
            "NamespaceDeletionDiscoveryFailure",
            None,
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            (!failed.is_empty()).then(|| {
                let message = format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    failed.len(),
                    failed.join(", ")
                );
                ("ContentDeletionFailed", message)
            }),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            (!resources.is_empty()).then(|| {
                let message = format!("Some resources are remaining: {}", list(resources, &of_resource));
                ("SomeResourcesRemain", message)
            }),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            (!finalizers.is_empty()).then(|| {
                let message = format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    list(finalizers, &of_finalizer)
                );
                ("SomeFinalizersRemain", message)
            }),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    let now = Time(Timestamp::from_second(now.as_second()).expect("cutting a time stays in range"));
    let ours = |kind: &str| found.iter().any(|(known, ..)| *known == kind);
    let mut next: Vec<NamespaceCondition> =
        known.iter().filter(|condition| !ours(&condition.type_)).cloned().collect();
    for (kind, trouble, (reason, message)) in found {
        let (status, reason, message) = match trouble {
            Some((reason, message)) => ("True", reason, message),
            None => ("False", reason, message.to_owned()),
        };
        let before = known.iter().find(|condition| condition.type_ == kind && condition.status == status);
        let since = before.and_then(|condition| condition.last_transition_time.clone());
        next.push(NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: since.or_else(|| Some(now.clone())),
        });
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(group: &str, plural: &str) -> ResourceKind {
        ResourceKind::dynamic(group, "v1", "Kind", plural, true)
    }

    fn going(group: &str, plural: &str, finalizers: &[&str]) -> (ResourceKind, Arc<Partial>) {
        let object = json!({"metadata": {"name": "a", "finalizers": finalizers}});
        (kind(group, plural), Arc::new(serde_json::from_value(object).expect("an object")))
    }

    /// The conditions that are true.
    fn shown(conditions: &[NamespaceCondition]) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let held = conditions.iter().filter(|condition| condition.status == "True");
        held.map(|c| format!("{} {}: {}", c.type_, text(&c.reason), text(&c.message))).collect()
    }

    #[test]
    fn the_status_says_what_holds_a_namespace_and_by_which_finalizers() {
        let remains = Remains::new(
            &[
                going("", "configmaps", &["example.org/a", "example.org/b"]),
                going("", "configmaps", &["example.org/a"]),
                going("apps", "deployments", &[]),
            ],
            std::iter::once((&kind("", "secrets"), "forbidden".to_owned())),
        );
        let noon: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
        let first = conditions(&[], &remains, noon);
        assert_eq!(first.len(), 5);
        assert_eq!(
            shown(&first),
            [
                "NamespaceDeletionContentFailure ContentDeletionFailed: Failed to delete all resource types, 1 remaining: forbidden",
                "NamespaceContentRemaining SomeResourcesRemain: Some resources are remaining: configmaps. has 2 resource instances, deployments.apps has 1 resource instances",
                "NamespaceFinalizersRemaining SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.org/a in 2 resource instances, example.org/b in 1 resource instances",
            ]
        );
        let later = noon + std::time::Duration::from_secs(60);
        assert_eq!(conditions(&first, &remains, later), first, "nothing has changed");
        let last = conditions(&first, &Remains::default(), later);
        assert_eq!(shown(&last), [""; 0]);
        let time =
            |conditions: &[NamespaceCondition], place: usize| conditions[place].last_transition_time.clone();
        assert_eq!((time(&last, 0), time(&last, 3)), (Some(Time(noon)), Some(Time(later))));
    }
}
