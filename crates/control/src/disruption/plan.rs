//! The thinking half of the disruption controller: pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use client::{ObjectKey, Resource as _};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model::select::LabelSelector;

use super::names;
use crate::conditions;

/// A pod that was to be evicted and is still there after so long stays.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(120);
/// Whether disruptions are allowed.
const ALLOWED: &str = "DisruptionAllowed";

/// What is looked at of a pod.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) is_ready: bool,
    pub(super) is_ending: bool,
    pub(super) is_terminal: bool,
    /// Who makes it; none where nobody does.
    pub(super) scale: Option<Scale>,
}

/// How many pods somebody makes.
#[derive(Clone, Debug)]
pub(super) enum Scale {
    /// So many.
    Of { uid: String, replicas: i32 },
    /// Whoever made it is gone.
    Gone,
    /// Its kind has no number.
    Unscaled(String),
}

/// How many pods there should be, and how many of them have to be healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) pods: i32,
    pub(super) healthy: i32,
    /// Some pods are nobody's, though it matters whose they are.
    pub(super) unmanaged: bool,
}

/// The pods that a budget is about; none without a selector.
pub(super) fn selector(budget: &PodDisruptionBudget) -> Option<LabelSelector> {
    crate::selector(budget.spec.as_ref()?.selector.as_ref()?)
}

/// Whether it matters to a budget how many pods those make who make its pods.
pub(super) fn asks_for_scales(budget: &PodDisruptionBudget) -> bool {
    budget.spec.as_ref().is_some_and(|spec| {
        let least = spec.min_available.as_ref();
        spec.max_unavailable.is_some() || least.is_some_and(|least| matches!(least, IntOrString::String(_)))
    })
}

/// The budgets to which it matters how many pods with these labels somebody makes.
pub(super) fn concerned(
    budgets: &[Arc<PodDisruptionBudget>],
    labels: Option<&BTreeMap<String, String>>,
) -> Vec<ObjectKey> {
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let selects =
        |budget: &PodDisruptionBudget| selector(budget).is_some_and(|selector| selector.match_values(label));
    let concerned = budgets.iter().filter(|budget| asks_for_scales(budget) && selects(budget));
    concerned.map(|budget| budget.key()).collect()
}

/// How many pods those make who have been asked already, by their uids: each is asked once, whatever its pods.
#[derive(Default)]
pub(super) struct KnownScales(HashMap<Arc<str>, Scale>);

impl KnownScales {
    /// How many the one with this uid makes; `ask` finds out.
    pub(super) fn of(&mut self, owner: &Arc<str>, ask: impl FnOnce() -> Option<Scale>) -> Option<Scale> {
        if let Some(known) = self.0.get(owner) {
            return Some(known.clone());
        }
        let scale = ask()?;
        self.0.insert(owner.clone(), scale.clone());
        Some(scale)
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// So many of `all`, rounded up where that is a part.
fn share(of: &IntOrString, all: i32) -> Result<i32, String> {
    match of {
        IntOrString::Int(number) => Ok(*number),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|percent| percent.parse::<i64>().ok());
            let percent = percent.ok_or_else(|| format!("invalid value for IntOrString: {text}"))?;
            let part = (i64::from(all).saturating_mul(percent)).div_euclid(100)
                + i64::from((i64::from(all).saturating_mul(percent)).rem_euclid(100) != 0);
            Ok(i32::try_from(part).unwrap_or(i32::MAX))
        }
    }
}

/// How many pods a budget expects.
pub(super) fn expected(budget: &PodDisruptionBudget, seen: &[Seen]) -> Result<Expected, String> {
    let spec = budget.spec.clone().unwrap_or_default();
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let (pods, unmanaged) = scales(seen)?;
            Ok(Expected { pods, healthy: (pods - share(most, pods)?).max(0), unmanaged })
        }
        (None, Some(IntOrString::Int(least))) => {
            Ok(Expected { pods: count(seen.len()), healthy: *least, unmanaged: false })
        }
        (None, Some(least)) => {
            let (pods, unmanaged) = scales(seen)?;
            Ok(Expected { pods, healthy: share(least, pods)?, unmanaged })
        }
        (None, None) => Ok(Expected { pods: 0, healthy: 0, unmanaged: false }),
    }
}

/// How many pods those who make these make together, and whether some are nobody's.
fn scales(seen: &[Seen]) -> Result<(i32, bool), String> {
    let (mut scales, mut unmanaged) = (HashMap::new(), false);
    for pod in seen {
        match &pod.scale {
            None => unmanaged = true,
            Some(Scale::Of { uid, replicas }) => drop(scales.insert(uid.as_str(), *replicas)),
            Some(Scale::Gone) => return Err(format!("found no controllers for pod {:?}", pod.name)),
            Some(Scale::Unscaled(owner)) => {
                return Err(format!("{owner} does not implement the scale subresource"));
            }
        }
    }
    Ok((scales.values().fold(0, |sum: i32, replicas| sum.saturating_add(*replicas)), unmanaged))
}

