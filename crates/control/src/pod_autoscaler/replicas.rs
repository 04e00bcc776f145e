//! How many pods a metric calls for.
//!
//! Amounts are thousandths. Source of the calculations:
//! <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/podautoscaler/replica_calculator.go>.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use model::Quantity;

use crate::pods::{condition, phase};

/// For so long after its start what a pod uses of processors may be that of its beginning.
const CPU_INITIALIZATION: Duration = Duration::from_secs(300);
/// A pod that is not ready and became so within this time of its start has never been ready.
const INITIAL_READINESS: Duration = Duration::from_secs(30);

/// What was measured of a pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measure {
    pub(super) value: i64,
    pub(super) at: Timestamp,
    pub(super) window: Duration,
}

/// What was measured, by the names of pods.
pub(super) type Measures = BTreeMap<String, Measure>;

/// How far what is used may be from what is wanted before something is done about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerances {
    pub(super) up: f64,
    pub(super) down: f64,
}

/// The pods of a target, and what is to be known beside them.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    /// How many there are to be.
    pub(super) replicas: i32,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) tolerances: Tolerances,
    pub(super) now: Timestamp,
}

/// How many pods are proposed, and what is used, to be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// Hundredths of what is requested.
    pub(super) utilization: Option<i32>,
    /// On average of a pod, or all together.
    pub(super) usage: i64,
}

/// What is wanted of each pod, of a resource.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wanted {
    /// So many hundredths of what it requests.
    Utilization(i32),
    Average(i64),
}

