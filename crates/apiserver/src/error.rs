//! The one error of this crate: a Kubernetes `Status` of kind `Failure`.
//!
//! Every operation folds what went wrong into this type; [`Error::response`] is the one place where
//! it becomes a status code and a body. Messages follow Kubernetes' wording, since clients match it.
//! Source: Kubernetes API conventions, "Response Status Kind".

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::body::Body;

/// The result of an API operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request failed, as the client is told.
#[derive(Clone, Debug)]
pub struct Error(Box<Failure>);

#[derive(Clone, Debug)]
struct Failure {
    code: StatusCode,
    reason: &'static str,
    message: String,
    subject: Option<Subject>,
    causes: Vec<Cause>,
    retry_after: Option<u32>,
}

/// The thing that an error is about, shown in `details`.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// API group, empty for core.
    pub group: String,
    /// Plural resource name or kind, whichever Kubernetes uses for that failure.
    pub kind: String,
    /// Object name, empty where the failure is about the resource as a whole.
    pub name: String,
}

/// One thing wrong with one field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable reason: `FieldValueInvalid`, `FieldValueRequired`, …
    pub reason: &'static str,
    /// What is wrong, without the field's name.
    pub message: String,
    /// Path of the field, for example `spec.replicas`.
    pub field: String,
}

impl Subject {
    /// A subject without a name of its own.
    pub fn kind(group: &str, kind: &str) -> Self {
        Self { group: group.to_owned(), kind: kind.to_owned(), name: String::new() }
    }

    /// A named subject.
    pub fn named(group: &str, kind: &str, name: &str) -> Self {
        Self { group: group.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }

    /// `pods`, `deployments.apps`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }
}

impl Cause {
    /// The field has a value that it may not have.
    pub fn invalid(field: impl Into<String>, value: &Value, why: impl fmt::Display) -> Self {
        Self {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {why}"),
            field: field.into(),
        }
    }

    /// The field must be given.
    pub fn required(field: impl Into<String>, why: impl fmt::Display) -> Self {
        let why = why.to_string();
        let message =
            if why.is_empty() { "Required value".to_owned() } else { format!("Required value: {why}") };
        Self { reason: "FieldValueRequired", message, field: field.into() }
    }

    /// The field may not be given or changed here.
    pub fn forbidden(field: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { reason: "FieldValueForbidden", message: format!("Forbidden: {why}"), field: field.into() }
    }

    /// The field's value is not one of those known.
    pub fn not_supported(field: impl Into<String>, value: &Value, known: &[&str]) -> Self {
        let known: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
        Self {
            reason: "FieldValueNotSupported",
            message: format!("Unsupported value: {value}: supported values: {}", known.join(", ")),
            field: field.into(),
        }
    }

    /// The value occurs twice where it must be unique.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self {
            reason: "FieldValueDuplicate",
            message: format!("Duplicate value: {value}"),
            field: field.into(),
        }
    }

    fn sentence(&self) -> String {
        format!("{}: {}", self.field, self.message)
    }
}

impl Error {
    /// No such object: 404.
    pub fn not_found(subject: Subject) -> Self {
        let message = format!("{} {:?} not found", subject.qualified(), subject.name);
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(subject)
    }

