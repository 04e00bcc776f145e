//! Whether a caller may do what it asks.
//!
//! Who decides is an [`Authorizer`], which the binary passes in: it sees the objects that are served
//! ([`Objects`]) and knows what they mean, which this crate does not. Without one, administrators may do
//! everything and others nothing ([`Administrators`]).

mod configuration;
mod matching;
mod rules;
mod webhook;

use std::borrow::Cow;
use std::future::{Ready, ready};
use std::sync::Arc;

use futures::future::{BoxFuture, Either};
use model::select::{Condition, Requirement};
use model::{GroupResource, Status};

use crate::error::Error;
use crate::identity::Identity;
use crate::objects::Objects;
use crate::request::ResourceTarget;

pub use configuration::{AuthorizationMode, ModesError};
pub use rules::{KnownRules, PolicyRule};
pub use webhook::{AccessWebhook, AccessWebhookOptions};

/// What is to be authorised.
#[derive(Clone, Copy, Debug)]
pub enum Attributes<'a> {
    /// Something done to a resource.
    Resource(ResourceAttributes<'a>),
    /// A request to another path, with its method in lower case.
    Path {
        /// The method.
        verb: &'a str,
        /// The path.
        path: &'a str,
    },
}

/// Something done to a resource. The resource need not exist, nor need the verb be one of requests:
/// `impersonate`, `bind` and `escalate` are asked for by the server itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResourceAttributes<'a> {
    /// What is done.
    pub verb: &'a str,
    /// API group, empty for core, `*` for all.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// The namespace, empty for what is cluster-wide or in all of them.
    pub namespace: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// Subresource, empty for the object itself.
    pub subresource: &'a str,
    /// The object's name, empty for all.
    pub name: &'a str,
    /// What is asked of the fields of the objects, where it is about several.
    pub fields: &'a [Condition],
    /// What is asked of their labels.
    pub labels: &'a [Requirement],
}

/// Whether something is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is, for this reason.
    Allowed(Cow<'static, str>),
    /// It is not, whatever others say.
    Denied(Cow<'static, str>),
    /// Nothing allows it; there may be a reason.
    NoOpinion(Cow<'static, str>),
}

/// A decision, at once where nobody has to be asked, so that most requests cost no allocation.
pub type Deciding<'a> = Either<Ready<Decision>, BoxFuture<'a, Decision>>;

/// Decides whether a caller may do something. Whoever cannot find out denies, and says why.
pub trait Authorizer: Send + Sync + 'static {
    /// Decides.
    fn decide<'a>(&'a self, identity: &'a Identity, attributes: Attributes<'a>) -> Deciding<'a>;

    /// What is known to be allowed to a caller in a namespace, the rules for the whole cluster included.
    fn rules(&self, identity: &Identity, namespace: &str) -> KnownRules;
}

/// Makes the authorizer of a server that has these objects.
pub type Authorization = Arc<dyn Fn(Arc<dyn Objects>) -> Arc<dyn Authorizer> + Send + Sync>;

/// Administrators everything, others nothing.
#[derive(Clone, Copy, Debug)]
pub struct Administrators;

impl Authorizer for Administrators {
    fn decide<'a>(&'a self, identity: &'a Identity, _: Attributes<'a>) -> Deciding<'a> {
        let allowed = identity.is_administrator();
        decided(if allowed { Decision::Allowed("".into()) } else { Decision::NoOpinion("".into()) })
    }

    fn rules(&self, identity: &Identity, _: &str) -> KnownRules {
        let rules = if identity.is_administrator() { PolicyRule::everything() } else { Vec::new() };
        KnownRules { rules, ..KnownRules::default() }
    }
}

/// A decision for which nobody had to be asked.
pub fn decided<'a>(decision: Decision) -> Deciding<'a> {
    Either::Left(ready(decision))
}

impl Decision {
    /// Whether it is allowed.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// Why, empty where there is nothing to say.
    pub fn reason(&self) -> &str {
        match self {
            Self::Allowed(reason) | Self::Denied(reason) | Self::NoOpinion(reason) => reason,
        }
    }
}

impl ResourceAttributes<'_> {
    /// `pods`, `pods/log`: the form that rules name.
    pub fn resource_path(&self) -> Cow<'_, str> {
        if self.subresource.is_empty() {
            Cow::Borrowed(self.resource)
        } else {
            Cow::Owned(format!("{}/{}", self.resource, self.subresource))
        }
    }
}

impl ResourceTarget {
    /// What a request to this target asks for.
    pub(crate) fn attributes(&self) -> ResourceAttributes<'_> {
        ResourceAttributes {
            verb: self.verb.as_str(),
            group: &self.group,
            version: &self.version,
            namespace: &self.namespace,
            resource: &self.resource,
            subresource: &self.subresource,
            name: &self.name,
            fields: &[],
            labels: &[],
        }
    }
}

/// Fails with the refusal unless `decision` allows.
pub(crate) fn check(
    identity: &Identity,
    attributes: Attributes<'_>,
    decision: &Decision,
) -> Result<(), Error> {
    if decision.is_allowed() { Ok(()) } else { Err(refusal(identity, attributes, decision.reason())) }
}

/// The refusal, in Kubernetes' words.
pub(crate) fn refusal(identity: &Identity, attributes: Attributes<'_>, reason: &str) -> Error {
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let user = model::field::quote(&identity.user);
    match attributes {
        Attributes::Path { verb, path } => {
            let nowhere = GroupResource::new("", "");
            let why = format!("User {user} cannot {verb} path {}{reason}", model::field::quote(path));
            Status::forbidden(&nowhere, "", why).into()
        }
        Attributes::Resource(asked) => {
            let scope = if asked.namespace.is_empty() {
                " at the cluster scope".to_owned()
            } else {
                format!(" in the namespace {}", model::field::quote(asked.namespace))
            };
            let why = format!(
                "User {user} cannot {} resource {} in API group {}{scope}{reason}",
                asked.verb,
                model::field::quote(&asked.resource_path()),
                model::field::quote(asked.group),
            );
            Status::forbidden(&GroupResource::new(asked.group, asked.resource), asked.name, why).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn without_an_authorizer_administrators_alone_may_anything() {
        let asked = Attributes::Path { verb: "get", path: "/livez" };
        let decide = |who: Identity| {
            Administrators.decide(&who, asked).now_or_never().expect("it asks nobody").is_allowed()
        };
        assert!(decide(Identity::administrator()));
        for other in [Identity::new("jane", ["x"]), Identity::node("n"), Identity::anonymous()] {
            assert!(!decide(other));
        }
    }

    #[test]
    fn a_refusal_reads_as_kubernetes_writes_it() {
        let jane = Identity::new("jane", ["x"]);
        let pods = ResourceAttributes { verb: "list", resource: "pods", ..ResourceAttributes::default() };
        let check = |asked, reason, expected| {
            assert_eq!(refusal(&jane, asked, reason).to_string(), expected);
        };
        check(
            Attributes::Resource(ResourceAttributes { namespace: "a", ..pods }),
            "",
            "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\"",
        );
        check(
            Attributes::Resource(ResourceAttributes { subresource: "log", name: "p", verb: "get", ..pods }),
            "RBAC: x",
            "pods \"p\" is forbidden: User \"jane\" cannot get resource \"pods/log\" in API group \"\" at the cluster scope: RBAC: x",
        );
        check(
            Attributes::Path { verb: "get", path: "/metrics" },
            "",
            "forbidden: User \"jane\" cannot get path \"/metrics\"",
        );
    }
}
