//! `POST /images/{name}/push`.

use super::create::reference;
use super::credentials;
use super::progress::{self, Form};
use crate::answer::Answer;
use crate::call::Call;

/// Pushes an image; without a tag every tag of the repository.
pub(crate) async fn push(call: Call) -> Answer {
    let tag = call.query.text("tag").to_owned();
    let auth = credentials::of_call(&call)?;
    let progress = call.engine().image_push(&reference(&call.name, &tag), auth, tag.is_empty())?;
    progress::answer(progress, Form::Push, tag).await
}
