//! What a pod is to other pods: what it is found by, and whom it wants near, or not.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm};
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
    /// Whom it must have near.
    pub(super) needs: Vec<Term>,
    /// Whom it would rather have near, and how much; below nothing, whom it would rather not.
    pub(super) leanings: Vec<(i64, Term)>,
}

/// The labels of namespaces, by their names.
#[derive(Debug, Default)]
pub(super) struct NamespaceLabels(BTreeMap<String, BTreeMap<String, String>>);

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
    /// Those that are named, and those with such labels.
    Selected(Vec<String>, LabelSelector),
}

impl Neighbour {
    pub(super) fn of(pod: &Pod) -> Self {
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let needs = near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_deref());
        let avoids = far.and_then(|far| far.required_during_scheduling_ignored_during_execution.as_deref());
        let to = near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_deref());
        let from = far.and_then(|far| far.preferred_during_scheduling_ignored_during_execution.as_deref());
        let leanings = |terms: Option<&[WeightedPodAffinityTerm]>, sign: i64| -> Vec<(i64, Term)> {
            let terms = terms.unwrap_or_default().iter();
            terms.map(|one| (sign * i64::from(one.weight), Term::of(pod, &one.pod_affinity_term))).collect()
        };
        Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            avoids: Term::all(pod, avoids),
            needs: Term::all(pod, needs),
            leanings: [leanings(to, 1), leanings(from, -1)].concat(),
        }
    }

    /// Whether it says something of others.
    pub(super) fn minds(&self) -> bool {
        !self.avoids.is_empty() || !self.needs.is_empty() || !self.leanings.is_empty()
    }
}

impl NamespaceLabels {
    /// Takes up a namespace; whether it has other labels than it was known by.
    pub(super) fn set(&mut self, name: String, labels: BTreeMap<String, String>) -> bool {
        let differs = match self.0.get(&name) {
            Some(known) => *known != labels,
            // All that is known of one before is its name.
            None => labels.keys().any(|key| key != NAMESPACE_NAME),
        };
        self.0.insert(name, labels);
        differs
    }

    /// Forgets a namespace.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    fn get<'a>(&'a self, namespace: &'a str, key: &str) -> Option<&'a str> {
        let known = self.0.get(namespace).and_then(|labels| labels.get(key));
        known.map(String::as_str).or_else(|| (key == NAMESPACE_NAME).then_some(namespace))
    }
}

impl Term {
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
    pub(super) fn finds(&self, other: &Neighbour, namespaces: &NamespaceLabels) -> bool {
        self.namespaces.have(&other.namespace, namespaces)
            && self.selector.match_values(|key| other.labels.get(key).map(String::as_str))
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
        Self::Selected(named, selector)
    }

    fn have(&self, namespace: &str, labels: &NamespaceLabels) -> bool {
        let is_named = |named: &[String]| named.iter().any(|name| name == namespace);
        match self {
            Self::Named(named) => is_named(named),
            Self::Selected(named, selector) => {
                is_named(named) || selector.match_values(|key| labels.get(namespace, key))
            }
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
        let mut namespaces = NamespaceLabels::default();
        namespaces.set("other".to_owned(), [("team".to_owned(), "blue".to_owned())].into());
        let found: Vec<String> = [("own", "web"), ("own", "db"), ("other", "web"), ("other", "db")]
            .iter()
            .filter(|(namespace, app)| term.finds(&Neighbour::of(&pod(namespace, app)), &namespaces))
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
        let blue = json!({"matchLabels": {"team": "blue"}});
        check(json!({"labelSelector": web, "namespaceSelector": blue}), &["other/web"]);
        let not_blue =
            json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["blue"]}]});
        check(json!({"labelSelector": {}, "namespaceSelector": not_blue}), &["own/web", "own/db"]);
        check(json!({"labelSelector": {}, "matchLabelKeys": ["app", "none"]}), &["own/web"]);
        check(json!({"labelSelector": {}, "mismatchLabelKeys": ["app"]}), &["own/db"]);
    }
}
