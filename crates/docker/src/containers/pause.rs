//! `POST /containers/{name}/pause` and `…/unpause`.

use crate::answer::{self, Answer};
use crate::call::Call;

/// Freezes a container.
pub(crate) async fn pause(call: Call) -> Answer {
    let id = call.container()?;
    let engine = call.engine().clone();
    call.complete(async move { Ok(engine.container_pause(&id).await?) }).await?;
    answer::no_content()
}

/// Thaws a container.
pub(crate) async fn unpause(call: Call) -> Answer {
    let id = call.container()?;
    let engine = call.engine().clone();
    call.complete(async move { Ok(engine.container_unpause(&id).await?) }).await?;
    answer::no_content()
}
