//! The type and metadata of all objects of all kinds, for controllers that look at everything.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::{Api, Change, Client, Error, Informer, ListOptions, Partial, Resource as _, ResourceKind};
use futures::FutureExt as _;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::kinds;

/// The index of objects by the uids of their owners.
pub(crate) const OWNER: &str = "owner";
/// How often the API is asked for kinds that are new, where nothing says that there are.
const KINDS_PERIOD: Duration = Duration::from_secs(30);
/// So long after something says so it is asked: what defines a kind is there a moment before the kind.
const NEWS_SETTLE: Duration = Duration::from_millis(100);
/// It is asked no more often than that, however many kinds come.
const NEWS_PERIOD: Duration = Duration::from_secs(1);
/// So many kinds are listed at a time by those who list all of them, and so long for each: whoever serves one of them
/// may be slow or gone.
pub(crate) const LISTED_AT_ONCE: usize = 8;
const LISTING: Duration = Duration::from_secs(10);

/// All objects of a kind as the API has them, in one namespace or in all.
pub(crate) async fn list(
    client: &Client,
    kind: &ResourceKind,
    namespace: Option<&str>,
) -> Result<Vec<Partial>, Error> {
    let api: Api<Partial> = Api::partial(client, kind, namespace);
    let options = ListOptions::default();
    let listed = tokio::time::timeout(LISTING, api.list_all(&options)).await;
    let late = || Error::Timeout { request: format!("list {}", kind.plural), limit: LISTING };
    Ok(listed.map_err(|_| late())??.items)
}

/// A copy of every kind's objects that can be listed, watched and deleted. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Objects {
    client: Client,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    kinds: RwLock<BTreeMap<ResourceKind, Watched>>,
    handlers: Mutex<Vec<Handler>>,
    /// Told of kinds whose copy has become whole.
    whole: Mutex<Vec<KindHandler>>,
    /// Something changed that defines kinds.
    news: Arc<Notify>,
    /// Those whose server, which is not the API server itself, was gone when it was looked last.
    stale: RwLock<HashSet<ResourceKind>>,
}

struct Watched {
    informer: Informer<Partial>,
    stop: CancellationToken,
}

type Handler = Arc<dyn Fn(&ResourceKind, &Change<Partial>) + Send + Sync>;
type KindHandler = Arc<dyn Fn(&ResourceKind) + Send + Sync>;

impl Objects {
    /// No kinds yet; they are asked for by `client`.
    pub(crate) fn new(client: &Client) -> Self {
        Self { client: client.clone(), shared: Arc::default() }
    }

    /// Calls `handler` for every change of any object, and first for every object that is there. It must
    /// be quick.
    pub(crate) fn on_change(
        &self,
        handler: impl Fn(&ResourceKind, &Change<Partial>) + Send + Sync + 'static,
    ) {
        let handler: Handler = Arc::new(handler);
        // Held meanwhile, so that no kind comes between the two.
        let mut handlers = self.shared.handlers.lock();
        for (kind, informer) in self.informers() {
            tell(&informer, &kind, &handler);
        }
        handlers.push(handler);
    }

    /// Calls `handler` for every kind from when on its changes are heard of, those excepted of which that is so
    /// already. It must be quick.
    pub(crate) fn on_kind(&self, handler: impl Fn(&ResourceKind) + Send + Sync + 'static) {
        self.shared.whole.lock().push(Arc::new(handler));
    }

    /// The kinds that are known, in order.
    pub(crate) fn kinds(&self) -> Vec<ResourceKind> {
        self.shared.kinds.read().keys().cloned().collect()
    }

    /// The kind of this group and name, if it is known.
    pub(crate) fn kind(&self, group: &str, kind: &str) -> Option<ResourceKind> {
        self.shared.kinds.read().keys().find(|known| known.group == group && known.kind == kind).cloned()
    }

    /// Whether whoever serves a kind, who is not the API server itself, is gone.
    pub(crate) fn is_stale(&self, kind: &ResourceKind) -> bool {
        self.shared.stale.read().contains(kind)
    }

    /// The copy of one kind's objects.
    pub(crate) fn of(&self, kind: &ResourceKind) -> Option<client::Store<Partial>> {
        self.shared.kinds.read().get(kind).map(|watched| watched.informer.store())
    }

    /// What `found` gives for the copy of each kind.
    pub(crate) fn each<T>(
        &self,
        found: impl Fn(&client::Store<Partial>) -> Vec<T>,
    ) -> Vec<(ResourceKind, T)> {
        let kinds = self.shared.kinds.read();
        let of_kind = |(kind, watched): (&ResourceKind, &Watched)| {
            let found = found(&watched.informer.store());
            found.into_iter().map(|found| (kind.clone(), found)).collect::<Vec<_>>()
        };
        kinds.iter().flat_map(of_kind).collect()
    }

