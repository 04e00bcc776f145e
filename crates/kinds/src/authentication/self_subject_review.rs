//! SelfSubjectReviews: who the caller is. None is stored.

use apiserver::{Body, Call, Resource, Result};
use http::Response;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use serde_json::json;

use crate::review::{self, Asked, user_info};

pub(crate) fn resource() -> Resource {
    review::resource::<SelfSubjectReview>(handle)
}

async fn handle(call: Call) -> Result<Response<Body>> {
    let mut asked = Asked::read(&call, |_| Ok(())).await?;
    asked.question.set_creation_timestamp(call.now());
    let status = json!({"userInfo": user_info(call.context().identity())});
    Ok(asked.answer(&call, status))
}
