//! Which owners select an object that nobody owns, found without looking at all of them.
//!
//! Owners are indexed by one label that what they select has to have: of very many in a namespace, those are looked
//! at that ask for a label that the object has, and those that ask for none.

use std::collections::BTreeMap;

use client::{Informer, ObjectKey, Resource};
use model::select::LabelSelector;
use model::select::label::Test;

/// The index of owners by what [`places`] gives.
const SELECTED: &str = "selected";

/// Gives the keys of the owners that select an object without a controller. Whoever has no selector, as one that
/// takes over nothing any more, selects nothing.
pub(crate) fn orphans<S: Resource, C: Resource>(
    owners: &Informer<S>,
    selector: fn(&S) -> Option<LabelSelector>,
) -> impl Fn(&C) -> Vec<ObjectKey> + Send + Sync + 'static {
    owners.index(SELECTED, move |owner| {
        let namespace = owner.namespace().unwrap_or_default();
        selector(owner).map_or_else(Vec::new, |selector| places(namespace, &selector))
    });
    let owners = owners.store();
    move |object| {
        let labels = object.labels();
        if object.controller().is_some() || labels.is_empty() {
            return Vec::new();
        }
        let places = looked_at(object.namespace().unwrap_or_default(), &labels);
        let found = places.into_iter().flat_map(|place| owners.by_index(SELECTED, &place));
        let selects = |owner: &S| {
            let selector = selector(owner);
            selector.is_some_and(|selector| selector.match_values(|key| labels.get(key).map(String::as_str)))
        };
        found.filter(|owner| selects(owner)).map(|owner| owner.key()).collect()
    }
}

/// Where an owner with this selector is found: by each value of one label that is enough for it.
fn places(namespace: &str, selector: &LabelSelector) -> Vec<String> {
    if *selector == LabelSelector::nothing() {
        return Vec::new();
    }
    let equal = selector.requirements().iter().find_map(|requirement| match &requirement.test {
        Test::Equals(value) => Some(vec![place(namespace, &requirement.key, value)]),
        _ => None,
    });
    let one_of = || {
        selector.requirements().iter().find_map(|requirement| match &requirement.test {
            Test::In(values) => {
                Some(values.iter().map(|value| place(namespace, &requirement.key, value)).collect())
            }
            _ => None,
        })
    };
    equal.or_else(one_of).unwrap_or_else(|| vec![place_of_others(namespace)])
}

/// Where the owners are that may select an object with these labels: none of them twice.
fn looked_at(namespace: &str, labels: &BTreeMap<String, String>) -> Vec<String> {
    let pairs = labels.iter().map(|(key, value)| place(namespace, key, value));
    pairs.chain([place_of_others(namespace)]).collect()
}

fn place(namespace: &str, key: &str, value: &str) -> String {
    format!("{namespace}\0{key}={value}")
}

/// Of those that ask for no label by its value.
fn place_of_others(namespace: &str) -> String {
    format!("{namespace}\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often an owner with a selector is come across for an object with labels, `key=value` each.
    #[track_caller]
    fn check(selector: &str, labels: &str, expected: usize) {
        let labels: BTreeMap<String, String> = labels
            .split_whitespace()
            .filter_map(|label| label.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let selector: LabelSelector = selector.parse().expect("a selector");
        let selects = selector.match_values(|key| labels.get(key).map(String::as_str));
        let owner = places("n", &selector);
        let found = looked_at("n", &labels).iter().filter(|place| owner.contains(place)).count();
        assert_eq!(found, expected, "{selector} {labels:?}");
        assert!(found == 1 || !selects, "whoever selects is found, and once");
        assert!(looked_at("m", &labels).iter().all(|place| !owner.contains(place)));
    }

    #[test]
    fn an_owner_is_come_across_for_what_it_may_select_and_for_little_else() {
        check("app=web", "app=web tier=a", 1);
        check("app=web", "app=api", 0);
        check("app=web,tier=a", "app=web tier=a", 1);
        check("app=web,tier=a", "tier=a", 0);
        // By the one with one value, where there is one.
        check("app in (web,api),tier=a", "app=web tier=b", 0);
        check("app in (web,api)", "app=api", 1);
        check("app in (web,api)", "app=db", 0);
        // Nothing else is enough.
        check("app,!tier", "app=web", 1);
        check("app!=web", "app=web", 1);
        check("", "app=web", 1);
        assert!(places("n", &LabelSelector::nothing()).is_empty());
    }
}
