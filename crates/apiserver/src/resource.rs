//! The table of resources: what is served, and the few ways in which one differs from another.
//!
//! An entry names a resource and says where it is stored; everything that all resources share (names,
//! schema, defaults, validation, patches, watches) is done once for all of them by `crate::verbs`.
//! What is particular is in a [`Strategy`], in a file of its own below `resource/`. A custom resource
//! definition adds an entry while the server runs; it takes the same path.

mod configmaps;
mod context;
mod deployments;
mod endpoints;
mod events;
mod leases;
mod namespaces;
mod nodes;
mod pods;
mod replicasets;
mod secrets;
mod serviceaccounts;
mod services;
mod strategy;
mod table;

use std::sync::Arc;

use model::{GroupKind, GroupResource, GroupVersionKind, Object, Schema};

pub(crate) use context::Context;
pub(crate) use namespaces::PERMANENT;
pub(crate) use services::claims as service_claims;
pub(crate) use strategy::{Graceful, Plain, Strategy, status_only, wants_differ};
pub use table::Table;

/// One entry of the table.
#[derive(Clone)]
pub struct Resource {
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind of the objects.
    pub kind: String,
    /// Plural name, as in paths.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names, as in `kubectl get po`.
    pub short_names: Vec<String>,
    /// Groups of resources that can be named together, as in `kubectl get all`.
    pub categories: Vec<String>,
    /// Whether the objects live in namespaces.
    pub namespaced: bool,
    /// Subresources, in the order of their names.
    pub subresources: Vec<Subresource>,
    /// What the fields mean.
    pub schema: Option<Schema>,
    pub(crate) storage: Storage,
    pub(crate) strategy: Arc<dyn Strategy>,
}

/// A subresource, as discovery shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Its name.
    pub name: String,
    /// What it takes or gives; the resource's own kind where absent.
    pub kind: Option<GroupVersionKind>,
    /// Its verbs.
    pub verbs: Vec<&'static str>,
}

/// Where and as what objects are stored.
#[derive(Clone)]
pub(crate) struct Storage {
    /// `GROUP/PLURAL`, the part of the key that all objects share.
    pub(crate) partition: String,
    /// Which changes are lost without harm, so that they stay in memory: none unless this says so.
    pub(crate) is_passing: fn(old: &Object, new: &Object) -> bool,
    /// Objects go by themselves after so long.
    pub(crate) lifetime: Option<std::time::Duration>,
    /// How an object becomes what is stored and back, where the stored form is of another version.
    pub(crate) conversion: Option<Conversion>,
}

/// Turns objects of one version into those of the stored version and back.
#[derive(Clone, Copy)]
pub(crate) struct Conversion {
    pub(crate) to_stored: fn(&mut Object),
    pub(crate) from_stored: fn(&mut Object),
}

/// The verbs that every resource has.
pub(crate) const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

impl Resource {
    /// A resource of a built-in kind, with nothing particular about it yet.
    pub(crate) fn builtin(group: &str, version: &str, kind: &str, plural: &str) -> Self {
        let gvk = GroupVersionKind::new(group, version, kind);
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            subresources: Vec::new(),
            schema: model::schema::builtin(&gvk),
            storage: Storage {
                partition: partition(group, plural),
                is_passing: |_, _| false,
                lifetime: None,
                conversion: None,
            },
            strategy: Arc::new(Plain),
        }
    }

    pub(crate) fn cluster_wide(mut self) -> Self {
        self.namespaced = false;
        self
    }

    pub(crate) fn short(mut self, names: &[&str]) -> Self {
        self.short_names = names.iter().map(|n| (*n).to_owned()).collect();
        self
    }

    pub(crate) fn category(mut self, name: &str) -> Self {
        self.categories.push(name.to_owned());
        self
    }

    pub(crate) fn strategy(mut self, strategy: impl Strategy) -> Self {
        self.strategy = Arc::new(strategy);
        self
    }

    pub(crate) fn status(self) -> Self {
        self.subresource("status", None, &["get", "patch", "update"])
    }

    pub(crate) fn scale(self) -> Self {
        let scale = GroupVersionKind::new("autoscaling", "v1", "Scale");
        self.subresource("scale", Some(scale), &["get", "patch", "update"])
    }

    pub(crate) fn subresource(
        mut self,
        name: &str,
        kind: Option<GroupVersionKind>,
        verbs: &[&'static str],
    ) -> Self {
        self.subresources.push(Subresource { name: name.to_owned(), kind, verbs: verbs.to_vec() });
        self.subresources.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(self.group.as_str(), self.version.as_str(), self.kind.as_str())
    }

    /// Group and plural name, as errors name the resource.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group.as_str(), self.plural.as_str())
    }

    /// Group and kind.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.group.as_str(), self.kind.as_str())
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        self.gvk().api_version()
    }

    /// Whether there is a subresource of that name.
    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|s| s.name == name)
    }

    /// The key of an object in the store.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        crate::cache::key(&self.storage.partition, namespace, name)
    }

    pub(crate) fn scope(&self) -> model::validate::Scope {
        if self.namespaced { model::validate::Scope::Namespaced } else { model::validate::Scope::Cluster }
    }
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resource({}.{}.{})", self.plural, self.version, self.group)
    }
}

/// The partition of a group's resource.
pub(crate) fn partition(group: &str, plural: &str) -> String {
    format!("{}/{plural}", if group.is_empty() { "core" } else { group })
}

/// All built-in resources.
pub(crate) fn builtin() -> Vec<Resource> {
    vec![
        configmaps::resource(),
        deployments::resource(),
        endpoints::endpoints(),
        endpoints::endpoint_slices(),
        events::core(),
        events::events(),
        leases::resource(),
        namespaces::resource(),
        nodes::resource(),
        pods::resource(),
        replicasets::resource(),
        secrets::resource(),
        serviceaccounts::resource(),
        services::resource(),
    ]
}
