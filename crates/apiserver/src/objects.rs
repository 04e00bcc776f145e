//! The objects that are served, as those see them who decide by them and keep an index of their own.
//!
//! An index that asks for what is new before each decision is never behind: a write is answered only when
//! memory shows it.

use std::sync::{Arc, OnceLock, Weak};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{Encoded, GroupResource};

use crate::cache::{Cache, Partition};
use crate::reach::Reach;
use crate::resource::partition;
use crate::state::State;

/// All objects that are served.
pub trait Objects: Send + Sync {
    /// The objects of one resource, whatever it is: there may be none.
    fn collection(&self, resource: &GroupResource) -> Arc<dyn Collection>;

    /// A way to nodes, pods and others, while the server runs.
    fn reach(&self) -> Option<Reach> {
        None
    }
}

/// The objects of one resource.
pub trait Collection: Send + Sync {
    /// Another number after each change. Costs next to nothing.
    fn version(&self) -> u64;

    /// How many objects there are.
    fn count(&self) -> usize;

    /// What has changed since a version that was given before; everything, where that is too long ago.
    fn since(&self, version: u64) -> News;

    /// Waits until there is something after a version that was given before.
    fn changed(&self, version: u64) -> BoxFuture<'_, ()>;
}

/// What has changed.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// The version that one has with it.
    pub version: u64,
    /// Whether what was known before is to be forgotten.
    pub everything: bool,
    /// The changes, in their order.
    pub changes: Vec<Changed>,
}

/// An object that was made, changed or deleted.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Its namespace, empty for what is cluster-wide.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its text; none where it was deleted.
    pub text: Option<Encoded>,
}

/// Those of a server.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) cache: Arc<Cache>,
    /// The server, once it is there.
    pub(crate) server: Arc<OnceLock<Weak<State>>>,
}

impl Objects for Served {
    fn collection(&self, resource: &GroupResource) -> Arc<dyn Collection> {
        self.cache.partition(&partition(&resource.group, &resource.resource))
    }

    fn reach(&self) -> Option<Reach> {
        self.server.get()?.upgrade().map(|state| Reach::of(&state))
    }
}

impl Collection for Partition {
    fn version(&self) -> u64 {
        self.last()
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn since(&self, version: u64) -> News {
        if let Some((changes, version)) = self.changes_after(version) {
            let changes = changes.iter().map(|change| {
                changed(&change.stored.name, (!change.deleted).then(|| change.stored.encoded().clone()))
            });
            return News { version, everything: false, changes: changes.collect() };
        }
        let (all, version) = self.snapshot(0, "");
        let changes = all.iter().map(|stored| changed(&stored.name, Some(stored.encoded().clone())));
        News { version, everything: true, changes: changes.collect() }
    }

    fn changed(&self, version: u64) -> BoxFuture<'_, ()> {
        let mut told = self.subscribe();
        async move {
            // The sender lives as long as the partition.
            if told.wait_for(|reached| *reached > version).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

fn changed(key: &str, text: Option<Encoded>) -> Changed {
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    Changed { namespace: namespace.to_owned(), name: name.to_owned(), text }
}
