//! `POST /containers/{name}/kill`: sends a signal.

use crate::answer::{self, Answer};
use crate::call::Call;

/// Sends a signal, SIGKILL where none is named.
pub(crate) async fn kill(call: Call) -> Answer {
    let tried = format!("cannot kill container: {}", call.name);
    let id = call.container().map_err(|fault| fault.while_trying(&tried))?;
    let signal = Some(call.query.text("signal")).filter(|signal| !signal.is_empty()).map(str::to_owned);
    let engine = call.engine().clone();
    let killed = call.complete(async move { Ok(engine.container_kill(&id, signal.as_deref()).await?) });
    killed.await.map_err(|fault| fault.while_trying(tried))?;
    answer::no_content()
}
