//! `POST /containers/{name}/rename`.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;
use crate::names;

/// Gives a container another name.
pub(crate) async fn rename(call: Call) -> Answer {
    let id = call.container()?;
    let wanted = call.query.text("name");
    if wanted.is_empty() {
        return Err(Fault::invalid("Neither old nor new names may be empty"));
    }
    let name = names::container(wanted)?;
    if call.engine().container_inspect(&id)?.name == name {
        return Err(Fault::invalid("Renaming a container with the same name as its current name"));
    }
    let engine = call.engine().clone();
    call.complete(async move { Ok(engine.container_rename(&id, &name).await?) }).await?;
    answer::no_content()
}
