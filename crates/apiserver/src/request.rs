//! What a request asks for, read from its method, path and query alone.
//!
//! Source: Kubernetes API concepts, "Resource URIs" and "Request verbs and authorization".

mod options;
mod query;

use http::Method;

pub(crate) use options::revision_named;
pub use options::{
    DeleteOptions, FieldValidation, ListOptions, Preconditions, Propagation, VersionMatch, WriteOptions,
};
pub use query::Query;

/// The resource that has a place of its own in paths, in whose objects others live.
pub(crate) const NAMESPACES: &str = "namespaces";

/// A request to a resource or to another path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Below `/api/v1` or `/apis/GROUP/VERSION`.
    Resource(ResourceTarget),
    /// Any other path: discovery, health, version.
    Path(String),
}

/// A request to a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceTarget {
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// The namespace, empty for cluster-wide requests.
    pub namespace: String,
    /// Plural resource name.
    pub resource: String,
    /// Object name, empty for the collection.
    pub name: String,
    /// Subresource, empty for the object itself.
    pub subresource: String,
    /// Path below the subresource (`proxy/some/path`), without a leading slash.
    pub rest: String,
    /// What is to be done.
    pub verb: Verb,
}

/// What is to be done to a resource, as authorisation sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Read one object.
    #[default]
    Get,
    /// Read a collection.
    List,
    /// Follow changes.
    Watch,
    /// Make an object.
    Create,
    /// Replace an object.
    Update,
    /// Change a part of an object.
    Patch,
    /// Delete an object.
    Delete,
    /// Delete the objects of a collection.
    DeleteCollection,
}

impl Verb {
    /// The verbs that only read.
    pub const READ: [Self; 3] = [Self::Get, Self::List, Self::Watch];

    /// The verb's name in Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// Whether it only reads.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

impl Target {
    /// Reads method, path and query. A path that is no resource's is given back as a path.
    pub fn parse(method: &Method, path: &str, query: &Query) -> Option<Self> {
        let decoded: Vec<String> =
            path.split('/').filter(|s| !s.is_empty()).map(query::decode_path).collect::<Option<_>>()?;
        let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => return Some(Self::Path(path.to_owned())),
        };
        let mut target = ResourceTarget {
            group: group.to_owned(),
            version: version.to_owned(),
            ..ResourceTarget::default()
        };
        // The old form of a watch: /api/v1/watch/namespaces/a/pods.
        let (old_watch, rest) = match rest {
            ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
            rest => (false, rest),
        };
        let parts = match rest {
            // Subresources of the namespace object itself; anything else is a resource inside it.
            [NAMESPACES, name, "status" | "finalize"] => {
                target.namespace = (*name).to_owned();
                rest
            }
            [NAMESPACES, name, inner @ ..] if !inner.is_empty() => {
                target.namespace = (*name).to_owned();
                inner
            }
            [NAMESPACES, name] => {
                target.namespace = (*name).to_owned();
                rest
            }
            rest => rest,
        };
        let at = |i: usize| parts.get(i).map(|s| (*s).to_owned()).unwrap_or_default();
        (target.resource, target.name, target.subresource) = (at(0), at(1), at(2));
        target.rest = parts.get(3..).unwrap_or_default().join("/");
        let collection = target.name.is_empty();
        let watching = old_watch || query.flag("watch");
        target.verb = match *method {
            Method::GET | Method::HEAD if watching && (collection || old_watch) => Verb::Watch,
            Method::GET | Method::HEAD if collection => Verb::List,
            Method::GET | Method::HEAD => Verb::Get,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE if collection => Verb::DeleteCollection,
            Method::DELETE => Verb::Delete,
            _ => return None,
        };
        Some(Self::Resource(target))
    }
}

impl ResourceTarget {
    /// `pods`, `pods/log`: the form that rules name.
    pub fn resource_path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, expected: &str) {
        let (method, uri) = request.split_once(' ').expect("method and path");
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let method = Method::from_bytes(method.as_bytes()).expect("method");
        let found = match Target::parse(&method, path, &Query::parse(query)) {
            Some(Target::Resource(t)) => format!(
                "{} {}/{} {} [{}] {} {}",
                t.verb.as_str(),
                t.group,
                t.version,
                t.resource_path(),
                t.namespace,
                t.name,
                t.rest
            ),
            Some(Target::Path(path)) => path,
            None => "refused".to_owned(),
        };
        assert_eq!(found.trim_end(), expected);
    }

    #[test]
    fn paths_are_read_as_kubernetes_reads_them() {
        check("GET /api/v1/pods", "list /v1 pods []");
        check("GET /api/v1/namespaces/a/pods?watch=1", "watch /v1 pods [a]");
        check("GET /api/v1/watch/namespaces/a/pods/b", "watch /v1 pods [a] b");
        check("GET /api/v1/namespaces/a", "get /v1 namespaces [a] a");
        check("PUT /api/v1/namespaces/a/finalize", "update /v1 namespaces/finalize [a] a");
        check("POST /api/v1/namespaces", "create /v1 namespaces []");
        check(
            "PATCH /apis/apps/v1/namespaces/a/deployments/b/scale",
            "patch apps/v1 deployments/scale [a] b",
        );
        check("DELETE /apis/apps/v1/namespaces/a/deployments", "deletecollection apps/v1 deployments [a]");
        check("GET /api/v1/namespaces/a/pods/b/proxy/c/d", "get /v1 pods/proxy [a] b c/d");
        check("GET /apis/apps/v1", "/apis/apps/v1");
        check("GET /healthz", "/healthz");
        check("GET /api/v1/namespaces/a/pods/%zz", "refused");
        check("BREW /api/v1/pods", "refused");
    }
}
