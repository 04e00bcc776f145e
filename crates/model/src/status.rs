//! `metav1.Status`: how the API says that a request failed, in Kubernetes' words.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::field::{self, FieldError, quote};
use crate::gvk::{GroupKind, GroupResource};
use crate::lenient::null_is_default;

/// The cause of a refusal to make something where everything goes away.
pub const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

/// The answer to a request that failed, or that succeeded and has no object to show.
///
/// `details.kind` holds the resource's plural name in most failures and the kind in `Invalid`, as
/// the API server has always done it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Always `Status`.
    #[serde(deserialize_with = "null_is_default")]
    pub kind: StatusKind,
    /// Always `v1`.
    #[serde(deserialize_with = "null_is_default")]
    pub api_version: StatusVersion,
    /// List metadata: empty here.
    #[serde(deserialize_with = "null_is_default")]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// `Success` or `Failure`.
    #[serde(deserialize_with = "null_is_default")]
    pub status: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub message: String,
    /// For programs: one word such as `NotFound`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub reason: String,
    /// What the failure is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// The HTTP status code.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub code: u16,
}

/// What a failure is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub name: String,
    /// The resource's group.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub group: String,
    /// The resource's plural name, or its kind.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub kind: String,
    /// The object's uid.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub uid: String,
    /// One entry for each thing that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(skip_serializing_if = "is_zero_i32", deserialize_with = "null_is_default")]
    pub retry_after_seconds: i32,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// The kind of wrong, such as `FieldValueInvalid`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub message: String,
    /// The field, such as `spec.replicas`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub field: String,
}

/// The word `Status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatusKind {
    /// The only one. Whoever says nothing means it.
    #[default]
    #[serde(alias = "")]
    Status,
}

/// The word `v1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatusVersion {
    /// The only one. Whoever says nothing means it.
    #[default]
    #[serde(rename = "v1", alias = "")]
    V1,
}

impl Status {
    /// It worked, and `details` tell on what.
    pub fn success(details: Option<Details>) -> Self {
        Self { status: "Success".into(), details, code: 0, ..Self::default() }
    }

