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
use parking_lot::RwLock;

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
    authorization_of(Arc::new(Deciders::new(modes)))
}

/// As [`authorization_by`], where others may be put in their place.
pub fn authorization_of(deciders: Arc<Deciders>) -> Authorization {
    Arc::new(move |objects: Arc<dyn Objects>| {
        let (nodes, roles) = (node::Nodes::new(&*objects), index::Roles::new(&*objects));
        Arc::new(Chain { deciders: deciders.clone(), nodes, roles })
    })
}

/// Who decides, in which order; others may take their place while the server runs.
#[derive(Debug)]
pub struct Deciders(RwLock<Arc<Vec<AuthorizationMode>>>);

impl Deciders {
    /// These.
    pub fn new(modes: Vec<AuthorizationMode>) -> Self {
        Self(RwLock::new(Arc::new(modes)))
    }

    /// These instead, from the next decision on.
    pub fn replace(&self, modes: Vec<AuthorizationMode>) {
        *self.0.write() = Arc::new(modes);
    }

    fn current(&self) -> Arc<Vec<AuthorizationMode>> {
        self.0.read().clone()
    }
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

/// Authorizers, asked in the order that `deciders` says, after the administrators' group.
struct Chain {
    deciders: Arc<Deciders>,
    nodes: node::Nodes,
    roles: index::Roles,
}

impl Authorizer for Chain {
    fn decide<'a>(&'a self, identity: &'a Identity, attributes: Attributes<'a>) -> Deciding<'a> {
        if identity.is_administrator() {
            return decided(Decision::Allowed("".into()));
        }
        let modes = self.deciders.current();
        let mut reasons = Vec::new();
        for (at, mode) in modes.iter().enumerate() {
            match self.authorizer(mode).decide(identity, attributes) {
                Deciding::Left(ready) => match ready.into_inner() {
                    Decision::NoOpinion(reason) if reason.is_empty() => {}
                    Decision::NoOpinion(reason) => reasons.push(reason.into_owned()),
                    decision => return decided(decision),
                },
                // It has to ask somebody: that is begun where it can wait.
                Deciding::Right(_) => {
                    let modes = modes.clone();
                    return Deciding::Right(self.rest(modes, at, reasons, identity, attributes).boxed());
                }
            }
        }
        decided(Decision::NoOpinion(reasons.join("\n").into()))
    }

    fn rules(&self, identity: &Identity, namespace: &str) -> KnownRules {
        let mut all = KnownRules::default();
        for mode in self.deciders.current().iter() {
            let KnownRules { rules, incomplete, errors } = self.authorizer(mode).rules(identity, namespace);
            all.rules.extend(rules);
            all.incomplete |= incomplete;
            all.errors.extend(errors);
        }
        all
    }
}

impl Chain {
    fn authorizer<'a>(&'a self, mode: &'a AuthorizationMode) -> &'a dyn Authorizer {
        match mode {
            AuthorizationMode::Node => &self.nodes,
            AuthorizationMode::Rbac => &self.roles,
            AuthorizationMode::AlwaysAllow => &Always::Allows,
            AuthorizationMode::AlwaysDeny => &Always::Denies,
            AuthorizationMode::Webhook(webhook) => &**webhook,
        }
    }

    /// Goes on from one that has to ask somebody.
    async fn rest(
        &self,
        modes: Arc<Vec<AuthorizationMode>>,
        from: usize,
        mut reasons: Vec<String>,
        identity: &Identity,
        attributes: Attributes<'_>,
    ) -> Decision {
        for mode in &modes[from..] {
            match self.authorizer(mode).decide(identity, attributes).await {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason.into_owned()),
                decision => return decision,
            }
        }
        Decision::NoOpinion(reasons.join("\n").into())
    }
}
