//! `POST /networks/prune`: removes networks that no container uses.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::prune as convert;
use crate::wire::network::Pruned;

/// Removes unused networks.
pub(crate) async fn prune(call: Call) -> Answer {
    let filters = call.filters(&["label", "label!", "until"])?;
    let filter = convert::filter(&filters, call.api.now())?;
    let engine = call.engine().clone();
    let pruned = call.complete(async move { Ok(engine.network_prune(filter).await?) }).await?;
    answer::json(&Pruned { networks_deleted: (!pruned.removed.is_empty()).then_some(pruned.removed) })
}
