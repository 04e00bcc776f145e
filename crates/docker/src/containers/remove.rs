//! `DELETE /containers/{name}`.

use engine::container::RemoveOptions;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;

/// Removes a container.
pub(crate) async fn remove(call: Call) -> Answer {
    if call.query.flag("link") {
        return Err(Fault::unsupported(
            "links between containers cannot be removed: networks have replaced them",
        ));
    }
    let id = call.container()?;
    let options = RemoveOptions { force: call.query.flag("force"), volumes: call.query.flag("v") };
    let engine = call.engine().clone();
    let removed = call.complete(async move { Ok(engine.container_remove(&id, options).await?) });
    removed
        .await
        .map_err(|fault| fault.while_trying(format_args!("cannot remove container \"{}\"", call.name)))?;
    answer::no_content()
}
