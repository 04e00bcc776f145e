//! `GET /images/{name}/json`.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::image as convert;

/// Everything about an image.
pub(crate) async fn inspect(call: Call) -> Answer {
    let image = call.engine().image_inspect(&call.name)?;
    answer::json(&convert::inspect(&image, call.version))
}