    /// There is no such object.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::about(404, "NotFound", resource, name, format!("{resource} {} not found", quote(name)))
    }

    /// There is no such path or resource.
    pub fn no_such_resource() -> Self {
        let mut status =
            Self::failure(404, "NotFound", "the server could not find the requested resource".into());
        status.details = Some(Details::default());
        status
    }

    /// An object of that name is there already.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::about(
            409,
            "AlreadyExists",
            resource,
            name,
            format!("{resource} {} already exists", quote(name)),
        )
    }

    /// Every name that was made up is taken.
    pub fn generate_name_conflict(resource: &GroupResource, name: &str, retry_after_seconds: i32) -> Self {
        let message = format!(
            "{resource} {} already exists, the server was not able to generate a unique name for the object",
            quote(name)
        );
        Self::about(409, "AlreadyExists", resource, name, message).retry_after(retry_after_seconds)
    }

    /// Somebody else changed it in the meantime, or it is not in a state that allows this.
    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", quote(name));
        Self::about(409, "Conflict", resource, name, message)
    }

    /// The conflict of optimistic concurrency: the resource version is not the newest.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// Another field manager owns what was to be applied.
    pub fn apply_conflict(message: String, causes: Vec<Cause>) -> Self {
        let mut status = Self::failure(409, "Conflict", message);
        status.details = Some(Details { causes, ..Details::default() });
        status
    }

    /// What was to be applied is not of its kind's types. Kubernetes answers 500, without a reason, and
    /// clients look at the message.
    pub fn untyped_patch(message: String) -> Self {
        Self::failure(500, "", message)
    }

    /// The object breaks rules of its kind.
    pub fn invalid(kind: &GroupKind, name: &str, errors: &[FieldError]) -> Self {
        let mut message = format!("{kind} {} is invalid", quote(name));
        if !errors.is_empty() {
            message = format!("{message}: {}", field::aggregate(errors));
        }
        let causes = errors
            .iter()
            .map(|error| Cause {
                reason: error.kind.reason().into(),
                message: error.body(),
                field: error.field.clone(),
            })
            .collect();
        let mut status = Self::failure(422, "Invalid", message);
        status.details = Some(Details {
            name: name.into(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes,
            ..Details::default()
        });
        status
    }

    /// The caller is known but may not do this.
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = if resource.resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {} is forbidden: {why}", quote(name))
        };
        Self::about(403, "Forbidden", resource, name, message)
    }

    /// The caller is not known.
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized".into())
    }

    /// The request itself is malformed.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message.into())
    }

    /// The revision that was asked for is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message.into())
    }

    /// The resource does not do this.
    pub fn method_not_supported(resource: &GroupResource, action: &str) -> Self {
        let message =
            format!("{action} is not supported on resources of kind {}", quote(&resource.to_string()));
        Self::about(405, "MethodNotAllowed", resource, "", message)
    }

    /// The path does not take this HTTP method.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let mut status = Self::failure(405, "MethodNotAllowed", message.into());
        status.details = Some(Details::default());
        status
    }

    /// None of the media types that the caller accepts can be made.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::failure(406, "NotAcceptable", message)
    }

    /// The request's body is of a media type that is not read.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::failure(415, "UnsupportedMediaType", message)
    }

    /// The request's body is larger than is read.
    pub fn too_large(message: impl fmt::Display) -> Self {
        Self::failure(413, "RequestEntityTooLarge", format!("Request entity too large: {message}"))
    }

    /// The caller should slow down.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i32) -> Self {
        Self::failure(429, "TooManyRequests", message.into()).retry_after(retry_after_seconds)
    }

    /// The request took too long.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: i32) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: {message}")).retry_after(retry_after_seconds)
    }

    /// The server cannot do this now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message.into())
    }

    /// Something broke that the caller did not cause.
    pub fn internal(error: impl fmt::Display) -> Self {
        let text = error.to_string();
        let mut status = Self::failure(500, "InternalError", format!("Internal error occurred: {text}"));
        let cause = Cause { message: text, ..Cause::default() };
        status.details = Some(Details { causes: vec![cause], ..Details::default() });
        status
    }

    /// A failure with nothing but code, reason and message.
    pub fn failure(code: u16, reason: &str, message: String) -> Self {
        Self { status: "Failure".into(), message, reason: reason.into(), code, ..Self::default() }
    }

    /// Whether this says that there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.reason == "NotFound"
    }

    /// Whether this says that an object of that name is there already.
    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    /// Whether this says that somebody else was faster.
    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    /// Whether this says that a revision is no longer kept: the caller has to list anew.
    pub fn is_expired(&self) -> bool {
        self.reason == "Expired" || self.reason == "Gone"
    }

    /// Whether this says that nothing is made any more where the object was to be: its namespace goes away.
    pub fn is_namespace_terminating(&self) -> bool {
        self.has_cause(NAMESPACE_TERMINATING)
    }

    /// Whether one of the things that are wrong is this one.
    pub fn has_cause(&self, reason: &str) -> bool {
        self.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == reason)
    }

    /// Whether this is a failure.
    pub fn is_failure(&self) -> bool {
        self.status == "Failure"
    }

    fn about(code: u16, reason: &str, resource: &GroupResource, name: &str, message: String) -> Self {
        let mut status = Self::failure(code, reason, message);
        status.details = Some(Details {
            name: name.into(),
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            ..Details::default()
        });
        status
    }

    fn retry_after(mut self, seconds: i32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }
}

// Serde calls these by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(code: &u16) -> bool {
    *code == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero_i32(seconds: &i32) -> bool {
    *seconds == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::field::Path;

    fn check(status: Status, expected: serde_json::Value) {
        let encoded = serde_json::to_value(&status).expect("encodes");
        assert_eq!(encoded, expected);
        assert_eq!(serde_json::from_value::<Status>(encoded).expect("decodes"), status);
    }

    #[test]
    fn failures_are_worded_as_kubernetes_words_them() {
        check(
            Status::not_found(&GroupResource::new("apps", "deployments"), "web"),
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "deployments.apps \"web\" not found", "reason": "NotFound",
                "details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404,
            }),
        );
        check(
            Status::invalid(
                &GroupKind::new("", "Pod"),
                "p",
                &[FieldError::required(&Path::root("spec").child("containers"), "")],
            ),
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "Pod \"p\" is invalid: spec.containers: Required value", "reason": "Invalid",
                "details": {"name": "p", "kind": "Pod", "causes": [
                    {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers"},
                ]},
                "code": 422,
            }),
        );
    }

    #[test]
    fn forbidden_names_what_it_can() {
        let pods = GroupResource::new("", "pods");
        assert_eq!(Status::forbidden(&pods, "", "no").message, "pods is forbidden: no");
        assert_eq!(Status::forbidden(&pods, "a", "no").message, "pods \"a\" is forbidden: no");
        assert_eq!(Status::forbidden(&GroupResource::default(), "", "no").message, "forbidden: no");
    }
}
