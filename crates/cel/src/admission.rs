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

/// What is declared about the variable `namespaceObject`: no more of a namespace can be spoken of.
pub static NAMESPACE: LazyLock<Arc<Declared>> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let moment = json!({"type": "string", "format": "date-time"});
    let number = json!({"type": "integer"});
    let texts = json!({"type": "array", "items": text});
    let map = json!({"type": "object", "additionalProperties": text});
    let object = |fields: &[(&str, &Value)]| {
        let fields: Map<String, Value> =
            fields.iter().map(|(name, of)| ((*name).to_owned(), (*of).clone())).collect();
        json!({"type": "object", "properties": fields})
    };
    let metadata = object(&[
        ("name", &text),
        ("generateName", &text),
        ("namespace", &text),
        ("labels", &map),
        ("annotations", &map),
        // As Kubernetes declares it, though none has it.
        ("UID", &text),
        ("creationTimestamp", &moment),
        ("deletionGracePeriodSeconds", &number),
        ("deletionTimestamp", &moment),
        ("generation", &number),
        ("resourceVersion", &text),
        ("finalizers", &texts),
    ]);
    let condition = object(&[
        ("status", &text),
        ("type", &text),
        ("lastTransitionTime", &moment),
        ("message", &text),
        ("reason", &text),
    ]);
    let conditions = json!({"type": "array", "items": condition});
    let status = object(&[("conditions", &conditions), ("phase", &text)]);
    let schema =
        object(&[("metadata", &metadata), ("spec", &object(&[("finalizers", &texts)])), ("status", &status)]);
    let declared = declare(&schema, false).expect("an object with fields is seen");
    declared.named("kubernetes.Namespace")
});

fn texts(names: &[&str]) -> Value {
    let fields: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
    json!({"type": "object", "properties": fields})
}

fn named(schema: &Value, name: &str) -> Arc<Declared> {
    declare(schema, false).expect("an object with fields is seen").named(name)
}
