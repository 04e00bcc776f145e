//! `POST /containers/{name}/restart`.

use super::stop;
use crate::answer::{self, Answer};
use crate::call::Call;

/// Stops a container, if it runs, and starts it.
pub(crate) async fn restart(call: Call) -> Answer {
    let id = call.container()?;
    let (signal, grace) = stop::wish(&call)?;
    let engine = call.engine().clone();
    let restarted =
        call.complete(async move { Ok(engine.container_restart(&id, signal.as_deref(), grace).await?) });
    restarted
        .await
        .map_err(|fault| fault.while_trying(format_args!("Cannot restart container {}", call.name)))?;
    answer::no_content()
}
