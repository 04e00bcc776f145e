//! `POST /volumes/prune`: removes volumes that no container has.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::prune as convert;
use crate::version::ApiVersion;
use crate::wire::volume::Pruned;

/// Removes unused volumes: anonymous ones, or with the filter `all` every one.
pub(crate) async fn prune(call: Call) -> Answer {
    let filters = call.filters(&["all", "label", "label!"])?;
    let filter = convert::filter(&filters, call.api.now())?;
    // Before this version there was no difference between the two.
    let all = filters.flag("all")?.unwrap_or(call.version < ApiVersion(1, 42));
    let engine = call.engine().clone();
    let pruned = call.complete(async move { Ok(engine.volume_prune(filter, all).await?) }).await?;
    answer::json(&Pruned {
        volumes_deleted: (!pruned.removed.is_empty()).then_some(pruned.removed),
        space_reclaimed: pruned.reclaimed,
    })
}
