//! `POST /containers/{name}/start`.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::detach::DetachKeys;
use crate::fault::Fault;

/// Starts a container.
pub(crate) async fn start(mut call: Call) -> Answer {
    let body = crate::body::document(call.take_body()?).await?;
    // Some clients send the empty document; long ago the body held a host configuration.
    if !matches!(body.trim_ascii(), b"" | b"{}" | b"null") {
        return Err(Fault::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    DetachKeys::parse(call.query.text("detachKeys"))?;
    if !call.query.text("checkpoint").is_empty() {
        return Err(Fault::unsupported("checkpoints are not supported"));
    }
    let id = call.container()?;
    let engine = call.engine().clone();
    call.complete(async move { Ok(engine.container_start(&id).await?) }).await?;
    answer::no_content()
}
