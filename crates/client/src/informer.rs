//! A copy of a kind's objects in memory, kept true by list and watch, with handlers for changes.

mod index;
mod outlines;
mod reflector;
mod set;
mod store;
mod views;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::index::Index;
pub use self::outlines::{Outline, Outlined, Outlines};
pub use self::set::Informers;
pub use self::store::Store;
use crate::api::{Api, ListOptions};
use crate::resource::{Resource, ResourceKind};

/// Keeps a [`Store`] of the objects that an [`Api`] lists, and tells handlers of every change.
///
/// It holds their texts, which a server in the same process shares with it, and makes views of those that
/// are looked at. The views lack `metadata.managedFields`, which would be the larger part of them: what is
/// written back must be a patch, or begin from what [`Api::get`] gives.
///
/// Cheap to clone; all clones are the same informer. Nothing happens until [`Informer::run`].
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

/// What happened to an object in the copy.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// It is new to the copy.
    Added(Arc<K>),
    /// It changed.
    Updated {
        /// As it was.
        old: Arc<K>,
        /// As it is.
        new: Arc<K>,
    },
    /// It is gone; as it was last.
    Deleted(Arc<K>),
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

struct Shared<K> {
    api: Api<K>,
    options: ListOptions,
    store: Store<K>,
    /// Locked while a change is put into the store and told, so that a handler that joins late
    /// misses nothing and is told nothing twice.
    handlers: Mutex<Vec<Handler<K>>>,
}

impl<K: Resource> Informer<K> {
    /// An informer of what `api` lists, restricted by the selectors of `options`.
    pub fn new(api: Api<K>, options: ListOptions) -> Self {
        let store = Store::new(api.client().view_limit());
        Self { shared: Arc::new(Shared { api, options, store, handlers: Mutex::default() }) }
    }

    /// The copy.
    pub fn store(&self) -> Store<K> {
        self.shared.store.clone()
    }

    /// Which kind of objects.
    pub fn kind(&self) -> &ResourceKind {
        self.shared.api.kind()
    }

    /// Makes the copy searchable by what `keys_of` gives for an object, with [`Store::by_index`].
    /// Does nothing if there is an index of that name already.
    pub fn index(
        &self,
        name: &'static str,
        keys_of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static,
    ) -> &Self {
        self.shared.store.add_index(Index::new(name, keys_of));
        self
    }

    /// Has the copy keep a `T` of every object besides its text, for those who look at very many at once.
    pub fn outlines<T: Outline<K>>(&self) -> Outlines<K, T> {
        self.shared.store.add_outliner(outlines::Outliner::of::<T>());
        Outlines::new(self.store())
    }

    /// Calls `handler` for every change from now on, and first for every object that is there.
    ///
    /// Handlers run one after another in the informer's own task: they must be quick, and must not
    /// add handlers. Most put a key into a queue.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.lock();
        self.shared.store.each(|object| handler(&Change::Added(object)));
        handlers.push(Box::new(handler));
    }

    /// Keeps the copy true until `shutdown` is cancelled. Never fails: what goes wrong is tried
    /// again, later and later up to half a minute. One run at a time. After it no handler is told of anything
    /// any more, and all are let go of: what they hold may hold this informer, and none of it would ever go.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = reflector::reflect(&self.shared) => {}
        }
        let handlers = std::mem::take(&mut *self.shared.handlers.lock());
        drop(handlers);
    }
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K> Change<K> {
    /// The object as it is, or was last.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Deleted(object) | Self::Updated { new: object, .. } => object,
        }
    }

    /// The object as it was before, if it was changed.
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Updated { old, .. } => Some(old),
            Self::Added(_) | Self::Deleted(_) => None,
        }
    }

    /// Whether the object is gone.
    pub fn is_deletion(&self) -> bool {
        matches!(self, Self::Deleted(_))
    }
}

impl<K: Resource> Shared<K> {
    /// Changes the store and tells the handlers.
    fn change<C: IntoIterator<Item = Change<K>>>(&self, change: impl FnOnce(&Store<K>) -> C) {
        let handlers = self.handlers.lock();
        for change in change(&self.store) {
            for handler in handlers.iter() {
                // One handler's fault keeps nothing from the others, nor the copy from being true.
                if let Err(panic) = base::panics::catch(|| handler(&change)) {
                    let (kind, key) = (&self.api.kind().kind, change.object().key());
                    tracing::error!(%kind, %key, %panic, "a handler of changes panicked");
                }
            }
        }
    }
}
