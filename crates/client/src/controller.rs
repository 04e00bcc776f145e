//! Turns changes into keys, and keys into calls of a reconciler.
//!
//! A reconciler gets a key, never an event: it looks at the caches, decides, acts, and may be called
//! any number of times. Whatever it misses or fails at, it is called for again.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::error::Error;
use crate::informer::{Change, Informer};
use crate::queue::WorkQueue;
use crate::resource::{ObjectKey, Resource, ResourceKind};

/// How long running reconcilers may take to end after a shutdown.
const GRACE: Duration = Duration::from_secs(10);

/// What is to become of a key after a successful call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until something changes.
    Done,
    /// It is reconciled again after this time, if nothing changes before.
    After(Duration),
}

/// What brings one object to where it is to be.
pub trait Reconcile: Send + Sync + 'static {
    /// Why it could not.
    type Error: StdError + Send + Sync + 'static;

    /// Looks at the object of this key, which may be gone, and acts. Runs for one key once at a time, for
    /// different keys at the same time.
    fn reconcile(&self, key: &ObjectKey) -> impl Future<Output = Result<Action, Self::Error>> + Send;
}

/// A controller in the making: what it looks at, and how many keys it works on at once.
///
/// The informers are run by someone else, usually [`crate::Informers`].
pub struct Controller {
    name: &'static str,
    kind: ResourceKind,
    queue: Arc<WorkQueue<ObjectKey>>,
    synced: Vec<BoxFuture<'static, ()>>,
    workers: usize,
}

impl Controller {
    /// A controller of the objects of `informer`: each change of one is a reason to reconcile it.
    pub fn new<K: Resource>(name: &'static str, informer: &Informer<K>) -> Self {
        Self::of_some(name, informer, |_| true)
    }

    /// A controller of those objects of `informer` that it concerns: each change of one that it did or does
    /// concern is a reason to reconcile it. Of the others nothing waits, and none is looked at.
    pub fn of_some<K: Resource>(
        name: &'static str,
        informer: &Informer<K>,
        concerns: impl Fn(&K) -> bool + Send + Sync + 'static,
    ) -> Self {
        let controller = Self {
            name,
            kind: informer.kind().clone(),
            queue: Arc::new(WorkQueue::named(name)),
            synced: Vec::new(),
            workers: 4,
        };
        controller.watches(informer, move |object| {
            let concerned = Some(object).filter(|object| concerns(object));
            concerned.map(Resource::key).into_iter().collect()
        })
    }

    /// Also reconciles an object when one changes that it owns as its managing owner.
    pub fn owns<C: Resource>(self, informer: &Informer<C>) -> Self {
        let (kind, group, namespaced) =
            (self.kind.kind.clone(), self.kind.group.clone(), self.kind.namespaced);
        self.watches(informer, move |child| {
            let owner = child.controller().filter(|owner| {
                owner.kind == kind
                    && owner.api_version.rsplit_once('/').map_or("", |(group, _)| group) == group
            });
            let namespace = child.namespace().filter(|_| namespaced).unwrap_or_default();
            owner.map(|owner| ObjectKey::new(namespace, owner.name)).into_iter().collect()
        })
    }

    /// Also reconciles the keys that `keys` gives for an object, as it was and as it is, when it
    /// changes. Called in the informer's task: it must be quick.
    pub fn watches<C: Resource>(
        mut self,
        informer: &Informer<C>,
        keys: impl Fn(&C) -> Vec<ObjectKey> + Send + Sync + 'static,
    ) -> Self {
        let queue = self.queue.clone();
        informer.on_change(move |change: &Change<C>| {
            let old = change.old().map(|old| keys(old)).unwrap_or_default();
            old.into_iter().chain(keys(change.object())).for_each(|key| queue.add(key));
        });
        let store = informer.store();
        self.synced.push(Box::pin(async move { store.synced().await }));
        self
    }

    /// Waits for the first list of `informer` before it begins, without being told of changes.
    pub fn reads<C: Resource>(mut self, informer: &Informer<C>) -> Self {
        let store = informer.store();
        self.synced.push(Box::pin(async move { store.synced().await }));
        self
    }

    /// Works on so many keys at once; 4 if nothing is said.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Its queue, for reasons to reconcile that are no objects.
    pub fn queue(&self) -> Arc<WorkQueue<ObjectKey>> {
        self.queue.clone()
    }

    /// As [`Self::run`], by a reconciler that has something of its own.
    pub async fn run_by<R: Reconcile>(self, reconciler: R, shutdown: CancellationToken) {
        let reconciler = Arc::new(reconciler);
        let reconcile = move |key| {
            let reconciler = reconciler.clone();
            async move { reconciler.reconcile(&key).await }
        };
        self.run(reconcile, shutdown).await;
    }

    /// Waits for the informers' first lists, then reconciles until `shutdown` is cancelled.
    ///
    /// A call that fails or panics is repeated later and later. Calls that run at the shutdown may end within
    /// ten seconds, then they are dropped.
    pub async fn run<F, R, E>(self, reconcile: F, shutdown: CancellationToken)
    where
        F: Fn(ObjectKey) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Action, E>> + Send,
        E: StdError + Send + Sync + 'static,
    {
        let Self { name, queue, synced, workers, .. } = self;
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = futures::future::join_all(synced) => {}
        }
        tracing::debug!(controller = name, "caches are there, reconciling");
        let reconcile = Arc::new(reconcile);
        let mut running = JoinSet::new();
        for _ in 0..workers {
            let (queue, reconcile) = (queue.clone(), reconcile.clone());
            running.spawn(async move {
                while let Some(key) = queue.next().await {
                    let span = tracing::debug_span!("reconcile", controller = name, %key);
                    // The call itself may panic too, not only what it gives.
                    let call = async { reconcile(key.clone()).await };
                    match base::panics::catch_async(call.instrument(span)).await {
                        Ok(result) => settle(name, &queue, &key, result),
                        Err(panic) => {
                            let delay = queue.add_rate_limited(key.clone());
                            tracing::error!(controller = name, %key, %panic, ?delay, "reconciling panicked, trying again");
                        }
                    }
                    queue.done(&key);
                }
            });
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            // A worker ends before the queue is closed only by a panic, which is passed on.
            Some(Err(error)) = running.join_next() => std::panic::resume_unwind(error.into_panic()),
        }
        queue.close_now();
        if tokio::time::timeout(GRACE, async { while running.join_next().await.is_some() {} }).await.is_err()
        {
            tracing::warn!(controller = name, "reconcilers did not end in time");
            running.shutdown().await;
        }
    }
}

/// Puts a key back if its result asks for it.
fn settle<E: StdError + 'static>(
    name: &'static str,
    queue: &WorkQueue<ObjectKey>,
    key: &ObjectKey,
    result: Result<Action, E>,
) {
    match result {
        Ok(Action::Done) => queue.forget(key),
        Ok(Action::After(delay)) => {
            queue.forget(key);
            queue.add_after(key.clone(), delay);
        }
        Err(error) => {
            let delay = queue.add_rate_limited(key.clone());
            let expected = causes(&error).any(|cause| cause.downcast_ref().is_some_and(Error::is_conflict));
            let error = base::error::chain(&error);
            if expected {
                tracing::debug!(controller = name, %key, %error, ?delay, "somebody else was faster, trying again");
            } else {
                tracing::warn!(controller = name, %key, %error, ?delay, "cannot reconcile, trying again");
            }
        }
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
