//! What is to become of a target, as its autoscaler says and as things are.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::EventType;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricStatus, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus,
    MetricIdentifier, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus, ObjectMetricStatus,
    PodsMetricStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use model::Quantity;

use super::limits::{History, limit};
use super::replicas::{
    Measures, Proposal, Target, Tolerances, Wanted, by_pods, by_resource, by_value, by_value_per_pod,
};

/// How far what is used may be from what is wanted, where nothing else is said.
const TOLERANCE: f64 = 0.1;

pub(super) const ABLE: &str = "AbleToScale";
pub(super) const ACTIVE: &str = "ScalingActive";
const LIMITED: &str = "ScalingLimited";

/// What was measured for one of the metrics, or why nothing was.
#[derive(Clone, Debug)]
pub(super) enum Measured {
    Pods(Result<Measures, String>),
    Value(Result<i64, String>),
}

/// What is asked of the target before anything is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Nobody scales what was scaled to nothing.
    Disabled,
    /// It is outside of its bounds.
    To(i32, &'static str),
    /// What is measured decides.
    Measure,
}

/// What is found of a target.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    /// How many there are to be, and how many there are.
    pub(super) wanted: i32,
    pub(super) there: i32,
    pub(super) namespace: &'a str,
    pub(super) pods: &'a [Arc<Pod>],
    /// The time of day, and since some beginning.
    pub(super) now: Timestamp,
    pub(super) elapsed: Duration,
}

/// What is to be done and said.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// How many there are to be, and why.
    pub(super) scale: Option<(i32, String)>,
    pub(super) events: Vec<(EventType, &'static str, String)>,
    /// Why nothing could be worked out.
    pub(super) failed: bool,
}

/// What is to be done before anything is measured.
pub(super) fn first(spec: &HorizontalPodAutoscalerSpec, wanted: i32) -> First {
    let least = spec.min_replicas.unwrap_or(1);
    if wanted == 0 && least != 0 {
        First::Disabled
    } else if wanted > spec.max_replicas {
        First::To(spec.max_replicas, "Current number of replicas above Spec.MaxReplicas")
    } else if wanted < least {
        First::To(least, "Current number of replicas below Spec.MinReplicas")
    } else {
        First::Measure
    }
}

/// What follows from what was measured, of each metric in the order of the specification; the conditions and what is
/// used are said in `status`.
pub(super) fn plan(
    spec: &HorizontalPodAutoscalerSpec,
    status: &mut HorizontalPodAutoscalerStatus,
    history: &mut History,
    found: Found<'_>,
    measured: &[Measured],
) -> Outcome {
    let metrics = spec.metrics.as_deref().unwrap_or_default();
    let mut outcome = Outcome::default();
    let (mut best, mut invalid, mut first_failure) = (None::<(i32, String)>, 0, None);
    let mut statuses = Vec::new();
    for (metric, measured) in metrics.iter().zip(measured) {
        match propose(spec, metric, measured, found) {
            Ok((proposal, name, told)) => {
                statuses.push(told);
                if best.as_ref().is_none_or(|(replicas, _)| *replicas == 0 || proposal.replicas > *replicas) {
                    best = Some((proposal.replicas, name));
                }
            }
            Err(failure) => {
                statuses.push(MetricStatus::default());
                outcome.events.push((EventType::Warning, failure.reason, failure.error.clone()));
                invalid += 1;
                first_failure.get_or_insert(failure);
            }
        }
    }
    status.current_metrics = Some(statuses);
    status.current_replicas = Some(found.wanted);
    let replicas = best.as_ref().map_or(0, |(replicas, _)| *replicas);
    // What is not known may be what keeps the others up.
    if let Some(failure) = first_failure.filter(|_| invalid >= metrics.len() || replicas < found.wanted) {
        let message = format!("the HPA was unable to compute the replica count: {}", failure.error);
        set(status, found.now, ACTIVE, false, failure.reason, message);
        let message = format!(
            "invalid metrics ({invalid} invalid out of {}), first error is: {}: {}",
            metrics.len(),
            failure.of,
            failure.error
        );
        outcome.events.push((EventType::Warning, "FailedComputeMetricsReplicas", message));
        outcome.failed = true;
        return outcome;
    }
    let (wanted, name) = best.unwrap_or_default();
    let message = format!("the HPA was able to successfully calculate a replica count from {name}");
    set(status, found.now, ACTIVE, true, "ValidMetricFound", message);
    let why = match wanted.cmp(&found.wanted) {
        std::cmp::Ordering::Greater => format!("{name} above target"),
        std::cmp::Ordering::Less => "All metrics below target".to_owned(),
        std::cmp::Ordering::Equal => String::new(),
    };
    let limited = limit(spec, history, found.elapsed, found.wanted, wanted);
    set(status, found.now, ABLE, true, limited.able.0, limited.able.1);
    set(status, found.now, LIMITED, limited.limited, limited.why.0, limited.why.1);
    if limited.replicas != found.wanted {
        outcome.scale = Some((limited.replicas, why));
    }
    outcome
}

