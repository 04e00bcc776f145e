//! `custom.metrics.k8s.io`: what programs tell, by the pod or other object that they run for.
//!
//! `/namespaces/NAMESPACE/pods/NAME/METRIC` is the sum of what a pod tells by that name, `*` instead of a name all
//! pods that `labelSelector` takes. Of another object (`services`, `deployments.apps`) it is the sum over the pods
//! that its selector takes, or, where it has none, of what pods of its namespace tell with its name as the value of
//! a label that is called as the object is (`ingress="NAME"`); `/namespaces/NAMESPACE/metrics/METRIC` is the sum of
//! all that is told in a namespace. `metricLabelSelector` says which series count. What grows with each event (a
//! counter) is told as so many a second, over the last minute or as much of it as was looked at.

use std::sync::Arc;

use apiserver::request::Verb;
use apiserver::{Body, Call, Error, Resource, Result};
use base::Timestamp;
use http::{Response, StatusCode};
use model::select::LabelSelector;
use model::status::Status;
use model::{GroupResource, GroupVersionKind, Object};
use observe::{Pages, Value};
use serde_json::json;

use super::{LIMIT, in_time, quantity, scrape, selector_of, takes};

pub(super) fn resource(pages: &Arc<Pages>) -> Resource {
    let kind = GroupVersionKind::new("custom.metrics.k8s.io", "v1beta2", "MetricValueList");
    let pages = Arc::clone(pages);
    Resource::of_any_name(&kind, &[Verb::Get], move |call: Call| {
        let pages = Arc::clone(&pages);
        async move { in_time(LIMIT, handle(&pages, &call)).await }
    })
}

/// An object, and what is told of it.
struct Measure {
    object: serde_json::Value,
    sum: f64,
    at: Timestamp,
    window: Option<u64>,
}

async fn handle(pages: &Pages, call: &Call) -> Result<Response<Body>> {
    let target = call.target();
    if target.namespace.is_empty() || !target.rest.is_empty() {
        return Err(Status::no_such_resource().into());
    }
    let bad = |error: model::select::SelectorError| Error::bad_request(error.to_string());
    let selector = |key: &str| call.query().get(key).unwrap_or_default().parse::<LabelSelector>();
    let series = selector("metricLabelSelector").map_err(bad)?;
    let (plural, group) = target.resource.split_once('.').unwrap_or((&target.resource, ""));
    let of = GroupResource::new(group, plural);
    let all = target.name == "*";
    let mut failures = Vec::new();
    let (metric, measures) = match (plural, group, target.subresource.as_str()) {
        ("metrics", "", "") => {
            let object = json!({"kind": "Namespace", "name": target.namespace, "apiVersion": "/v1"});
            let pods = scrape::pods(call, &LabelSelector::everything());
            let told = scrape::values(pages, &call.reach(), &pods, &target.name, &mut failures).await;
            let values = told.iter().flat_map(|(_, values)| values);
            let told: Vec<&Value> = values.filter(|value| takes(&series, &value.labels)).collect();
            (target.name.as_str(), sum(object, &told).into_iter().collect())
        }
        (_, _, "") => return Err(Status::no_such_resource().into()),
        ("pods", "", metric) => {
            let labels =
                if all { selector("labelSelector").map_err(bad)? } else { LabelSelector::everything() };
            let mut pods = scrape::pods(call, &labels);
            pods.retain(|pod| all || pod.name() == target.name);
            let told = scrape::values(pages, &call.reach(), &pods, metric, &mut failures).await;
            let one = |(pod, values): (&Object, Vec<Value>)| {
                let values = values.iter().filter(|value| takes(&series, &value.labels));
                sum(reference(pod, "Pod", "/v1"), &values.collect::<Vec<_>>())
            };
            (metric, told.into_iter().filter_map(one).collect::<Vec<_>>())
        }
        (_, _, metric) => {
            let known =
                call.context().resource_of(&of).ok_or_else(|| Error::from(Status::no_such_resource()))?;
            let labels = selector("labelSelector").map_err(bad)?;
            let objects: Vec<Object> = if all {
                let listed = call.context().list(&of, call.namespace());
                listed.into_iter().filter(|object| labels.matches(object)).collect()
            } else {
                call.context().find(&of, call.namespace(), &target.name).into_iter().collect()
            };
            // Each pod is asked once, however many objects it is of.
            let selectors: Vec<Option<LabelSelector>> = objects.iter().map(selector_of).collect();
            let mut pods = scrape::pods(call, &LabelSelector::everything());
            if selectors.iter().all(Option::is_some) {
                pods.retain(|pod| selectors.iter().flatten().any(|selector| selector.matches(pod)));
            }
            let all_told = scrape::values(pages, &call.reach(), &pods, metric, &mut failures).await;
            let mut measures = Vec::new();
            for (object, selector) in objects.iter().zip(&selectors) {
                // Many objects of many pods take a while, in which others go on.
                tokio::task::yield_now().await;
                let is_its = |value: &&Value| {
                    let names_it = |(label, value): &(String, String)| {
                        *label == known.singular && value == object.name()
                    };
                    takes(&series, &value.labels) && (selector.is_some() || value.labels.iter().any(names_it))
                };
                let of_pods = all_told
                    .iter()
                    .filter(|(pod, _)| selector.as_ref().is_none_or(|selector| selector.matches(pod)));
                let values: Vec<&Value> = of_pods.flat_map(|(_, values)| values).filter(is_its).collect();
                measures.extend(sum(reference(object, &known.kind, object.api_version()), &values));
            }
            (metric, measures)
        }
    };
    if measures.is_empty() {
        let whose = if all || plural == "metrics" { of.to_string() } else { format!("{of} {}", target.name) };
        let why = failures.first().map(|failure| format!(": {failure}")).unwrap_or_default();
        let message = format!("the server could not find the metric {metric} for {whose}{why}");
        return Err(Status::failure(404, "NotFound", message).into());
    }
    let items: Vec<serde_json::Value> = measures.into_iter().map(|measure| item(measure, metric)).collect();
    let mut list = Object::new(&call.resource().gvk(), "");
    list.set(&["metadata"], json!({}));
    list.set(&["items"], items);
    Ok(call.answer_other(StatusCode::OK, &list, &[]))
}

fn sum(object: serde_json::Value, values: &[&Value]) -> Option<Measure> {
    let at = values.iter().map(|value| value.at).min()?;
    let window = values.iter().filter_map(|value| value.window).max().map(|window| window.as_secs());
    Some(Measure { object, sum: values.iter().map(|value| value.value).sum(), at, window })
}

fn reference(object: &Object, kind: &str, api_version: &str) -> serde_json::Value {
    json!({
        "kind": kind,
        "namespace": object.namespace(),
        "name": object.name(),
        "apiVersion": api_version,
    })
}

fn item(measure: Measure, metric: &str) -> serde_json::Value {
    let mut item = json!({
        "describedObject": measure.object,
        "metric": {"name": metric},
        "timestamp": model::time::format(measure.at),
        "value": quantity(measure.sum),
    });
    if let Some(window) = measure.window {
        item["windowSeconds"] = window.into();
    }
    item
}
