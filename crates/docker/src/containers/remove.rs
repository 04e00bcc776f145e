//! `DELETE /containers/{name}`.

use engine::container::RemoveOptions;

use crate::answer::{self, Answer};
use crate::call::Call;

/// Removes a container, or the name that another has for it.
pub(crate) async fn remove(call: Call) -> Answer {
    if call.query.flag("link") {
        let (engine, reference) = (call.engine().clone(), call.name.clone());
        call.complete(async move { Ok(engine.container_unlink(&reference).await?) }).await?;
        return answer::no_content();
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
