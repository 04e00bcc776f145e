//! What the client needs to know of an object, typed or not.

mod dynamic;
mod partial;
mod typed;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use model::{OwnerReference, select::LabelSelector};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::partial::{Partial, PartialMetadata};

/// Labels by their keys.
pub type Labels = BTreeMap<String, String>;

/// A Kubernetes object: one of k8s-openapi's types, or [`model::Object`] or [`Partial`] for any kind.
pub trait Resource: Clone + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// `metadata.name`, or nothing.
    fn name(&self) -> &str;

    /// `metadata.namespace`; `None` for what is cluster-wide.
    fn namespace(&self) -> Option<&str>;

    /// `metadata.uid`, or nothing.
    fn uid(&self) -> &str;

    /// `metadata.resourceVersion`, or nothing.
    fn resource_version(&self) -> &str;

    /// One label.
    fn label(&self, key: &str) -> Option<&str>;

    /// All labels.
    fn labels(&self) -> Labels;

    /// `metadata.ownerReferences`.
    fn owners(&self) -> Vec<OwnerReference>;

    /// Whether deletion has begun.
    fn is_being_deleted(&self) -> bool;

    /// `apiVersion` and `kind`, as far as the object or its type says.
    fn type_of(&self) -> (String, String);

    /// Drops `metadata.managedFields`: the most of many objects, and of no use to those who only read.
    fn forget_managers(&mut self);

    /// Namespace and name.
    fn key(&self) -> ObjectKey {
        ObjectKey { namespace: self.namespace().unwrap_or_default().to_owned(), name: self.name().to_owned() }
    }

    /// The revision that the resource version stands for; 0 where it is absent or no number.
    fn revision(&self) -> u64 {
        self.resource_version().parse().unwrap_or_default()
    }

    /// The owner that manages the object.
    fn controller(&self) -> Option<OwnerReference> {
        self.owners().into_iter().find(|owner| owner.controller == Some(true))
    }

    /// A reference by which another object names this one as its managing owner.
    fn as_controller_reference(&self) -> OwnerReference {
        let (api_version, kind) = self.type_of();
        OwnerReference {
            api_version,
            kind,
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// Whether the object's labels meet a selector.
    fn is_selected(&self, selector: &LabelSelector) -> bool {
        selector.match_values(|key| self.label(key))
    }
}

/// A [`Resource`] whose type alone says which kind it is.
pub trait Typed: Resource {
    /// The kind.
    fn resource_kind() -> ResourceKind;
}

/// Which kind of resource, and where the API serves it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResourceKind {
    /// The API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// The version inside the group.
    pub version: Cow<'static, str>,
    /// The kind, in camel case.
    pub kind: Cow<'static, str>,
    /// The plural, lower-case name, as paths have it.
    pub plural: Cow<'static, str>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl ResourceKind {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The path under which the API serves the kind, in one namespace or in all.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/{}/namespaces/{namespace}/{}", self.version, self.plural),
            None => format!("{root}/{}/{}", self.version, self.plural),
        }
    }
}

/// Names an object among those of its kind; prints as `namespace/name`, or `name` if cluster-wide.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectKey {
    /// The namespace; empty for what is cluster-wide.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// Names an object in a namespace; an empty one for what is cluster-wide.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Names a cluster-wide object.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::new("", name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}
