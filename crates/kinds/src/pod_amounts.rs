//! What a pod asks for as a whole: its containers together, and what is said of it.

use std::collections::BTreeMap;

use model::Quantity;
use model::validate::{entries, list, text};
use serde_json::Value;

/// Amounts by the names of what they are of.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// `requests` or `limits` of some resources.
pub(crate) fn of(resources: Option<&Value>, side: &str) -> Amounts {
    let amounts = resources.into_iter().flat_map(|resources| entries(resources, side));
    amounts.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount)?))).collect()
}

/// Adds amounts to others.
pub(crate) fn add(to: &mut Amounts, amounts: &Amounts) {
    for (name, amount) in amounts {
        // How the first one was written is how the sum is.
        to.entry(name.clone()).and_modify(|sum| *sum += *amount).or_insert(*amount);
    }
}

fn at_least(to: &mut Amounts, amounts: &Amounts) {
    for (name, amount) in amounts {
        let most = to.entry(name.clone()).or_insert(*amount);
        if *most < *amount {
            *most = *amount;
        }
    }
}

/// `requests` or `limits` of a pod's spec. Containers that run before the others count where they need more than
/// those; those that go on beside them count with them. What is said of the pod as a whole goes over that.
pub(crate) fn of_pod(spec: &Value, side: &str) -> Amounts {
    let mut all = Amounts::new();
    for container in list(spec, "containers") {
        add(&mut all, &of(container.get("resources"), side));
    }
    let (mut beside, mut before) = (Amounts::new(), Amounts::new());
    for container in list(spec, "initContainers") {
        let mut own = of(container.get("resources"), side);
        if text(container, "restartPolicy") == "Always" {
            add(&mut all, &own);
            add(&mut beside, &own);
            own = beside.clone();
        } else {
            add(&mut own, &beside);
        }
        at_least(&mut before, &own);
    }
    at_least(&mut all, &before);
    for (name, amount) in of(spec.get("resources"), side) {
        if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
            all.insert(name, amount);
        }
    }
    all
}

/// The same with what the pod needs besides its containers. A limit that there is not is not made.
pub(crate) fn with_overhead(spec: &Value, side: &str) -> Amounts {
    let mut all = of_pod(spec, side);
    let overhead = of(Some(spec), "overhead");
    if side == "requests" {
        add(&mut all, &overhead);
    } else {
        for (name, amount) in overhead {
            all.entry(name).and_modify(|sum| *sum += amount);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_count_together_and_what_runs_before_them_where_it_is_more() {
        let with = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let check = |spec: Value, expected: &str| {
            let amounts = with_overhead(&spec, "requests");
            assert_eq!(amounts.get("cpu").map(ToString::to_string).as_deref(), Some(expected), "{spec}");
        };
        check(json!({"containers": [with("1"), with("500m")]}), "1500m");
        check(json!({"containers": [with("1")], "initContainers": [with("3"), with("2")]}), "3");
        let beside = json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}});
        check(json!({"containers": [with("1")], "initContainers": [beside]}), "2");
        check(json!({"containers": [with("1")], "initContainers": [beside, with("2")]}), "3");
        check(json!({"containers": [with("1")], "resources": {"requests": {"cpu": "4"}}}), "4");
        check(json!({"containers": [with("1")], "overhead": {"cpu": "250m"}}), "1250m");
    }
}
