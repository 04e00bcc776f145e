//! HorizontalPodAutoscalers: as many pods as what is measured calls for.
//!
//! Every fifteen seconds, and when one is changed, its target is looked at by the scale of whatever kind it is. What
//! is measured comes from the metrics APIs ([`measures`]), how many pods that calls for is worked out in
//! [`replicas`], how fast and how far the target goes there in [`limits`]; [`plan`] puts that together.

use std::collections::HashMap;
use std::time::Duration;

use client::recorder::{EventType, Recorder};
use client::{Action, Api, Controller, Error, ObjectKey, Reconcile, Resource as _, ResourceKind, Store};
use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricIdentifier, MetricSpec};
use k8s_openapi::api::core::v1::Pod;
use model::select::LabelSelector;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::Context;

mod limits;
mod measures;
mod plan;
mod replicas;

use limits::History;
use plan::{ABLE, ACTIVE, First, Found, Measured, scaled, set};

/// How often a target is looked at.
const PERIOD: Duration = Duration::from_secs(15);
/// Until it is known which kinds there are.
const KINDS: Duration = Duration::from_millis(200);
/// What the API says of a path under which it serves nothing.
const NO_RESOURCE: &str = "the server could not find the requested resource";
/// So long it may take to measure for one autoscaler, and so many of its metrics are asked for at a time.
const LIMIT: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 8;
const GOT_SCALE: &str = "the HPA controller was able to get the target's current scale";

/// Runs the controller.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    let autoscalers = context.informers.of::<HorizontalPodAutoscaler>();
    let pods = context.informers.of::<Pod>();
    let reconciler = Reconciler {
        autoscalers: autoscalers.store(),
        pods: pods.store(),
        recorder,
        targets: Mutex::default(),
        context: context.clone(),
    };
    Controller::new("horizontalpodautoscaler", &autoscalers)
        .reads(&pods)
        .workers(5)
        .run_by(reconciler, context.stop)
        .await;
}

struct Reconciler {
    context: Context,
    autoscalers: Store<HorizontalPodAutoscaler>,
    pods: Store<Pod>,
    recorder: Recorder,
    targets: Mutex<HashMap<ObjectKey, Kept>>,
}

/// What is kept of a target.
#[derive(Default)]
struct Kept {
    history: History,
    /// Which pods are its, as it was found the last time.
    selector: Option<LabelSelector>,
    /// When it is looked at again, if what was asked is still the same.
    due: Duration,
    generation: Option<i64>,
    uid: String,
}

/// A target that was found.
struct Scaled {
    kind: ResourceKind,
    scale: client::api::Scale,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(hpa) = self.autoscalers.get(key) else {
            self.targets.lock().remove(key);
            return Ok(Action::Done);
        };
        if self.context.objects.kinds().is_empty() {
            return Ok(Action::After(KINDS));
        }
        let now = self.context.clock.elapsed();
        {
            let mut targets = self.targets.lock();
            let kept = targets.entry(key.clone()).or_default();
            if kept.uid != hpa.uid() {
                *kept = Kept { uid: hpa.uid().to_owned(), ..Kept::default() };
            }
            // Its own status brings it here, too.
            if kept.generation == hpa.metadata.generation
                && let Some(early) = kept.due.checked_sub(now).filter(|early| !early.is_zero())
            {
                return Ok(Action::After(early));
            }
            kept.generation = hpa.metadata.generation;
            kept.due = now + PERIOD;
        }
        let mut changed = HorizontalPodAutoscaler::clone(&hpa);
        let outcome = self.look(key, &mut changed).await;
        if changed.status != hpa.status {
            let api: Api<HorizontalPodAutoscaler> = Api::namespaced(&self.context.client, &key.namespace);
            match api.update_status(&changed).await {
                Ok(_) | Err(Error::NotFound(_) | Error::Conflict(_)) => {}
                Err(error) => {
                    let text = base::error::chain(&error).to_string();
                    self.recorder.event(&*hpa, EventType::Warning, "FailedUpdateStatus", text);
                    return Err(error);
                }
            }
        }
        if let Err(why) = outcome {
            debug!(autoscaler = %key, why, "not scaled");
        }
        Ok(Action::After(PERIOD))
    }
}

