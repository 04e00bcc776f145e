//! Which changes concern which watchers, so that a change costs the others nothing.
//!
//! A watcher of one object, of one namespace or of one value of an indexed field reads from a lane: those
//! of the partition's latest changes that can concern it, shared by all who look for the same. There is a
//! lane as long as somebody reads from it; what it holds beside references is how far back it reaches.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::select::Selectable;
use tokio::sync::watch;

use super::partition::{Change, ChangesError, some_after};

/// Which changes can concern a watcher.
#[derive(Clone, Debug)]
pub(crate) enum Interest {
    /// All.
    All,
    /// Those of the object of this name in the partition.
    Name(String),
    /// Those of the namespace of this name.
    Namespace(String),
    /// Those of objects that have this value in an indexed field, or had it before.
    Field(Selectable, String),
}

/// The lanes of a partition.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    names: HashMap<String, Lane>,
    namespaces: HashMap<String, Lane>,
    fields: Vec<(Selectable, HashMap<String, Lane>)>,
}

/// The changes that concern some watchers.
#[derive(Debug)]
pub(super) struct Lane {
    changes: VecDeque<Arc<Change>>,
    /// All changes after this revision are there.
    floor: u64,
    /// Tells of the last one.
    reached: Arc<watch::Sender<u64>>,
    watchers: usize,
}

impl Lanes {
    /// One more watcher follows what is of this interest; `history` is what has been, after `floor`.
    pub(super) fn join(
        &mut self,
        interest: &Interest,
        history: &VecDeque<Arc<Change>>,
        floor: u64,
    ) -> Option<watch::Receiver<u64>> {
        if let Interest::Field(field, _) = interest
            && !self.fields.iter().any(|(known, _)| known.place() == field.place())
        {
            self.fields.push((field.clone(), HashMap::new()));
        }
        let (lanes, value) = self.place(interest)?;
        let lane = lanes.entry(value.to_owned()).or_insert_with(|| {
            let changes = history.iter().filter(|change| interest.takes(change)).cloned().collect();
            Lane { changes, floor, reached: Arc::new(watch::Sender::new(floor)), watchers: 0 }
        });
        lane.watchers += 1;
        Some(lane.reached.subscribe())
    }

    /// One watcher less.
    pub(super) fn leave(&mut self, interest: &Interest) {
        let Some((lanes, value)) = self.place(interest) else { return };
        let Some(lane) = lanes.get_mut(value) else { return };
        lane.watchers -= 1;
        if lane.watchers == 0 {
            lanes.remove(value);
            if lanes.is_empty() {
                lanes.shrink_to_fit();
            }
        }
        self.fields.retain(|(_, lanes)| !lanes.is_empty());
    }

    /// The changes of one interest after `revision`, in order, about `most` of them; none where there is
    /// no lane for it.
    pub(super) fn changes(
        &self,
        interest: &Interest,
        revision: u64,
        most: usize,
    ) -> Option<Result<Vec<Arc<Change>>, ChangesError>> {
        let lane = match interest {
            Interest::All => return None,
            Interest::Name(name) => self.names.get(name)?,
            Interest::Namespace(name) => self.namespaces.get(name)?,
            Interest::Field(field, value) => {
                self.fields.iter().find(|(known, _)| known.place() == field.place())?.1.get(value)?
            }
        };
        Some(some_after(&lane.changes, lane.floor, revision, most))
    }

    /// Takes a change in; gives whom to tell.
    pub(super) fn push(&mut self, change: &Arc<Change>) -> Vec<Arc<watch::Sender<u64>>> {
        let mut told = Vec::new();
        self.each(change, |lane| {
            lane.changes.push_back(change.clone());
            told.push(lane.reached.clone());
        });
        told
    }

    /// Forgets the oldest change.
    pub(super) fn forget(&mut self, oldest: &Arc<Change>) {
        self.each(oldest, |lane| {
            if lane.changes.front().is_some_and(|change| Arc::ptr_eq(change, oldest)) {
                lane.changes.pop_front();
                lane.floor = oldest.revision;
            }
            if lane.changes.is_empty() {
                lane.changes.shrink_to_fit();
            }
        });
    }

    /// Forgets all changes up to `revision`, of which some may never have been here; gives whom to tell.
    pub(super) fn clear(&mut self, revision: u64) -> Vec<Arc<watch::Sender<u64>>> {
        let of_fields = self.fields.iter_mut().flat_map(|(_, lanes)| lanes.values_mut());
        let all = self.names.values_mut().chain(self.namespaces.values_mut()).chain(of_fields);
        all.map(|lane| {
            lane.changes = VecDeque::new();
            lane.floor = revision;
            lane.reached.clone()
        })
        .collect()
    }

    /// The lanes that a change lies in.
    fn each(&mut self, change: &Change, mut with: impl FnMut(&mut Lane)) {
        let name = &*change.stored.name;
        if let Some(lane) = self.names.get_mut(name) {
            with(lane);
        }
        if !self.namespaces.is_empty()
            && let Some(lane) = self.namespaces.get_mut(namespace_of(name))
        {
            with(lane);
        }
        for (field, lanes) in &mut self.fields {
            let is = change.stored.value(field);
            if let Some(lane) = lanes.get_mut(&*is) {
                with(lane);
            }
            let was = change.previous.as_ref().map(|previous| previous.value(field));
            if let Some(was) = was.filter(|was| *was != is)
                && let Some(lane) = lanes.get_mut(&*was)
            {
                with(lane);
            }
        }
    }

    fn place<'a>(&mut self, interest: &'a Interest) -> Option<(&mut HashMap<String, Lane>, &'a str)> {
        match interest {
            Interest::All => None,
            Interest::Name(name) => Some((&mut self.names, name)),
            Interest::Namespace(name) => Some((&mut self.namespaces, name)),
            Interest::Field(field, value) => {
                let (_, lanes) = self.fields.iter_mut().find(|(known, _)| known.place() == field.place())?;
                Some((lanes, value))
            }
        }
    }
}

impl Interest {
    fn takes(&self, change: &Change) -> bool {
        let name = &*change.stored.name;
        match self {
            Self::All => true,
            Self::Name(one) => one == name,
            Self::Namespace(one) => one == namespace_of(name),
            Self::Field(field, value) => std::iter::once(&change.stored)
                .chain(&change.previous)
                .any(|stored| stored.value(field) == *value),
        }
    }
}

/// The namespace of an object by its name in the partition; empty for what is cluster-wide.
fn namespace_of(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}
