//! The history of StatefulSets and DaemonSets: each template that they have had is kept as a
//! ControllerRevision, for going back to it.

use std::sync::Arc;

use client::api::{Patch, PatchOptions};
use client::{Api, Client, DeleteOptions, Error, Freshness, ObjectKey, Resource as _, Store, Typed};
use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::select::LabelSelector;
use serde_json::json;

use crate::{Context, ownership};

mod plan;

pub(crate) use plan::{Surplus, is_of, template_of};
use plan::{Wanted, make, wanted};

/// The label of pods that says of which template they are: with a StatefulSet the name of a revision, with a
/// DaemonSet its hash.
pub(crate) const REVISION: &str = "controller-revision-hash";

/// How many names are tried for a revision at once, where others have taken them.
const TRIES: usize = 16;

/// What has a history.
pub(crate) trait Kept: Typed + Metadata<Ty = ObjectMeta> {
    /// The label by which revisions tell their hash.
    const HASH: &'static str;

    /// The template as it is now.
    fn template(&self) -> &PodTemplateSpec;

    /// Which revisions and pods may be its own; none where the selector is not a valid one.
    fn selector(&self) -> Option<LabelSelector>;

    /// How many names of revisions were taken so far, by its status.
    fn collisions(&self) -> Option<i32>;
}

/// The histories of all objects of a kind.
pub(crate) struct History {
    client: Client,
    revisions: Store<ControllerRevision>,
    fresh: Freshness<ControllerRevision>,
}

/// The revision of a template as it is now.
pub(crate) struct Newest {
    pub(crate) revision: Arc<ControllerRevision>,
    /// How many names were taken by then; none where there was no need to look.
    pub(crate) collisions: Option<i32>,
}

impl History {
    /// Of revisions that an informer shows.
    pub(crate) fn new(context: &Context) -> Self {
        let revisions = context.informers.of::<ControllerRevision>().store();
        Self { client: context.client.clone(), fresh: Freshness::new(revisions.clone()), revisions }
    }

    /// Whether the revisions that were written for `key` are shown by now; waits for it.
    pub(crate) async fn ready(&self, key: &ObjectKey) -> bool {
        self.fresh.ready(key).await
    }

    /// Forgets what was written for an object that is gone.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.fresh.forget(key);
    }

    /// The revisions of an object, the oldest first. Takes over those that the selector fits and nobody
    /// owns, and lets go of those that it no longer fits.
    pub(crate) async fn of<S: Kept>(
        &self,
        key: &ObjectKey,
        owner: &S,
    ) -> Result<Vec<Arc<ControllerRevision>>, Error> {
        let Some(selector) = owner.selector() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for revision in self.revisions.by_controller(owner.uid()) {
            if revision.is_selected(&selector) {
                found.push(revision);
            } else if !revision.is_being_deleted() {
                ownership::release(&self.api(key), owner, &*revision).await?;
            }
        }
        for revision in self.revisions.select_orphans(&key.namespace, &selector) {
            if revision.is_being_deleted() {
                continue;
            }
            if !ownership::stays(&Api::<S>::namespaced(&self.client, &key.namespace), owner).await? {
                break;
            }
            if let Some(revision) = ownership::adopt(&self.api(key), owner, &*revision).await? {
                self.fresh.created(key, &revision);
                found.push(Arc::new(revision));
            }
        }
        found.sort_by(|one, other| plan::order(one).cmp(&plan::order(other)));
        Ok(found)
    }

    /// The revision of the template as it is now: made if there is none, and made the newest if an earlier one
    /// has the same template. None where the object's namespace is going away.
    pub(crate) async fn newest<S: Kept>(
        &self,
        key: &ObjectKey,
        owner: &S,
        revisions: &[Arc<ControllerRevision>],
    ) -> Result<Option<Newest>, Error> {
        let found = |revision| Ok(Some(Newest { revision, collisions: None }));
        let number = match wanted(revisions, owner.template()) {
            Wanted::Kept(revision) => return found(revision),
            Wanted::Renumbered(revision, number) => {
                let patch = json!({"metadata": {"uid": revision.uid()}, "revision": number});
                let changed = self
                    .api(key)
                    .patch(revision.name(), &Patch::Merge(patch), &PatchOptions::default())
                    .await?;
                self.fresh.created(key, &changed);
                return found(Arc::new(changed));
            }
            Wanted::New(number) => number,
        };
        let mut collisions = owner.collisions().unwrap_or(0);
        let mut refused = None;
        for _ in 0..TRIES {
            let revision = make(owner, number, collisions);
            let taken = match self.api(key).create(&revision).await {
                Ok(made) => {
                    self.fresh.created(key, &made);
                    return Ok(Some(Newest { revision: Arc::new(made), collisions: Some(collisions) }));
                }
                Err(Error::Forbidden(status)) if status.is_namespace_terminating() => return Ok(None),
                Err(error @ Error::AlreadyExists(_)) => {
                    refused = Some(error);
                    self.api(key).find(revision.name()).await?
                }
                Err(error) => return Err(error),
            };
            match taken {
                // Made by a run before this one, which did not live to see it.
                Some(taken) if plan::is_same(&taken, owner) => {
                    self.fresh.created(key, &taken);
                    return Ok(Some(Newest { revision: Arc::new(taken), collisions: Some(collisions) }));
                }
                Some(_) => collisions = collisions.saturating_add(1),
                None => {}
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// Removes revisions that are too many.
    pub(crate) async fn shorten(
        &self,
        key: &ObjectKey,
        surplus: Vec<Arc<ControllerRevision>>,
    ) -> Result<(), Error> {
        for revision in surplus {
            let options = DeleteOptions::default().uid(revision.uid());
            match self.api(key).delete(revision.name(), &options).await {
                Ok(()) => self.fresh.deleted(key, &revision),
                Err(Error::NotFound(_) | Error::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn api(&self, key: &ObjectKey) -> Api<ControllerRevision> {
        Api::namespaced(&self.client, &key.namespace)
    }
}

/// Whom a revision without an owner may concern: those whose selector fits it.
pub(crate) fn of_orphan<S: Kept>(owners: Store<S>) -> impl Fn(&ControllerRevision) -> Vec<ObjectKey> {
    move |revision| {
        if revision.controller().is_some()
            || revision.metadata.labels.as_ref().is_none_or(|all| all.is_empty())
        {
            return Vec::new();
        }
        let owners = owners.list_namespace(revision.namespace().unwrap_or_default());
        let fits = |owner: &&Arc<S>| owner.selector().is_some_and(|selector| revision.is_selected(&selector));
        owners.iter().filter(fits).map(|owner| owner.key()).collect()
    }
}
