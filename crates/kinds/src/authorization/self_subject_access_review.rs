//! SelfSubjectAccessReviews: whether the caller may do something. None is stored.

use apiserver::{Body, Call, Resource, Result};
use http::Response;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;

use crate::review::access::{check, decide};
use crate::review::{self, Asked};

pub(crate) fn resource() -> Resource {
    review::resource::<SelfSubjectAccessReview>(handle)
}

async fn handle(call: Call) -> Result<Response<Body>> {
    let asked = Asked::read(&call, |question| check(question, Vec::new())).await?;
    let context = call.context();
    let status = decide(&context, context.identity(), &asked.question).await;
    Ok(asked.answer(&call, status))
}
