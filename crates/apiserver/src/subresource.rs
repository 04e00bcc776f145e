//! What can be done below one object, a file a subresource.

mod binding;
mod eviction;
mod finalize;
mod log;
mod pod;
mod scale;
mod streams;
mod token;

use http::Response;
use model::Status;

use crate::body::Body;
use crate::call::Call;
use crate::error::Result;

/// Whether a subresource is a conversation, not one answer.
pub(crate) fn is_stream(subresource: &str) -> bool {
    matches!(subresource, "log" | "exec" | "attach" | "portforward")
}

/// Does what the request asks of a subresource other than `status`.
pub(crate) async fn handle(call: Call) -> Result<Response<Body>> {
    match (call.resource.plural.as_str(), call.target.subresource.as_str()) {
        (_, "scale") => scale::handle(&call).await,
        ("namespaces", "finalize") => finalize::handle(&call).await,
        ("pods", "binding") => binding::handle(&call).await,
        ("pods", "eviction") => eviction::handle(&call).await,
        ("pods", "log") => log::handle(call).await,
        ("pods", "exec" | "attach" | "portforward") => streams::handle(call).await,
        ("serviceaccounts", "token") => token::handle(&call),
        _ => Err(Status::no_such_resource().into()),
    }
}
