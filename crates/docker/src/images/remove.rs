//! `DELETE /images/{name}`.

use engine::image::ImageRemoved;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::wire::image::Deleted;

/// Removes a name of an image, and the image with its last one.
pub(crate) async fn remove(call: Call) -> Answer {
    let (force, prune) = (call.query.flag("force"), !call.query.flag("noprune"));
    let (engine, name) = (call.engine().clone(), call.name.clone());
    let removed = call.complete(async move { Ok(engine.image_remove(&name, force, prune).await?) }).await?;
    let removed: Vec<Deleted> = removed
        .into_iter()
        .map(|removed| match removed {
            ImageRemoved::Untagged(untagged) => Deleted { untagged, ..Deleted::default() },
            ImageRemoved::Deleted(deleted) => Deleted { deleted, ..Deleted::default() },
        })
        .collect();
    answer::json(&removed)
}
