//! Resources that objects define while the server runs.
//!
//! Which there are says whoever reads the objects ([`Definitions`]); their entries are in the same table as those
//! that are built in, and take the same path. Before each request it is looked whether there is news, so that no
//! request is behind a write that this server has acknowledged: what is defined is served at once, and what is
//! stored is served before the server answers at all. What becomes of the objects (their conditions, the end of
//! what they define) is looked after beside the requests, by any server over the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::Timestamp;
use base::backoff::Backoff;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http::{Method, StatusCode};
use model::Object;
use parking_lot::Mutex;
use serde_json::json;

use crate::bootstrap::call;
use crate::error::Result;
use crate::handle::Handle;
use crate::objects::Objects;
use crate::resource::{Resource, Table, partition};
use crate::state::State;

/// Makes whoever reads what objects define.
pub type DefinedBy = Arc<dyn Fn(Arc<dyn Objects>) -> Arc<dyn Definitions> + Send + Sync>;

/// Reads what objects define.
pub trait Definitions: Send + Sync {
    /// Another number after each change of an object that defines something. Costs next to nothing.
    fn version(&self) -> u64;

    /// What is to be served, and the version that it is of. An entry that means what it meant before is the same one.
    fn entries(&self) -> (Vec<Arc<Resource>>, u64);

    /// What is to be done to the objects, and to those of kinds that end.
    fn work(&self, now: Timestamp) -> Work;

    /// Waits until there may be something to do that there was not when it was last asked.
    fn changed(&self) -> BoxFuture<'_, ()>;
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Work {
    /// Objects as they are to be, by the paths where each is written.
    pub amendments: Vec<(String, Object)>,
    /// Resources of which all objects are to go.
    pub emptied: Vec<Emptied>,
}

/// A resource of which all objects are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emptied {
    /// Its group.
    pub group: String,
    /// A version that is served.
    pub version: String,
    /// Its plural name.
    pub plural: String,
}

/// Reads nothing: no kind is defined.
pub fn none() -> DefinedBy {
    Arc::new(|_| Arc::new(NoDefinitions))
}

/// Nothing is defined.
#[derive(Debug)]
pub(crate) struct NoDefinitions;

impl Definitions for NoDefinitions {
    fn version(&self) -> u64 {
        0
    }

    fn entries(&self) -> (Vec<Arc<Resource>>, u64) {
        (Vec::new(), 0)
    }

    fn work(&self, _: Timestamp) -> Work {
        Work::default()
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// What objects define, as far as the table has it.
pub(crate) struct Defined {
    source: Arc<dyn Definitions>,
    /// The version that the table has.
    seen: AtomicU64,
    one_at_a_time: Mutex<()>,
}

/// So many objects of a kind that ends are deleted at once.
const TOGETHER: usize = 32;
/// How soon what failed is tried again.
const SOON: Duration = Duration::from_millis(200);
const RARELY: Duration = Duration::from_secs(10);

impl Defined {
    pub(crate) fn new(source: Arc<dyn Definitions>) -> Self {
        Self { source, seen: AtomicU64::new(u64::MAX), one_at_a_time: Mutex::new(()) }
    }

    /// Brings the table up to what memory shows.
    pub(crate) fn catch_up(&self, table: &Table) {
        if self.seen.load(Ordering::Acquire) == self.source.version() {
            return;
        }
        offload::in_place(|| {
            let _one = self.one_at_a_time.lock();
            if self.seen.load(Ordering::Acquire) == self.source.version() {
                return;
            }
            let (entries, version) = self.source.entries();
            table.define(entries);
            self.seen.store(version, Ordering::Release);
        });
    }
}

/// Brings the table up to what all servers over the store have been told.
pub(crate) async fn catch_up_with_others(state: &State) -> Result<()> {
    crate::consistency::catch_up_with_store(state).await?;
    state.defined.catch_up(&state.table);
    Ok(())
}

/// Does what is to be done, for as long as the server runs. A panic may have left something undone: it is looked at
/// anew.
pub(crate) async fn look_after(state: &Arc<State>) {
    let handle = Handle::new(state.clone());
    let mut backoff = Backoff::new(SOON, RARELY);
    loop {
        let step = async {
            state.defined.catch_up(&state.table);
            do_once(state, &handle).await
        };
        let is_done = base::panics::catch_async(step).await.unwrap_or_else(|panic| {
            tracing::error!(%panic, "looking after definitions panicked; beginning anew");
            false
        });
        if is_done {
            backoff.reset();
            state.defined.source.changed().await;
        } else {
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

/// Does what is to be done now; whether all of it could be.
async fn do_once(state: &Arc<State>, handle: &Handle) -> bool {
    let Work { amendments, emptied } = state.defined.source.work(state.clock.now());
    let mut is_done = true;
    for (path, object) in amendments {
        let (code, answer) = call(handle, Method::PUT, &path, object.value()).await;
        // Where somebody was faster, that is news.
        if !code.is_success() && !matches!(code, StatusCode::CONFLICT | StatusCode::NOT_FOUND) {
            tracing::warn!(path, answer, "a definition is not told what has become of it");
            is_done = false;
        }
    }
    for resource in emptied {
        is_done &= empty(state, handle, &resource).await;
    }
    is_done
}

/// Asks all objects of a resource to go that have not been asked yet.
async fn empty(state: &Arc<State>, handle: &Handle, resource: &Emptied) -> bool {
    let partition = state.cache.partition(&partition(&resource.group, &resource.plural));
    let (all, _) = partition.snapshot(state.cache.revision(), "");
    let left = all.iter().filter(|stored| {
        let text = std::str::from_utf8(stored.encoded().text()).unwrap_or_default();
        !text.contains("deletionTimestamp") || !stored.object().is_being_deleted()
    });
    let paths: Vec<String> = left
        .map(|stored| {
            let Emptied { group, version, plural } = resource;
            match stored.name.split_once('/') {
                Some((namespace, name)) => {
                    format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}")
                }
                None => format!("/apis/{group}/{version}/{plural}/{}", stored.name),
            }
        })
        .collect();
    let each = paths.into_iter().map(async |path| {
        let (code, answer) =
            call(handle, Method::DELETE, &path, &json!({"propagationPolicy": "Background"})).await;
        let is_done = code.is_success() || code == StatusCode::NOT_FOUND;
        if !is_done {
            tracing::warn!(path, answer, "an object is not deleted though its kind ends");
        }
        is_done
    });
    let outcomes: Vec<bool> = futures::stream::iter(each).buffer_unordered(TOGETHER).collect().await;
    outcomes.into_iter().all(|is_done| is_done)
}
