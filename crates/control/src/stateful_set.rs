//! StatefulSets: pods with names and claims of their own, made and ended in order.

use std::sync::Arc;
use std::time::Duration;

use client::recorder::{EventType, Recorder};
use client::{
    Action, Api, Controller, DeleteOptions, Error, Freshness, ObjectKey, Outline as _, Reconcile,
    Resource as _, Store,
};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use model::select::LabelSelector;
use tracing::debug;

use crate::history::{self, History, Kept, Surplus};
use crate::pods::PodOutline;
use crate::ready::{Available, ReadyAges, seconds};
use crate::{Context, ownership, selector};

mod claims;
mod plan;
mod pod;
mod version;

use plan::{Phases, Scene, Step, plan, status};
use version::{Member, Version, ordinal};

/// Runs the controller.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    let sets = context.informers.of::<StatefulSet>();
    let all_pods = context.informers.of::<Pod>();
    let all_claims = context.informers.of::<PersistentVolumeClaim>();
    let revisions = context.informers.of::<ControllerRevision>();
    let (named, claiming) = (sets.store(), sets.store());
    // A pod without an owner concerns the set that gives such names: it is taken over, or is in the way.
    let orphans = move |pod: &Pod| -> Vec<ObjectKey> {
        let Some((set, _)) = pod.name().rsplit_once('-').filter(|_| pod.controller().is_none()) else {
            return Vec::new();
        };
        let key = ObjectKey::new(pod.namespace().unwrap_or_default(), set);
        Some(key).filter(|key| named.get(key).is_some()).into_iter().collect()
    };
    let of_claim = move |claim: &PersistentVolumeClaim| -> Vec<ObjectKey> {
        if !claim.name().ends_with(|last: char| last.is_ascii_digit()) {
            return Vec::new();
        }
        let sets = claiming.list_namespace(claim.namespace().unwrap_or_default());
        sets.iter().filter(|set| claims::is_named(set, claim.name())).map(|set| set.key()).collect()
    };
    let reconciler = Reconciler {
        sets: sets.store(),
        pods: all_pods.store(),
        claims: all_claims.store(),
        fresh_pods: Freshness::new(all_pods.store()),
        fresh_claims: Freshness::new(all_claims.store()),
        history: History::new(&context),
        ready: ReadyAges::default(),
        recorder,
        context: context.clone(),
    };
    Controller::new("statefulset", &sets)
        .owns(&all_pods)
        .watches(&all_pods, orphans)
        .watches(&all_claims, of_claim)
        .owns(&revisions)
        .watches(&revisions, history::of_orphan(sets.store()))
        .workers(8)
        .run_by(reconciler, context.stop)
        .await;
}

impl Kept for StatefulSet {
    const HASH: &'static str = "controller.kubernetes.io/hash";

    fn template(&self) -> &PodTemplateSpec {
        static NONE: PodTemplateSpec = PodTemplateSpec { metadata: None, spec: None };
        self.spec.as_ref().map_or(&NONE, |spec| &spec.template)
    }

    fn selector(&self) -> Option<LabelSelector> {
        selector(&self.spec.as_ref()?.selector)
    }

    fn collisions(&self) -> Option<i32> {
        self.status.as_ref()?.collision_count
    }
}

struct Reconciler {
    context: Context,
    sets: Store<StatefulSet>,
    pods: Store<Pod>,
    claims: Store<PersistentVolumeClaim>,
    fresh_pods: Freshness<Pod>,
    fresh_claims: Freshness<PersistentVolumeClaim>,
    history: History,
    ready: ReadyAges,
    recorder: Recorder,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(set) = self.sets.get(key) else {
            self.fresh_pods.forget(key);
            self.fresh_claims.forget(key);
            self.history.forget(key);
            self.ready.forget(key);
            return Ok(Action::Done);
        };
        if !self.fresh_pods.ready(key).await
            || !self.fresh_claims.ready(key).await
            || !self.history.ready(key).await
        {
            return Ok(Action::After(Duration::from_secs(1)));
        }
        if set.is_being_deleted() {
            // Nothing is made for it any more, no revision either.
            let status = set.status.as_ref();
            let names = status
                .and_then(|status| status.current_revision.as_deref().zip(status.update_revision.as_deref()));
            let Some(names) = names else { return Ok(Action::Done) };
            let (members, available) = self.members(key, &set, self.owned(&set).0);
            return self.publish(key, &set, names, &members, &available, None).await;
        }
        let pods = self.claimed(key, &set).await?;
        let revisions = self.history.of(key, &*set).await?;
        let Some(newest) = self.history.newest(key, &*set, &revisions).await? else {
            return Ok(Action::Done);
        };
        let Some(update) = Version::of(&newest.revision) else { return Ok(Action::Done) };
        let known = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
        let current = revisions.iter().find(|revision| Some(revision.name()) == known);
        let current = current.and_then(|revision| Version::of(revision)).unwrap_or_else(|| update.clone());

