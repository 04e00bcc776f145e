//! Binding a pod to a node: what the scheduler does, once per pod.

use apiserver::request::WriteOptions;
use apiserver::{Body, Call, Error, Result};
use http::Response;
use model::{GroupVersionKind, Object, Status};
use serde_json::{Value, json};

pub(crate) async fn handle(call: Call) -> Result<Response<Body>> {
    let options = call.write_options()?;
    let binding = call.decode_as(&GroupVersionKind::new("", "v1", "Binding"))?;
    let (binding, warnings) = call.admit(&options, binding).await?;
    carry_out(&call, &options, &binding, &warnings).await
}

/// Binds the pod that the path names as a binding says that others have let in.
pub(crate) async fn carry_out(
    call: &Call,
    options: &WriteOptions,
    binding: &Object,
    warnings: &[String],
) -> Result<Response<Body>> {
    let node = binding.get_str(&["target", "name"]).unwrap_or_default().to_owned();
    let kind = binding.get_str(&["target", "kind"]).unwrap_or_default();
    if node.is_empty() || !matches!(kind, "" | "Node") {
        return Err(Error::bad_request("target: a node's name is required"));
    }
    call.modify(options, |old| bind(call, binding, old, &node)).await?;
    Ok(call.answer_created(warnings))
}

fn bind(call: &Call, binding: &Object, old: &Object, node: &str) -> Result<Object> {
    let conflict =
        |why: String| Error::from(Status::conflict(&call.resource().group_resource(), old.name(), why));
    if !binding.uid().is_empty() && binding.uid() != old.uid() {
        return Err(conflict(format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            binding.uid(),
            old.uid()
        )));
    }
    if old.is_being_deleted() {
        return Err(conflict(format!("pod {} is being deleted, cannot be assigned to a host", old.name())));
    }
    if let Some(already) = old.get_str(&["spec", "nodeName"]).filter(|n| !n.is_empty()) {
        return Err(conflict(format!("pod {} is already assigned to node {already:?}", old.name())));
    }
    let mut new = old.clone();
    new.set(&["spec", "nodeName"], node);
    for (key, value) in binding.annotations().iter() {
        new.set_annotation(key, value);
    }
    let mut conditions = old.get_list(&["status", "conditions"]).to_vec();
    conditions.retain(|c| c["type"] != "PodScheduled");
    conditions.push(json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": Value::Null,
        "lastTransitionTime": model::time::format(call.now()),
    }));
    new.set(&["status", "conditions"], conditions);
    Ok(new)
}