impl Reconciler {
    /// Looks at a target and scales it; the status says what was found. Fails with a reason.
    async fn look(&self, key: &ObjectKey, hpa: &mut HorizontalPodAutoscaler) -> Result<(), String> {
        let (now, elapsed) = (self.context.clock.now(), self.context.clock.elapsed());
        let reference = hpa.spec.scale_target_ref.clone();
        let mut scaled_target = match self.scale(key, &reference).await {
            Ok(found) => found,
            Err(error) => {
                self.recorder.event(&*hpa, EventType::Warning, "FailedGetScale", error.clone());
                let message =
                    format!("the HPA controller was unable to get the target's current scale: {error}");
                set(hpa.status.get_or_insert_default(), now, ABLE, false, "FailedGetScale", message);
                return Err(error);
            }
        };
        set(hpa.status.get_or_insert_default(), now, ABLE, true, "SucceededGetScale", GOT_SCALE);
        let scale = &scaled_target.scale;
        let current = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        let there = scale.status.as_ref().map_or(0, |status| status.replicas);
        let selector = scale.status.as_ref().and_then(|status| status.selector.clone()).unwrap_or_default();
        self.targets.lock().entry(key.clone()).or_default().history.begin(elapsed, current);
        let (target, why) = match plan::first(&hpa.spec, current) {
            First::Disabled => {
                let message = "scaling is disabled since the replica count of the target is zero";
                let status = hpa.status.get_or_insert_default();
                set(status, now, ACTIVE, false, "ScalingDisabled", message);
                status.current_metrics = None;
                scaled(hpa, now, current, None);
                return Ok(());
            }
            First::To(replicas, why) => {
                hpa.status.get_or_insert_default().current_metrics = None;
                (replicas, why.to_owned())
            }
            First::Measure => {
                let selector = match self.selector(key, hpa, &selector) {
                    Ok(selector) => selector,
                    Err(error) => {
                        hpa.status.get_or_insert_default().current_replicas = Some(current);
                        return Err(error);
                    }
                };
                let measured = self.measure(key, hpa, &selector).await;
                let pods = self.pods.select(&key.namespace, &selector);
                let namespace = &key.namespace;
                let found = Found { wanted: current, there, namespace, pods: &pods, now, elapsed };
                let spec = hpa.spec.clone();
                let outcome = {
                    let mut targets = self.targets.lock();
                    let history = &mut targets.entry(key.clone()).or_default().history;
                    plan::plan(&spec, hpa.status.get_or_insert_default(), history, found, &measured)
                };
                for (kind, reason, message) in outcome.events {
                    self.recorder.event(&*hpa, kind, reason, message);
                }
                if outcome.failed {
                    return Err("what is measured is not known".to_owned());
                }
                let Some((replicas, why)) = outcome.scale else {
                    scaled(hpa, now, current, None);
                    return Ok(());
                };
                (replicas, why)
            }
        };
        scaled_target.scale.spec.get_or_insert_default().replicas = Some(target);
        let api = Api::dynamic(&self.context.client, &scaled_target.kind, Some(&key.namespace));
        if let Err(error) = api.update_scale(&reference.name, &scaled_target.scale).await {
            let error = base::error::chain(&error).to_string();
            let message = format!("New size: {target}; reason: {why}; error: {error}");
            self.recorder.event(&*hpa, EventType::Warning, "FailedRescale", message);
            let message = format!("the HPA controller was unable to update the target scale: {error}");
            let status = hpa.status.get_or_insert_default();
            set(status, now, ABLE, false, "FailedUpdateScale", message);
            status.current_replicas = Some(current);
            return Err(error);
        }
        let message = format!("the HPA controller was able to update the target scale to {target}");
        set(hpa.status.get_or_insert_default(), now, ABLE, true, "SucceededRescale", message);
        let message = format!("New size: {target}; reason: {why}");
        self.recorder.event(&*hpa, EventType::Normal, "SuccessfulRescale", message);
        info!(autoscaler = %key, from = current, to = target, why, "scaled");
        let mut targets = self.targets.lock();
        let history = &mut targets.entry(key.clone()).or_default().history;
        history.scaled(elapsed, current, target, &hpa.spec);
        scaled(hpa, now, current, Some(target));
        Ok(())
    }

