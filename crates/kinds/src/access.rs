//! Who may do what, by the objects that say so: roles and their bindings, and what runs on a node.
//!
//! Several authorizers are asked in order; the first that allows decides. Each keeps an index of the objects
//! that it decides by, and looks before each decision whether there is news of them, so that no decision is
//! behind a write that this server has acknowledged; what another server on the same store has is a moment away.

mod bootstrap;
mod granting;
pub(crate) mod graph;
mod index;
mod node;
mod rules;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use apiserver::{
    Attributes, Authorization, AuthorizationMode, Authorizer, Deciding, Decision, Identity, KnownRules,
    Objects, PolicyRule, decided,
};
use futures::FutureExt as _;

pub(crate) use bootstrap::{reconcile_binding, reconcile_role, wanted};
pub(crate) use granting::{may_bind, may_grant};
pub(crate) use rules::GROUP;

/// Makes the authorizer of a server: nodes' agents by what runs on their nodes, all by roles and bindings,
/// administrators everything.
pub fn authorization() -> Authorization {
    authorization_by(vec![AuthorizationMode::Node, AuthorizationMode::Rbac])
}

/// Makes the authorizer of a server that asks these in this order; administrators may everything all the same.
pub fn authorization_by(modes: Vec<AuthorizationMode>) -> Authorization {
    Arc::new(move |objects: Arc<dyn Objects>| {
        let authorizer = |mode: &AuthorizationMode| -> Arc<dyn Authorizer> {
            match mode {
                AuthorizationMode::Node => Arc::new(node::Nodes::new(&*objects)),
                AuthorizationMode::Rbac => Arc::new(index::Roles::new(&*objects)),
                AuthorizationMode::AlwaysAllow => Arc::new(Always::Allows),
                AuthorizationMode::AlwaysDeny => Arc::new(Always::Denies),
                AuthorizationMode::Webhook(webhook) => webhook.clone(),
            }
        };
        Arc::new(Chain(modes.iter().map(authorizer).collect()))
    })
}

/// The same for everybody and everything.
enum Always {
    Allows,
    Denies,
}

impl Authorizer for Always {
    fn decide<'a>(&'a self, _: &'a Identity, _: Attributes<'a>) -> Deciding<'a> {
        decided(match self {
            Self::Allows => Decision::Allowed("".into()),
            Self::Denies => Decision::NoOpinion("Everything is forbidden.".into()),
        })
    }

    fn rules(&self, _: &Identity, _: &str) -> KnownRules {
        match self {
            Self::Allows => KnownRules { rules: PolicyRule::everything(), ..KnownRules::default() },
            Self::Denies => KnownRules::default(),
        }
    }
}

/// Authorizers in the order in which they are asked, after the administrators' group.
struct Chain(Vec<Arc<dyn Authorizer>>);

impl Authorizer for Chain {
    fn decide<'a>(&'a self, identity: &'a Identity, attributes: Attributes<'a>) -> Deciding<'a> {
        if identity.is_administrator() {
            return decided(Decision::Allowed("".into()));
        }
        let mut reasons = Vec::new();
        for (at, authorizer) in self.0.iter().enumerate() {
            match authorizer.decide(identity, attributes) {
                Deciding::Left(ready) => match ready.into_inner() {
                    Decision::NoOpinion(reason) if reason.is_empty() => {}
                    Decision::NoOpinion(reason) => reasons.push(reason.into_owned()),
                    decision => return decided(decision),
                },
                Deciding::Right(asking) => {
                    return Deciding::Right(self.rest(at, asking, reasons, identity, attributes).boxed());
                }
            }
        }
        decided(Decision::NoOpinion(reasons.join("\n").into()))
    }

    fn rules(&self, identity: &Identity, namespace: &str) -> KnownRules {
        let mut all = KnownRules::default();
        for authorizer in &self.0 {
            let KnownRules { rules, incomplete, errors } = authorizer.rules(identity, namespace);
            all.rules.extend(rules);
            all.incomplete |= incomplete;
            all.errors.extend(errors);
        }
        all
    }
}

impl Chain {
    /// Goes on from an authorizer that has to ask somebody.
    async fn rest<'a>(
        &'a self,
        at: usize,
        asking: impl Future<Output = Decision> + Send,
        mut reasons: Vec<String>,
        identity: &'a Identity,
        attributes: Attributes<'a>,
    ) -> Decision {
        let mut decision = asking.await;
        let mut rest = self.0[at + 1..].iter();
        loop {
            let Decision::NoOpinion(reason) = decision else { return decision };
            if !reason.is_empty() {
                reasons.push(reason.into_owned());
            }
            let Some(next) = rest.next() else { return Decision::NoOpinion(reasons.join("\n").into()) };
            decision = next.decide(identity, attributes).await;
        }
    }
}