/// Says how it stands with something, since now where it was otherwise before.
pub(super) fn set(
    status: &mut HorizontalPodAutoscalerStatus,
    now: Timestamp,
    kind: &str,
    holds: bool,
    reason: &str,
    message: impl Into<String>,
) {
    let said = if holds { "True" } else { "False" };
    let conditions = status.conditions.get_or_insert_default();
    let place = conditions.iter().position(|condition| condition.type_ == kind).unwrap_or_else(|| {
        conditions.push(HorizontalPodAutoscalerCondition { type_: kind.to_owned(), ..Default::default() });
        conditions.len() - 1
    });
    let condition = &mut conditions[place];
    if condition.status != said {
        condition.last_transition_time = Timestamp::from_second(now.as_second()).ok().map(Time);
    }
    condition.status = said.to_owned();
    condition.reason = Some(reason.to_owned());
    condition.message = Some(message.into());
}

/// Says how many there are.
pub(super) fn scaled(hpa: &mut HorizontalPodAutoscaler, now: Timestamp, current: i32, wanted: Option<i32>) {
    let status = hpa.status.get_or_insert_default();
    status.current_replicas = Some(current);
    status.desired_replicas = wanted.unwrap_or(current);
    if wanted.is_some() {
        status.last_scale_time = Timestamp::from_second(now.as_second()).ok().map(Time);
    }
}

/// Why a metric says nothing.
struct Failure {
    reason: &'static str,
    error: String,
    /// What it is a failure of, as it is told beside those of others.
    of: String,
}

type Proposed = (Proposal, String, MetricStatus);

fn propose(
    spec: &HorizontalPodAutoscalerSpec,
    metric: &MetricSpec,
    measured: &Measured,
    found: Found<'_>,
) -> Result<Proposed, Failure> {
    let behavior = spec.behavior.as_ref();
    let tolerance = |rules: Option<&k8s_openapi::api::autoscaling::v2::HPAScalingRules>| {
        let said = rules.and_then(|rules| rules.tolerance.as_ref());
        said.and_then(|said| said.0.parse::<Quantity>().ok()).map_or(TOLERANCE, Quantity::as_f64)
    };
    let tolerances = Tolerances {
        up: tolerance(behavior.and_then(|behavior| behavior.scale_up.as_ref())),
        down: tolerance(behavior.and_then(|behavior| behavior.scale_down.as_ref())),
    };
    let target = Target { replicas: found.wanted, pods: found.pods, tolerances, now: found.now };
    let proposed = match metric {
        MetricSpec { resource: Some(source), .. } => {
            of_resource(target, &source.name, "", &source.target, measured)
                .map(|(proposal, name, current)| {
                    let told = ResourceMetricStatus { current, name: source.name.clone() };
                    (proposal, name, MetricStatus { resource: Some(told), ..MetricStatus::default() })
                })
                .map_err(|error| Failure {
                    reason: "FailedGetResourceMetric",
                    error,
                    of: format!("failed to get {} resource metric value", source.name),
                })
        }
        MetricSpec { container_resource: Some(source), .. } => {
            of_resource(target, &source.name, &source.container, &source.target, measured)
                .map(|(proposal, name, current)| {
                    let (container, resource) = (source.container.clone(), source.name.clone());
                    let told = ContainerResourceMetricStatus { container, current, name: resource };
                    (
                        proposal,
                        name,
                        MetricStatus { container_resource: Some(told), ..MetricStatus::default() },
                    )
                })
                .map_err(|error| Failure {
                    reason: "FailedGetContainerResourceMetric",
                    error,
                    of: format!("failed to get {} container metric value", source.container),
                })
        }
        MetricSpec { pods: Some(source), .. } => of_pods(target, &source.metric, &source.target, measured)
            .map(|(proposal, name, current)| {
                let told = PodsMetricStatus { current, metric: source.metric.clone() };
                (proposal, name, MetricStatus { pods: Some(told), ..MetricStatus::default() })
            })
            .map_err(|error| Failure {
                reason: "FailedGetPodsMetric",
                error,
                of: "failed to get pods metric value".to_owned(),
            }),
        MetricSpec { object: Some(source), .. } => {
            let of = &source.described_object;
            let failed = |error: &str| {
                let (name, place) = (&source.metric.name, found.namespace);
                format!("unable to get metric {name}: {} on {place} {}/{error}", of.kind, of.name)
            };
            of_value(target, found.there, &source.target, measured, "object", failed)
                .map(|(proposal, current, average)| {
                    let name = match average {
                        true => external_name(&source.metric),
                        false => format!("{} metric {}", of.kind, source.metric.name),
                    };
                    let described_object = of.clone();
                    let told =
                        ObjectMetricStatus { current, described_object, metric: source.metric.clone() };
                    (proposal, name, MetricStatus { object: Some(told), ..MetricStatus::default() })
                })
                .map_err(|error| Failure {
                    reason: "FailedGetObjectMetric",
                    error,
                    of: "failed to get object metric value".to_owned(),
                })
        }
        MetricSpec { external: Some(source), .. } => {
            let failed = |error: &str| {
                let (name, selector) = (&source.metric.name, printed(source.metric.selector.as_ref()));
                format!("unable to get external metric {}/{name}/{selector}: {error}", found.namespace)
            };
            of_value(target, found.there, &source.target, measured, "external", failed)
                .map(|(proposal, current, _)| {
                    let told = ExternalMetricStatus { current, metric: source.metric.clone() };
                    let name = external_name(&source.metric);
                    (proposal, name, MetricStatus { external: Some(told), ..MetricStatus::default() })
                })
                .map_err(|error| Failure {
                    reason: "FailedGetExternalMetric",
                    error,
                    of: format!("failed to get {} external metric value", source.metric.name),
                })
        }
        _ => Err(Failure {
            reason: "InvalidMetricSourceType",
            error: format!("unknown metric source type {:?}", metric.type_),
            of: "invalid metric".to_owned(),
        }),
    };
    proposed
        .map(|(proposal, name, told)| (proposal, name, MetricStatus { type_: metric.type_.clone(), ..told }))
}

