//! TokenReviews: whose a token is. None is stored.

use apiserver::{Body, Call, Error, Resource, Result};
use http::Response;
use k8s_openapi::api::authentication::v1::TokenReview;
use model::Object;
use serde_json::{Value, json};

use crate::review::{self, Asked, user_info};

pub(crate) fn resource() -> Resource {
    review::resource::<TokenReview>(handle)
}

async fn handle(call: Call) -> Result<Response<Body>> {
    let asked = Asked::read(&call, holds).await?;
    let status = whose(&call, &asked.question).await;
    Ok(asked.answer(&call, status))
}

fn token(question: &Object) -> &str {
    question.get_str(&["spec", "token"]).unwrap_or_default()
}

fn holds(question: &Object) -> Result<()> {
    match token(question) {
        "" => Err(Error::bad_request("token is required for TokenReview in authentication")),
        _ => Ok(()),
    }
}

async fn whose(call: &Call, question: &Object) -> Value {
    let wanted = question.get_list(&["spec", "audiences"]);
    let wanted: Vec<String> =
        wanted.iter().filter_map(|audience| audience.as_str().map(str::to_owned)).collect();
    let audiences = if wanted.is_empty() { call.audiences() } else { &wanted };
    match call.context().whose_token(token(question), audiences).await {
        Ok((identity, audiences)) => {
            json!({"authenticated": true, "user": user_info(&identity), "audiences": audiences})
        }
        Err(why) => json!({"user": {}, "error": why}),
    }
}