    /// No such path or resource: 404.
    pub fn no_such_resource() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource")
    }

    /// The name is taken: 409.
    pub fn already_exists(subject: Subject) -> Self {
        let message = format!("{} {:?} already exists", subject.qualified(), subject.name);
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(subject)
    }

    /// Someone else changed the object in between: 409.
    pub fn conflict(subject: Subject, why: impl fmt::Display) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {:?}: {why}", subject.qualified(), subject.name);
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(subject)
    }

    /// [`Error::conflict`] in the words for an outdated `resourceVersion`.
    pub fn modified(subject: Subject) -> Self {
        Self::conflict(
            subject,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// Server-side apply met fields owned by others: 409 with one cause a field.
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        let mut error = Self::new(StatusCode::CONFLICT, "Conflict", message);
        error.0.causes = causes;
        error
    }

    /// The caller may not do this: 403.
    pub fn forbidden(subject: Subject, why: impl fmt::Display) -> Self {
        let name = if subject.name.is_empty() { String::new() } else { format!(" {:?}", subject.name) };
        let message = format!("{}{name} is forbidden: {why}", subject.qualified());
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).about(subject)
    }

    /// The caller may not use this path: 403.
    pub fn forbidden_path(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// The caller did not say who it is: 401.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// The object breaks a rule: 422 with one cause a field. `kind` is the object's kind.
    pub fn invalid(subject: Subject, causes: Vec<Cause>) -> Self {
        let sentences: Vec<String> = causes.iter().map(Cause::sentence).collect();
        let list = match sentences.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} {:?} is invalid: {list}", subject.qualified(), subject.name);
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).about(subject);
        error.0.causes = causes;
        error
    }

    /// The request itself makes no sense: 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// The verb does not exist on this resource: 405.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// None of the media types that the client accepts can be given: 406.
    pub fn not_acceptable() -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "NotAcceptable",
            "only the following media types are accepted: application/json",
        )
    }

    /// The body is of a type that is not read here: 415.
    pub fn unsupported_media_type(accepted: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {accepted}"
            ),
        )
    }

    /// The body is larger than is read here: 413.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            format!("Request entity is too large: limit is {limit}"),
        )
    }

    /// The asked-for revision is gone: 410.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// Too much at once, or refused for now: 429.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        error.0.retry_after = Some(retry_after_seconds);
        error
    }

    /// It took too long: 504.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
    }

    /// A part that this needs cannot be reached now: 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// A fault of this program or its disk: 500. Logged with its whole chain where it is made.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        let chain = base::error::chain(error);
        tracing::error!(error = %chain, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("Internal error occurred: {chain}"),
        )
    }

    /// As [`Error::internal`], for faults that have no error value.
    pub fn internal_message(message: impl fmt::Display) -> Self {
        tracing::error!(%message, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
    }

    /// The HTTP status.
    pub fn code(&self) -> StatusCode {
        self.0.code
    }

    /// The machine-readable reason.
    pub fn reason(&self) -> &'static str {
        self.0.reason
    }

    /// The text for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let failure = &*self.0;
        let mut details = Map::new();
        if let Some(subject) = &failure.subject {
            if !subject.name.is_empty() {
                details.insert("name".into(), json!(subject.name));
            }
            if !subject.group.is_empty() {
                details.insert("group".into(), json!(subject.group));
            }
            if !subject.kind.is_empty() {
                details.insert("kind".into(), json!(subject.kind));
            }
        }
        if !failure.causes.is_empty() {
            let causes: Vec<Value> = failure
                .causes
                .iter()
                .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
                .collect();
            details.insert("causes".into(), Value::Array(causes));
        }
        if let Some(seconds) = failure.retry_after {
            details.insert("retryAfterSeconds".into(), json!(seconds));
        }
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": failure.message,
            "reason": failure.reason,
        });
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status["code"] = json!(failure.code.as_u16());
        status
    }

    /// The answer to the client.
    pub fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::full(Bytes::from(self.status().to_string())));
        *response.status_mut() = self.0.code;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// Replaces what the error is about.
    pub fn about(mut self, subject: Subject) -> Self {
        self.0.subject = Some(subject);
        self
    }

    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Failure {
            code,
            reason,
            message: message.into(),
            subject: None,
            causes: Vec::new(),
            retry_after: None,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Error, expected: &str) {
        let status = error.status();
        let text = format!("{} {} {}", status["code"], status["reason"], status["message"]);
        assert_eq!(text.replace('"', "").replace('\\', ""), expected);
    }

    #[test]
    fn messages_read_as_kubernetes_writes_them() {
        check(Error::not_found(Subject::named("", "pods", "a")), "404 NotFound pods a not found");
        check(
            Error::already_exists(Subject::named("apps", "deployments", "a")),
            "409 AlreadyExists deployments.apps a already exists",
        );
        check(
            Error::modified(Subject::named("apps", "deployments", "a")),
            "409 Conflict Operation cannot be fulfilled on deployments.apps a: the object has been modified; \
             please apply your changes to the latest version and try again",
        );
        check(
            Error::invalid(
                Subject::named("apps", "Deployment", "a"),
                vec![Cause::invalid("spec.replicas", &json!(-1), "must be greater than or equal to 0")],
            ),
            "422 Invalid Deployment.apps a is invalid: spec.replicas: Invalid value: -1: must be greater than \
             or equal to 0",
        );
    }

    #[test]
    fn several_causes_are_listed_in_brackets_and_one_by_one_in_the_details() {
        let error = Error::invalid(
            Subject::named("", "Pod", "a"),
            vec![Cause::required("spec.containers", ""), Cause::forbidden("spec.x", "no")],
        );
        assert!(error.message().ends_with("[spec.containers: Required value, spec.x: Forbidden: no]"));
        assert_eq!(error.status()["details"]["causes"].as_array().map(Vec::len), Some(2));
    }
}
