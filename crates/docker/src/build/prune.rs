//! `POST /build/prune`: the cache of builds is the images themselves, so there is nothing else.

use engine::event::EventKind;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::wire::build::Pruned;

/// Says that there was nothing; images go by `POST /images/prune`.
pub(crate) async fn prune(call: Call) -> Answer {
    call.engine().tell_prune(EventKind::Builder, 0);
    answer::json(&Pruned { caches_deleted: None, space_reclaimed: 0 })
}
