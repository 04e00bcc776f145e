//! What a definition says, read from its object.

use model::Object;
use model::validate::{flag, list, text};
use serde_json::Value;

/// Names of a kind, as a definition wishes them or has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) categories: Vec<String>,
}

impl Names {
    /// Those in a field of a definition: of what it wishes, or of what it has.
    pub(crate) fn of(names: Option<&Value>) -> Self {
        let nothing = Value::Null;
        let names = names.unwrap_or(&nothing);
        let texts =
            |name: &str| list(names, name).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Self {
            plural: text(names, "plural").to_owned(),
            singular: text(names, "singular").to_owned(),
            short_names: texts("shortNames"),
            kind: text(names, "kind").to_owned(),
            list_kind: text(names, "listKind").to_owned(),
            categories: texts("categories"),
        }
    }

    /// As a definition has them in its status.
    pub(crate) fn value(&self) -> Value {
        let mut value = serde_json::json!({"plural": self.plural, "kind": self.kind});
        for (name, text) in [("singular", &self.singular), ("listKind", &self.list_kind)] {
            if !text.is_empty() {
                value[name] = text.as_str().into();
            }
        }
        for (name, texts) in [("shortNames", &self.short_names), ("categories", &self.categories)] {
            if !texts.is_empty() {
                value[name] = texts.clone().into();
            }
        }
        value
    }
}

/// The names that a definition wishes.
pub(crate) fn wished(object: &Object) -> Names {
    Names::of(object.get(&["spec", "names"]))
}

/// The names that a definition has.
pub(crate) fn accepted(object: &Object) -> Names {
    Names::of(object.get(&["status", "acceptedNames"]))
}

/// The group of the kind that a definition is of.
pub(crate) fn group(object: &Object) -> &str {
    object.get_str(&["spec", "group"]).unwrap_or_default()
}

/// The versions of a definition.
pub(crate) fn versions(object: &Object) -> &[Value] {
    object.get_list(&["spec", "versions"])
}

/// The name of the version that is stored.
pub(crate) fn stored_version(object: &Object) -> Option<&str> {
    versions(object).iter().find(|version| flag(version, "storage")).map(|version| text(version, "name"))
}

/// The schema of a version.
pub(crate) fn schema(version: &Value) -> Option<&Value> {
    version.get("schema")?.get("openAPIV3Schema").filter(|schema| schema.is_object())
}

/// A condition of a definition.
pub(crate) fn condition<'a>(object: &'a Object, kind: &str) -> Option<&'a Value> {
    object.get_list(&["status", "conditions"]).iter().find(|condition| text(condition, "type") == kind)
}

/// Whether a condition of a definition is true.
pub(crate) fn is_true(object: &Object, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| text(condition, "status") == "True")
}
