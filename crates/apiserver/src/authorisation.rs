//! Whether a caller may do what it asks.
//!
//! [`Coarse`] is what stands until role-based access control comes: administrators may do everything,
//! Gantry's own components and nodes what they need, everybody else nothing but ask who they are. A
//! finer authorizer takes its place by implementing [`Authorizer`].

use std::borrow::Cow;
use std::future::{Ready, ready};

use futures::future::{BoxFuture, Either};
use model::{GroupResource, Status};

use crate::error::Error;
use crate::identity::{AUTHENTICATED, Identity};
use crate::request::{NAMESPACES, ResourceTarget, Verb};
use crate::resource::Resource;

/// What is to be authorised.
#[derive(Clone, Copy, Debug)]
pub enum Attributes<'a> {
    /// Something done to a resource.
    Resource {
        /// What.
        target: &'a ResourceTarget,
        /// The resource, where there is one.
        resource: Option<&'a Resource>,
    },
    /// A request to another path, with its method in lower case.
    Path {
        /// The method.
        verb: &'a str,
        /// The path.
        path: &'a str,
    },
}

/// Whether something is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is, for this reason.
    Allowed(Cow<'static, str>),
    /// It is not, for this reason where there is more to say than that nothing allows it.
    Denied(Option<Cow<'static, str>>),
}

/// A decision, at once where nobody has to be asked, so that most requests cost no allocation.
pub type Deciding<'a> = Either<Ready<Decision>, BoxFuture<'a, Decision>>;

/// Decides whether a caller may do something. Whoever cannot find out denies, and says why.
pub trait Authorizer: Send + Sync + 'static {
    /// Decides.
    fn decide<'a>(&'a self, identity: &'a Identity, attributes: Attributes<'a>) -> Deciding<'a>;
}

/// Administrators everything, components what they need, others nothing.
#[derive(Clone, Copy, Debug)]
pub struct Coarse;

impl Authorizer for Coarse {
    fn decide<'a>(&'a self, identity: &'a Identity, attributes: Attributes<'a>) -> Deciding<'a> {
        let reason = if identity.is_administrator() {
            Some("the administrators' group may do everything")
        } else {
            match attributes {
                Attributes::Path { verb, path } => allow_path(identity, verb, path),
                Attributes::Resource { target, resource } => allow_resource(identity, target, resource),
            }
        };
        let allowed = |reason: &'static str| Decision::Allowed(reason.into());
        Either::Left(ready(reason.map_or(Decision::Denied(None), allowed)))
    }
}

/// Paths that everybody may read, whether known or not.
pub(crate) fn is_public_path(path: &str) -> bool {
    matches!(path, "/healthz" | "/livez" | "/readyz" | "/version" | "/version/")
        || ["/healthz/", "/livez/", "/readyz/"].iter().any(|p| path.starts_with(p))
}

/// The refusal, in Kubernetes' words.
pub(crate) fn refusal(identity: &Identity, attributes: Attributes<'_>, reason: Option<&str>) -> Error {
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let user = model::field::quote(&identity.user);
    match attributes {
        Attributes::Path { verb, path } => {
            let nowhere = GroupResource::new("", "");
            let why = format!("User {user} cannot {verb} path {}{reason}", model::field::quote(path));
            Status::forbidden(&nowhere, "", why).into()
        }
        Attributes::Resource { target, .. } => {
            let scope = if target.namespace.is_empty() || target.resource == NAMESPACES {
                " at the cluster scope".to_owned()
            } else {
                format!(" in the namespace {}", model::field::quote(&target.namespace))
            };
            let why = format!(
                "User {user} cannot {} resource {} in API group {}{scope}{reason}",
                target.verb.as_str(),
                model::field::quote(&target.resource_path()),
                model::field::quote(&target.group),
            );
            let resource = GroupResource::new(target.group.as_str(), target.resource.as_str());
            Status::forbidden(&resource, &target.name, why).into()
        }
    }
}