fn of_resource(
    target: Target<'_>,
    resource: &str,
    container: &str,
    wanted: &MetricTarget,
    measured: &Measured,
) -> Result<(Proposal, String, MetricValueStatus), String> {
    let (wanted, word, name) = if let Some(average) = millis(wanted.average_value.as_ref()) {
        (Wanted::Average(average), "usage", format!("{resource} resource"))
    } else if let Some(percent) = wanted.average_utilization {
        let name = format!("{resource} resource utilization (percentage of request)");
        (Wanted::Utilization(percent), "utilization", name)
    } else {
        return Err("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set".to_owned());
    };
    let failed = |error: &str| format!("failed to get {resource} {word}: {error}");
    let measures = match measured {
        Measured::Pods(Ok(measures)) => measures.clone(),
        Measured::Pods(Err(error)) => {
            return Err(failed(&format!("unable to get metrics for resource {resource}: {error}")));
        }
        Measured::Value(_) => return Err(failed("nothing was measured of its pods")),
    };
    let proposal = by_resource(target, measures, resource, container, wanted);
    let proposal = proposal.map_err(|error| failed(&error))?;
    let current = MetricValueStatus {
        average_utilization: proposal.utilization,
        average_value: Some(amount(proposal.usage)),
        value: None,
    };
    Ok((proposal, name, current))
}

fn of_pods(
    target: Target<'_>,
    metric: &MetricIdentifier,
    wanted: &MetricTarget,
    measured: &Measured,
) -> Result<(Proposal, String, MetricValueStatus), String> {
    let wanted = millis(wanted.average_value.as_ref()).ok_or("no average value target was set")?;
    let measures = match measured {
        Measured::Pods(Ok(measures)) => measures.clone(),
        Measured::Pods(Err(error)) => return Err(format!("unable to get metric {}: {error}", metric.name)),
        Measured::Value(_) => return Err("nothing was measured of its pods".to_owned()),
    };
    let proposal = by_pods(target, measures, wanted)?;
    let current = MetricValueStatus { average_value: Some(amount(proposal.usage)), ..Default::default() };
    Ok((proposal, format!("pods metric {}", metric.name), current))
}

/// The last says whether each pod is to have so much.
fn of_value(
    target: Target<'_>,
    there: i32,
    wanted: &MetricTarget,
    measured: &Measured,
    source: &str,
    failed: impl Fn(&str) -> String,
) -> Result<(Proposal, MetricValueStatus, bool), String> {
    let usage = match measured {
        Measured::Value(Ok(value)) => *value,
        Measured::Value(Err(error)) => return Err(failed(error)),
        Measured::Pods(_) => return Err(failed("nothing was measured of it")),
    };
    if let Some(average) = millis(wanted.average_value.as_ref()) {
        let proposal = by_value_per_pod(target, there, usage, average);
        let current = MetricValueStatus { average_value: Some(amount(proposal.usage)), ..Default::default() };
        return Ok((proposal, current, true));
    }
    let Some(value) = millis(wanted.value.as_ref()) else {
        return Err(format!(
            "invalid {source} metric source: neither a value target nor an average value target was set"
        ));
    };
    let proposal = by_value(target, usage, value)?;
    let current = MetricValueStatus { value: Some(amount(proposal.usage)), ..Default::default() };
    Ok((proposal, current, false))
}

fn millis(amount: Option<&Amount>) -> Option<i64> {
    amount?.0.parse::<Quantity>().ok().map(Quantity::millis)
}

fn amount(millis: i64) -> Amount {
    Amount(Quantity::from_millis(millis).to_string())
}

fn external_name(metric: &MetricIdentifier) -> String {
    format!("external metric {}({})", metric.name, printed(metric.selector.as_ref()))
}

/// A selector as Kubernetes prints it in these messages.
fn printed(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let labels: String =
        selector.match_labels.iter().flatten().map(|(name, value)| format!("{name}: {value},")).collect();
    let expression = |it: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement| {
        let values = it.values.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", it.key, it.operator)
    };
    let expressions: String = selector.match_expressions.iter().flatten().map(expression).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
mod tests;
