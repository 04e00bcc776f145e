//! `POST /containers/{name}/kill`: sends a signal.

use crate::answer::{self, Answer};
use crate::call::Call;

/// Sends a signal, SIGKILL where none is named.
pub(crate) async fn kill(call: Call) -> Answer {
    let id = call.container()?;
    let signal = Some(call.query.text("signal")).filter(|signal| !signal.is_empty()).map(str::to_owned);
    let engine = call.engine().clone();
    call.complete(async move { Ok(engine.container_kill(&id, signal.as_deref()).await?) }).await?;
    answer::no_content()
}
