//! `POST /build/prune`: the cache of builds is the images themselves, so there is nothing else.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::wire::build::Pruned;

/// Says that there was nothing; images go by `POST /images/prune`.
pub(crate) async fn prune(_call: Call) -> Answer {
    answer::json(&Pruned { caches_deleted: None, space_reclaimed: 0 })
}
