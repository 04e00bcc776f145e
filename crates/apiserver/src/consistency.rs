//! Reads that show what was written through other servers.
//!
//! Memory follows the store, and a write through this server is answered only when memory shows it. What
//! another server has acknowledged may be on its way still. So where others stand on the same store, a
//! request that names no version asks the store for its revision and waits until memory is there: it shows
//! all that was acknowledged, by whomever, before it came. Requests that come at the same time ask once.

use std::sync::Arc;

use parking_lot::Mutex;
use store::{Revision, Store};
use tokio::sync::OnceCell;

use crate::call::Call;
use crate::error::{Error, Result};
use crate::state::State;
use crate::verbs::wait_until_visible;
use crate::version::version_at;

/// Questions for the store's revision.
#[derive(Default)]
pub(crate) struct Consistency {
    /// The question that has not been asked yet: whoever comes now may wait for its answer.
    next: Mutex<Option<Arc<Answer>>>,
    /// Held while one is being asked.
    turn: tokio::sync::Mutex<()>,
}

type Answer = OnceCell<Result<Revision, store::Error>>;

/// Waits until memory shows what has been acknowledged before the request came, unless the request says
/// itself how old what it reads may be.
pub(crate) async fn catch_up(call: &Call) -> Result<()> {
    let named = call.target.verb.is_read()
        && ["resourceVersion", "continue"].iter().any(|key| call.query.filled(key).is_some());
    if named { Ok(()) } else { catch_up_with_store(&call.state).await }
}

/// Waits until memory shows what has been acknowledged before.
pub(crate) async fn catch_up_with_store(state: &State) -> Result<()> {
    if !state.store.is_shared() {
        return Ok(());
    }
    let revision = state.consistency.revision(&*state.store).await.map_err(|error| Error::store(&error))?;
    if state.cache.revision() < version_at(revision) {
        state.cache.ask_for_progress();
        wait_until_visible(state, version_at(revision)).await?;
    }
    Ok(())
}

impl Consistency {
    /// The store's revision, asked after this was called.
    async fn revision(&self, store: &dyn Store) -> Result<Revision, store::Error> {
        let answer = self.next.lock().get_or_insert_default().clone();
        let ask = async {
            let _turn = self.turn.lock().await;
            // Whoever comes from here on comes after the question.
            self.next.lock().take_if(|next| Arc::ptr_eq(next, &answer));
            store.revision().await
        };
        answer.get_or_init(|| ask).await.clone()
    }
}
