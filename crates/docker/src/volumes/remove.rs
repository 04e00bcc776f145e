//! `DELETE /volumes/{name}`.

use crate::answer::{self, Answer};
use crate::call::Call;

/// Removes a volume that no container has.
pub(crate) async fn remove(call: Call) -> Answer {
    let (engine, name, force) = (call.engine().clone(), call.name.clone(), call.query.flag("force"));
    call.complete(async move { Ok(engine.volume_remove(&name, force).await?) }).await?;
    answer::no_content()
}
