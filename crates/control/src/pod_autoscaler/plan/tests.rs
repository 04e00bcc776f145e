//! What is done and said, from what was measured.

use serde_json::{Value, json};

use super::super::replicas::Measure;
use super::*;

fn spec(metrics: Value) -> HorizontalPodAutoscalerSpec {
    serde_json::from_value(json!({
        "minReplicas": 1,
        "maxReplicas": 10,
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        "metrics": metrics,
    }))
    .expect("a specification")
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

fn pods(count: usize) -> Vec<Arc<Pod>> {
    let pod = |number: usize| {
        json!({
            "metadata": {"name": format!("p{number}")},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {
                "phase": "Running", "startTime": "2020-01-01T00:00:00Z",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:01Z"}],
            },
        })
    };
    (0..count).map(|number| serde_json::from_value(pod(number)).expect("a pod")).map(Arc::new).collect()
}

fn used(values: &[i64]) -> Measured {
    let measure = |value: &i64| Measure { value: *value, at: now(), window: Duration::from_secs(15) };
    Measured::Pods(Ok(values
        .iter()
        .enumerate()
        .map(|(n, value)| (format!("p{n}"), measure(value)))
        .collect()))
}

/// Of so many pods: to how many, and the conditions, events and metrics that are told.
fn check(count: usize, metrics: Value, measured: &[Measured], expected: Value) {
    let (spec, pods) = (spec(metrics), pods(count));
    let wanted = i32::try_from(count).expect("few");
    let found = Found {
        wanted,
        there: wanted,
        namespace: "ns",
        pods: &pods,
        now: now(),
        elapsed: Duration::from_secs(100),
    };
    let mut status = HorizontalPodAutoscalerStatus::default();
    let outcome = plan(&spec, &mut status, &mut History::default(), found, measured);
    let conditions = status.conditions.iter().flatten().map(|it| {
        assert_eq!(it.last_transition_time, Some(Time(now())));
        format!(
            "{}={} {}: {}",
            it.type_,
            it.status,
            it.reason.as_deref().unwrap_or(""),
            it.message.as_deref().unwrap_or("")
        )
    });
    let told = json!({
        "scale": outcome.scale,
        "conditions": conditions.collect::<Vec<_>>(),
        "events": outcome.events.iter().map(|(_, reason, message)| format!("{reason}: {message}")).collect::<Vec<_>>(),
        "metrics": status.current_metrics,
    });
    assert_eq!(told, expected);
}

fn cpu(percent: i32) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

#[test]
fn the_metric_that_wants_the_most_decides() {
    let external = json!({"type": "External", "external": {
        "metric": {"name": "queue", "selector": {"matchLabels": {"a": "b"}}},
        "target": {"type": "AverageValue", "averageValue": "10"},
    }});
    check(
        2,
        json!([cpu(50), external]),
        &[used(&[600, 600]), Measured::Value(Ok(35_000))],
        json!({
            "scale": [4, "external metric queue(&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}) above target"],
            "conditions": [
                "ScalingActive=True ValidMetricFound: the HPA was able to successfully calculate a replica count from external metric queue(&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},})",
                "AbleToScale=True ReadyForNewScale: recommended size matches current size",
                "ScalingLimited=False DesiredWithinRange: the desired count is within the acceptable range",
            ],
            "events": [],
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 60, "averageValue": "600m"}}},
                {"type": "External", "external": {"metric": {"name": "queue", "selector": {"matchLabels": {"a": "b"}}}, "current": {"averageValue": "17500m"}}},
            ],
        }),
    );
}

#[test]
fn what_is_below_its_target_shrinks() {
    check(
        4,
        json!([cpu(50)]),
        &[used(&[100, 100, 100, 100])],
        json!({
            "scale": [1, "All metrics below target"],
            "conditions": [
                "ScalingActive=True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)",
                "AbleToScale=True ReadyForNewScale: recommended size matches current size",
                "ScalingLimited=False DesiredWithinRange: the desired count is within the acceptable range",
            ],
            "events": [],
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 10, "averageValue": "100m"}}}],
        }),
    );
}

