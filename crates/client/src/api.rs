//! The verbs of one resource: get, list, create, update, patch, delete, watch, subresources.

mod options;
mod read;
mod subresource;
mod watch;
mod write;

use std::marker::PhantomData;

use model::Object;
use serde::{Deserialize, Serialize};

pub use options::{
    ApplyOptions, DeleteOptions, ListOptions, Patch, PatchOptions, Preconditions, Propagation, WatchOptions,
    WriteOptions,
};
pub use subresource::Scale;
pub use watch::WatchEvent;

use crate::client::Client;
use crate::resource::{Partial, Resource, ResourceKind, Typed};

/// The objects of one kind, in one namespace or in all. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api<K> {
    client: Client,
    kind: ResourceKind,
    namespace: Option<String>,
    object: PhantomData<fn() -> K>,
}

/// What a list gives.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: serde::de::DeserializeOwned"))]
pub struct List<K> {
    /// The list's own metadata.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects.
    #[serde(default = "Vec::new", deserialize_with = "null_as_empty")]
    pub items: Vec<K>,
}

/// Metadata of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// The revision that the list shows: where a watch goes on.
    pub resource_version: String,
    /// Where the next page begins; empty on the last.
    #[serde(rename = "continue")]
    pub continue_token: String,
    /// How many objects are left after this page, if the server knows.
    pub remaining_item_count: Option<u64>,
}

impl<K: Typed> Api<K> {
    /// The objects of all namespaces, or of a kind that is cluster-wide.
    pub fn all(client: &Client) -> Self {
        Self::of(client, K::resource_kind(), None)
    }

    /// The objects of one namespace.
    pub fn namespaced(client: &Client, namespace: &str) -> Self {
        Self::of(client, K::resource_kind(), Some(namespace))
    }
}

impl Api<Object> {
    /// The objects of a kind that is known at run time only; of all namespaces if none is given.
    pub fn dynamic(client: &Client, kind: &ResourceKind, namespace: Option<&str>) -> Self {
        Self::of(client, kind.clone(), namespace)
    }
}

impl Api<Partial> {
    /// As [`Api::dynamic`], but reads nothing of an object but type and metadata.
    pub fn partial(client: &Client, kind: &ResourceKind, namespace: Option<&str>) -> Self {
        Self::of(client, kind.clone(), namespace)
    }
}

impl<K: Resource> Api<K> {
    fn of(client: &Client, kind: ResourceKind, namespace: Option<&str>) -> Self {
        Self { client: client.clone(), kind, namespace: namespace.map(str::to_owned), object: PhantomData }
    }

    /// The kind.
    pub fn kind(&self) -> &ResourceKind {
        &self.kind
    }

    /// The client that carries the requests.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The same kind in another namespace; an empty one for all.
    pub fn within(&self, namespace: &str) -> Self {
        let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        Self { namespace, ..self.clone() }
    }

    fn path(&self) -> String {
        self.kind.path(self.namespace.as_deref())
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.path())
    }

    /// Where `object` itself lives: its own namespace if this API is of all namespaces.
    fn home(&self, object: &K) -> Self {
        match object.namespace() {
            Some(namespace) if self.namespace.is_none() && self.kind.namespaced => self.within(namespace),
            _ => self.clone(),
        }
    }
}

/// Go's servers write an empty list as null.
fn null_as_empty<'de, D, K>(deserializer: D) -> Result<Vec<K>, D::Error>
where
    D: serde::Deserializer<'de>,
    K: Deserialize<'de>,
{
    Ok(Option::<Vec<K>>::deserialize(deserializer)?.unwrap_or_default())
}