    /// The scale of a target, of whatever kind.
    async fn scale(
        &self,
        key: &ObjectKey,
        reference: &k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference,
    ) -> Result<Scaled, String> {
        let kind = self.kind(reference.api_version.as_deref().unwrap_or_default(), &reference.kind)?;
        // There is no such object in a namespace, and those that are in none are not its own to scale.
        if !kind.namespaced {
            return Err(NO_RESOURCE.to_owned());
        }
        let api = Api::dynamic(&self.context.client, &kind, Some(&key.namespace));
        let scale = api.get_scale(&reference.name).await;
        let scale = scale.map_err(|error| base::error::chain(&error).to_string())?;
        Ok(Scaled { kind, scale })
    }

    fn kind(&self, version: &str, kind: &str) -> Result<ResourceKind, String> {
        let parts: Vec<&str> = version.split('/').collect();
        let group = match parts.as_slice() {
            [_] => "",
            [group, _] => group,
            _ => return Err(format!("unexpected GroupVersion string: {version}")),
        };
        self.context
            .objects
            .kind(group, kind)
            .ok_or_else(|| format!("no matches for kind \"{kind}\" in group \"{group}\""))
    }

    /// The selector of a target's pods, which must be nobody else's.
    fn selector(
        &self,
        key: &ObjectKey,
        hpa: &mut HorizontalPodAutoscaler,
        text: &str,
    ) -> Result<LabelSelector, String> {
        let now = self.context.clock.now();
        let mut refuse = |event: &str, reason: &str, error: String, message: String| {
            self.recorder.event(&*hpa, EventType::Warning, event, error.clone());
            set(hpa.status.get_or_insert_default(), now, ACTIVE, false, reason, message);
            Err(error)
        };
        if text.is_empty() {
            let message = "the HPA target's scale is missing a selector".to_owned();
            return refuse("SelectorRequired", "InvalidSelector", "selector is required".to_owned(), message);
        }
        let selector: LabelSelector = match text.parse() {
            Ok(selector) => selector,
            Err(error) => {
                let error = format!(
                    "couldn't convert selector into a corresponding internal selector object: {error}"
                );
                return refuse("InvalidSelector", "InvalidSelector", error.clone(), error);
            }
        };
        let pods = self.pods.select(&key.namespace, &selector);
        // Copied: others do not wait for it while pods are matched.
        let known: Vec<(ObjectKey, LabelSelector)> = {
            let mut targets = self.targets.lock();
            targets.entry(key.clone()).or_default().selector = Some(selector.clone());
            let near = targets.iter().filter(|(other, _)| other.namespace == key.namespace);
            near.filter_map(|(other, kept)| Some((other.clone(), kept.selector.clone()?))).collect()
        };
        let takes_one = |theirs: &LabelSelector| pods.iter().any(|pod| pod.is_selected(theirs));
        let mut others: Vec<String> = known
            .iter()
            .filter(|(other, theirs)| other == key || takes_one(theirs))
            .map(|(other, _)| other.to_string())
            .collect();
        if others.len() > 1 {
            others.sort();
            let error = format!(
                "pods by selector {selector} are controlled by multiple HPAs: [{}]",
                others.join(" ")
            );
            return refuse("AmbiguousSelector", "AmbiguousSelector", error.clone(), error);
        }
        Ok(selector)
    }

    /// What is measured for each of the metrics, in their order. What is not known in time is not known.
    async fn measure(
        &self,
        key: &ObjectKey,
        hpa: &HorizontalPodAutoscaler,
        pods: &LabelSelector,
    ) -> Vec<Measured> {
        let deadline = Instant::now() + LIMIT;
        let metrics = hpa.spec.metrics.iter().flatten();
        let one = |metric| in_time(deadline, metric, self.measure_one(&key.namespace, metric, pods));
        let measuring: Vec<_> = metrics.map(one).collect();
        stream::iter(measuring).buffered(AT_ONCE).collect().await
    }

