//! NodeMetrics: what nodes use.

use std::sync::Arc;

use apiserver::request::Verb;
use apiserver::{Body, Call, Error, Resource, Result};
use http::Response;
use model::{GroupResource, GroupVersionKind, Object, Status};
use observe::Nodes;

use super::{COLUMNS, Selection, amounts, cells, look, measured, schema, time};

pub(super) fn resource(nodes: &Arc<Nodes>) -> Resource {
    let kind = GroupVersionKind::new("metrics.k8s.io", "v1beta1", "NodeMetrics");
    let nodes = Arc::clone(nodes);
    let mut resource = Resource::new(&kind, "nodes")
        .columns(COLUMNS, |object, _| cells(object, &object.get(&["usage"]).into_iter().collect::<Vec<_>>()))
        .unstored(&[Verb::Get, Verb::List], move |call: Call| {
            let nodes = Arc::clone(&nodes);
            async move { handle(&nodes, &call).await }
        });
    resource.singular = String::new();
    resource.namespaced = false;
    resource.schema = Some(schema(&kind, false));
    resource
}

async fn handle(nodes: &Nodes, call: &Call) -> Result<Response<Body>> {
    let of = GroupResource::new("", "nodes");
    let wanted: Vec<Object> = if call.name().is_empty() {
        let selection = Selection::of(call)?;
        call.context().list(&of, "").into_iter().filter(|node| selection.takes(node)).collect()
    } else {
        let found = call.context().find(&of, "", call.name());
        vec![found.ok_or_else(|| Error::from(Status::not_found(&of, call.name())))?]
    };
    let names = wanted.iter().map(|node| node.name().to_owned()).collect();
    let looked = look(nodes, &call.reach(), names).await;
    let of_node = |(node, (_, looks)): (&Object, &(String, Option<super::Looks>))| {
        let (now, before) = looks.as_ref()?;
        let usage = now.node(before)?;
        let mut object = measured(call, node);
        time(&mut object, &usage);
        object.set(&["usage"], amounts(usage.cpu, usage.memory));
        Some(object)
    };
    let all: Vec<Object> = wanted.iter().zip(&looked).filter_map(of_node).collect();
    if call.name().is_empty() {
        return Ok(call.answer_list(&all, &[]));
    }
    let one = all.first().ok_or_else(|| {
        let resource = GroupResource::new("metrics.k8s.io", "nodemetrics");
        Error::from(Status::not_found(&resource, call.name()))
    })?;
    Ok(call.answer_one(one, &[]))
}
