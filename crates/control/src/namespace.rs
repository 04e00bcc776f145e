//! The end of namespaces: everything in them goes first.
//!
//! What is in a namespace is read from the copies that the process has anyway; only when they show
//! nothing is the API asked, before the namespace is let go. One that is held by something (a finalizer,
//! a pod that takes its time) is looked at again when that changes, and otherwise more and more rarely.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use client::api::DeleteOptions;
use client::{
    Action, Api, Change, Client, Controller, Error, ListOptions, ObjectKey, Partial, Reconcile,
    Resource as _, ResourceKind, Store, Typed as _,
};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use parking_lot::Mutex;
use serde_json::json;

use crate::objects::{self, LISTED_AT_ONCE, Objects};
use crate::{Context, kinds};

mod conditions;

use conditions::Remains;

/// How soon to look again after something changed, or where it is not known what holds a namespace.
const SOON: Duration = Duration::from_millis(200);
/// How rarely to look again where nothing changes.
const RARELY: Duration = Duration::from_secs(15);
/// What keeps a namespace until this controller is done.
const FINALIZER: &str = "kubernetes";

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let namespaces = context.informers.of::<Namespace>();
    let controller = Controller::new("namespace", &namespaces);
    let (queue, ending) = (controller.queue(), namespaces.store());
    context.objects.on_change(move |_, change| {
        let key = ObjectKey::cluster(change.object().namespace().unwrap_or_default());
        if matters(change) && ending.get(&key).is_some_and(|namespace| namespace.is_being_deleted()) {
            queue.add_after(key, SOON);
        }
    });
    let reconciler = Reconciler {
        store: namespaces.store(),
        objects: context.objects.clone(),
        client: context.client.clone(),
        clock: Arc::clone(&context.clock),
        held: Mutex::default(),
    };
    controller.run_by(reconciler, context.stop).await;
}

/// Whether a change may bring the end of its namespace nearer.
fn matters(change: &Change<Partial>) -> bool {
    change.old().is_none_or(|old| {
        let new = change.object();
        old.metadata.finalizers != new.metadata.finalizers || old.is_being_deleted() != new.is_being_deleted()
    })
}

struct Reconciler {
    store: Store<Namespace>,
    objects: Objects,
    client: Client,
    clock: Arc<dyn base::Clock>,
    /// What holds namespaces, and when each is looked at again.
    held: Mutex<HashMap<ObjectKey, Held>>,
}

struct Held {
    remains: Remains,
    again: Backoff,
}

/// An object in a namespace that is to go.
type Inside = (ResourceKind, Arc<Partial>);

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        match self.store.get(key).filter(|namespace| namespace.is_being_deleted()) {
            Some(namespace) => self.end(key, &namespace).await,
            None => {
                self.held.lock().remove(key);
                Ok(Action::Done)
            }
        }
    }
}

