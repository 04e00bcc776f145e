//! What OpenAPI documents say of a custom kind: its schema, made from the text of its definition when it is asked
//! for.

use apiserver::openapi::{Documented, Form, reference};
use model::validate::{flag, list, text};
use model::{Encoded, GroupVersionKind};
use serde_json::{Map, Value, json};

use super::definition::{schema, versions};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const METADATA: &str = "Standard object's metadata. More info: \
                        https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers \
                           should convert recognized schemas to the latest internal value, and may reject \
                           unrecognized values. More info: \
                           https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer \
                    this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
                    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// What a definition says of one version.
#[derive(Debug)]
pub(super) struct Documents {
    definition: Encoded,
    kind: GroupVersionKind,
}

impl Documents {
    pub(super) fn new(definition: Encoded, kind: GroupVersionKind) -> Self {
        Self { definition, kind }
    }
}

impl Documented for Documents {
    fn revision(&self) -> String {
        self.definition.revision().to_string()
    }

    fn schema(&self, form: Form) -> Value {
        let definition = self.definition.object().ok();
        let version = definition.as_ref().and_then(|definition| {
            versions(definition).iter().find(|version| text(version, "name") == self.kind.version)
        });
        let mut document = match version.and_then(schema) {
            Some(schema) if form == Form::V2 && flag(schema, "x-kubernetes-preserve-unknown-fields") => {
                json!({"type": "object"})
            }
            Some(schema) => whole(schema, form),
            None => json!({"type": "object"}),
        };
        let GroupVersionKind { group, version: name, kind } = &self.kind;
        document["x-kubernetes-group-version-kind"] =
            json!([{"group": group, "kind": kind, "version": name}]);
        let selectable = version.map(|version| list(version, "selectableFields")).unwrap_or_default();
        if !selectable.is_empty() {
            let fields = selectable.iter().map(|field| {
                let path = text(field, "jsonPath");
                json!({"fieldPath": path.strip_prefix('.').unwrap_or(path)})
            });
            document["x-kubernetes-selectable-fields"] = fields.collect();
        }
        document
    }
}

fn whole(schema: &Value, form: Form) -> Value {
    let mut document = part(schema, form);
    let metadata = described(reference(META, form), METADATA, form);
    let Some(fields) = document.as_object_mut() else { return document };
    let properties = fields.entry("properties").or_insert_with(|| json!({}));
    properties["apiVersion"] = json!({"description": API_VERSION, "type": "string"});
    properties["kind"] = json!({"description": KIND, "type": "string"});
    properties["metadata"] = metadata;
    document
}

/// Beside a reference nothing else counts in version 3, so it is wrapped to be described.
fn described(reference: Value, description: &str, form: Form) -> Value {
    match form {
        Form::V3 => json!({"allOf": [reference], "description": description}),
        Form::V2 => {
            let mut reference = reference;
            reference["description"] = description.into();
            reference
        }
    }
}

fn part(schema: &Value, form: Form) -> Value {
    let mut document: Map<String, Value> = schema.as_object().cloned().unwrap_or_default();
    document.retain(|_, value| !value.is_null());
    let preserves = flag(schema, "x-kubernetes-preserve-unknown-fields");
    if form == Form::V2 {
        // Version 2 has no such words, and its readers take types for more than they say here.
        let nullable = flag(schema, "nullable");
        for word in ["allOf", "anyOf", "oneOf", "not", "nullable"] {
            document.shift_remove(word);
        }
        if nullable || preserves {
            for word in ["items", "properties"] {
                document.shift_remove(word);
            }
        }
        let ty = text(schema, "type");
        let untyped =
            nullable || (ty == "array" && !document.contains_key("items")) || (ty == "object" && preserves);
        if untyped {
            document.shift_remove("type");
        }
        let is_nullable = |name: &str| {
            let property = document.get("properties").and_then(|properties| properties.get(name));
            property.is_some_and(|property| flag(property, "nullable"))
        };
        let required: Vec<Value> = list(schema, "required")
            .iter()
            .filter(|name| name.as_str().is_some_and(|name| !is_nullable(name)))
            .cloned()
            .collect();
        let values_nullable =
            schema.get("additionalProperties").is_some_and(|values| flag(values, "nullable"));
        if required.is_empty() || values_nullable {
            document.shift_remove("required");
        } else {
            document.insert("required".to_owned(), required.into());
        }
    } else if flag(schema, "x-kubernetes-int-or-string") {
        unfold(&mut document);
    }
    if let Some(Value::Object(properties)) = document.get_mut("properties") {
        for property in properties.values_mut() {
            *property = part(property, form);
        }
    }
    for word in ["items", "additionalProperties"] {
        if let Some(inner) = document.get_mut(word).filter(|inner| inner.is_object()) {
            *inner = part(inner, form);
        }
    }
    if flag(schema, "x-kubernetes-embedded-resource") && !(form == Form::V2 && preserves) {
        embed(&mut document, form);
    }
    document.into()
}

/// Says of what is a number or a text that it is one of both.
fn unfold(document: &mut Map<String, Value>) {
    let both = json!([{"type": "integer"}, {"type": "string"}]);
    let first = document.get("allOf").and_then(|all| all.get(0)).and_then(|first| first.get("anyOf"));
    match document.get("anyOf") {
        _ if first == Some(&both) => {}
        Some(any) if *any == both => {}
        None => drop(document.insert("anyOf".to_owned(), both)),
        Some(_) => {
            let mut all = vec![json!({"anyOf": both})];
            all.extend(document.get("allOf").and_then(Value::as_array).into_iter().flatten().cloned());
            document.insert("allOf".to_owned(), all.into());
        }
    }
}

fn embed(document: &mut Map<String, Value>, form: Form) {
    let properties = document.entry("properties").or_insert_with(|| json!({}));
    properties["apiVersion"] = json!({"description": API_VERSION, "type": "string"});
    properties["kind"] = json!({"description": KIND, "type": "string"});
    properties["metadata"] = described(reference(META, form), METADATA, form);
    let required = document.entry("required").or_insert_with(|| json!([]));
    if let Value::Array(required) = required {
        for name in ["kind", "apiVersion"] {
            if !required.iter().any(|known| known == name) {
                required.push(name.into());
            }
        }
    }
}
