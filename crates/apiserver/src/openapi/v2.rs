//! The document of version 2 (Swagger), for clients that know no other.

use serde_json::{Map, Value, json};

use super::components;
use super::operations::{self, Operation};
use super::paths::patch_types;
use super::{Entry, Form};

/// All group versions in one document.
pub(super) fn document(entries: &[&Entry]) -> Value {
    let mut paths = Map::new();
    for entry in entries {
        let base = format!("/{}", super::version_path(&entry.kind.group_version()));
        for place in operations::places(&base, entry) {
            let mut item = Map::new();
            for operation in &place.operations {
                item.insert(operation.method.into(), request(operation));
            }
            let parameters: Vec<Value> = place
                .names
                .iter()
                .map(|name| json!({"name": name, "in": "path", "type": "string", "required": true}))
                .collect();
            item.insert("parameters".into(), parameters.into());
            paths.insert(place.path, item.into());
        }
    }
    paths.sort_keys();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": model::release::VERSION},
        "paths": paths,
        "definitions": components::of(entries, Form::V2),
    })
}

fn request(operation: &Operation) -> Value {
    let kind = &operation.kind;
    let name = components::name_of(kind);
    let mut parameters: Vec<Value> = operations::query(operation)
        .iter()
        .map(|(name, ty)| json!({"name": name, "in": "query", "type": ty, "uniqueItems": true}))
        .collect();
    let body = match operation.action {
        "post" | "put" => Some(name.as_str()),
        "patch" => Some(components::PATCH),
        _ => None,
    };
    if let Some(body) = body {
        let schema = components::reference(body, Form::V2);
        parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
    }
    let answer = match operation.action {
        "delete" | "deletecollection" => components::reference(components::STATUS, Form::V2),
        _ if operation.list => {
            let list = model::GroupVersionKind::new(&kind.group, &kind.version, &operation.list_kind);
            components::reference(&components::name_of(&list), Form::V2)
        }
        _ => components::reference(&name, Form::V2),
    };
    let consumes: Vec<&str> =
        if operation.action == "patch" { patch_types(operation).collect() } else { vec!["*/*"] };
    json!({
        "operationId": operation.id,
        "consumes": consumes,
        "produces": ["application/json"],
        "parameters": parameters,
        "responses": {
            "200": {"description": "OK", "schema": answer},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": kind.group, "kind": kind.kind, "version": kind.version},
    })
}
