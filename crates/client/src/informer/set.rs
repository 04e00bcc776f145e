//! One informer of each kind for all who need it.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Informer;
use crate::api::{Api, ListOptions};
use crate::client::Client;
use crate::resource::{Resource, ResourceKind, Typed};

/// The informers of a process: each kind is listed and watched once, however many controllers
/// look at it. Cheap to clone.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Default)]
struct State {
    typed: HashMap<ResourceKind, Box<dyn Any + Send>>,
    /// Informers that are to be run.
    waiting: Vec<Run>,
}

type Run = Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>;

impl Informers {
    /// No informers yet, all to use `client`.
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone(), shared: Arc::default() }
    }

    /// The informer of a kind, over all namespaces.
    pub fn of<K: Typed>(&self) -> Informer<K> {
        let kind = K::resource_kind();
        let mut state = self.shared.state.lock();
        if let Some(informer) = state.typed.get(&kind).and_then(|any| any.downcast_ref::<Informer<K>>()) {
            return informer.clone();
        }
        let informer = Informer::new(Api::<K>::all(&self.client), ListOptions::default());
        state.typed.insert(kind, Box::new(informer.clone()));
        self.start(&mut state, &informer);
        informer
    }

    /// Runs an informer of one's own making, with selectors for example, together with the others.
    pub fn add<K: Resource>(&self, informer: &Informer<K>) {
        self.start(&mut self.shared.state.lock(), informer);
    }

    /// Runs all informers, those that are asked for later too, until `shutdown` is cancelled.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut running = JoinSet::new();
        loop {
            let waiting = std::mem::take(&mut self.shared.state.lock().waiting);
            for run in waiting {
                running.spawn(run(shutdown.clone()));
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.shared.added.notified() => {}
                // Nobody ends before the shutdown.
                Some(_) = running.join_next() => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    fn start<K: Resource>(&self, state: &mut State, informer: &Informer<K>) {
        let informer = informer.clone();
        state.waiting.push(Box::new(move |shutdown| {
            Box::pin(async move {
                crate::supervise("informer", &shutdown, || informer.run(shutdown.clone())).await;
            })
        }));
        self.shared.added.notify_one();
    }
}