impl Tolerances {
    fn hold(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// By what pods use of a resource, or one of their containers.
pub(super) fn by_resource(
    target: Target<'_>,
    measures: Measures,
    resource: &str,
    container: &str,
    wanted: Wanted,
) -> Result<Proposal, String> {
    let wanted = match wanted {
        Wanted::Average(average) => return by_average(target, measures, resource, average),
        Wanted::Utilization(percent) => percent,
    };
    let Groups { ready, unready, missing, measures } = group(target, measures, resource)?;
    let requests = requests(target.pods, resource, container)?;
    if measures.is_empty() {
        return Err("did not receive metrics for any ready pods".to_owned());
    }
    let ratio = |measures: &BTreeMap<String, i64>| -> Result<(f64, i32, i64), String> {
        let known = measures.iter().filter_map(|(pod, value)| Some((*value, *requests.get(pod)?)));
        let (mut used, mut requested, mut count) = (0_i64, 0_i64, 0_i64);
        for (value, request) in known {
            used = used.saturating_add(value);
            requested = requested.saturating_add(request);
            count += 1;
        }
        if requested == 0 {
            return Err("no metrics returned matched known pods".to_owned());
        }
        let utilization = used.saturating_mul(100) / requested;
        let utilization = i32::try_from(utilization).unwrap_or(i32::MAX);
        Ok((f64::from(utilization) / f64::from(wanted), utilization, used / count.max(1)))
    };
    let mut values: BTreeMap<String, i64> =
        measures.into_iter().map(|(pod, measure)| (pod, measure.value)).collect();
    let (now, utilization, usage) = ratio(&values)?;
    let proposal = |replicas| Proposal { replicas, utilization: Some(utilization), usage };
    let ups = !unready.is_empty() && now > 1.0;
    if !ups && missing.is_empty() {
        let replicas = if target.tolerances.hold(now) { target.replicas } else { times(now, ready) };
        return Ok(proposal(replicas));
    }
    // Those of which nothing is known are taken to want as little change as can be.
    if now < 1.0 {
        let all = i64::from(wanted.max(100));
        for pod in &missing {
            let request = requests.get(pod).copied().unwrap_or(0);
            values.insert(pod.clone(), request.saturating_mul(all) / 100);
        }
    } else if now > 1.0 {
        values.extend(missing.iter().map(|pod| (pod.clone(), 0)));
    }
    if ups {
        values.extend(unready.iter().map(|pod| (pod.clone(), 0)));
    }
    let (then, _, _) = ratio(&values)?;
    Ok(proposal(settled(target, now, then, values.len())))
}

/// By what pods tell by a name.
pub(super) fn by_pods(target: Target<'_>, measures: Measures, wanted: i64) -> Result<Proposal, String> {
    by_average(target, measures, "", wanted)
}

fn by_average(
    target: Target<'_>,
    measures: Measures,
    resource: &str,
    wanted: i64,
) -> Result<Proposal, String> {
    let Groups { ready, unready, missing, measures } = group(target, measures, resource)?;
    if measures.is_empty() {
        return Err("did not receive metrics for any ready pods".to_owned());
    }
    let ratio = |values: &BTreeMap<String, i64>| {
        let sum: i64 = values.values().fold(0, |sum, value| sum.saturating_add(*value));
        let average = sum / values.len().max(1) as i64;
        (average as f64 / wanted as f64, average)
    };
    let mut values: BTreeMap<String, i64> =
        measures.into_iter().map(|(pod, measure)| (pod, measure.value)).collect();
    let (now, usage) = ratio(&values);
    let proposal = |replicas| Proposal { replicas, utilization: None, usage };
    let ups = !unready.is_empty() && now > 1.0;
    if !ups && missing.is_empty() {
        let replicas = if target.tolerances.hold(now) { target.replicas } else { times(now, ready) };
        return Ok(proposal(replicas));
    }
    let of_missing = if now < 1.0 { wanted } else { 0 };
    values.extend(missing.iter().map(|pod| (pod.clone(), of_missing)));
    if ups {
        values.extend(unready.iter().map(|pod| (pod.clone(), 0)));
    }
    let (then, _) = ratio(&values);
    Ok(proposal(settled(target, now, then, values.len())))
}

/// How many with those in mind of which nothing is known: as many as now where that would turn the direction.
fn settled(target: Target<'_>, now: f64, then: f64, pods: usize) -> i32 {
    let turns = (now < 1.0 && then > 1.0) || (now > 1.0 && then < 1.0);
    if target.tolerances.hold(then) || turns {
        return target.replicas;
    }
    let replicas = times(then, pods);
    let turns = (then < 1.0 && replicas > target.replicas) || (then > 1.0 && replicas < target.replicas);
    if turns { target.replicas } else { replicas }
}

/// By a value that is not a pod's.
pub(super) fn by_value(target: Target<'_>, usage: i64, wanted: i64) -> Result<Proposal, String> {
    let ratio = usage as f64 / wanted as f64;
    let replicas = if target.replicas == 0 {
        // From nothing, whatever the tolerance.
        times(ratio, 1)
    } else if target.tolerances.hold(ratio) {
        target.replicas
    } else {
        if target.pods.is_empty() {
            let why = "no pods returned by selector while calculating replica count";
            return Err(format!("unable to calculate ready pods: {why}"));
        }
        let is_ready = |pod: &&Arc<Pod>| {
            phase(pod) == "Running" && condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
        };
        times(ratio, target.pods.iter().filter(is_ready).count())
    };
    Ok(Proposal { replicas, utilization: None, usage })
}

/// By a value of which each pod is to have so much; `replicas` there are.
pub(super) fn by_value_per_pod(target: Target<'_>, replicas: i32, usage: i64, wanted: i64) -> Proposal {
    let ratio = usage as f64 / (wanted as f64 * f64::from(replicas));
    let proposed =
        if target.tolerances.hold(ratio) { replicas } else { times(usage as f64 / wanted as f64, 1) };
    // The cast holds what it can.
    let average = if replicas == 0 { usage } else { (usage as f64 / f64::from(replicas)).ceil() as i64 };
    Proposal { replicas: proposed, utilization: None, usage: average }
}

/// So many times so many pods, rounded up. The cast holds what it can.
fn times(ratio: f64, pods: usize) -> i32 {
    (ratio * pods as f64).ceil() as i32
}

/// Pods by what is known of them.
struct Groups {
    ready: usize,
    /// Those that use what they use because they begin.
    unready: BTreeSet<String>,
    /// Those of which nothing was measured.
    missing: BTreeSet<String>,
    /// What was measured of those that are ready.
    measures: Measures,
}

fn group(target: Target<'_>, mut measures: Measures, resource: &str) -> Result<Groups, String> {
    if target.pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let (mut ready, mut unready, mut missing) = (0, BTreeSet::new(), BTreeSet::new());
    for pod in target.pods {
        let name = pod.metadata.name.clone().unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() || phase(pod) == "Failed" {
            measures.remove(&name);
        } else if matches!(phase(pod), "Pending" | "") {
            measures.remove(&name);
            unready.insert(name);
        } else {
            match measures.get(&name) {
                None => {
                    missing.insert(name);
                }
                Some(measure) if resource == "cpu" && begins(pod, measure, target.now) => {
                    measures.remove(&name);
                    unready.insert(name);
                }
                Some(_) => ready += 1,
            }
        }
    }
    Ok(Groups { ready, unready, missing, measures })
}

/// Whether what was measured of a pod's processors may be that of its beginning.
fn begins(pod: &Pod, measure: &Measure, now: Timestamp) -> bool {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let (Some(ready), Some(started)) = (condition(pod, "Ready"), started) else { return true };
    let since = ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let is_unready = ready.status == "False";
    let after = |time: Timestamp, more: Duration| time.checked_add(more).unwrap_or(Timestamp::MAX);
    if after(started.0, CPU_INITIALIZATION) > now {
        is_unready || measure.at < after(since, measure.window)
    } else {
        is_unready && after(started.0, INITIAL_READINESS) > since
    }
}

/// What each pod requests of a resource, all of it or one of its containers.
fn requests(pods: &[Arc<Pod>], resource: &str, container: &str) -> Result<BTreeMap<String, i64>, String> {
    let millis = |quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity| {
        quantity.0.parse::<Quantity>().map_or(0, Quantity::millis)
    };
    let mut all = BTreeMap::new();
    for pod in pods {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let Some(spec) = &pod.spec else { continue };
        let of_pod = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        // What is said of the pod as a whole counts before what its containers say.
        if let Some(quantity) =
            of_pod.filter(|_| container.is_empty()).and_then(|of_pod| of_pod.get(resource))
        {
            all.insert(name, millis(quantity));
            continue;
        }
        let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(sidecar));
        let mut sum = 0_i64;
        for of in containers.filter(|of| container.is_empty() || of.name == container) {
            let requests = of.resources.as_ref().and_then(|resources| resources.requests.as_ref());
            let Some(quantity) = requests.and_then(|requests| requests.get(resource)) else {
                return Err(format!("missing request for {resource} in container {} of Pod {name}", of.name));
            };
            sum = sum.saturating_add(millis(quantity));
        }
        all.insert(name, sum);
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
