//! Garbage: objects whose owners are gone go too.
//!
//! Every kind is watched. An object is looked at when it changes and when an owner of it goes:
//!
//! - It names owners and none of them is there to stay: it is deleted.
//! - It is being deleted with `foregroundDeletion`: those of its dependents that block its deletion go first.
//! - It is being deleted with `orphan`: its dependents forget it first.
//!
//! The caches say what is worth looking at; what is done is decided on what the API says at that moment,
//! and done on condition that it is still so: the copy may lag behind an object that was orphaned, and
//! what is deleted does not come back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use client::api::{DeleteOptions, Patch, PatchOptions, Preconditions, Propagation};
use client::recorder::{EventType, Recorder};
use client::{Api, Change, Client, Error, ObjectKey, Partial, Resource as _, ResourceKind, WorkQueue};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::ObjectReference;
use model::OwnerReference;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;
use tracing::{debug, error};

use crate::Context;
use crate::objects::{self, LISTED_AT_ONCE, OWNER, Objects};

mod plan;

use plan::{Owner, Verdict, View, verdict};

const WORKERS: usize = 8;

/// When to look again at an owner whose dependents are not shown yet.
const AGAIN: Duration = Duration::from_millis(100);

/// An object among those of all kinds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Node {
    kind: ResourceKind,
    key: ObjectKey,
}

/// Runs the collector.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    let collector = Arc::new(Collector {
        client: context.client.clone(),
        objects: context.objects.clone(),
        recorder,
        misplaced: Mutex::default(),
        queue: WorkQueue::named("garbage_collector_attempt_to_delete"),
    });
    let stop = context.stop.clone();
    let noticing = Arc::clone(&collector);
    context.objects.on_change(move |kind, change| noticing.notice(kind, change));
    let working = async {
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            let collector = Arc::clone(&collector);
            workers.spawn(async move { collector.work().await });
        }
        while workers.join_next().await.is_some() {}
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = working => {}
    }
}

struct Collector {
    client: Client,
    objects: Objects,
    recorder: Recorder,
    /// Objects by uid of which was told that their owners (by uid) cannot be theirs.
    misplaced: Mutex<HashSet<(String, String)>>,
    queue: WorkQueue<Node>,
}

impl Collector {
    fn notice(&self, kind: &ResourceKind, change: &Change<Partial>) {
        let object = change.object();
        // An owner that waits for its dependents, and that one of them has let go, may go on now.
        if let Some(old) = change.old() {
            let owners = object.owners();
            for owner in old.owners().into_iter().filter(|owner| !owners.contains(owner)) {
                self.queue.add(self.node_of(&owner, old.namespace()));
            }
        }
        if change.is_deletion() {
            self.misplaced.lock().retain(|(told, _)| told != object.uid());
            for dependent in self.dependents(object.uid()) {
                self.queue.add(dependent.0);
            }
            // An owner that waits for its dependents may go on now.
            for owner in object.owners() {
                self.queue.add(self.node_of(&owner, object.namespace()));
            }
        } else if !object.owners().is_empty() || object.is_being_deleted() {
            self.queue.add(Node { kind: kind.clone(), key: object.key() });
            // One that no longer makes an owner wait may have let it go.
            if object.is_being_deleted() {
                for owner in object.owners() {
                    self.queue.add(self.node_of(&owner, object.namespace()));
                }
            }
        }
    }

    async fn work(&self) {
        while let Some(node) = self.queue.next().await {
            let looked = base::panics::catch_async(self.look(&node)).await;
            let looked = looked.unwrap_or_else(|panic| {
                error!(?node, %panic, "looking at an object panicked; trying again");
                Err(Error::Panic(panic))
            });
            match looked {
                Ok(()) => self.queue.forget(&node),
                Err(error) => {
                    let delay = self.queue.add_rate_limited(node.clone());
                    debug!(?node, error = %base::error::chain(&error), ?delay, "not collected; trying again");
                }
            }
            self.queue.done(&node);
        }
    }

