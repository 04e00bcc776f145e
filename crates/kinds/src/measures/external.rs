//! `external.metrics.k8s.io`: each series of a name that is told in a namespace, whoever tells it.

use std::sync::Arc;

use apiserver::request::Verb;
use apiserver::{Body, Call, Error, Resource, Result};
use http::{Response, StatusCode};
use model::select::LabelSelector;
use model::status::Status;
use model::{GroupVersionKind, Object};
use observe::Pages;
use serde_json::{Map, Value, json};

use super::{LIMIT, in_time, quantity, scrape, takes};

pub(super) fn resource(pages: &Arc<Pages>) -> Resource {
    let kind = GroupVersionKind::new("external.metrics.k8s.io", "v1beta1", "ExternalMetricValueList");
    let pages = Arc::clone(pages);
    Resource::of_any_name(&kind, &[Verb::List], move |call: Call| {
        let pages = Arc::clone(&pages);
        async move { in_time(LIMIT, handle(&pages, &call)).await }
    })
}

async fn handle(pages: &Pages, call: &Call) -> Result<Response<Body>> {
    let target = call.target();
    if target.namespace.is_empty() {
        return Err(Status::no_such_resource().into());
    }
    let selector = call.query().get("labelSelector").unwrap_or_default().parse::<LabelSelector>();
    let selector = selector.map_err(|error| Error::bad_request(error.to_string()))?;
    let pods = scrape::pods(call, &LabelSelector::everything());
    let told = scrape::values(pages, &call.reach(), &pods, &target.resource, &mut Vec::new()).await;
    let values = told.into_iter().flat_map(|(_, values)| values);
    let item = |value: observe::Value| {
        let labels: Map<String, Value> =
            value.labels.into_iter().map(|(name, value)| (name, value.into())).collect();
        let mut item = json!({
            "metricName": target.resource,
            "metricLabels": labels,
            "timestamp": model::time::format(value.at),
            "value": quantity(value.value),
        });
        if let Some(window) = value.window {
            item["window"] = window.as_secs().into();
        }
        item
    };
    let items: Vec<Value> = values.filter(|value| takes(&selector, &value.labels)).map(item).collect();
    let mut list = Object::new(&call.resource().gvk(), "");
    list.set(&["metadata"], json!({}));
    list.set(&["items"], items);
    Ok(call.answer_other(StatusCode::OK, &list, &[]))
}
