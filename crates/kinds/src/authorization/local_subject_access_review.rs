//! LocalSubjectAccessReviews: whether somebody may do something in a namespace. None is stored.

use apiserver::{Body, Call, Error, Resource, Result};
use http::Response;
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use model::Object;
use model::field::{FieldError, Path};
use model::validate::text;

use crate::review::access::{check, decide, needs_subject, subject};
use crate::review::{self, Asked};

pub(crate) fn resource() -> Resource {
    review::resource::<LocalSubjectAccessReview>(handle)
}

async fn handle(call: Call) -> Result<Response<Body>> {
    if call.namespace().is_empty() {
        return Err(Error::bad_request("namespace is required on this type: "));
    }
    let asked = Asked::read(&call, |question| holds(question, call.namespace())).await?;
    let status = decide(&call.context(), &subject(&asked.question), &asked.question).await;
    Ok(asked.answer(&call, status))
}

/// It is about what is in its namespace.
fn holds(question: &Object, namespace: &str) -> Result<()> {
    let mut errors = needs_subject(question);
    let asked = |name| question.get(&["spec", name]).filter(|asked| !asked.is_null());
    if let Some(asked) = asked("resourceAttributes") {
        let of = text(asked, "namespace");
        if of != namespace {
            let path = Path::root("spec.resourceAttributes.namespace");
            errors.push(FieldError::invalid(&path, of, "must match metadata.namespace"));
        }
    }
    if let Some(asked) = asked("nonResourceAttributes") {
        let place = Path::root("spec.nonResourceAttributes");
        errors.push(FieldError::invalid(&place, asked.clone(), "disallowed on this kind of request"));
    }
    check(question, errors)
}