    /// Decides about one object and acts.
    async fn look(&self, node: &Node) -> Result<(), Error> {
        let Some(store) = self.objects.of(&node.kind) else { return Ok(()) };
        let Some(shown) = store.get(&node.key) else { return Ok(()) };
        let (view, _) = self.view(&shown).await?;
        self.tell_misplaced(node, &shown, &view);
        if verdict(&view) == Verdict::Keep {
            return Ok(());
        }
        // Something is to be done, if the copy is right.
        let Some(object) = self.api(&node.kind, &shown).find(shown.name()).await? else { return Ok(()) };
        if object.uid() != shown.uid() {
            return Ok(());
        }
        let (view, dependents) = self.view(&object).await?;
        match verdict(&view) {
            Verdict::Keep => Ok(()),
            Verdict::Delete(propagation) => {
                debug!(kind = %node.kind.kind, key = %node.key, "collecting: its owners are gone");
                self.delete(&node.kind, &object, propagation).await
            }
            Verdict::DeleteUnblocking => {
                let object = self.unblock_owners(&node.kind, &object).await?;
                self.delete(&node.kind, &object, Propagation::Foreground).await
            }
            Verdict::ForgetOwners(gone) => self.forget_owners(&node.kind, &object, &gone).await,
            Verdict::DeleteDependents => {
                for (dependent, object) in dependents {
                    if !object.is_being_deleted() {
                        self.queue.add(dependent);
                    }
                }
                Ok(())
            }
            Verdict::OrphanDependents => {
                let uid = [object.uid().to_owned()];
                // Until there are none: who makes them may not have seen yet that their owner goes.
                loop {
                    let listed = self.listed_dependents(&object).await?;
                    if listed.is_empty() {
                        break;
                    }
                    for (kind, dependent) in listed {
                        self.forget_owners(&kind, &dependent, &uid).await?;
                    }
                }
                self.release(&node.kind, &object, plan::ORPHAN).await
            }
            Verdict::Release(finalizer) => {
                // None that the copy shows; one that was made a moment ago counts too.
                let listed = self.listed_dependents(&object).await?;
                let left: Vec<_> =
                    listed.into_iter().filter(|(_, dependent)| blocks(dependent, &object)).collect();
                if left.is_empty() {
                    return self.release(&node.kind, &object, finalizer).await;
                }
                for (kind, dependent) in left {
                    self.queue.add(Node { kind, key: dependent.key() });
                }
                self.queue.add_after(node.clone(), AGAIN);
                Ok(())
            }
        }
    }

    /// All that the decision about an object depends on, and its dependents as the copies show them.
    async fn view(&self, object: &Partial) -> Result<(View, Vec<(Node, Arc<Partial>)>), Error> {
        let dependents = self.dependents(object.uid());
        let mut owners = Vec::new();
        for owner in object.owners() {
            let state = self.state(&owner, object.namespace()).await?;
            owners.push((owner.uid, state));
        }
        let view = View {
            owners,
            is_being_deleted: object.is_being_deleted(),
            finalizers: object.metadata.finalizers.clone(),
            dependents: dependents.len(),
            blocking: dependents.iter().filter(|(_, dependent)| blocks(dependent, object)).count(),
            dependent_waits: dependents.iter().any(|(_, dependent)| waits(dependent)),
        };
        Ok((view, dependents))
    }

    /// Objects of all kinds that name this owner.
    fn dependents(&self, uid: &str) -> Vec<(Node, Arc<Partial>)> {
        let found = self.objects.each(|store| store.by_index(OWNER, uid));
        found.into_iter().map(|(kind, object)| (Node { kind, key: object.key() }, object)).collect()
    }

