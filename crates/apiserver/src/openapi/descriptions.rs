//! What fields are for, in the words of k8s-openapi, which carries Kubernetes' descriptions.
//!
//! An entry says by which Rust type its kind is described. Only a document that is being made has
//! descriptions in memory.

use k8s_openapi::apimachinery::pkg::apis::meta;
use k8s_openapi::schemars::SchemaGenerator;
use serde_json::{Map, Value};

use super::{Describe, describe};

/// Descriptions of types and their fields, by the types' OpenAPI names.
#[derive(Debug, Default)]
pub(super) struct Descriptions(Map<String, Value>);

impl Descriptions {
    /// Gathers what is said of these kinds and of all types that they use.
    pub(super) fn of(kinds: impl IntoIterator<Item = Describe>) -> Self {
        let mut generator = SchemaGenerator::default();
        describe::<meta::v1::DeleteOptions>(&mut generator);
        describe::<meta::v1::Status>(&mut generator);
        for describe in kinds {
            describe(&mut generator);
        }
        Self(generator.take_definitions(true))
    }

    /// What is said of a type.
    pub(super) fn of_type(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.get("description")?.as_str()
    }

    /// What is said of a type's field.
    pub(super) fn of_field(&self, name: &str, field: &str) -> Option<&str> {
        self.0.get(name)?.get("properties")?.get(field)?.get("description")?.as_str()
    }
}
