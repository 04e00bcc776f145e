//! The paths of a group version, in OpenAPI 3.

use model::GroupVersionKind;
use model::gvk::GroupVersion;
use serde_json::{Map, Value, json};

use super::components;
use super::operations::{self, Operation, Place};
use super::{Entry, Form};

/// What can be patched with.
const PATCH_TYPES: [&str; 5] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+cbor",
];

/// What something can be patched with.
pub(super) fn patch_types(operation: &Operation) -> impl Iterator<Item = &'static str> + use<> {
    let strategic = operation.strategic;
    PATCH_TYPES.into_iter().filter(move |name| strategic || !name.contains("strategic"))
}

/// All paths of the entries.
pub(super) fn of(version: &GroupVersion, entries: &[&Entry]) -> Map<String, Value> {
    let base = format!("/{}", super::version_path(version));
    let mut paths = Map::new();
    for entry in entries {
        for place in operations::places(&base, entry) {
            paths.insert(place.path.clone(), path_item(&place));
        }
    }
    paths.sort_keys();
    paths
}

fn path_item(place: &Place) -> Value {
    let mut item = Map::new();
    for operation in &place.operations {
        item.insert(operation.method.into(), request(operation));
    }
    let parameters: Vec<Value> = place
        .names
        .iter()
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}}))
        .collect();
    if !parameters.is_empty() {
        item.insert("parameters".into(), parameters.into());
    }
    item.into()
}

fn request(operation: &Operation) -> Value {
    let kind = &operation.kind;
    let parameters: Vec<Value> = operations::query(operation)
        .iter()
        .map(|(name, ty)| json!({"name": name, "in": "query", "schema": {"type": ty, "uniqueItems": true}}))
        .collect();
    let mut request = json!({
        "operationId": operation.id,
        "parameters": parameters,
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": answer(operation)}}},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": kind.group, "kind": kind.kind, "version": kind.version},
    });
    match operation.action {
        "post" | "put" => {
            let schema = components::reference(&components::name_of(kind), Form::V3);
            request["requestBody"] = json!({"content": {"*/*": {"schema": schema}}, "required": true});
        }
        "patch" => {
            let schema = components::reference(components::PATCH, Form::V3);
            let types = patch_types(operation);
            let content: Map<String, Value> =
                types.map(|name| (name.to_owned(), json!({"schema": schema}))).collect();
            request["requestBody"] = json!({"content": content, "required": true});
        }
        _ => {}
    }
    request
}

fn answer(operation: &Operation) -> Value {
    let name = match operation.action {
        "delete" | "deletecollection" => components::STATUS.to_owned(),
        _ if operation.list => {
            let kind = &operation.kind;
            components::name_of(&GroupVersionKind::new(&kind.group, &kind.version, &operation.list_kind))
        }
        _ => components::name_of(&operation.kind),
    };
    components::reference(&name, Form::V3)
}
