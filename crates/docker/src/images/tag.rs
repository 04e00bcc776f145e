//! `POST /images/{name}/tag`.

use http::StatusCode;

use super::create::reference;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;

/// Gives an image one more name.
pub(crate) async fn tag(call: Call) -> Answer {
    let repository = call.query.text("repo");
    if repository.is_empty() {
        return Err(Fault::invalid("invalid reference format"));
    }
    let (engine, named) = (call.engine().clone(), call.name.clone());
    let name = reference(repository, call.query.text("tag"));
    call.complete(async move { Ok(engine.image_tag(&named, &name).await?) }).await?;
    answer::bare(StatusCode::CREATED)
}