/// The status, and when to look again: when an eviction that was noted will be forgotten.
pub(super) fn status(
    budget: &PodDisruptionBudget,
    seen: &[Seen],
    expected: Result<Expected, String>,
    now: Time,
) -> (PodDisruptionBudgetStatus, Option<Duration>) {
    let before = budget.status.clone().unwrap_or_default();
    let generation = budget.metadata.generation;
    let expected = match expected {
        Ok(expected) => expected,
        Err(why) => {
            let mut failed = before;
            failed.disruptions_allowed = Some(0);
            failed.observed_generation = generation;
            set_condition(&mut failed, "SyncFailed", &why, &now);
            return (failed, None);
        }
    };
    let (disrupted, wake) = disrupted(&before, seen, &now);
    let healthy = seen.iter().filter(|pod| {
        let counts = !pod.is_ending && !pod.is_terminal && pod.is_ready;
        counts && !disrupted.contains_key(&pod.name)
    });
    let healthy = count(healthy.count());
    let allowed = (healthy - expected.healthy).max(0);
    let mut next = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(expected.healthy),
        // With nothing expected there is nothing to disturb.
        disruptions_allowed: Some(if expected.pods <= 0 { 0 } else { allowed }),
        expected_pods: Some(expected.pods),
        disrupted_pods: Some(disrupted).filter(|disrupted| !disrupted.is_empty()),
        observed_generation: generation,
        conditions: before.conditions,
    };
    let reason = if next.disruptions_allowed > Some(0) { "SufficientPods" } else { "InsufficientPods" };
    set_condition(&mut next, reason, "", &now);
    (next, wake)
}

/// The evictions that were noted and have not come to pass, and how long the next one is waited for.
fn disrupted(
    before: &PodDisruptionBudgetStatus,
    seen: &[Seen],
    now: &Time,
) -> (BTreeMap<String, Time>, Option<Duration>) {
    let ending: HashMap<&str, bool> = seen.iter().map(|pod| (pod.name.as_str(), pod.is_ending)).collect();
    let there = names(seen);
    let (mut left, mut wake) = (BTreeMap::new(), None::<Duration>);
    for (name, at) in before.disrupted_pods.iter().flatten() {
        if !there.contains(name.as_str()) || ending.get(name.as_str()) == Some(&true) {
            continue;
        }
        let since = Duration::try_from(now.0.duration_since(at.0)).unwrap_or(Duration::ZERO);
        let Some(rest) = EVICTION_TIMEOUT.checked_sub(since).filter(|rest| !rest.is_zero()) else { continue };
        wake = Some(wake.map_or(rest, |wake| wake.min(rest)));
        left.insert(name.clone(), at.clone());
    }
    (left, wake)
}

