//! SubjectAccessReviews: whether somebody may do something. None is stored.

use apiserver::{Body, Call, Resource, Result};
use http::Response;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;

use crate::review::access::{check, decide, needs_subject, subject};
use crate::review::{self, Asked};

pub(crate) fn resource() -> Resource {
    review::resource::<SubjectAccessReview>(handle)
}

async fn handle(call: Call) -> Result<Response<Body>> {
    let asked = Asked::read(&call, |question| check(question, needs_subject(question))).await?;
    let status = decide(&call.context(), &subject(&asked.question), &asked.question).await;
    Ok(asked.answer(&call, status))
}
