//! What a pod is to other pods: what it is found by, and whom it does not want near.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm};
use model::select::LabelSelector;
use model::select::label::{Requirement, Test};

/// The label that every namespace has, with its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// A pod, as others see it: the same for all pods of one template.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Neighbour {
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Whom it must not have near.
    pub(super) avoids: Vec<Term>,
}

/// Pods, and how near "near" is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Term {
    selector: LabelSelector,
    namespaces: Namespaces,
    /// The label that nodes have the same value of that are near to each other.
    pub(super) topology_key: String,
}

/// In which namespaces pods are looked for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Namespaces {
    Named(Vec<String>),
    /// Those that are named, and those with such a name.
    Selected(Vec<String>, LabelSelector),
    /// By other labels of namespaces, which are not known here.
    Unknown,
}

impl Neighbour {
    pub(super) fn of(pod: &Pod) -> Self {
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let required = affinity
            .and_then(|affinity| affinity.pod_anti_affinity.as_ref())
            .and_then(|anti| anti.required_during_scheduling_ignored_during_execution.as_deref());
        Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            avoids: Term::all(pod, required),
        }
    }
}

impl Term {
    /// Whom a pod must have near.
    pub(super) fn wanted_by(pod: &Pod) -> Vec<Self> {
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let required = affinity
            .and_then(|affinity| affinity.pod_affinity.as_ref())
            .and_then(|near| near.required_during_scheduling_ignored_during_execution.as_deref());
        Self::all(pod, required)
    }

    fn all(pod: &Pod, terms: Option<&[PodAffinityTerm]>) -> Vec<Self> {
        terms.unwrap_or_default().iter().map(|term| Self::of(pod, term)).collect()
    }

    fn of(pod: &Pod, term: &PodAffinityTerm) -> Self {
        let none = LabelSelector::nothing;
        let selector = term.label_selector.as_ref().map_or_else(none, |selector| {
            // One that cannot be read is not let in by the API.
            crate::selector(selector).unwrap_or_else(none)
        });
        // What the pod itself has of these labels is part of what is asked for.
        let own = |keys: &Option<Vec<String>>, test: fn(String) -> Test| -> Vec<Requirement> {
            let labels = pod.metadata.labels.as_ref();
            let value = |key: &String| Some((key.clone(), labels?.get(key)?.clone()));
            let pairs = keys.iter().flatten().filter_map(value);
            pairs.map(|(key, value)| Requirement { key, test: test(value) }).collect()
        };
        let more =
            [own(&term.match_label_keys, Test::Equals), own(&term.mismatch_label_keys, Test::NotEquals)];
        let more = more.concat();
        let selector = match term.label_selector.is_some() && !more.is_empty() {
            true => selector.requirements().iter().cloned().chain(more).collect(),
            false => selector,
        };
        Self { selector, namespaces: Namespaces::of(pod, term), topology_key: term.topology_key.clone() }
    }

    /// Whether this is one of those pods.
    pub(super) fn finds(&self, other: &Neighbour) -> bool {
        self.namespaces.have(&other.namespace)
            && self.selector.match_values(|key| other.labels.get(key).map(String::as_str))
    }

    /// Whether it cannot be told who they are.
    pub(super) fn is_unknown(&self) -> bool {
        self.namespaces == Namespaces::Unknown
    }
}

impl Namespaces {
    fn of(pod: &Pod, term: &PodAffinityTerm) -> Self {
        let named = term.namespaces.clone().unwrap_or_default();
        let Some(selector) = &term.namespace_selector else {
            let own = || vec![pod.metadata.namespace.clone().unwrap_or_default()];
            return Self::Named(if named.is_empty() { own() } else { named });
        };
        let selector = crate::selector(selector).unwrap_or_else(LabelSelector::nothing);
        match selector.requirements().iter().all(|requirement| requirement.key == NAMESPACE_NAME) {
            true => Self::Selected(named, selector),
            false => Self::Unknown,
        }
    }

    fn have(&self, namespace: &str) -> bool {
        let is_named = |named: &[String]| named.iter().any(|name| name == namespace);
        match self {
            Self::Named(named) => is_named(named),
            Self::Selected(named, selector) => is_named(named) || selector.match_values(|_| Some(namespace)),
            // Nobody is put where somebody may be that must not be near.
            Self::Unknown => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(term: Value, expected: &[&str]) {
        let pod = |namespace: &str, app: &str| -> Pod {
            let labels = json!({"app": app, "version": "1"});
            serde_json::from_value(json!({"metadata": {"namespace": namespace, "labels": labels}}))
                .expect("a pod")
        };
        let mut term = term;
        term["topologyKey"] = json!("zone");
        let term: PodAffinityTerm = serde_json::from_value(term).expect("a term");
        let term = Term::of(&pod("own", "web"), &term);
        let found: Vec<String> = [("own", "web"), ("own", "db"), ("other", "web"), ("other", "db")]
            .iter()
            .filter(|(namespace, app)| term.finds(&Neighbour::of(&pod(namespace, app))))
            .map(|(namespace, app)| format!("{namespace}/{app}"))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn pods_are_found_by_their_labels_in_the_namespaces_that_are_meant() {
        let web = json!({"matchLabels": {"app": "web"}});
        check(json!({}), &[]);
        check(json!({"labelSelector": {}}), &["own/web", "own/db"]);
        check(json!({"labelSelector": web}), &["own/web"]);
        check(json!({"labelSelector": web, "namespaces": ["other"]}), &["other/web"]);
        check(json!({"labelSelector": web, "namespaceSelector": {}}), &["own/web", "other/web"]);
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "other"}});
        check(json!({"labelSelector": {}, "namespaceSelector": selector}), &["other/web", "other/db"]);
        check(json!({"labelSelector": {}, "matchLabelKeys": ["app", "none"]}), &["own/web"]);
        check(json!({"labelSelector": {}, "mismatchLabelKeys": ["app"]}), &["own/db"]);
    }
}
