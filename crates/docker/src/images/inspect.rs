//! `GET /images/{name}/json`.

use super::platform;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::image as convert;
use crate::fault::Fault;

/// Everything about an image.
pub(crate) async fn inspect(call: Call) -> Answer {
    let platform = platform::one(&call, 49)?;
    let image = match platform {
        Some(_) if call.query.flag("manifests") => {
            return Err(Fault::invalid(
                "conflicting options: manifests and platform options cannot both be set",
            ));
        }
        Some(platform) => call.engine().image_inspect_for(&call.name, &platform)?,
        None => call.engine().image_inspect(&call.name)?,
    };
    answer::json(&convert::inspect(&image, call.version))
}
