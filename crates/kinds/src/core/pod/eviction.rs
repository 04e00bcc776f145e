//! Evicting a pod: a deletion that asks nicely. A disruption budget that has none to spare refuses; one that has is
//! decremented in the transaction that deletes the pod.

use apiserver::request::DeleteOptions;
use apiserver::{Along, Body, Call, Error, Result};
use http::Response;
use model::select::LabelSelector;
use model::status::Cause;
use model::validate::text;
use model::{GroupResource, GroupVersionKind, Object, Status};
use serde_json::{Value, json};

/// So many evictions may wait for the controller to notice them.
const MOST_DISRUPTED: usize = 2000;
/// After so many seconds a budget has perhaps been looked at.
const LATER: i32 = 10;
/// Whether disruptions are allowed.
const ALLOWED: &str = "DisruptionAllowed";

pub(super) async fn handle(call: Call) -> Result<Response<Body>> {
    let of = |version: &str| GroupVersionKind::new("policy", version, "Eviction");
    // As clients before 1.22 send it, and those that never asked for more.
    let eviction = call.decode_as_any(&of("v1"), &[of("v1beta1")])?;
    if !eviction.name().is_empty() && eviction.name() != call.name() {
        return Err(Error::bad_request(format!(
            "name in URL does not match name in Eviction object: {} != {}",
            call.name(),
            eviction.name()
        )));
    }
    let (eviction, warnings) = call.admit(&call.write_options()?, eviction).await?;
    let mut options = match eviction.get(&["deleteOptions"]) {
        None => DeleteOptions::default(),
        Some(options) => serde_json::from_value(options.clone())
            .map_err(|e| Error::bad_request(format!("deleteOptions: {e}")))?,
    };
    options.dry_run.extend(call.query().all("dryRun").map(str::to_owned));
    options.check()?;
    call.delete_along(&options, |pod, ending| {
        let along = spend(&call, pod)?;
        say_why(&call, ending);
        Ok(along)
    })
    .await?;
    Ok(call.answer_created(&warnings))
}

/// The budget that the pod is in, with one disruption less; none where it is in none, or it does not matter.
fn spend(call: &Call, pod: &Object) -> Result<Vec<Along>> {
    // What has not begun, or has ended, is missed by nobody.
    let phase = pod.get_str(&["status", "phase"]);
    if pod.is_being_deleted() || matches!(phase, Some("Succeeded" | "Failed" | "Pending")) {
        return Ok(Vec::new());
    }
    let resource = GroupResource::new("policy", "poddisruptionbudgets");
    let selects = |budget: &Object| match budget.get(&["spec", "selector"]) {
        None => false,
        selector => LabelSelector::from_json(selector).is_ok_and(|selector| selector.matches(pod)),
    };
    let mut budgets: Vec<Object> = call.context().list(&resource, call.namespace());
    budgets.retain(selects);
    let Some(budget) = budgets.pop() else { return Ok(Vec::new()) };
    if !budgets.is_empty() {
        let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::failure(500, "", message.to_owned()).into());
    }
    if !is_ready(pod) && may_lose_unready(&budget) {
        return Ok(Vec::new());
    }
    let new = decrement(call, &budget, pod.name())?;
    Ok(vec![Along { resource, old: budget, new }])
}

fn is_ready(pod: &Object) -> bool {
    let conditions = pod.get_list(&["status", "conditions"]);
    conditions.iter().any(|one| text(one, "type") == "Ready" && text(one, "status") == "True")
}

fn count(budget: &Object, name: &str) -> i64 {
    budget.get_i64(&["status", name]).unwrap_or_default()
}

/// Whether a pod that does nothing for the budget may go without counting.
fn may_lose_unready(budget: &Object) -> bool {
    let policy = budget.get_str(&["spec", "unhealthyPodEvictionPolicy"]);
    let (healthy, desired) = (count(budget, "currentHealthy"), count(budget, "desiredHealthy"));
    policy == Some("AlwaysAllow") || healthy >= desired && desired > 0
}

/// One disruption less, with the pod that it is for.
fn decrement(call: &Call, budget: &Object, pod: &str) -> Result<Object> {
    let observed = budget.get_i64(&["status", "observedGeneration"]).unwrap_or_default();
    if observed < budget.generation() {
        let why = format!("The disruption budget {} is still being processed by the server.", budget.name());
        return Err(refusal(why, LATER));
    }
    let allowed = count(budget, "disruptionsAllowed");
    let resource = GroupResource::new("policy", "poddisruptionbudget");
    if allowed < 0 {
        let why = "pdb disruptions allowed is negative";
        return Err(Status::forbidden(&resource, budget.name(), why).into());
    }
    let disrupted = budget.get(&["status", "disruptedPods"]).and_then(Value::as_object);
    if disrupted.is_some_and(|disrupted| disrupted.len() > MOST_DISRUPTED) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(&resource, budget.name(), why).into());
    }
    if allowed == 0 {
        return Err(refusal(why_none(budget), 0));
    }
    let mut new = budget.clone();
    new.set(&["status", "disruptionsAllowed"], allowed - 1);
    new.set(&["status", "disruptedPods", pod], model::time::format(call.now()));
    if allowed == 1 {
        let mut conditions = budget.get_list(&["status", "conditions"]).to_vec();
        conditions.retain(|condition| text(condition, "type") != ALLOWED);
        conditions.push(json!({
            "type": ALLOWED, "status": "False", "reason": "InsufficientPods", "message": "",
            "observedGeneration": observed, "lastTransitionTime": model::time::format(call.now()),
        }));
        new.set(&["status", "conditions"], conditions);
    }
    Ok(new)
}

/// Why a budget has none to spare.
fn why_none(budget: &Object) -> String {
    let name = budget.name();
    let conditions = budget.get_list(&["status", "conditions"]);
    let failed =
        conditions.iter().find(|one| text(one, "type") == ALLOWED && text(one, "reason") == "SyncFailed");
    match failed {
        Some(condition) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            text(condition, "message")
        ),
        None => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            count(budget, "desiredHealthy"),
            count(budget, "currentHealthy")
        ),
    }
}

/// Not now: 429, with the cause that clients know it by.
fn refusal(why: String, later: i32) -> Error {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::too_many_requests(message, later);
    status.details.get_or_insert_default().causes.push(Cause {
        reason: "DisruptionBudget".to_owned(),
        message: why,
        field: String::new(),
    });
    status.into()
}

/// A pod that goes says that it was evicted.
fn say_why(call: &Call, pod: &mut Object) {
    const TARGET: &str = "DisruptionTarget";
    if matches!(pod.get_str(&["status", "phase"]), Some("Succeeded" | "Failed")) {
        return;
    }
    let mut conditions = pod.get_list(&["status", "conditions"]).to_vec();
    if conditions.iter().any(|one| text(one, "type") == TARGET && text(one, "status") == "True") {
        return;
    }
    conditions.retain(|condition| text(condition, "type") != TARGET);
    conditions.push(json!({
        "type": TARGET, "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        "lastProbeTime": null, "lastTransitionTime": model::time::format(call.now()),
    }));
    pod.set(&["status", "conditions"], conditions);
}
