//! `POST /images/prune`: removes images that no container uses.

use engine::image::ImageRemoved;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::prune as convert;
use crate::wire::image::{Deleted, Pruned};

/// Removes unused images: those without a name, or with `dangling=false` every one.
pub(crate) async fn prune(call: Call) -> Answer {
    let filters = call.filters(&["dangling", "label", "label!", "until"])?;
    let filter = convert::filter(&filters, call.api.now())?;
    let all = filters.flag("dangling")? == Some(false);
    let engine = call.engine().clone();
    let pruned = call.complete(async move { Ok(engine.image_prune(filter, all).await?) }).await?;
    let removed: Vec<Deleted> = pruned
        .removed
        .into_iter()
        .map(|removed| match removed {
            ImageRemoved::Deleted(id) => Deleted { deleted: id, ..Deleted::default() },
            ImageRemoved::Untagged(name) => Deleted { untagged: name, ..Deleted::default() },
        })
        .collect();
    answer::json(&Pruned {
        images_deleted: (!removed.is_empty()).then_some(removed),
        space_reclaimed: pruned.reclaimed,
    })
}
