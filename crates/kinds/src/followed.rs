//! A collection of objects that an index follows.

use std::sync::Arc;

use apiserver::{Changed, Collection, Objects};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{GroupResource, Object};

/// A collection, and how far an index of it is.
pub(crate) struct Followed {
    collection: Arc<dyn Collection>,
    version: u64,
}

/// What is to be done to an index.
pub(crate) enum Step<'a> {
    /// All is forgotten.
    Forget,
    /// An object is there in this form; what was of it before is forgotten.
    Put(&'a Changed, Object),
    /// An object is not there any more.
    Gone(&'a Changed),
}

impl Followed {
    /// Begins before anything.
    pub(crate) fn new(objects: &dyn Objects, group: &str, plural: &str) -> Self {
        Self { collection: objects.collection(&GroupResource::new(group, plural)), version: 0 }
    }

    /// Whether the index knows all there is.
    pub(crate) fn is_current(&self) -> bool {
        self.collection.version() == self.version
    }

    /// How far the index is.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Waits until there is something that the index does not know.
    pub(crate) fn newer(&self) -> BoxFuture<'static, ()> {
        let (collection, version) = (self.collection.clone(), self.version);
        async move { collection.changed(version).await }.boxed()
    }

    /// Waits until there is something after a version.
    pub(crate) fn after(&self, version: u64) -> BoxFuture<'static, ()> {
        let collection = self.collection.clone();
        async move { collection.changed(version).await }.boxed()
    }

    /// Knows nothing any more.
    pub(crate) fn begin_anew(&mut self) {
        self.version = 0;
    }

    /// Tells `index` what it does not know yet.
    pub(crate) fn catch_up(&mut self, index: impl FnMut(Step<'_>)) {
        self.catch_up_with(|_| true, index);
    }

    /// As [`Followed::catch_up`], of those objects that `wants` takes: no others are read.
    pub(crate) fn catch_up_with(
        &mut self,
        wants: impl Fn(&Changed) -> bool,
        mut index: impl FnMut(Step<'_>),
    ) {
        if self.is_current() {
            return;
        }
        let news = self.collection.since(self.version);
        if news.everything {
            index(Step::Forget);
        }
        for changed in news.changes.iter().filter(|changed| wants(changed)) {
            // What cannot be read says nothing: nobody gets a right by it.
            match changed.text.as_ref().and_then(|text| text.object().ok()) {
                Some(object) => index(Step::Put(changed, object)),
                None => index(Step::Gone(changed)),
            }
        }
        self.version = news.version;
    }
}
