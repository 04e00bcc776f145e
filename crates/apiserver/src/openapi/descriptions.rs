//! What fields are for, in the words of k8s-openapi, which carries Kubernetes' descriptions.
//!
//! An entry names a built-in kind and the Rust type that stands for it. Only a document that is being
//! made has descriptions in memory.

use k8s_openapi::api;
use k8s_openapi::apimachinery::pkg::apis::meta;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use model::GroupVersionKind;
use serde_json::{Map, Value};

/// Descriptions of types and their fields, by the types' OpenAPI names.
#[derive(Debug, Default)]
pub(super) struct Descriptions(Map<String, Value>);

type Kind = (&'static str, &'static str, &'static str, fn(&mut SchemaGenerator));

const KINDS: &[Kind] = &[
    ("", "v1", "Binding", add::<api::core::v1::Binding>),
    ("", "v1", "ConfigMap", add::<api::core::v1::ConfigMap>),
    ("", "v1", "Endpoints", add::<api::core::v1::Endpoints>),
    ("", "v1", "Event", add::<api::core::v1::Event>),
    ("", "v1", "Namespace", add::<api::core::v1::Namespace>),
    ("", "v1", "Node", add::<api::core::v1::Node>),
    ("", "v1", "Pod", add::<api::core::v1::Pod>),
    ("", "v1", "Secret", add::<api::core::v1::Secret>),
    ("", "v1", "Service", add::<api::core::v1::Service>),
    ("", "v1", "ServiceAccount", add::<api::core::v1::ServiceAccount>),
    ("apps", "v1", "Deployment", add::<api::apps::v1::Deployment>),
    ("apps", "v1", "ReplicaSet", add::<api::apps::v1::ReplicaSet>),
    ("authentication.k8s.io", "v1", "TokenRequest", add::<api::authentication::v1::TokenRequest>),
    ("autoscaling", "v1", "Scale", add::<api::autoscaling::v1::Scale>),
    ("coordination.k8s.io", "v1", "Lease", add::<api::coordination::v1::Lease>),
    ("discovery.k8s.io", "v1", "EndpointSlice", add::<api::discovery::v1::EndpointSlice>),
    ("events.k8s.io", "v1", "Event", add::<api::events::v1::Event>),
    ("policy", "v1", "Eviction", add::<api::policy::v1::Eviction>),
];

impl Descriptions {
    /// Gathers what is said of these kinds and of all types that they use.
    pub(super) fn of<'a>(kinds: impl IntoIterator<Item = &'a GroupVersionKind>) -> Self {
        let mut generator = SchemaGenerator::default();
        add::<meta::v1::DeleteOptions>(&mut generator);
        add::<meta::v1::Status>(&mut generator);
        for kind in kinds {
            let known = KINDS.iter().find(|(group, version, name, _)| {
                (*group, *version, *name) == (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str())
            });
            if let Some((_, _, _, add)) = known {
                add(&mut generator);
            }
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

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}
