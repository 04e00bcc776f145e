//! `POST /containers/prune`: removes containers that do not run.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::prune as convert;
use crate::wire::container::Pruned;

/// Removes containers that do not run.
pub(crate) async fn prune(call: Call) -> Answer {
    let filters = call.filters(&["label", "label!", "until"])?;
    let filter = convert::filter(&filters, call.api.now())?;
    let engine = call.engine().clone();
    let pruned = call.complete(async move { Ok(engine.container_prune(filter).await?) }).await?;
    answer::json(&Pruned {
        containers_deleted: (!pruned.removed.is_empty()).then_some(pruned.removed),
        space_reclaimed: pruned.reclaimed,
    })
}
