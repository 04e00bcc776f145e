//! `DELETE /networks/{name}`.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;

/// Removes a network that no container is in.
pub(crate) async fn remove(call: Call) -> Answer {
    let engine = call.engine().clone();
    let id = engine.network_find(&call.name)?;
    let network = engine.network_inspect(&id)?;
    if network.builtin {
        return Err(Fault::forbidden(format!(
            "{} is a pre-defined network and cannot be removed",
            network.name
        )));
    }
    call.complete(async move { Ok(engine.network_remove(&id).await?) }).await?;
    answer::no_content()
}
