//! `GET /images/{name}/history`.

use super::platform;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::image as convert;

/// How an image was made, newest step first.
pub(crate) async fn history(call: Call) -> Answer {
    if let Some(platform) = platform::one(&call, 48)? {
        call.engine().image_inspect_for(&call.name, &platform)?;
    }
    let steps = call.engine().image_history(&call.name)?;
    answer::json(&steps.iter().map(convert::history).collect::<Vec<_>>())
}
