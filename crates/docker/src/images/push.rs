//! `POST /images/{name}/push`.

use super::create::reference;
use super::progress::{self, Form};
use super::{credentials, platform};
use crate::answer::Answer;
use crate::call::Call;

/// Pushes an image; without a tag every tag of the repository.
pub(crate) async fn push(call: Call) -> Answer {
    let tag = call.query.text("tag");
    let auth = credentials::of_call(&call);
    let platform = platform::one(&call, 46)?;
    let named = reference(&call.name, tag);
    // Names with tags are what the API had once.
    let every = tag.is_empty() && !super::create::has_tag_or_digest(&call.name);
    let progress = call.engine().image_push(&named, auth, every, platform.as_deref())?;
    progress::answer(progress, Form::Transfer).await
}
