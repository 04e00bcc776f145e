//! The list of custom definitions, through which clients look before they say that a kind is unknown.
//!
//! Nothing can be defined here yet, and discovery names no such resource; but a client that checks a
//! manifest of an unknown kind takes a missing list for a broken server, and would tell its user that.

use http::{Response, StatusCode};
use serde_json::json;

use crate::body::Body;
use crate::call::json_response;
use crate::request::{ResourceTarget, Verb};
use crate::state::State;

/// Whether a request wants the list.
pub(crate) fn is_list(target: &ResourceTarget) -> bool {
    (target.group.as_str(), target.version.as_str(), target.resource.as_str())
        == ("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        && target.verb == Verb::List
}

/// Answers with the list: nothing is defined.
pub(crate) fn list(state: &State) -> Response<Body> {
    let list = json!({
        "kind": "CustomResourceDefinitionList",
        "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"resourceVersion": state.cache.revision().to_string()},
        "items": [],
    });
    json_response(StatusCode::OK, Body::full(list.to_string()))
}
