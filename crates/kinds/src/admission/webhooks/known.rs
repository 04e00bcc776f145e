//! All webhooks of a kind of objects, read once.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiserver::{Collection, Context};
use model::GroupResource;
use parking_lot::Mutex;

use super::GROUP;
use super::hook::{Hook, read};

/// The webhooks of all objects of one resource, in the order of the objects' names.
pub(super) struct Known {
    plural: &'static str,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    /// Whose they are.
    of: Option<Arc<dyn Collection>>,
    /// As of when, once they have been looked at.
    version: Option<u64>,
    by_name: BTreeMap<String, Vec<Arc<Hook>>>,
    all: Arc<Vec<Arc<Hook>>>,
}

impl Known {
    pub(super) fn new(plural: &'static str) -> Self {
        Self { plural, read: Mutex::default() }
    }

    /// All webhooks there are now.
    pub(super) fn hooks(&self, context: &Context<'_>) -> Arc<Vec<Arc<Hook>>> {
        let collection = context.collection(&GroupResource::new(GROUP, self.plural));
        let mut read = self.read.lock();
        if read.of.as_ref().is_none_or(|of| !Arc::ptr_eq(of, &collection)) {
            // The first time, or another server's.
            *read = Read { of: Some(collection.clone()), ..Read::default() };
        }
        if read.version != Some(collection.version()) {
            read.learn(&*collection);
        }
        read.all.clone()
    }
}

impl Read {
    fn learn(&mut self, collection: &dyn Collection) {
        let news = collection.since(self.version.unwrap_or_default());
        if news.everything {
            self.by_name.clear();
        }
        for changed in news.changes {
            // What cannot be read asks nobody: it was never taken as one.
            match changed.text.and_then(|text| text.object().ok()) {
                Some(object) => {
                    let hooks = read(&object).into_iter().map(Arc::new).collect();
                    self.by_name.insert(changed.name, hooks);
                }
                None => drop(self.by_name.remove(&changed.name)),
            }
        }
        self.all = Arc::new(self.by_name.values().flatten().cloned().collect());
        self.version = Some(news.version);
    }
}