    /// Tells once of each owner that an object cannot have.
    fn tell_misplaced(&self, node: &Node, object: &Partial, view: &View) {
        let misplaced = view.owners.iter().filter(|(_, owner)| *owner == Owner::Misplaced);
        for (uid, _) in misplaced {
            let key = (object.uid().to_owned(), uid.clone());
            let owner = object.owners().into_iter().find(|owner| owner.uid == *uid);
            let Some(owner) = owner.filter(|_| self.misplaced.lock().insert(key)) else { continue };
            let namespace = object.namespace().unwrap_or_default();
            let OwnerReference { api_version, kind, name, uid, .. } = owner;
            let message = format!(
                "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in namespace {namespace:?}"
            );
            let reference = ObjectReference {
                // Items of lists do not say what they are.
                api_version: Some(node.kind.api_version()),
                kind: Some(node.kind.kind.to_string()),
                ..client::recorder::reference(object)
            };
            self.recorder.event_on(reference, EventType::Warning, "OwnerRefInvalidNamespace", message);
        }
    }

    /// As [`Self::dependents`], but from the API: a dependent that was made a moment ago and is not in
    /// the cache yet would be left with an owner that is gone, and be collected.
    async fn listed_dependents(&self, owner: &Partial) -> Result<Vec<(ResourceKind, Partial)>, Error> {
        let kinds = self.objects.kinds();
        let listing: Vec<_> = kinds.iter().map(|kind| self.listed_of(kind, owner)).collect();
        let mut listing = stream::iter(listing).buffered(LISTED_AT_ONCE);
        let mut found = Vec::new();
        while let Some((kind, listed)) = listing.next().await {
            found.extend(listed?.into_iter().map(|object| (kind.clone(), object)));
        }
        Ok(found)
    }