impl Reconciler {
    /// Deletes what is left; when nothing is, lets the namespace go.
    async fn end(&self, key: &ObjectKey, namespace: &Namespace) -> Result<Action, Error> {
        let name = namespace.name();
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(Action::Done);
        }
        let mut inside = self.objects.each(|store| store.list_namespace(name));
        let mut failures = Vec::new();
        if inside.is_empty() {
            (inside, failures) = self.list(name).await?;
        }
        if inside.is_empty() && failures.is_empty() {
            return self.let_go(namespace, &finalizers).await;
        }
        // Pods go first: what they use and what they are kept from is there for as long as they run. Their copy
        // may be behind that of what they use, so that the API is asked before anything else is deleted.
        if !has_pods(&inside) && inside.iter().any(|(_, object)| !object.is_being_deleted()) {
            inside.extend(self.list_kind(&Pod::resource_kind(), name).await?);
        }
        if has_pods(&inside) {
            inside.retain(|(kind, _)| is_pod(kind));
        }
        let (going, left): (Vec<Inside>, Vec<Inside>) =
            inside.into_iter().partition(|(_, object)| object.is_being_deleted());
        for (kind, object) in &left {
            if let Err(error) = self.delete(kind, object).await {
                failures.push((kind.clone(), error));
            }
        }
        let remains = Remains::new(&going, failures.iter().map(|(kind, error)| (kind, error.to_string())));
        let delay = self.wait(key, remains.clone());
        // What is gone as soon as it is asked to is not worth a word.
        if !remains.is_empty() {
            self.tell(namespace, &remains).await?;
        }
        match failures.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(Action::After(delay)),
        }
    }

    /// When to look at a namespace again that is held by `remains`.
    fn wait(&self, key: &ObjectKey, remains: Remains) -> Duration {
        let mut all = self.held.lock();
        let held = all
            .entry(key.clone())
            .or_insert_with(|| Held { remains: Remains::default(), again: Backoff::new(SOON, RARELY) });
        if held.remains != remains {
            held.remains = remains;
            held.again.reset();
        }
        held.again.next_delay()
    }

    /// What the API has in a namespace, and of which kinds it does not say so. Events are not counted: they go at
    /// the end, whatever comes of them meanwhile.
    async fn list(&self, namespace: &str) -> Result<(Vec<Inside>, Vec<(ResourceKind, Error)>), Error> {
        let (mut inside, mut failures) = (Vec::new(), Vec::new());
        let mut kinds = kinds::all(&self.client).await?.all;
        kinds.retain(|kind| kind.resource.namespaced && kind.can("list") && kind.can("delete"));
        let one = |kind: kinds::Kind| async move {
            let listed = self.list_kind(&kind.resource, namespace).await;
            (kind, listed)
        };
        let listing: Vec<_> = kinds.into_iter().map(one).collect();
        let mut listing = stream::iter(listing).buffered(LISTED_AT_ONCE);
        while let Some((kind, listed)) = listing.next().await {
            match listed {
                Ok(found) => inside.extend(found),
                // It went while this was asked.
                Err(Error::NotFound(_)) => {}
                // Whoever serves the kind is gone. As long as he was there, nothing of it was in the namespace,
                // and since then nobody could make anything.
                Err(_) if kind.stale && self.had_nothing(&kind.resource, namespace) => {}
                Err(error) => failures.push((kind.resource, error)),
            }
        }
        Ok((inside, failures))
    }

    /// Whether a copy that was whole shows nothing of a kind in a namespace.
    fn had_nothing(&self, kind: &ResourceKind, namespace: &str) -> bool {
        let copy = self.objects.of(kind);
        copy.is_some_and(|copy| copy.is_synced() && copy.list_namespace(namespace).is_empty())
    }

    async fn list_kind(
        &self,
        kind: &ResourceKind,
        namespace: &str,
    ) -> Result<impl Iterator<Item = Inside> + use<>, Error> {
        let found = objects::list(&self.client, kind, Some(namespace)).await?;
        let kind = kind.clone();
        Ok(found.into_iter().map(move |object| (kind.clone(), Arc::new(object))))
    }

    /// Deletes an object that a copy shows, and no other of its name.
    async fn delete(&self, kind: &ResourceKind, object: &Partial) -> Result<(), Error> {
        let api = Api::partial(&self.client, kind, object.namespace());
        match api.delete(object.name(), &DeleteOptions::default().uid(object.uid())).await {
            Ok(()) | Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Says in the namespace's status what holds it.
    async fn tell(&self, namespace: &Namespace, remains: &Remains) -> Result<(), Error> {
        let known = namespace.status.as_ref().and_then(|status| status.conditions.clone());
        let next = conditions::conditions(known.as_deref().unwrap_or_default(), remains, self.clock.now());
        if known.as_ref() == Some(&next) {
            return Ok(());
        }
        let mut changed = namespace.clone();
        changed.status.get_or_insert_default().conditions = Some(next);
        let api: Api<Namespace> = Api::all(&self.client);
        // Where somebody has changed it, that brings it here again.
        match api.update_status(&changed).await {
            Ok(_) | Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Nothing is left inside: the namespace may go.
    async fn let_go(&self, namespace: &Namespace, finalizers: &[String]) -> Result<Action, Error> {
        let name = namespace.name();
        let events: Api<Event> = Api::namespaced(&self.client, name);
        events.delete_all(&ListOptions::default(), &DeleteOptions::default()).await?;
        let rest: Vec<&String> = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).collect();
        let finalized = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "uid": namespace.uid(), "resourceVersion": namespace.resource_version()},
            "spec": {"finalizers": rest},
        });
        let api: Api<Namespace> = Api::all(&self.client);
        match api.update_subresource::<Namespace>(name, "finalize", &finalized).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(Action::Done),
            Err(Error::Conflict(_)) => Ok(Action::After(SOON)),
            Err(error) => Err(error),
        }
    }
}

fn has_pods(inside: &[Inside]) -> bool {
    inside.iter().any(|(kind, _)| is_pod(kind))
}

fn is_pod(kind: &ResourceKind) -> bool {
    kind.group.is_empty() && kind.kind == "Pod"
}
