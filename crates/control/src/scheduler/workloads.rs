//! What the scheduler knows of services and of those that manage pods: whom a pod is to be spread among that
//! says nothing of it itself.

use std::collections::{BTreeMap, HashMap};

use model::select::LabelSelector;
use model::select::label::{Requirement, Test};

use super::pod::{Owner, PodInfo};

/// Selectors of services and of owners of pods.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    /// By namespace, then by name.
    services: HashMap<String, BTreeMap<String, BTreeMap<String, String>>>,
    /// By namespace.
    owners: HashMap<String, HashMap<Owner, LabelSelector>>,
}

impl Workloads {
    /// Takes a service up; one that selects nobody selects nobody.
    pub(super) fn set_service(
        &mut self,
        namespace: &str,
        name: &str,
        selector: Option<BTreeMap<String, String>>,
    ) {
        let Some(selector) = selector.filter(|selector| !selector.is_empty()) else {
            return self.remove_service(namespace, name);
        };
        self.services.entry(namespace.to_owned()).or_default().insert(name.to_owned(), selector);
    }

    pub(super) fn remove_service(&mut self, namespace: &str, name: &str) {
        if let Some(services) = self.services.get_mut(namespace) {
            services.remove(name);
            if services.is_empty() {
                self.services.remove(namespace);
            }
        }
    }

    pub(super) fn set_owner(&mut self, namespace: &str, owner: Owner, selector: LabelSelector) {
        self.owners.entry(namespace.to_owned()).or_default().insert(owner, selector);
    }

    pub(super) fn remove_owner(&mut self, namespace: &str, owner: &Owner) {
        if let Some(owners) = self.owners.get_mut(namespace) {
            owners.remove(owner);
            if owners.is_empty() {
                self.owners.remove(namespace);
            }
        }
    }

    /// Selects the pods that belong together with this one: those that its services and its owner select.
    /// Nothing where there are neither.
    pub(super) fn selector_of(&self, pod: &PodInfo) -> Option<LabelSelector> {
        let labels = &pod.share.neighbour.labels;
        let services = self.services.get(pod.namespace()).into_iter().flat_map(BTreeMap::values);
        let matching = services.filter(|selector| {
            selector.iter().all(|(key, value)| labels.get(key).is_some_and(|l| l == value))
        });
        let merged: BTreeMap<&String, &String> = matching.flatten().collect();
        let owner = pod.owner.as_ref();
        let owner = owner.and_then(|owner| self.owners.get(pod.namespace())?.get(owner));
        let of_services = merged
            .into_iter()
            .map(|(key, value)| Requirement { key: key.clone(), test: Test::Equals(value.clone()) });
        let of_owner = owner.into_iter().flat_map(|owner| owner.requirements().iter().cloned());
        let all: LabelSelector = of_services.chain(of_owner).collect();
        (!all.requirements().is_empty()).then_some(all)
    }
}