    /// The dependents that are of one kind. Nobody who serves a kind of his own keeps objects of others from going: of
    /// what he does not tell, the copy says what there was as long as he did.
    async fn listed_of<'k>(
        &self,
        kind: &'k ResourceKind,
        owner: &Partial,
    ) -> (&'k ResourceKind, Result<Vec<Partial>, Error>) {
        let namespace = owner.namespace().filter(|_| kind.namespaced);
        let listed = match objects::list(&self.client, kind, namespace).await {
            Ok(listed) => {
                let is_dependent = |object: &Partial| object.owners().iter().any(|o| o.uid == owner.uid());
                Ok(listed.into_iter().filter(is_dependent).collect())
            }
            // It went while this was asked.
            Err(Error::NotFound(_)) => Ok(Vec::new()),
            Err(_) if self.objects.is_stale(kind) || plan::may_be_anothers(&kind.group) => {
                let copy = self.objects.of(kind).map(|copy| copy.by_index(OWNER, owner.uid()));
                Ok(copy.into_iter().flatten().map(|object| Partial::clone(&object)).collect())
            }
            Err(error) => Err(error),
        };
        (kind, listed)
    }

    fn node_of(&self, owner: &OwnerReference, namespace: Option<&str>) -> Node {
        let kind = self.kind_of(owner).unwrap_or(ResourceKind {
            group: "".into(),
            version: "".into(),
            kind: owner.kind.clone().into(),
            plural: "".into(),
            namespaced: false,
        });
        let namespace = namespace.filter(|_| kind.namespaced).unwrap_or_default();
        Node { key: ObjectKey::new(namespace, &owner.name), kind }
    }

    fn kind_of(&self, owner: &OwnerReference) -> Option<ResourceKind> {
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        self.objects.kind(group, &owner.kind)
    }

    /// How an owner is. The cache may say that it is there; that it is not is asked of the API.
    async fn state(&self, owner: &OwnerReference, namespace: Option<&str>) -> Result<Owner, Error> {
        // Of a kind that nobody knows, nothing can be said: its objects are kept.
        let Some(kind) = self.kind_of(owner) else { return Ok(Owner::Solid) };
        if kind.namespaced && namespace.is_none() {
            return Ok(Owner::Misplaced);
        }
        let node = self.node_of(owner, namespace);
        let found = self.objects.of(&kind).and_then(|store| store.get(&node.key));
        let state = |object: &Partial| if waits(object) { Owner::Waiting } else { Owner::Solid };
        if let Some(object) = found.filter(|object| object.uid() == owner.uid) {
            return Ok(state(&object));
        }
        let api = Api::partial(&self.client, &kind, kind.namespaced.then_some(node.key.namespace.as_str()));
        let found = match api.find(&owner.name).await {
            // Nothing can have that name.
            Err(Error::Name { .. }) => None,
            found => found?.filter(|found| found.uid() == owner.uid),
        };
        Ok(found.as_ref().map_or(Owner::Absent, state))
    }

    /// Deletes an object as it was decided about. One that has changed since is decided about anew.
    async fn delete(
        &self,
        kind: &ResourceKind,
        object: &Partial,
        propagation: Propagation,
    ) -> Result<(), Error> {
        let options = DeleteOptions {
            propagation: Some(propagation),
            preconditions: Preconditions {
                uid: Some(object.uid().to_owned()),
                resource_version: Some(object.resource_version().to_owned()),
            },
            ..DeleteOptions::default()
        };
        match self.api(kind, object).delete(object.name(), &options).await {
            Ok(()) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes owners out of an object that has others.
    async fn forget_owners(
        &self,
        kind: &ResourceKind,
        object: &Partial,
        gone: &[String],
    ) -> Result<(), Error> {
        let rest: Vec<OwnerReference> =
            object.owners().into_iter().filter(|owner| !gone.contains(&owner.uid)).collect();
        let patch = json!({"metadata": {
            "uid": object.uid(), "resourceVersion": object.resource_version(), "ownerReferences": unless_empty(rest)}});
        self.patch(kind, object, patch).await.map(drop)
    }

    /// Lets an object's owners go without waiting for it; gives the object as it is then.
    async fn unblock_owners(&self, kind: &ResourceKind, object: &Partial) -> Result<Partial, Error> {
        let unblocked = |owner| OwnerReference { block_owner_deletion: Some(false), ..owner };
        let owners: Vec<OwnerReference> = object.owners().into_iter().map(unblocked).collect();
        let patch = json!({"metadata": {
            "uid": object.uid(), "resourceVersion": object.resource_version(), "ownerReferences": owners}});
        Ok(self.patch(kind, object, patch).await?.unwrap_or_else(|| object.clone()))
    }

    /// Takes a finalizer from an object that is being deleted.
    async fn release(&self, kind: &ResourceKind, object: &Partial, finalizer: &str) -> Result<(), Error> {
        let finalizers = object.metadata.finalizers.iter();
        let rest: Vec<&String> = finalizers.filter(|known| *known != finalizer).collect();
        let patch = json!({"metadata": {
            "uid": object.uid(), "resourceVersion": object.resource_version(), "finalizers": unless_empty(rest)}});
        self.patch(kind, object, patch).await.map(drop)
    }

    /// Changes an object; gives it as it is then, nothing where it is gone.
    async fn patch(
        &self,
        kind: &ResourceKind,
        object: &Partial,
        patch: serde_json::Value,
    ) -> Result<Option<Partial>, Error> {
        match self
            .api(kind, object)
            .patch(object.name(), &Patch::Merge(patch), &PatchOptions::default())
            .await
        {
            Ok(changed) => Ok(Some(changed)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn api(&self, kind: &ResourceKind, object: &Partial) -> Api<Partial> {
        Api::partial(&self.client, kind, object.namespace())
    }
}

/// Whether an object is there only until its dependents are gone.
fn waits(object: &Partial) -> bool {
    object.is_being_deleted()
        && object.metadata.finalizers.iter().any(|finalizer| finalizer == plan::FOREGROUND)
}

/// Whether `owner`, when it is deleted in the foreground, waits for `dependent`.
fn blocks(dependent: &Partial, owner: &Partial) -> bool {
    dependent.owners().iter().any(|one| one.uid == owner.uid() && one.block_owner_deletion == Some(true))
}

/// What a patch sets a list to: an empty one is taken away, as clients expect of Kubernetes' lists.
fn unless_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list) }
}