fn allow_path(identity: &Identity, verb: &str, path: &str) -> Option<&'static str> {
    if verb != "get" && verb != "head" {
        return None;
    }
    if is_public_path(path) {
        return Some("everybody may ask for health and version");
    }
    let discovery = ["/api", "/apis", "/openapi", "/.well-known/openid-configuration", "/openid/v1/jwks"];
    let known = identity.is_in(AUTHENTICATED);
    let below =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    (known && discovery.iter().any(|root| below(root))).then_some("everybody known may discover")
}

fn allow_resource(
    identity: &Identity,
    target: &ResourceTarget,
    resource: Option<&Resource>,
) -> Option<&'static str> {
    let reviews_self = target.verb == Verb::Create
        && matches!(
            target.resource.as_str(),
            "selfsubjectreviews" | "selfsubjectaccessreviews" | "selfsubjectrulesreviews"
        );
    if reviews_self && identity.is_in(AUTHENTICATED) {
        return Some("everybody known may ask about themselves");
    }
    if identity.is_in("system:gantry") {
        return Some("a component of the control plane");
    }
    if identity.is_in("system:nodes") {
        return resource.is_some_and(|resource| allow_node(resource, target)).then_some("a node's agent");
    }
    None
}

/// What a node's agent needs, as the resource says: to read what its pods name, and to tell how they fare.
fn allow_node(resource: &Resource, target: &ResourceTarget) -> bool {
    let verbs = if target.subresource.is_empty() {
        Some(&resource.for_nodes)
    } else {
        resource.find_subresource(&target.subresource).map(|subresource| &subresource.for_nodes)
    };
    verbs.is_some_and(|verbs| verbs.contains(&target.verb))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use model::GroupVersionKind;

    use super::*;

    fn check(identity: &Identity, verb: Verb, group: &str, path: &str, expected: bool) {
        let (name, subresource) = path.split_once('/').unwrap_or((path, ""));
        let target = ResourceTarget {
            group: group.to_owned(),
            version: "v1".to_owned(),
            namespace: "a".to_owned(),
            resource: name.to_owned(),
            subresource: subresource.to_owned(),
            verb,
            ..ResourceTarget::default()
        };
        // Nodes read these things, and change their status.
        let resource = Resource::new(&GroupVersionKind::new(group, "v1", "Thing"), "things");
        let resource = resource.nodes_may(&Verb::READ).status_by_nodes();
        let resource = Some(&resource).filter(|resource| resource.plural == name);
        let found = Coarse.decide(identity, Attributes::Resource { target: &target, resource });
        let found = found.now_or_never().expect("it asks nobody");
        assert_eq!(
            matches!(found, Decision::Allowed(_)),
            expected,
            "{} {path} by {}",
            verb.as_str(),
            identity.user
        );
    }

    #[test]
    fn administrators_may_everything_components_what_they_need_others_nothing() {
        let stranger = Identity::new("jane", ["developers"]);
        let node = Identity::node("n1");
        check(&Identity::administrator(), Verb::Delete, "apps", "deployments", true);
        check(&Identity::component("scheduler"), Verb::Create, "", "pods/binding", true);
        check(&node, Verb::List, "example.com", "things", true);
        check(&node, Verb::Update, "example.com", "things/status", true);
        check(&node, Verb::Update, "example.com", "things", false);
        check(&node, Verb::Get, "example.com", "things/scale", false);
        check(&node, Verb::Get, "example.com", "others", false);
        check(&stranger, Verb::Get, "example.com", "things", false);
        check(&stranger, Verb::Create, "authentication.k8s.io", "selfsubjectreviews", true);
    }

    #[test]
    fn a_refusal_reads_as_kubernetes_writes_it() {
        let target = ResourceTarget {
            version: "v1".to_owned(),
            namespace: "a".to_owned(),
            resource: "pods".to_owned(),
            verb: Verb::List,
            ..ResourceTarget::default()
        };
        let error = refusal(
            &Identity::new("jane", ["x"]),
            Attributes::Resource { target: &target, resource: None },
            None,
        );
        assert_eq!(
            error.to_string(),
            "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\""
        );
    }
}