    async fn measure_one(&self, namespace: &str, metric: &MetricSpec, pods: &LabelSelector) -> Measured {
        let client = &self.context.client;
        match metric {
            MetricSpec { resource: Some(of), .. } => {
                Measured::Pods(measures::of_resource(client, namespace, pods, &of.name, "").await)
            }
            MetricSpec { container_resource: Some(of), .. } => {
                let (resource, container) = (&of.name, &of.container);
                Measured::Pods(measures::of_resource(client, namespace, pods, resource, container).await)
            }
            MetricSpec { pods: Some(of), .. } => Measured::Pods(match series(&of.metric) {
                Ok(series) => measures::of_pods(client, namespace, pods, &of.metric.name, &series).await,
                Err(error) => Err(error),
            }),
            MetricSpec { object: Some(of), .. } => {
                let described = &of.described_object;
                let version = described.api_version.as_deref().unwrap_or_default();
                let kind = match (version, described.kind.as_str()) {
                    ("v1" | "", "Namespace") => Ok(None),
                    (version, kind) => self.kind(version, kind).map(Some),
                };
                Measured::Value(match (kind, series(&of.metric)) {
                    (Ok(kind), Ok(series)) => {
                        let (name, metric) = (&described.name, &of.metric.name);
                        measures::of_object(client, namespace, kind.as_ref(), name, metric, &series).await
                    }
                    (Err(error), _) | (_, Err(error)) => Err(error),
                })
            }
            MetricSpec { external: Some(of), .. } => Measured::Value(match series(&of.metric) {
                Ok(series) => measures::external(client, namespace, &of.metric.name, &series).await,
                Err(error) => Err(error),
            }),
            _ => Measured::Value(Err("it has no source".to_owned())),
        }
    }
}

/// What is measured until `deadline`; nothing is begun after it.
async fn in_time(
    deadline: Instant,
    metric: &MetricSpec,
    measuring: impl Future<Output = Measured>,
) -> Measured {
    if Instant::now() < deadline
        && let Ok(measured) = tokio::time::timeout_at(deadline, measuring).await
    {
        return measured;
    }
    let why = format!("unable to fetch metrics: all of them together took longer than {} s", LIMIT.as_secs());
    match metric {
        MetricSpec { object: Some(_), .. } | MetricSpec { external: Some(_), .. } => {
            Measured::Value(Err(why))
        }
        _ => Measured::Pods(Err(why)),
    }
}

/// Which series of a metric count: all where nothing is said.
fn series(metric: &MetricIdentifier) -> Result<LabelSelector, String> {
    let Some(selector) = &metric.selector else { return Ok(LabelSelector::everything()) };
    let value = serde_json::to_value(selector).map_err(|error| error.to_string())?;
    LabelSelector::from_json(Some(&value)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_measured_has_an_end() {
        let deadline = Instant::now() + LIMIT;
        let metric = |kind: &str| -> MetricSpec {
            let value = serde_json::json!({"type": kind, kind.to_lowercase(): {
                "name": "m", "metric": {"name": "m"}, "target": {"type": "Value"},
                "describedObject": {"kind": "It", "name": "it"},
            }});
            serde_json::from_value(value).expect("a metric")
        };
        let told = |measured| matches!(measured, Measured::Value(Ok(7)));
        let quick = || std::future::ready(Measured::Value(Ok(7)));
        assert!(told(in_time(deadline, &metric("External"), quick()).await));
        let soon = Instant::now() + Duration::from_millis(5);
        let never = in_time(soon, &metric("Object"), std::future::pending()).await;
        let Measured::Value(Err(why)) = never else { panic!("it never ends") };
        assert_eq!(why, "unable to fetch metrics: all of them together took longer than 10 s");
        // After that nothing is begun.
        let late = in_time(soon, &metric("Pods"), async { panic!("it is begun") }).await;
        assert!(matches!(late, Measured::Pods(Err(_))));
    }
}
