//! Questions that callers ask about themselves: who am I, and may I.
//!
//! They are made like objects but never stored, so they are no entries of the resource table; what
//! discovery shows of them stands here too.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use model::{Object, Status};
use serde_json::{Value, json};

use crate::authorisation::{Attributes, Decision};
use crate::body::Body;
use crate::call::plain_object;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::negotiate::{OFFERED, View};
use crate::request::{Query, ResourceTarget, Verb};
use crate::state::State;

/// A kind of question.
pub(crate) struct Review {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
}

/// All kinds of questions.
pub(crate) const REVIEWS: [Review; 3] = [
    Review {
        group: "authentication.k8s.io",
        version: "v1",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
    },
    Review { group: "authentication.k8s.io", version: "v1", kind: "TokenReview", plural: "tokenreviews" },
    Review {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
    },
];

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
    if target.verb != Verb::Create {
        return Err(Status::method_not_allowed().into());
    }
    // An answer to a question is no row of a table, and has no metadata to be given alone.
    if View::negotiate(headers, &Query::default(), false)? != View::Full {
        return Err(Status::not_acceptable(&OFFERED[..1]).into());
    }
    let document = crate::decode::document_of(state, identity.is_component(), body).await?;
    let mut object = Object::from_value(document).map_err(|e| Error::bad_request(e.to_string()))?;
    let gvk = model::GroupVersionKind::new(review.group, review.version, review.kind);
    object.set_gvk(&gvk);
    object.metadata_mut().insert("creationTimestamp".to_owned(), Value::Null);
    let status = match review.kind {
        "SelfSubjectReview" => {
            object.set_creation_timestamp(state.clock.now());
            json!({"userInfo": user_info(identity)})
        }
        "TokenReview" => review_token(state, &object).await,
        _ => review_access(state, identity, &object).await?,
    };
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

async fn review_token(state: &State, review: &Object) -> Value {
    let token = review.get_str(&["spec", "token"]).unwrap_or_default();
    let audiences: Vec<String> = review
        .get_list(&["spec", "audiences"])
        .iter()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    let audiences = if audiences.is_empty() { vec![state.issuer.clone()] } else { audiences };
    match crate::authentication::token::authenticate(state, token, &audiences).await {
        Ok(accepted) => json!({
            "authenticated": true,
            "user": user_info(&accepted.identity),
            "audiences": accepted.audiences,
        }),
        Err(error) => json!({"authenticated": false, "user": {}, "error": error.to_string()}),
    }
}

async fn review_access(state: &State, identity: &Identity, review: &Object) -> Result<Value> {
    let text = |path: &[&str]| review.get_str(path).unwrap_or_default().to_owned();
    let decision = if review.get(&["spec", "nonResourceAttributes"]).is_some() {
        let verb = text(&["spec", "nonResourceAttributes", "verb"]);
        let path = text(&["spec", "nonResourceAttributes", "path"]);
        state.authorizer.decide(identity, Attributes::Path { verb: &verb, path: &path }).await
    } else if review.get(&["spec", "resourceAttributes"]).is_some() {
        let attribute = |name: &str| text(&["spec", "resourceAttributes", name]);
        let known = VERBS.iter().find(|v| v.as_str() == attribute("verb"));
        let target = ResourceTarget {
            group: attribute("group"),
            version: attribute("version"),
            namespace: attribute("namespace"),
            resource: attribute("resource"),
            name: attribute("name"),
            subresource: attribute("subresource"),
            verb: known.copied().unwrap_or_default(),
            ..ResourceTarget::default()
        };
        // Verbs that are no requests (`*`, `impersonate`) are for administrators alone.
        let may_ask = known.is_some() || identity.is_administrator();
        let resource = state.table.find(&target.group, &target.version, &target.resource);
        let attributes = Attributes::Resource { target: &target, resource: resource.as_deref() };
        if may_ask { state.authorizer.decide(identity, attributes).await } else { Decision::Denied(None) }
    } else {
        return Err(Error::bad_request(
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    };
    Ok(match decision {
        Decision::Allowed(reason) => json!({"allowed": true, "reason": reason}),
        Decision::Denied(None) => json!({"allowed": false}),
        Decision::Denied(Some(reason)) => json!({"allowed": false, "reason": reason}),
    })
}

const VERBS: [Verb; 8] = [
    Verb::Get,
    Verb::List,
    Verb::Watch,
    Verb::Create,
    Verb::Update,
    Verb::Patch,
    Verb::Delete,
    Verb::DeleteCollection,
];
