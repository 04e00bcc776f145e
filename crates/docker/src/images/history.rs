//! `GET /images/{name}/history`.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::image as convert;

/// How an image was made, newest step first.
pub(crate) async fn history(call: Call) -> Answer {
    let steps = call.engine().image_history(&call.name)?;
    answer::json(&steps.iter().map(convert::history).collect::<Vec<_>>())
}
