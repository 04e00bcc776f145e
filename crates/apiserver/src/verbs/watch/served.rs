//! What is told in another version than it is stored in.
//!
//! It is converted before it is told, once for all who follow that version. Where it cannot be, the watch
//! ends with an error, after all that came before; who begins anew from there misses nothing.

use std::sync::Arc;

use super::Watcher;
use super::past::Next;
use crate::cache::Change;
use crate::error::Result;

/// So many objects are converted before they are told.
const SOME: usize = 64;

impl Watcher {
    /// Tells a change; false if the watch is over. `whole` is where the lines of whole revisions end.
    pub(super) async fn tell_served(&mut self, change: &Change, whole: (usize, usize)) -> bool {
        match self.unless_over(self.in_version(change)).await {
            Next::Told(Ok(None)) => {}
            Next::Told(Ok(Some(change))) => self.tell(&change),
            Next::Told(Err(error)) => self.fail(&error),
            over => self.leave(over, whole),
        }
        !self.over
    }

    /// Whether what is written is told before a change, since that has to be converted first.
    pub(super) fn waits_for(&self, change: &Change) -> bool {
        let resource = &*self.call.resource;
        if resource.storage.served.is_none() || self.lines.written.is_empty() {
            return false;
        }
        let partition = self.call.partition();
        self.selection.names_it(&change.stored) && !partition.is_served(resource, &change.stored)
    }

    /// The same where each change has to be converted.
    pub(super) fn waits_for_all(&self) -> bool {
        !self.call.resource.is_stored_version() && !self.lines.written.is_empty()
    }

    /// Tells of some objects that are there at the beginning.
    pub(super) async fn tell_initial_served(&mut self) {
        let (place, some) = (self.lines.written.place(), self.initial.by_ref().take(SOME));
        let named: Vec<_> = some.filter(|stored| self.selection.names_it(stored)).collect();
        let partition = self.call.partition();
        match self.unless_over(partition.served(&self.call.resource, named)).await {
            Next::Told(Ok(objects)) => {
                let now = self.lines.form.now;
                for stored in objects.iter().filter(|stored| self.selection.takes(stored)) {
                    self.lines.line("ADDED", stored, now);
                }
            }
            Next::Told(Err(error)) => self.fail(&error),
            over => self.leave(over, place),
        }
    }

    /// The change of the object in the version that is followed; none where it is of another object.
    async fn in_version(&self, change: &Change) -> Result<Option<Change>> {
        if !self.selection.names_it(&change.stored) {
            return Ok(None);
        }
        let (partition, resource) = (self.call.partition(), &*self.call.resource);
        let previous = match &change.previous {
            // Where nothing is selected by what is in it, that it was there is enough.
            Some(previous) if change.deleted || self.selection.selects() => {
                Some(partition.served_one(resource, previous.clone()).await?)
            }
            previous => previous.clone(),
        };
        let stored = match previous.as_ref().filter(|_| change.deleted) {
            Some(previous) => Arc::new(previous.at(change.revision)),
            None => partition.served_one(resource, change.stored.clone()).await?,
        };
        Ok(Some(change.in_version(stored, previous)))
    }
}
