//! The object that defines a resource, which may change or go while something is written.

use std::sync::atomic::{AtomicU64, Ordering};

use model::{GroupResource, Status};
use store::{Compare, KeyRange, Op, OpResult, Range, Txn, TxnResult};

use super::{Resource, partition};
use crate::error::Result;
use crate::state::State;
use crate::version::{revision_of, version_at};

/// The object that defines a resource, at the version at which it means what the entry says.
///
/// Whatever is written is written on condition that the object is still at that version: nothing is stored by the
/// rules of a definition that is no more.
#[derive(Debug)]
pub struct Definition {
    resource: GroupResource,
    name: String,
    version: AtomicU64,
}

impl Definition {
    /// The object of that name among those of `resource`, which are in no namespace, at a version.
    pub fn new(resource: GroupResource, name: impl Into<String>, version: u64) -> Self {
        Self { resource, name: name.into(), version: AtomicU64::new(version) }
    }

    /// The object has changed, and means the same as before.
    pub fn reached(&self, version: u64) {
        self.version.fetch_max(version, Ordering::AcqRel);
    }

    fn key(&self) -> String {
        crate::cache::key(&partition(&self.resource.group, &self.resource.resource), "", &self.name)
    }

    /// Has a transaction succeed only where the object is what it was, and look at it where it does not.
    pub(crate) fn require(&self, txn: &mut Txn) {
        let revision = revision_of(self.version.load(Ordering::Acquire));
        txn.compare.push(Compare::mod_revision(self.key(), revision));
        txn.failure.push(Op::Get(Range::new(KeyRange::key(self.key()))));
    }
}

impl Resource {
    /// Refuses to go on where a transaction failed since the resource means something else now.
    pub(crate) async fn check_definition(&self, state: &State, lost: &TxnResult) -> Result<()> {
        let Some(definition) = &self.definition else { return Ok(()) };
        let key = definition.key();
        let found = lost.results.iter().find_map(|result| match result {
            OpResult::Range(range) => range.items.iter().find(|kv| *kv.key == *key.as_bytes()),
            _ => None,
        });
        let before = revision_of(definition.version.load(Ordering::Acquire));
        match found {
            Some(kv) if kv.mod_revision <= before => return Ok(()),
            Some(kv) => {
                let of = partition(&definition.resource.group, &definition.resource.resource);
                let definitions = state.cache.partition(&of);
                tokio::select! {
                    () = definitions.wait_for(version_at(kv.mod_revision)) => {}
                    () = state.closed.cancelled() => {}
                }
            }
            None => {
                state.cache.ask_for_progress();
                let _ = state.cache.wait_for(version_at(lost.revision)).await;
            }
        }
        state.defined.catch_up(&state.table);
        let reached = revision_of(definition.version.load(Ordering::Acquire));
        if found.is_some_and(|kv| kv.mod_revision <= reached) {
            return Ok(());
        }
        match state.table.get(&self.group, &self.version, &self.plural) {
            None => Err(Status::no_such_resource().into()),
            Some(_) => {
                let why =
                    format!("the definition of {} has changed meanwhile; try again", self.group_resource());
                Err(Status::too_many_requests(why, 1).into())
            }
        }
    }
}