        let (members, available) = self.members(key, &set, pods);
        let claim = |name: &str| self.claims.get(&ObjectKey::new(&*key.namespace, name));
        let phases =
            plan(&Scene { set: &set, current: &current, update: &update, members: &members, claim: &claim });
        let acted = if phases.is_empty() { Ok(()) } else { self.act(key, &set, phases).await };
        let names = (&*current.name, &*update.name);
        let published = self.publish(key, &set, names, &members, &available, newest.collisions).await;
        let is_live = |revision: &ControllerRevision| {
            let name = revision.name();
            name == current.name || members.iter().any(|member| member.revision() == name)
        };
        let old: Vec<_> =
            revisions.into_iter().filter(|revision| revision.uid() != newest.revision.uid()).collect();
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let surplus = Surplus { old: &old, limit, is_live: &is_live, counts_live: false }.revisions();
        let shortened = self.history.shorten(key, surplus).await;
        acted.and(shortened).and(published)
    }
}

impl Reconciler {
    /// The set's pods, and those that are none of it any more, though they name it.
    fn owned(&self, set: &StatefulSet) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
        let selector = Kept::selector(set);
        let fits = |pod: &Arc<Pod>| {
            selector.as_ref().is_some_and(|selector| pod.is_selected(selector))
                && ordinal(set.name(), pod.name()).is_some()
        };
        self.pods.by_controller(set.uid()).into_iter().partition(fits)
    }

    /// The set's pods, with those that it takes over, without those that it lets go of.
    async fn claimed(&self, key: &ObjectKey, set: &StatefulSet) -> Result<Vec<Arc<Pod>>, Error> {
        let (mut owned, others) = self.owned(set);
        for pod in others.iter().filter(|pod| !pod.is_being_deleted()) {
            ownership::release(&self.pods_of(key), set, &**pod).await?;
        }
        let Some(selector) = Kept::selector(set) else { return Ok(owned) };
        for pod in self.pods.select_orphans(&key.namespace, &selector) {
            if pod.is_being_deleted() || ordinal(set.name(), pod.name()).is_none() {
                continue;
            }
            if !self.stays(key, set).await? {
                break;
            }
            if let Some(pod) = ownership::adopt(&self.pods_of(key), set, &*pod).await? {
                self.fresh_pods.created(key, &pod);
                owned.push(Arc::new(pod));
            }
        }
        Ok(owned)
    }

    fn members(&self, key: &ObjectKey, set: &StatefulSet, pods: Vec<Arc<Pod>>) -> (Vec<Member>, Available) {
        let outlined = pods.into_iter().map(|pod| (PodOutline::of(&pod), pod));
        let outlined: Vec<(PodOutline, Arc<Pod>)> = outlined.collect();
        let since =
            outlined.iter().filter_map(|(pod, _)| Some((pod.uid.clone().into_string(), pod.ready_since?)));
        let least = seconds(set.spec.as_ref().and_then(|spec| spec.min_ready_seconds));
        let available = self.ready.look(key, &*self.context.clock, least, since);
        let members = outlined.into_iter();
        let members = members.filter_map(|(outline, pod)| Member::of(set, pod, outline, &available));
        (members.collect(), available)
    }

    /// Whether the set is there to stay. Asked of the API: the cache may not show yet that it goes and
    /// leaves its pods behind.
    async fn stays(&self, key: &ObjectKey, set: &StatefulSet) -> Result<bool, Error> {
        ownership::stays(&Api::<StatefulSet>::namespaced(&self.context.client, &key.namespace), set).await
    }

    /// Does one phase after the other. Within one it begins with one step and doubles, so that a template that is
    /// refused is refused once and not a hundred times.
    async fn act(&self, key: &ObjectKey, set: &StatefulSet, phases: Phases) -> Result<(), Error> {
        debug!(set = %key, phases = phases.len(), "acting");
        for phase in phases {
            let (mut steps, mut batch) = (phase.into_iter(), 1);
            loop {
                let now: Vec<Step> = steps.by_ref().take(batch).collect();
                if now.is_empty() {
                    break;
                }
                if !self.stays(key, set).await? {
                    return Ok(());
                }
                let done = join_all(now.into_iter().map(|step| self.perform(key, set, step))).await;
                let done = done.into_iter().collect::<Result<Vec<bool>, _>>()?;
                if !done.into_iter().all(|done| done) {
                    return Ok(());
                }
                batch *= 2;
            }
        }
        Ok(())
    }

    /// Does one step; false where it has to wait for what the caches will show.
    async fn perform(&self, key: &ObjectKey, set: &StatefulSet, step: Step) -> Result<bool, Error> {
        match step {
            Step::Create { pod, claims } => self.create(key, set, &pod, claims).await,
            Step::Await { pod, claim } => {
                let why = format!("pvc {claim} is being deleted");
                self.tell_of_pod(set, "create", &pod, Some(&why));
                Ok(false)
            }
            Step::Claim { pod, claims } => self.make_claims(key, set, &pod, claims).await,
            Step::Delete(pod) => self.delete(key, set, &pod).await,
            Step::Mend(pod) => self.mend(key, set, &pod).await,
            Step::Own { claim, owners, is_conflict } => self.own(key, set, &claim, owners, is_conflict).await,
        }
    }

    /// Makes a pod. Its name is taken as long as one before it is there in whatever state, so that there are never
    /// two.
    async fn create(
        &self,
        key: &ObjectKey,
        set: &StatefulSet,
        pod: &Pod,
        claims: Vec<PersistentVolumeClaim>,
    ) -> Result<bool, Error> {
        match self.make_claims(key, set, pod.name(), claims).await {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => {
                self.tell_of_pod(set, "create", pod.name(), Some(&error));
                return Err(error);
            }
        }
        match self.pods_of(key).create(pod).await {
            Ok(pod) => {
                self.fresh_pods.created(key, &pod);
                self.tell_of_pod(set, "create", pod.name(), None::<&Error>);
                Ok(true)
            }
            // The namespace is going away, and the set with it.
            Err(Error::Forbidden(status)) if status.is_namespace_terminating() => Ok(false),
            Err(error) => {
                if !error.is_already_exists() {
                    self.tell_of_pod(set, "create", pod.name(), Some(&error));
                }
                Err(error)
            }
        }
    }

    /// Makes claims; false where their namespace is going away.
    async fn make_claims(
        &self,
        key: &ObjectKey,
        set: &StatefulSet,
        pod: &str,
        claims: Vec<PersistentVolumeClaim>,
    ) -> Result<bool, Error> {
        for claim in claims {
            match self.claims_of(key).create(&claim).await {
                Ok(claim) => {
                    self.fresh_claims.created(key, &claim);
                    let (claim, set_name) = (claim.name(), set.name());
                    let message = format!("create Claim {claim} Pod {pod} in StatefulSet {set_name} success");
                    self.recorder.event(set, EventType::Normal, "SuccessfulCreate", message);
                }
                Err(Error::Forbidden(status)) if status.is_namespace_terminating() => return Ok(false),
                Err(error) => {
                    if !error.is_already_exists() {
                        let (claim, set_name) = (claim.name(), set.name());
                        let message = format!(
                            "create Claim {claim} for Pod {pod} in StatefulSet {set_name} failed error: {error}"
                        );
                        self.recorder.event(set, EventType::Warning, "FailedCreate", message);
                    }
                    return Err(error);
                }
            }
        }
        Ok(true)
    }

    async fn delete(&self, key: &ObjectKey, set: &StatefulSet, pod: &Pod) -> Result<bool, Error> {
        // This one, and none that has its name by now.
        match self.pods_of(key).delete(pod.name(), &DeleteOptions::default().uid(pod.uid())).await {
            Ok(()) => {
                self.fresh_pods.deleted(key, pod);
                self.tell_of_pod(set, "delete", pod.name(), None::<&Error>);
                Ok(true)
            }
            Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(false),
            Err(error) => {
                self.tell_of_pod(set, "delete", pod.name(), Some(&error));
                Err(error)
            }
        }
    }

    async fn mend(&self, key: &ObjectKey, set: &StatefulSet, pod: &Pod) -> Result<bool, Error> {
        // What is written back begins with what the API has: the cache lacks some of it.
        let live = self.pods_of(key).find(pod.name()).await?;
        let Some(mut changed) = live.filter(|live| live.uid() == pod.uid()) else { return Ok(false) };
        pod::give_identity(set, &mut changed);
        pod::give_storage(set, &mut changed);
        match self.pods_of(key).update(&changed).await {
            Ok(pod) => {
                self.fresh_pods.created(key, &pod);
                self.tell_of_pod(set, "update", pod.name(), None::<&Error>);
                Ok(true)
            }
            Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(false),
            Err(error) => {
                self.tell_of_pod(set, "update", pod.name(), Some(&error));
                Err(error)
            }
        }
    }

    /// Says with what a claim goes.
    async fn own(
        &self,
        key: &ObjectKey,
        set: &StatefulSet,
        claim: &PersistentVolumeClaim,
        owners: Vec<OwnerReference>,
        is_conflict: bool,
    ) -> Result<bool, Error> {
        if is_conflict {
            let message = format!(
                "PersistentVolumeClaim {} has a conflicting OwnerReference that acts as a manging controller, the \
                 retention policy is ignored for this claim",
                claim.name()
            );
            self.recorder.event(set, EventType::Warning, "ConflictingController", message);
        }
        let live = self.claims_of(key).find(claim.name()).await?;
        let is_known = |live: &PersistentVolumeClaim| {
            live.uid() == claim.uid() && live.metadata.owner_references == claim.metadata.owner_references
        };
        let Some(mut changed) = live.filter(is_known) else { return Ok(false) };
        changed.metadata.owner_references = Some(owners).filter(|owners| !owners.is_empty());
        match self.claims_of(key).update(&changed).await {
            Ok(claim) => {
                self.fresh_claims.created(key, &claim);
                Ok(true)
            }
            Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Publishes the status if it changed; comes back when a pod will have been ready long enough.
    async fn publish(
        &self,
        key: &ObjectKey,
        set: &StatefulSet,
        revisions: (&str, &str),
        members: &[Member],
        available: &Available,
        collisions: Option<i32>,
    ) -> Result<Action, Error> {
        let next = status(set, revisions, members, collisions);
        if set.status.as_ref() != Some(&next) {
            let api: Api<StatefulSet> = Api::namespaced(&self.context.client, &key.namespace);
            let mut changed = StatefulSet::clone(set);
            changed.status = Some(next);
            match api.update_status(&changed).await {
                Ok(_) | Err(Error::NotFound(_)) => {}
                // The cache is behind; its next change brings us back.
                Err(Error::Conflict(_)) => return Ok(Action::After(Duration::from_millis(20))),
                Err(error) => return Err(error),
            }
        }
        let wake = available.wait(members.iter().map(|member| &member.outline));
        Ok(wake.map_or(Action::Done, Action::After))
    }

    /// Tells what became of a pod, in the words that Kubernetes' own has for it.
    fn tell_of_pod(&self, set: &StatefulSet, verb: &str, pod: &str, error: Option<&impl ToString>) {
        let what = match verb {
            "create" => "Create",
            "delete" => "Delete",
            _ => "Update",
        };
        let name = set.name();
        match error {
            None => {
                let message = format!("{verb} Pod {pod} in StatefulSet {name} successful");
                self.recorder.event(set, EventType::Normal, &format!("Successful{what}"), message);
            }
            Some(error) => {
                let error = error.to_string();
                let message = format!("{verb} Pod {pod} in StatefulSet {name} failed error: {error}");
                self.recorder.event(set, EventType::Warning, &format!("Failed{what}"), message);
            }
        }
    }

    fn pods_of(&self, key: &ObjectKey) -> Api<Pod> {
        Api::namespaced(&self.context.client, &key.namespace)
    }

    fn claims_of(&self, key: &ObjectKey) -> Api<PersistentVolumeClaim> {
        Api::namespaced(&self.context.client, &key.namespace)
    }
}
