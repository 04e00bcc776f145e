//! What a pod asks for as a whole: its containers together, and what is said of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::validate::{entries, list, text};
use model::{Object, Quantity};
use serde_json::{Map, Value, json};

/// Amounts by the names of what they are of.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// `requests` or `limits` of some resources.
pub(crate) fn of(resources: Option<&Value>, side: &str) -> Amounts {
    let amounts = resources.into_iter().flat_map(|resources| entries(resources, side));
    amounts.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_json(amount)?))).collect()
}

/// Whether a pod is looked at as it is stored, or as somebody asks for it to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// What it wants was written before; its node may have answered.
    Before,
    /// It wants this from now on: whatever its node has said was not of this.
    Now,
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

/// The spec of a pod with what its containers take as long as that is not what they are to have: the most of what is
/// wanted, what their node has granted and what they really have. What their node cannot grant counts for nothing,
/// where it has said so of what is wanted `now`: an answer to what was asked for before says nothing of that.
pub(crate) fn held(pod: &Object, now: Wanted) -> Cow<'_, Value> {
    const STATUSES: [(&str, &str); 2] =
        [("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")];
    static NONE: Value = Value::Null;
    let spec = pod.get(&["spec"]).unwrap_or(&NONE);
    let status = pod.get(&["status"]).unwrap_or(&NONE);
    let told = |container: &Value, statuses: &str| {
        let name = text(container, "name");
        list(status, statuses).iter().find(|status| text(status, "name") == name)
    };
    let settled = STATUSES.iter().all(|(containers, statuses)| {
        list(spec, containers).iter().all(|container| {
            told(container, statuses).is_none_or(|status| is_settled(container.get("resources"), status))
        })
    });
    let whole_settled =
        status.get("resources").is_none_or(|told| is_alike(spec.get("resources"), Some(told)));
    if settled && whole_settled {
        return Cow::Borrowed(spec);
    }
    let generation = pod.get(&["metadata", "generation"]).and_then(Value::as_i64).unwrap_or(0);
    let refused = now == Wanted::Before
        && list(status, "conditions").iter().any(|condition| {
            text(condition, "type") == "PodResizePending"
                && text(condition, "status") == "True"
                && text(condition, "reason") == "Infeasible"
                && condition.get("observedGeneration").and_then(Value::as_i64) == Some(generation)
        });
    let mut held = Map::new();
    for (containers, statuses) in STATUSES {
        let all = list(spec, containers).iter().map(|container| {
            let wanted = container.get("resources");
            let resources = match told(container, statuses) {
                Some(status) => {
                    most(wanted, status.get("resources"), Some(status), "allocatedResources", refused)
                }
                None => wanted.cloned().unwrap_or(Value::Null),
            };
            json!({"name": container["name"], "restartPolicy": container["restartPolicy"], "resources": resources})
        });
        held.insert(containers.to_owned(), all.collect());
    }
    if let Some(wanted) = spec.get("resources") {
        // What it was granted as a whole is told of every pod.
        let resources = most(Some(wanted), status.get("resources"), None, "", refused);
        held.insert("resources".to_owned(), resources);
    }
    if let Some(overhead) = spec.get("overhead") {
        held.insert("overhead".to_owned(), overhead.clone());
    }
    Cow::Owned(Value::Object(held))
}

/// Whether a container has what it is to have.
fn is_settled(wanted: Option<&Value>, status: &Value) -> bool {
    let requests = |of: Option<&Value>, side: &str| of.map(|of| self::of(Some(of), side)).unwrap_or_default();
    let granted = requests(Some(status), "allocatedResources");
    let is_granted = status.get("allocatedResources").is_none() || granted == requests(wanted, "requests");
    is_granted && status.get("resources").is_none_or(|told| is_alike(wanted, Some(told)))
}

fn is_alike(a: Option<&Value>, b: Option<&Value>) -> bool {
    ["requests", "limits"].iter().all(|side| of(a, side) == of(b, side))
}

/// The most of what is wanted, of what there really is, and of what was granted, which is said of requests alone.
fn most(
    wanted: Option<&Value>,
    real: Option<&Value>,
    granted: Option<&Value>,
    name: &str,
    refused: bool,
) -> Value {
    let side = |side: &str| {
        let mut all = if refused && real.is_some() { Amounts::new() } else { of(wanted, side) };
        at_least(&mut all, &of(real, side));
        if side == "requests" {
            at_least(&mut all, &granted.map(|granted| of(Some(granted), name)).unwrap_or_default());
        }
        all.into_iter().map(|(name, amount)| (name, amount.to_string().into())).collect::<Map<_, _>>()
    };
    json!({"requests": side("requests"), "limits": side("limits")})
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
    fn what_is_given_and_what_is_wanted_both_count_until_they_are_the_same() {
        let check_when = |now: Wanted, wanted: &str, status: Value, expected: &str| {
            let spec = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": wanted}, "limits": {"cpu": "4"}}}]});
            let pod = json!({"metadata": {"generation": 3}, "spec": spec, "status": status});
            let pod = Object::from_value(pod).expect("an object");
            let amounts = with_overhead(&held(&pod, now), "requests");
            assert_eq!(amounts.get("cpu").map(ToString::to_string).as_deref(), Some(expected), "{status}");
        };
        let check = |wanted: &str, status: Value, expected: &str| {
            check_when(Wanted::Before, wanted, status, expected);
        };
        let told = |granted: &str, real: &str| {
            let real = json!({"requests": {"cpu": real}, "limits": {"cpu": "4"}});
            json!([{"name": "a", "allocatedResources": {"cpu": granted}, "resources": real}])
        };
        check("1", json!({}), "1");
        check("1", json!({"containerStatuses": told("1000m", "1")}), "1");
        check("2", json!({"containerStatuses": told("1", "1")}), "2");
        check("1", json!({"containerStatuses": told("2", "1")}), "2");
        check("1", json!({"containerStatuses": told("1", "3")}), "3");
        let answered = |status: &str, reason: &str, generation: i64| {
            let condition = json!({"type": "PodResizePending", "status": status, "reason": reason, "observedGeneration": generation});
            json!({"containerStatuses": told("1", "1"), "conditions": [condition]})
        };
        check("9", answered("True", "Infeasible", 3), "1");
        check("9", answered("True", "Deferred", 3), "9");
        // What is said no more, or was said of something else, or is asked for now was not refused.
        check("9", answered("False", "Infeasible", 3), "9");
        check("9", answered("True", "Infeasible", 2), "9");
        check_when(Wanted::Now, "9", answered("True", "Infeasible", 3), "9");
        let unsaid = json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]);
        check("9", json!({"containerStatuses": told("1", "1"), "conditions": unsaid}), "9");
    }

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
