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
    call.engine().image_tag(&call.name, &reference(repository, call.query.text("tag")))?;
    answer::bare(StatusCode::CREATED)
}
