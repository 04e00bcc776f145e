//! PodMetrics: what the containers of pods use.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use apiserver::request::Verb;
use apiserver::{Body, Call, Error, Resource, Result};
use http::Response;
use model::{GroupResource, GroupVersionKind, Object, Status};
use observe::Nodes;
use serde_json::{Value, json};

use super::{COLUMNS, Looks, Selection, amounts, cells, look, measured, schema, time};

pub(super) fn resource(nodes: &Arc<Nodes>) -> Resource {
    let kind = GroupVersionKind::new("metrics.k8s.io", "v1beta1", "PodMetrics");
    let nodes = Arc::clone(nodes);
    let mut resource = Resource::new(&kind, "pods")
        .columns(COLUMNS, |object, _| {
            let containers = object.get_list(&["containers"]).iter();
            cells(object, &containers.filter_map(|container| container.get("usage")).collect::<Vec<_>>())
        })
        .unstored(&[Verb::Get, Verb::List], move |call: Call| {
            let nodes = Arc::clone(&nodes);
            async move { handle(&nodes, &call).await }
        });
    resource.singular = String::new();
    resource.schema = Some(schema(&kind, true));
    resource
}

async fn handle(nodes: &Nodes, call: &Call) -> Result<Response<Body>> {
    let of = GroupResource::new("", "pods");
    let wanted: Vec<Object> = if call.name().is_empty() {
        let selection = Selection::of(call)?;
        call.context().list(&of, call.namespace()).into_iter().filter(|pod| selection.takes(pod)).collect()
    } else {
        let found = call.context().find(&of, call.namespace(), call.name());
        vec![found.ok_or_else(|| Error::from(Status::not_found(&of, call.name())))?]
    };
    let node = |pod: &Object| pod.get_str(&["spec", "nodeName"]).unwrap_or_default().to_owned();
    let names: BTreeSet<String> = wanted.iter().map(node).filter(|node| !node.is_empty()).collect();
    let looked: HashMap<String, Option<Looks>> =
        look(nodes, &call.reach(), names.into_iter().collect()).await.into_iter().collect();
    let of_pod = |pod: &Object| {
        if pod.get_str(&["status", "phase"]) != Some("Running") {
            return None;
        }
        let (now, before) = looked.get(&node(pod))?.as_ref()?;
        let containers = now.pod(before, pod.namespace().unwrap_or_default(), pod.name())?;
        let earliest = containers.values().min_by_key(|usage| usage.at)?;
        let mut object = measured(call, pod);
        time(&mut object, earliest);
        let told = containers
            .iter()
            .map(|(name, usage)| json!({"name": name, "usage": amounts(usage.cpu, usage.memory)}));
        object.set(&["containers"], told.collect::<Vec<Value>>());
        Some(object)
    };
    let all: Vec<Object> = wanted.iter().filter_map(of_pod).collect();
    if call.name().is_empty() {
        return Ok(call.answer_list(&all, &[]));
    }
    let one = all.first().ok_or_else(|| {
        let resource = GroupResource::new("metrics.k8s.io", "podmetrics");
        Error::from(Status::not_found(&resource, &format!("{}/{}", call.namespace(), call.name())))
    })?;
    Ok(call.answer_one(one, &[]))
}
