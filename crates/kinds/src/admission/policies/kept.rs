//! All objects of a kind, read once.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiserver::{Collection, Context};
use model::{GroupResource, Object};
use parking_lot::Mutex;

const GROUP: &str = "admissionregistration.k8s.io";

/// What the objects of one resource say, in the order of their names.
pub(super) struct Kept<T> {
    plural: &'static str,
    read: fn(&Object) -> T,
    known: Mutex<Known<T>>,
}

struct Known<T> {
    /// Whose they are.
    of: Option<Arc<dyn Collection>>,
    /// As of when, once they have been looked at.
    version: Option<u64>,
    by_name: BTreeMap<String, Arc<T>>,
    all: Arc<Vec<Arc<T>>>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { of: None, version: None, by_name: BTreeMap::new(), all: Arc::default() }
    }
}

impl<T> Kept<T> {
    pub(super) fn new(plural: &'static str, read: fn(&Object) -> T) -> Self {
        Self { plural, read, known: Mutex::default() }
    }

    /// All there are now.
    pub(super) fn all(&self, context: &Context<'_>) -> Arc<Vec<Arc<T>>> {
        let collection = context.collection(&GroupResource::new(GROUP, self.plural));
        let mut known = self.known.lock();
        if known.of.as_ref().is_none_or(|of| !Arc::ptr_eq(of, &collection)) {
            // The first time, or another server's.
            *known = Known { of: Some(collection.clone()), ..Known::default() };
        }
        if known.version != Some(collection.version()) {
            let news = collection.since(known.version.unwrap_or_default());
            if news.everything {
                known.by_name.clear();
            }
            for changed in news.changes {
                match changed.text.and_then(|text| text.object().ok()) {
                    Some(object) => drop(known.by_name.insert(changed.name, Arc::new((self.read)(&object)))),
                    None => drop(known.by_name.remove(&changed.name)),
                }
            }
            known.all = Arc::new(known.by_name.values().cloned().collect());
            known.version = Some(news.version);
        }
        known.all.clone()
    }
}
