//! The verbs of one resource: get, list, create, update, patch, delete, watch, subresources.

mod encoded;
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
use crate::error::Error;
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

    /// Where the objects are, of one namespace or of all.
    fn path(&self) -> Result<String, Error> {
        if self.kind.namespaced && self.namespace.as_deref() == Some("") {
            return Err(self.no_namespace());
        }
        if let Some(namespace) = self.namespace.as_deref().filter(|_| self.kind.namespaced) {
            check_segment(namespace)?;
        }
        Ok(self.kind.path(self.namespace.as_deref()))
    }

    /// Where a new object goes: into one namespace.
    fn path_of_one(&self) -> Result<String, Error> {
        if self.kind.namespaced && self.namespace.is_none() {
            return Err(self.no_namespace());
        }
        self.path()
    }

    /// Where one object is.
    fn path_of(&self, name: &str) -> Result<String, Error> {
        check_segment(name)?;
        Ok(format!("{}/{name}", self.path_of_one()?))
    }

    fn no_namespace(&self) -> Error {
        Error::Namespace { kind: self.kind.kind.to_string() }
    }

    /// Where `object` itself lives: its own namespace if this API is of all namespaces.
    fn home(&self, object: &K) -> Self {
        match object.namespace() {
            Some(namespace) if self.namespace.is_none() && self.kind.namespaced => self.within(namespace),
            _ => self.clone(),
        }
    }
}

/// Refuses a name that a path would not end with. The server says what else names must be.
fn check_segment(name: &str) -> Result<(), Error> {
    let reason = match name {
        "" => "may not be empty",
        "." => "may not be '.'",
        ".." => "may not be '..'",
        _ if name.contains('/') => "may not contain '/'",
        _ if name.contains('%') => "may not contain '%'",
        _ if name.contains(['?', '#']) => "may not contain '?' or '#'",
        _ => return Ok(()),
    };
    Err(Error::Name { name: name.to_owned(), reason })
}

/// Go's servers write an empty list as null.
fn null_as_empty<'de, D, K>(deserializer: D) -> Result<Vec<K>, D::Error>
where
    D: serde::Deserializer<'de>,
    K: Deserialize<'de>,
{
    Ok(Option::<Vec<K>>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ConfigMap, Node};

    /// A client that is never used.
    fn client() -> Client {
        struct Nobody;
        impl crate::Transport for Nobody {
            fn send(
                &self,
                request: http::Request<bytes::Bytes>,
            ) -> futures::future::BoxFuture<
                '_,
                Result<http::Response<crate::transport::Body>, crate::transport::TransportError>,
            > {
                panic!("{} is asked for", request.uri())
            }
        }
        Client::new(Nobody)
    }

    #[track_caller]
    fn check<K: Resource>(api: &Api<K>, name: &str, expected: Result<&str, &str>) {
        let found = api.path_of(name).map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn no_path_has_an_empty_segment_or_leads_elsewhere() {
        let client = client();
        let of = |namespace| Api::<ConfigMap>::namespaced(&client, namespace);
        check(&of("a"), "b", Ok("/api/v1/namespaces/a/configmaps/b"));
        check(&Api::<Node>::all(&client), "n:1", Ok("/api/v1/nodes/n:1"));
        check(&of("a"), "", Err("invalid resource name \"\": may not be empty"));
        check(&of("a"), "..", Err("invalid resource name \"..\": may not be '..'"));
        check(&of("a"), "b/../../c", Err("invalid resource name \"b/../../c\": may not contain '/'"));
        check(&of("a"), "b?c", Err("invalid resource name \"b?c\": may not contain '?' or '#'"));
        let nowhere = "an empty namespace may not be set for a ConfigMap";
        check(&of(""), "b", Err(nowhere));
        check(&Api::<ConfigMap>::all(&client), "b", Err(nowhere));
        check(&of(".."), "b", Err("invalid resource name \"..\": may not be '..'"));
        let kind = ConfigMap::resource_kind();
        let lists = [Api::partial(&client, &kind, Some("")), Api::partial(&client, &kind, None)];
        let paths = lists.map(|api| api.path().map_err(|error| error.to_string()));
        assert_eq!(paths, [Err(nowhere.to_owned()), Ok("/api/v1/configmaps".to_owned())]);
    }

    #[tokio::test]
    async fn what_has_no_path_is_not_asked_for() {
        let nowhere = Api::<ConfigMap>::namespaced(&client(), "");
        let options = DeleteOptions::default();
        assert!(matches!(nowhere.find("a").await, Err(Error::Namespace { .. })));
        assert!(matches!(
            nowhere.delete_all(&ListOptions::default(), &options).await,
            Err(Error::Namespace { .. })
        ));
        assert!(matches!(nowhere.create(&ConfigMap::default()).await, Err(Error::Namespace { .. })));
        let all = Api::<ConfigMap>::all(&client());
        assert!(matches!(all.create(&ConfigMap::default()).await, Err(Error::Namespace { .. })));
        let here = Api::<ConfigMap>::namespaced(&client(), "a");
        assert!(matches!(here.delete("", &options).await, Err(Error::Name { .. })), "not all of them");
    }
}