    /// Follows all kinds, those that come later too, until `stop` is cancelled. One run at a time.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut running = JoinSet::new();
        // Those of a run that panicked.
        for (kind, informer) in self.informers() {
            self.follow(&mut running, &stop, kind, informer);
        }
        loop {
            let asked = Instant::now();
            self.discover(&mut running, &stop).await;
            let news = async {
                self.shared.news.notified().await;
                tokio::time::sleep_until((asked + NEWS_PERIOD).max(Instant::now() + NEWS_SETTLE)).await;
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(KINDS_PERIOD) => {}
                () = news => {}
            }
            while running.try_join_next().is_some() {}
        }
        while running.join_next().await.is_some() {}
        // What they hold may hold this.
        let handlers = std::mem::take(&mut *self.shared.handlers.lock());
        let whole = std::mem::take(&mut *self.shared.whole.lock());
        drop((handlers, whole));
    }

    /// A handler may ask for kinds: nobody calls one with them locked.
    fn informers(&self) -> Vec<(ResourceKind, Informer<Partial>)> {
        let kinds = self.shared.kinds.read();
        kinds.iter().map(|(kind, watched)| (kind.clone(), watched.informer.clone())).collect()
    }

    /// Begins to watch kinds that are new, and leaves those that are gone.
    async fn discover(&self, running: &mut JoinSet<()>, stop: &CancellationToken) {
        let kinds = tokio::select! {
            () = stop.cancelled() => return,
            kinds = kinds::all(&self.client) => kinds,
        };
        let kinds = match kinds {
            Ok(kinds) => kinds,
            Err(error) => {
                warn!(error = %base::error::chain(&error), "cannot ask which kinds there are");
                return;
            }
        };
        let stale = kinds.all.iter().filter(|kind| kind.stale).map(|kind| kind.resource.clone());
        *self.shared.stale.write() = stale.collect();
        let mut gone = self.kinds();
        // Of whom nobody says that they are gone, they are followed on: their server may be back.
        gone.retain(|known| !kinds.are_silent_of(known));
        let followed =
            kinds.all.into_iter().filter(|kind| kind.can("list") && kind.can("watch") && kind.can("delete"));
        for kind in followed {
            gone.retain(|known| *known != kind.resource);
            if self.of(&kind.resource).is_some() {
                continue;
            }
            let api = Api::partial(&self.client, &kind.resource, None);
            let informer = Informer::new(api, ListOptions::default());
            informer.index(OWNER, |object: &Partial| {
                object.owners().into_iter().map(|owner| owner.uid).collect()
            });
            if defines_kinds(&kind.resource) {
                let news = Arc::clone(&self.shared.news);
                informer.on_change(move |_| news.notify_one());
            }
            {
                let handlers = self.shared.handlers.lock();
                for handler in handlers.iter() {
                    tell(&informer, &kind.resource, handler);
                }
                self.follow(running, stop, kind.resource, informer);
            }
        }
        for kind in gone {
            if let Some(watched) = self.shared.kinds.write().remove(&kind) {
                watched.stop.cancel();
            }
        }
    }

    fn follow(
        &self,
        running: &mut JoinSet<()>,
        stop: &CancellationToken,
        kind: ResourceKind,
        informer: Informer<Partial>,
    ) {
        let (stop, followed) = (stop.child_token(), informer.clone());
        let (copy, shared, of) = (informer.store(), Arc::clone(&self.shared), kind.clone());
        self.shared.kinds.write().insert(kind, Watched { informer, stop: stop.clone() });
        let is_whole = async move {
            copy.synced().await;
            let told = shared.whole.lock().clone();
            for handler in told {
                // The kind is followed all the same.
                if let Err(panic) = base::panics::catch(|| handler(&of)) {
                    error!(kind = %of.plural, %panic, "who was to be told that a kind is known panicked");
                }
            }
        };
        running.spawn(async move {
            let following = client::supervise("informer", &stop, || followed.run(stop.clone()));
            tokio::select! {
                () = following => {}
                () = is_whole.then(|()| std::future::pending::<()>()) => {}
            }
        });
    }
}

/// Whether objects of this kind say which kinds there are.
fn defines_kinds(kind: &ResourceKind) -> bool {
    matches!(
        (&*kind.group, &*kind.plural),
        ("apiextensions.k8s.io", "customresourcedefinitions") | ("apiregistration.k8s.io", "apiservices")
    )
}

/// Tells a handler of the changes of one kind.
fn tell(informer: &Informer<Partial>, kind: &ResourceKind, handler: &Handler) {
    let (kind, handler) = (kind.clone(), Arc::clone(handler));
    informer.on_change(move |change| handler(&kind, change));
}
