//! What can be done at one path, the same for both OpenAPI versions but for how it is written.

use model::GroupVersionKind;

use super::Entry;

/// One path with what can be done there.
pub(super) struct Place {
    /// Such as `/api/v1/namespaces/{namespace}/pods/{name}`.
    pub(super) path: String,
    /// The parameters in the path.
    pub(super) names: Vec<&'static str>,
    pub(super) operations: Vec<Operation>,
}

/// One request.
pub(super) struct Operation {
    /// `get`, `put`, `post`, `patch` or `delete`.
    pub(super) method: &'static str,
    /// `x-kubernetes-action`.
    pub(super) action: &'static str,
    /// What is sent or answered.
    pub(super) kind: GroupVersionKind,
    /// Whether the answer is a list.
    pub(super) list: bool,
    /// What kind of list.
    pub(super) list_kind: String,
    /// Whether it can be patched by the strategies of its kind.
    pub(super) strategic: bool,
    pub(super) id: String,
}

/// Everything that can be asked of a resource.
pub(super) fn places(base: &str, entry: &Entry) -> Vec<Place> {
    let plural = &entry.plural;
    let scope = if entry.namespaced { "/namespaces/{namespace}" } else { "" };
    let scope_names: Vec<&'static str> = if entry.namespaced { vec!["namespace"] } else { Vec::new() };
    let object_names = [scope_names.as_slice(), &["name"]].concat();
    let operation = |method: &'static str, action: &'static str, list: bool| Operation {
        method,
        action,
        kind: entry.kind.clone(),
        list,
        list_kind: entry.list_kind.clone(),
        strategic: entry.documented.is_none(),
        id: id(action, entry, "", list),
    };
    let mut places = vec![
        Place {
            path: format!("{base}{scope}/{plural}"),
            names: scope_names,
            operations: vec![
                operation("get", "list", true),
                operation("post", "post", false),
                operation("delete", "deletecollection", false),
            ],
        },
        Place {
            path: format!("{base}{scope}/{plural}/{{name}}"),
            names: object_names.clone(),
            operations: vec![
                operation("get", "get", false),
                operation("put", "put", false),
                operation("patch", "patch", false),
                operation("delete", "delete", false),
            ],
        },
    ];
    if entry.namespaced {
        let mut everywhere = operation("get", "list", true);
        everywhere.id.push_str("ForAllNamespaces");
        places.push(Place {
            path: format!("{base}/{plural}"),
            names: Vec::new(),
            operations: vec![everywhere],
        });
    }
    // Of what is not stored only some can be done.
    let can = |operation: &Operation| match operation.action {
        _ if entry.verbs.is_empty() => true,
        "post" => entry.verbs.contains(&"create"),
        "put" => entry.verbs.contains(&"update"),
        action => entry.verbs.contains(&action),
    };
    for place in &mut places {
        place.operations.retain(can);
    }
    places.retain(|place| !place.operations.is_empty());
    for subresource in &entry.subresources {
        let kind = subresource.kind.clone().unwrap_or_else(|| entry.kind.clone());
        let operations = subresource.verbs.iter().filter_map(|verb| {
            let (method, action) = match *verb {
                "get" => ("get", "get"),
                "update" => ("put", "put"),
                "patch" => ("patch", "patch"),
                "create" => ("post", "post"),
                "delete" => ("delete", "delete"),
                _ => return None,
            };
            let id = id(action, entry, &subresource.name, false);
            let strategic = entry.documented.is_none();
            let list_kind = String::new();
            Some(Operation { method, action, kind: kind.clone(), list: false, list_kind, strategic, id })
        });
        places.push(Place {
            path: format!("{base}{scope}/{plural}/{{name}}/{}", subresource.name),
            names: object_names.clone(),
            operations: operations.collect(),
        });
    }
    places
}

/// The parameters in the query of a request.
pub(super) fn query(operation: &Operation) -> &'static [(&'static str, &'static str)] {
    const LIST: &[(&str, &str)] = &[
        ("allowWatchBookmarks", "boolean"),
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
        ("sendInitialEvents", "boolean"),
        ("timeoutSeconds", "integer"),
        ("watch", "boolean"),
    ];
    const WRITE: &[(&str, &str)] =
        &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
    const PATCH: &[(&str, &str)] = &[
        ("dryRun", "string"),
        ("fieldManager", "string"),
        ("fieldValidation", "string"),
        ("force", "boolean"),
    ];
    const DELETE: &[(&str, &str)] = &[
        ("dryRun", "string"),
        ("gracePeriodSeconds", "integer"),
        ("orphanDependents", "boolean"),
        ("propagationPolicy", "string"),
    ];
    match operation.action {
        "list" | "deletecollection" => LIST,
        "post" | "put" => WRITE,
        "patch" => PATCH,
        "delete" => DELETE,
        _ => &[],
    }
}

fn id(action: &str, entry: &Entry, subresource: &str, list: bool) -> String {
    let verb = match action {
        "get" => "read",
        "post" => "create",
        "put" => "replace",
        "deletecollection" => "deleteCollection",
        other => other,
    };
    let group = match entry.kind.group.split('.').next() {
        None | Some("") => "Core".to_owned(),
        Some(group) => capital(group),
    };
    let scope = if entry.namespaced && !list { "Namespaced" } else { "" };
    format!("{verb}{group}{}{scope}{}{}", capital(&entry.kind.version), entry.kind.kind, capital(subresource))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