fn set_condition(status: &mut PodDisruptionBudgetStatus, reason: &str, message: &str, now: &Time) {
    let condition = Condition {
        type_: ALLOWED.to_owned(),
        status: conditions::status(status.disruptions_allowed > Some(0)),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: status.observed_generation,
        last_transition_time: now.clone(),
    };
    conditions::set(status.conditions.get_or_insert_default(), condition);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn time(text: &str) -> Time {
        Time(model::time::parse(text).expect("a time"))
    }

    fn now() -> Time {
        time("2026-01-01T00:10:00Z")
    }

    /// `name:state`, where the state is `ready`, `unready`, `ending` or `done`; `name:state:owner/replicas`.
    fn pod(text: &str) -> Seen {
        let mut parts = text.split(':');
        let (name, state) = (parts.next().expect("a name"), parts.next().expect("a state"));
        let scale = parts.next().map(|owner| match owner.split_once('/') {
            Some((uid, replicas)) => {
                Scale::Of { uid: uid.to_owned(), replicas: replicas.parse().expect("a number") }
            }
            None => Scale::Unscaled(owner.to_owned()),
        });
        Seen {
            name: name.to_owned(),
            is_ready: matches!(state, "ready" | "ending"),
            is_ending: state == "ending",
            is_terminal: state == "done",
            scale,
        }
    }

    /// `expected healthy wanted allowed` of a budget, or what went wrong.
    #[track_caller]
    fn check(spec: Value, pods: &str, expected_counts: &str) -> PodDisruptionBudgetStatus {
        let budget = json!({"metadata": {"generation": 3}, "spec": spec});
        let budget: PodDisruptionBudget = serde_json::from_value(budget).expect("a budget");
        let seen: Vec<Seen> = pods.split_whitespace().map(pod).collect();
        let (status, _) = status(&budget, &seen, expected(&budget, &seen), now());
        let counts = [
            status.expected_pods,
            status.current_healthy,
            status.desired_healthy,
            status.disruptions_allowed,
        ];
        let counts: Vec<String> = counts.iter().map(|count| count.unwrap_or(0).to_string()).collect();
        assert_eq!(counts.join(" "), expected_counts);
        assert_eq!(status.observed_generation, Some(3));
        status
    }

    #[test]
    fn so_many_may_go_as_are_healthy_beyond_those_that_have_to_be() {
        check(json!({"minAvailable": 1}), "a:ready b:ready c:unready", "3 2 1 1");
        check(json!({"minAvailable": 2}), "a:ready b:ready", "2 2 2 0");
        check(json!({"minAvailable": 1}), "a:ready b:ending c:done", "3 1 1 0");
        check(json!({"minAvailable": 5}), "a:ready", "1 1 5 0");
        check(json!({"minAvailable": 0}), "", "0 0 0 0");
        check(json!({"minAvailable": "50%"}), "a:ready:r/3 b:ready:r/3 c:ready:r/3", "3 3 2 1");
        check(json!({"maxUnavailable": 1}), "a:ready:r/3 b:ready:r/3", "3 2 2 0");
        check(json!({"maxUnavailable": "30%"}), "a:ready:r/10 b:ready:s/1", "11 2 7 0");
        check(json!({"maxUnavailable": "100%"}), "a:ready:r/2 b:ready:r/2", "2 2 0 2");
        check(json!({"maxUnavailable": 1}), "a:ready", "0 1 0 0");
    }

    #[test]
    fn only_budgets_that_ask_how_many_there_should_be_hear_of_it_and_each_owner_is_asked_once() {
        let budget = |name: &str, mut spec: Value, app: &str| -> Arc<PodDisruptionBudget> {
            spec["selector"] = json!({"matchLabels": {"app": app}});
            let budget = json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec});
            Arc::new(serde_json::from_value(budget).expect("a budget"))
        };
        let budgets = [
            budget("number", json!({"minAvailable": 1}), "web"),
            budget("share", json!({"minAvailable": "50%"}), "web"),
            budget("most", json!({"maxUnavailable": 1}), "web"),
            budget("other", json!({"maxUnavailable": 1}), "db"),
        ];
        let told = |labels: Option<BTreeMap<String, String>>| -> String {
            let keys: Vec<String> =
                concerned(&budgets, labels.as_ref()).into_iter().map(|key| key.name).collect();
            keys.join(" ")
        };
        let labels = |app: &str| Some(BTreeMap::from([("app".to_owned(), app.to_owned())]));
        assert_eq!(told(labels("web")), "share most");
        assert_eq!(told(labels("db")), "other");
        assert_eq!(told(labels("none")), "");
        assert_eq!(told(None), "");

        let (mut known, mut asked) = (KnownScales::default(), 0);
        for number in 0..100 {
            let owner: Arc<str> = if number % 2 == 0 { "even".into() } else { "odd".into() };
            let scale = known.of(&owner, || {
                asked += 1;
                Some(Scale::Of { uid: owner.to_string(), replicas: 50 })
            });
            assert!(matches!(scale, Some(Scale::Of { uid, .. }) if uid == *owner));
        }
        assert_eq!(asked, 2, "each of the two once, not each pod");
    }

    #[test]
    fn nothing_may_go_where_it_is_not_known_how_many_there_should_be() {
        let status = check(json!({"maxUnavailable": 1}), "a:ready:Thing", "0 0 0 0");
        let condition = &status.conditions.expect("a condition")[0];
        assert_eq!((condition.reason.as_str(), condition.status.as_str()), ("SyncFailed", "False"));
        assert!(condition.message.contains("Thing does not implement the scale subresource"));
    }

    #[test]
    fn what_is_about_to_go_is_not_healthy_until_it_is_seen_to_stay() {
        let noted =
            json!({"a": "2026-01-01T00:09:00Z", "b": "2026-01-01T00:07:00Z", "gone": "2026-01-01T00:09:00Z"});
        let budget = json!({"spec": {"minAvailable": 1}, "status": {
            "disruptedPods": noted, "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
        }});
        let budget: PodDisruptionBudget = serde_json::from_value(budget).expect("a budget");
        let seen: Vec<Seen> = ["a:ready", "b:ready", "c:ready"].into_iter().map(pod).collect();
        let (status, wake) = status(&budget, &seen, expected(&budget, &seen), now());
        assert_eq!(status.disrupted_pods.expect("one").into_keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!((status.current_healthy, status.disruptions_allowed), (Some(2), Some(1)));
        assert_eq!(wake, Some(Duration::from_secs(60)));
        let condition = &status.conditions.expect("a condition")[0];
        assert_eq!((condition.reason.as_str(), condition.status.as_str()), ("SufficientPods", "True"));
    }
}
