//! What expressions of admission see besides objects: the request and its namespace.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};

use crate::declared::Declared;
use crate::schema::declare;

/// What is declared about the variable `request`.
pub static REQUEST: LazyLock<Arc<Declared>> = LazyLock::new(|| {
    let kind = texts(&["group", "version", "kind"]);
    let resource = texts(&["group", "version", "resource"]);
    let list = json!({"type": "array", "items": {"type": "string"}});
    let mut user = texts(&["username", "uid"]);
    user["properties"]["groups"] = list.clone();
    user["properties"]["extra"] = json!({"type": "object", "additionalProperties": list});
    let mut schema = texts(&["subResource", "requestSubResource", "name", "namespace", "operation"]);
    schema["properties"]["kind"] = kind.clone();
    schema["properties"]["requestKind"] = kind;
    schema["properties"]["resource"] = resource.clone();
    schema["properties"]["requestResource"] = resource;
    schema["properties"]["userInfo"] = user;
    schema["properties"]["dryRun"] = json!({"type": "boolean"});
    // Anything.
    schema["properties"]["options"] = json!({"x-kubernetes-int-or-string": true});
    named(&schema, "kubernetes.AdmissionRequest")
});

/// What is declared about the variable `namespaceObject`.
pub static NAMESPACE: LazyLock<Arc<Declared>> = LazyLock::new(|| {
    let pairs = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let list = json!({"type": "array", "items": {"type": "string"}});
    let moment = json!({"type": "string", "format": "date-time"});
    let mut metadata = texts(&["name", "generateName", "namespace", "UID", "resourceVersion"]);
    for (name, of) in [
        ("labels", pairs.clone()),
        ("annotations", pairs),
        ("creationTimestamp", moment.clone()),
        ("deletionTimestamp", moment),
        ("deletionGracePeriodSeconds", json!({"type": "integer"})),
        ("generation", json!({"type": "integer"})),
        ("finalizers", list.clone()),
    ] {
        metadata["properties"][name] = of;
    }
    let spec = json!({"type": "object", "properties": {"finalizers": list}});
    let properties = json!({"metadata": metadata, "spec": spec, "status": texts(&["phase"])});
    named(&json!({"type": "object", "properties": properties}), "kubernetes.Namespace")
});

fn texts(names: &[&str]) -> Value {
    let fields: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
    json!({"type": "object", "properties": fields})
}

fn named(schema: &Value, name: &str) -> Arc<Declared> {
    declare(schema, false).expect("an object with fields is seen").named(name)
}