#[test]
fn a_metric_that_is_not_known_keeps_a_target_from_shrinking_and_not_from_growing() {
    let missing = Measured::Pods(Err("unable to fetch metrics from custom metrics API: gone".to_owned()));
    let custom = json!({"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "1"}}});
    let failed = "FailedGetPodsMetric: unable to get metric hits: unable to fetch metrics from custom metrics API: gone";
    let of_cpu = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 10, "averageValue": "100m"}}});
    check(
        2,
        json!([cpu(50), custom.clone()]),
        &[used(&[100, 100]), missing.clone()],
        json!({
            "scale": null,
            "conditions": ["ScalingActive=False FailedGetPodsMetric: the HPA was unable to compute the replica count: unable to get metric hits: unable to fetch metrics from custom metrics API: gone"],
            "events": [
                failed,
                "FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 2), first error is: failed to get pods metric value: unable to get metric hits: unable to fetch metrics from custom metrics API: gone",
            ],
            "metrics": [of_cpu, {"type": ""}],
        }),
    );
    let (spec, pods) = (spec(json!([cpu(50), custom])), pods(2));
    let found = Found {
        wanted: 2,
        there: 2,
        namespace: "ns",
        pods: &pods,
        now: now(),
        elapsed: Duration::from_secs(100),
    };
    let mut status = HorizontalPodAutoscalerStatus::default();
    let outcome = plan(&spec, &mut status, &mut History::default(), found, &[used(&[900, 900]), missing]);
    assert_eq!(outcome.scale.map(|(replicas, _)| replicas), Some(4));
    assert_eq!((outcome.events.len(), outcome.failed), (1, false));
}

#[test]
fn nothing_known_says_why_in_kubernetes_words() {
    check(
        1,
        json!([cpu(50)]),
        &[Measured::Pods(Err("no metrics returned from resource metrics API".to_owned()))],
        json!({
            "scale": null,
            "conditions": ["ScalingActive=False FailedGetResourceMetric: the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API"],
            "events": [
                "FailedGetResourceMetric: failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API",
                "FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API",
            ],
            "metrics": [{"type": ""}],
        }),
    );
}

#[test]
fn an_object_is_measured_as_a_whole_or_for_each_pod() {
    let object = |target: Value| {
        json!([{"type": "Object", "object": {
            "describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"},
            "metric": {"name": "hits"},
            "target": target,
        }}])
    };
    let described = json!({"kind": "Service", "name": "s", "apiVersion": "v1"});
    let told = |scale: Value, name: &str, current: Value| {
        json!({
            "scale": scale,
            "conditions": [
                format!("ScalingActive=True ValidMetricFound: the HPA was able to successfully calculate a replica count from {name}"),
                "AbleToScale=True ReadyForNewScale: recommended size matches current size",
                "ScalingLimited=False DesiredWithinRange: the desired count is within the acceptable range",
            ],
            "events": [],
            "metrics": [{"type": "Object", "object": {"describedObject": described, "metric": {"name": "hits"}, "current": current}}],
        })
    };
    check(
        2,
        object(json!({"type": "Value", "value": "10"})),
        &[Measured::Value(Ok(15_000))],
        told(json!([3, "Service metric hits above target"]), "Service metric hits", json!({"value": "15"})),
    );
    check(
        2,
        object(json!({"type": "AverageValue", "averageValue": "5"})),
        &[Measured::Value(Ok(10_500))],
        told(Value::Null, "external metric hits(nil)", json!({"averageValue": "5250m"})),
    );
}

#[test]
fn bounds_come_before_what_is_measured() {
    let spec = |least: i32| HorizontalPodAutoscalerSpec { min_replicas: Some(least), ..spec(json!([])) };
    let check = |least, wanted, expected| assert_eq!(first(&spec(least), wanted), expected);
    check(1, 0, First::Disabled);
    check(0, 0, First::Measure);
    check(1, 11, First::To(10, "Current number of replicas above Spec.MaxReplicas"));
    check(3, 2, First::To(3, "Current number of replicas below Spec.MinReplicas"));
    check(3, 3, First::Measure);
}
