//! `POST /images/load`: images from an archive.

use super::platform;
use super::progress::{self, Form};
use crate::answer::Answer;
use crate::call::Call;

/// Loads the images of an archive.
pub(crate) async fn load(mut call: Call) -> Answer {
    let quiet = call.query.flag_or("quiet", true);
    let platform = platform::one(&call, 48)?;
    let archive = call.body_stream()?;
    progress::answer(call.engine().image_load(archive, platform.as_deref())?, Form::Load { quiet }).await
}
