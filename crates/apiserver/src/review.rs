//! Questions that callers ask, about themselves and about others: who is that, and may they.
//!
//! They are made like objects but never stored, so they are no entries of the resource table; what
//! discovery shows of them stands here too.

mod access;
mod rules;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};
use k8s_openapi::schemars::JsonSchema;
use model::{GroupVersionKind, Object, Status};
use serde_json::{Value, json};

use crate::body::Body;
use crate::call::plain_object;
use crate::consistency::catch_up_with_store;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::negotiate::{OFFERED, View};
use crate::openapi::{Describe, Entry, describe};
use crate::request::{Query, ResourceTarget, Verb};
use crate::state::State;

/// A kind of question.
pub(crate) struct Review {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
    /// What its fields are for, in words.
    description: Describe,
    asks: Asks,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// Who the caller is.
    Self_,
    /// Whose a token is.
    Token,
    /// Whether the caller may do something.
    OwnAccess,
    /// Whether somebody may do something.
    Access,
    /// Whether somebody may do something in a namespace.
    LocalAccess,
    /// All that the caller may do.
    OwnRules,
}

/// All kinds of questions.
pub(crate) const REVIEWS: [Review; 6] = [
    review::<SelfSubjectReview>("selfsubjectreviews", Asks::Self_),
    review::<TokenReview>("tokenreviews", Asks::Token),
    Review {
        namespaced: true,
        ..review::<LocalSubjectAccessReview>("localsubjectaccessreviews", Asks::LocalAccess)
    },
    review::<SelfSubjectAccessReview>("selfsubjectaccessreviews", Asks::OwnAccess),
    review::<SelfSubjectRulesReview>("selfsubjectrulesreviews", Asks::OwnRules),
    review::<SubjectAccessReview>("subjectaccessreviews", Asks::Access),
];

const fn review<T: k8s_openapi::Resource + JsonSchema>(plural: &'static str, asks: Asks) -> Review {
    let (group, version, kind) = (T::GROUP, T::VERSION, T::KIND);
    Review { group, version, kind, plural, namespaced: false, description: describe::<T>, asks }
}

impl Review {
    /// What documents tell of it.
    pub(crate) fn entry(&self) -> Entry {
        let kind = GroupVersionKind::new(self.group, self.version, self.kind);
        Entry {
            schema: model::schema::builtin(&kind),
            list_kind: format!("{}List", self.kind),
            kind,
            plural: self.plural.to_owned(),
            namespaced: self.namespaced,
            verbs: vec!["create"],
            subresources: Vec::new(),
            description: Some(self.description),
            documented: None,
        }
    }
}

/// Whether a request asks such a question.
pub(crate) fn is_one(target: &ResourceTarget) -> bool {
    find(target).is_some()
}

/// Answers one.
pub(crate) async fn handle(
    state: &Arc<State>,
    headers: &HeaderMap,
    body: &Bytes,
    identity: &Identity,
    target: &ResourceTarget,
) -> Result<Response<Body>> {
    let review = find(target).ok_or_else(|| Error::from(Status::no_such_resource()))?;
    if !target.name.is_empty() || (!review.namespaced && !target.namespace.is_empty()) {
        return Err(Status::no_such_resource().into());
    }
    if target.verb != Verb::Create {
        return Err(Status::method_not_allowed().into());
    }
    // An answer to a question is no row of a table, and has no metadata to be given alone.
    if View::negotiate(headers, &Query::default(), false)? != View::Full {
        return Err(Status::not_acceptable(&OFFERED[..1]).into());
    }
    let gvk = GroupVersionKind::new(review.group, review.version, review.kind);
    let mut object = crate::decode::question(state, identity.is_component(), body, &gvk).await?;
    let status = match review.asks {
        Asks::Self_ => {
            object.set_creation_timestamp(state.clock.now());
            json!({"userInfo": user_info(identity)})
        }
        Asks::Token => token(state, &object).await?,
        Asks::OwnAccess => access::of_caller(state, identity, &object).await?,
        Asks::Access => access::of_somebody(state, &object).await?,
        Asks::LocalAccess => access::in_namespace(state, &mut object, &target.namespace).await?,
        Asks::OwnRules => rules::of_caller(state, identity, &mut object)?,
    };
    if object.get(&["metadata", "creationTimestamp"]).is_none() {
        object.metadata_mut().insert("creationTimestamp".to_owned(), Value::Null);
    }
    object.set(&["status"], status);
    Ok(plain_object(StatusCode::CREATED, &object, &[]))
}

fn find(target: &ResourceTarget) -> Option<&'static Review> {
    REVIEWS
        .iter()
        .find(|r| r.group == target.group && r.version == target.version && r.plural == target.resource)
}

fn user_info(identity: &Identity) -> Value {
    let mut user = json!({"username": identity.user});
    if !identity.uid.is_empty() {
        user["uid"] = json!(identity.uid);
    }
    user["groups"] = json!(identity.groups);
    if !identity.extra.is_empty() {
        user["extra"] = json!(identity.extra);
    }
    user
}

async fn token(state: &Arc<State>, review: &Object) -> Result<Value> {
    let token = review.get_str(&["spec", "token"]).unwrap_or_default();
    if token.is_empty() {
        return Err(Error::bad_request("token is required for TokenReview in authentication"));
    }
    // What a token stands on may have gone by another server.
    catch_up_with_store(state).await?;
    let audiences: Vec<String> = review
        .get_list(&["spec", "audiences"])
        .iter()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    let audiences = if audiences.is_empty() { state.audiences.clone() } else { audiences };
    Ok(match crate::authentication::by_token(state, token, &audiences).await {
        Ok(accepted) => json!({
            "authenticated": true,
            "user": user_info(&accepted.identity),
            "audiences": accepted.audiences,
        }),
        Err(error) => json!({"user": {}, "error": base::error::chain(&error).to_string()}),
    })
}
