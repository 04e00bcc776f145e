//! `POST /containers/{name}/start`.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::detach::DetachKeys;
use crate::fault::Fault;
use crate::words;

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
    call.complete(async move { engine.container_start(&id).await.map_err(start_fault) }).await?;
    answer::no_content()
}

/// A program that is missing or cannot be run is the client's mistake: its status tells 126 and
/// 127 apart from the daemon's own faults.
fn start_fault(error: engine::Error) -> Fault {
    match error.exit_code() {
        Some(126 | 127) => Fault::invalid(words::message(&error)),
        _ => error.into(),
    }
}
