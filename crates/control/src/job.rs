//! Jobs: pods that run to their end, as often as they have to.
//!
//! No pod is counted twice or lost, whatever ends in between: a pod has a finalizer until it is counted, and what
//! [`track`](mod@track) says of it is written before the finalizer goes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use base::clock::Ages;
use client::api::{DeleteOptions, Patch, PatchOptions, Preconditions};
use client::recorder::{EventType, Recorder};
use client::{
    Action, Api, Controller, Error, Freshness, ListOptions, ObjectKey, Reconcile, Resource as _, Store,
};
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use model::select::LabelSelector;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::debug;

use crate::meters::{self, JobAction};
use crate::pods::is_active;
use crate::{Context, making, ownership, selecting};

mod backoff;
mod indexes;
mod plan;
mod pods;
mod policy;
mod template;
mod track;

use backoff::{Failures, Passed};
pub(crate) use plan::finished;
use plan::{Act, Creation, View, plan};
use pods::{OF_JOB, TRACKED, TRACKING};
use track::{Done, Told, Tracking, Write, conclude, track};

/// Who manages a job that says nothing of it.
const CONTROLLER: &str = "kubernetes.io/job-controller";
/// The pods of a namespace that belong to nobody.
const NOBODYS: &str = "nobodys";
/// For so long counts are gathered before they are written.
const GATHER: Duration = Duration::from_millis(200);
/// After so long a job is looked at again that is another by now.
const AGAIN: Duration = Duration::from_millis(20);
/// How many pods are let go of at once.
const AT_ONCE: usize = 64;

/// Runs the controller.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    let jobs = context.informers.of::<Job>();
    let all_pods = context.informers.of::<Pod>();
    all_pods.index(OF_JOB, pods::of_job).index(TRACKED, pods::tracked).index(NOBODYS, |pod| {
        let namespace = pod.controller().is_none().then(|| pod.namespace().unwrap_or_default().to_owned());
        namespace.into_iter().collect()
    });
    // One that has finished takes over nothing.
    let selecting = selecting::orphans(&jobs, |job| selector(job).filter(|_| finished(job).is_none()));
    // A pod without an owner concerns every job that selects it; and none, where it is kept for one.
    let orphans = move |pod: &Pod| -> Vec<ObjectKey> {
        let none = pods::has_finalizer(pod) && pod.controller().is_none();
        let none = none.then(|| ObjectKey::new(pod.namespace().unwrap_or_default(), ""));
        selecting(pod).into_iter().chain(none).collect()
    };
    let reconciler = Reconciler {
        jobs: jobs.store(),
        pods: all_pods.store(),
        fresh: Freshness::new(all_pods.store()),
        recorder,
        known: Mutex::default(),
        context: context.clone(),
    };
    Controller::new("job", &jobs)
        .owns(&all_pods)
        .watches(&all_pods, orphans)
        .workers(8)
        .run_by(reconciler, context.stop)
        .await;
}

struct Reconciler {
    context: Context,
    jobs: Store<Job>,
    pods: Store<Pod>,
    fresh: Freshness<Pod>,
    recorder: Recorder,
    known: Mutex<HashMap<ObjectKey, Known>>,
}

/// What is known of a job beside what the caches show.
#[derive(Clone, Default)]
struct Known {
    uid: String,
    /// The job as an answer of the server showed it last.
    answered: Option<Arc<Job>>,
    /// Whether nobody else has written its status since.
    is_sure: bool,
    /// When its status was written last.
    written: Option<Instant>,
    failures: Failures,
    /// The moments that it waits from.
    ages: Ages<Timestamp>,
    /// The pods, by uid, whose finalizers are taken away.
    untracked: HashSet<String>,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let job = Some(key).filter(|key| !key.name.is_empty()).and_then(|key| self.newest(key));
        let Some(job) = job.filter(|job| finished(job).is_none()) else {
            self.fresh.forget(key);
            self.known.lock().remove(key);
            return self.let_go(key, self.kept(key, None)).await;
        };
        if is_managed_elsewhere(&job) {
            return Ok(Action::Done);
        }
        self.let_go(key, self.kept(key, Some(&job))).await?;
        if !self.fresh.ready(key).await {
            return Ok(Action::After(Duration::from_secs(1)));
        }
        let pods = self.claim(key, &job).await?;
        let began = self.context.clock.elapsed();
        let mut action = JobAction::Tracking;
        let outcome = self.work(key, &job, &pods, &mut action).await;
        let took = self.context.clock.elapsed().saturating_sub(began);
        meters::job_synced(&job, action, outcome.is_ok(), took);
        outcome
    }
}

fn selector(job: &Job) -> Option<LabelSelector> {
    crate::selector(job.spec.as_ref()?.selector.as_ref()?)
}

fn is_managed_elsewhere(job: &Job) -> bool {
    plan::spec(job).managed_by.as_deref().is_some_and(|manager| manager != CONTROLLER)
}

impl Reconciler {
    /// The job as it is known last: the cache may not show yet what was written of it.
    fn newest(&self, key: &ObjectKey) -> Option<Arc<Job>> {
        let shown = self.jobs.get(key)?;
        let mut all = self.known.lock();
        let known = all.entry(key.clone()).or_default();
        if known.uid != shown.uid() {
            *known = Known { uid: shown.uid().to_owned(), ..Known::default() };
        }
        let newer = known.answered.as_ref().filter(|answered| answered.revision() > shown.revision());
        Some(newer.cloned().unwrap_or(shown))
    }

    fn with_known<T>(&self, key: &ObjectKey, with: impl FnOnce(&mut Known) -> T) -> T {
        with(self.known.lock().entry(key.clone()).or_default())
    }

    fn api(&self, key: &ObjectKey) -> Api<Pod> {
        Api::namespaced(&self.context.client, &key.namespace)
    }

    /// The pods that are kept for a job of this name, but for those of `job`.
    fn kept(&self, key: &ObjectKey, job: Option<&Job>) -> Vec<Arc<Pod>> {
        let mut pods = self.pods.by_index(TRACKED, &format!("{}/{}", key.namespace, key.name));
        pods.retain(|pod| {
            job.is_none() || pod.controller().map(|owner| owner.uid).as_deref() != job.map(|job| job.uid())
        });
        pods
    }

    /// Lets go of pods that no job counts any more.
    async fn let_go(&self, key: &ObjectKey, pods: Vec<Arc<Pod>>) -> Result<Action, Error> {
        if pods.is_empty() {
            return Ok(Action::Done);
        }
        // The cache may not show the job yet.
        let jobs: Api<Job> = Api::namespaced(&self.context.client, &key.namespace);
        let live = if key.name.is_empty() { None } else { jobs.find(&key.name).await? };
        let counts = |pod: &Pod| {
            live.as_ref().is_some_and(|job| {
                pod.controller().is_some_and(|owner| owner.uid == job.uid())
                    && (finished(job).is_none() || is_managed_elsewhere(job))
            })
        };
        let mut leaving = pods;
        leaving.retain(|pod| !counts(pod));
        // On condition that they are what they were: somebody may take them over at this moment.
        for (_, left) in self.untrack_each(key, leaving, true).await {
            left?;
        }
        Ok(Action::Done)
    }

    /// Takes the finalizers from pods, on condition that they are what they were or not; says for each whether
    /// it has none then.
    async fn untrack_each(
        &self,
        key: &ObjectKey,
        pods: Vec<Arc<Pod>>,
        pinned: bool,
    ) -> Vec<(Arc<Pod>, Result<bool, Error>)> {
        let mut leaving = Vec::new();
        for pod in pods {
            leaving.push(async move {
                let left = self.untrack(key, &pod, pinned).await;
                (pod, left)
            });
        }
        stream::iter(leaving).buffer_unordered(AT_ONCE).collect().await
    }

    /// Takes the finalizer from a pod; says whether it has none then.
    async fn untrack(&self, key: &ObjectKey, pod: &Pod, pinned: bool) -> Result<bool, Error> {
        let mut metadata = json!({"uid": pod.uid(), "$deleteFromPrimitiveList/finalizers": [TRACKING]});
        if pinned {
            metadata["resourceVersion"] = pod.resource_version().into();
        }
        let patch = Patch::Strategic(json!({ "metadata": metadata }));
        match self.api(key).patch(pod.name(), &patch, &PatchOptions::default()).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(true),
            // It is another by now.
            Err(Error::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The job's pods: takes over those that nobody owns, and lets go of those that it does not select.
    async fn claim(&self, key: &ObjectKey, job: &Job) -> Result<Vec<Arc<Pod>>, Error> {
        let all = self.pods.by_index_within(&key.namespace, OF_JOB, job.uid());
        let Some(selector) = selector(job) else { return Ok(all) };
        let (mut own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|pod| pod.is_selected(&selector));
        for pod in others.iter().filter(|pod| !pod.is_being_deleted()) {
            let patch = json!({"metadata": {
                "uid": pod.uid(),
                "ownerReferences": [{"$patch": "delete", "uid": job.uid()}],
                "$deleteFromPrimitiveList/finalizers": [TRACKING],
            }});
            self.change(key, pod, patch).await?;
        }
        if job.is_being_deleted() || !self.pods.has_in_index(NOBODYS, &key.namespace) {
            return Ok(own);
        }
        let mut orphans = self.pods.select_orphans(&key.namespace, &selector);
        orphans.retain(|pod| !pod.is_being_deleted());
        if orphans.is_empty() {
            return Ok(own);
        }
        let jobs: Api<Job> = Api::namespaced(&self.context.client, &key.namespace);
        if !ownership::stays(&jobs, job).await? {
            return Ok(own);
        }
        for pod in orphans {
            let patch = json!({"metadata": {
                "uid": pod.uid(), "finalizers": [TRACKING], "ownerReferences": [job.as_controller_reference()],
            }});
            if let Some(adopted) = self.change(key, &pod, patch).await? {
                self.fresh.created(key, &adopted);
                own.push(Arc::new(adopted));
            }
        }
        Ok(own)
    }

    async fn change(&self, key: &ObjectKey, pod: &Pod, patch: Value) -> Result<Option<Pod>, Error> {
        match self.api(key).patch(pod.name(), &Patch::Strategic(patch), &PatchOptions::default()).await {
            Ok(changed) => Ok(Some(changed)),
            Err(Error::NotFound(_) | Error::Conflict(_) | Error::Invalid(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Does what a job wants, and says in `action` what that was.
    async fn work(
        &self,
        key: &ObjectKey,
        job: &Arc<Job>,
        pods: &[Arc<Pod>],
        action: &mut JobAction,
    ) -> Result<Action, Error> {
        let (known, passed) = self.with_known(key, |known| {
            // What the cache shows by now need not be known any longer.
            let shown: HashSet<&str> =
                pods.iter().filter(|pod| pods::has_finalizer(pod)).map(|pod| pod.uid()).collect();
            known.untracked.retain(|uid| shown.contains(uid.as_str()));
            let ended = pods.iter().filter(|pod| !is_active(pod)).map(|pod| pods::finished_at(pod));
            let began = job.status.as_ref().and_then(|status| Some(status.start_time.as_ref()?.0));
            let moments = ended.chain(known.failures.last).chain(began);
            let passed = Passed::look(&mut known.ages, self.context.clock.as_ref(), moments);
            (known.clone(), passed)
        });
        let now = self.context.clock.now();
        let (untracked, failures) = (&known.untracked, known.failures);
        let view = View { job, pods, untracked, failures, now, passed: &passed };
        let plan = plan(&view);
        if matches!(plan.act, Act::Create(_)) && !known.is_sure && !self.is_newest(key, job).await? {
            return Ok(Action::After(AGAIN));
        }
        *action = match &plan.act {
            Act::Nothing => JobAction::Tracking,
            Act::Create(_) => JobAction::PodsCreated,
            Act::Delete(_) | Act::End(_) => JobAction::PodsDeleted,
        };
        let (done, acted) = self.act(key, job, &plan.act).await;
        let tracking = track(&view, &plan, done);
        let mut wake = plan.wake;
        let mut latest = job.clone();
        let rest = self.rest(&known, tracking.write);
        match rest {
            Some(rest) if rest.is_zero() => {
                match self.write(key, &latest, &tracking.status, &tracking.events).await? {
                    Some(written) => latest = written,
                    None => return acted.and(Ok(Action::After(AGAIN))),
                }
            }
            Some(rest) => wake = Some(wake.map_or(rest, |wake| wake.min(rest))),
            None => {}
        }
        // What is not named yet is looked at again.
        let is_named = rest.is_none_or(|rest| rest.is_zero());
        if is_named && (rest.is_some() || !tracking.untrack.is_empty()) {
            self.with_known(key, |known| known.failures = plan.failures);
        }
        let named = if is_named { &*tracking.untrack } else { &[] };
        let (tracked, untracked) = self.untrack_all(key, &tracking, named).await;
        if let Some((status, events)) = conclude(&view, &tracking, &tracked)
            && self.write(key, &latest, &status, &events).await?.is_none()
        {
            wake = Some(AGAIN);
        }
        acted.and(untracked)?;
        Ok(wake.map_or(Action::Done, Action::After))
    }

    /// Whether the server has no newer job than this; one that it has is remembered.
    ///
    /// The cache of pods can be ahead of that of jobs: pods that were counted before this controller began are let go
    /// of, and others would be made in their place by one that has not seen the count yet.
    async fn is_newest(&self, key: &ObjectKey, job: &Job) -> Result<bool, Error> {
        let jobs: Api<Job> = Api::namespaced(&self.context.client, &key.namespace);
        let live = jobs.find(&key.name).await?.filter(|live| live.uid() == job.uid());
        let is_newest = live.as_ref().is_some_and(|live| live.revision() == job.revision());
        let newer = live.filter(|live| live.revision() > job.revision());
        let let_go = if newer.is_some() { self.let_go_of(key, job).await? } else { Vec::new() };
        self.with_known(key, |known| {
            known.is_sure = is_newest;
            known.untracked.extend(let_go);
            if let Some(mut newer) = newer {
                newer.forget_managers();
                known.answered = Some(Arc::new(newer));
            }
        });
        Ok(is_newest)
    }

    /// The uids of the pods that the cache shows with a finalizer and that have none any more: a newer job may have
    /// counted them, and forgotten their names.
    async fn let_go_of(&self, key: &ObjectKey, job: &Job) -> Result<Vec<String>, Error> {
        let Some(selector) = selector(job) else { return Ok(Vec::new()) };
        let mut shown = self.pods.by_index_within(&key.namespace, OF_JOB, job.uid());
        shown.retain(|pod| pods::has_finalizer(pod) && pod.is_selected(&selector));
        if shown.is_empty() {
            return Ok(Vec::new());
        }
        let live = self.api(key).list_all(&ListOptions::default().labels(selector.clone())).await?.items;
        // One that is not selected any more is let go of, or taken away from the job, as what it is.
        let kept: HashSet<&str> =
            live.iter().filter(|pod| pods::has_finalizer(pod)).map(|pod| pod.uid()).collect();
        let let_go = shown.iter().map(|pod| pod.uid()).filter(|uid| !kept.contains(uid));
        Ok(let_go.map(str::to_owned).collect())
    }

    /// How long it may still take until a status is written; none where it says nothing new.
    fn rest(&self, known: &Known, write: Write) -> Option<Duration> {
        match write {
            Write::Never => None,
            Write::Now => Some(Duration::ZERO),
            Write::Soon => {
                let passed = known.written.map_or(GATHER, |at| at.elapsed());
                Some(GATHER.saturating_sub(passed))
            }
        }
    }

    /// Writes a status; gives the job as it is then, nothing where it is another by now.
    async fn write(
        &self,
        key: &ObjectKey,
        job: &Job,
        status: &JobStatus,
        events: &[Told],
    ) -> Result<Option<Arc<Job>>, Error> {
        let api: Api<Job> = Api::namespaced(&self.context.client, &key.namespace);
        let changed = Job { status: Some(status.clone()), ..job.clone() };
        let mut written = match api.update_status(&changed).await {
            Ok(written) => written,
            Err(Error::NotFound(_) | Error::Conflict(_)) => {
                self.is_newest(key, job).await?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        meters::job_written(job, status);
        written.forget_managers();
        let written = Arc::new(written);
        self.with_known(key, |known| {
            known.answered = Some(written.clone());
            known.is_sure = true;
            known.written = Some(Instant::now());
        });
        for (kind, reason, message) in events {
            self.recorder.event(job, *kind, reason, message);
        }
        Ok(Some(written))
    }

    /// Takes the finalizers from pods that are named; gives the uids of those that have theirs still.
    async fn untrack_all(
        &self,
        key: &ObjectKey,
        tracking: &Tracking,
        named: &[Arc<Pod>],
    ) -> (HashSet<String>, Result<(), Error>) {
        let mut tracked = tracking.tracked.clone();
        let mut result = Ok(());
        for (pod, left) in self.untrack_each(key, named.to_vec(), false).await {
            match left {
                Ok(true) => {
                    tracked.remove(pod.uid());
                }
                Ok(false) => {}
                Err(error) => result = Err(error),
            }
        }
        self.with_known(key, |known| {
            for pod in named.iter().filter(|pod| !tracked.contains(pod.uid())) {
                known.untracked.insert(pod.uid().to_owned());
            }
        });
        (tracked, result)
    }

    async fn act(&self, key: &ObjectKey, job: &Job, act: &Act) -> (Done, Result<(), Error>) {
        match act {
            Act::Nothing => (Done::default(), Ok(())),
            Act::End(pods) => self.delete_all(key, job, pods, false).await,
            Act::Delete(pods) => self.delete_all(key, job, pods, true).await,
            Act::Create(creations) => {
                debug!(job = %key, pods = creations.len(), "creating");
                let mut done = Done::default();
                let result = self.create_all(key, job, creations, &mut done.created).await;
                (done, result)
            }
        }
    }

    /// Begins with one and doubles, so that a template that is refused is refused once and not a hundred times.
    async fn create_all(
        &self,
        key: &ObjectKey,
        job: &Job,
        mut creations: &[Creation],
        created: &mut usize,
    ) -> Result<(), Error> {
        let mut batch = 1;
        while !creations.is_empty() {
            let (now, later) = creations.split_at(batch.min(creations.len()));
            let results = join_all(now.iter().map(|creation| self.create(key, job, creation))).await;
            *created += results.iter().filter(|result| matches!(result, Ok(true))).count();
            results.into_iter().collect::<Result<Vec<_>, _>>()?;
            creations = later;
            batch *= 2;
        }
        Ok(())
    }

    async fn create(&self, key: &ObjectKey, job: &Job, creation: &Creation) -> Result<bool, Error> {
        let pod = template::pod(job, creation);
        let created = making::create(&self.api(key), &self.recorder, job, &pod).await?;
        if let Some(pod) = &created {
            self.fresh.created(key, pod);
        }
        Ok(created.is_some())
    }

    /// Deletes pods, and takes the finalizers from those that are not to be counted.
    async fn delete_all(
        &self,
        key: &ObjectKey,
        job: &Job,
        pods: &[Arc<Pod>],
        uncounted: bool,
    ) -> (Done, Result<(), Error>) {
        let mut deleting = Vec::new();
        for pod in pods.iter().cloned() {
            deleting.push(async move {
                let deleted = self.delete(key, job, &pod, uncounted).await;
                (pod, deleted)
            });
        }
        let deleted: Vec<_> = stream::iter(deleting).buffer_unordered(AT_ONCE).collect().await;
        let (mut done, mut result) = (Done::default(), Ok(()));
        for (pod, deleted) in deleted {
            match deleted {
                Ok(()) => {
                    done.deleted += 1;
                    done.deleted_ready += usize::from(pods::is_ready(&pod));
                }
                Err(error) => result = Err(error),
            }
        }
        (done, result)
    }

    async fn delete(&self, key: &ObjectKey, job: &Job, pod: &Pod, uncounted: bool) -> Result<(), Error> {
        if uncounted && pods::has_finalizer(pod) && self.untrack(key, pod, false).await? {
            self.with_known(key, |known| known.untracked.insert(pod.uid().to_owned()));
        }
        let preconditions = Preconditions { uid: Some(pod.uid().to_owned()), ..Preconditions::default() };
        let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
        match self.api(key).delete(pod.name(), &options).await {
            Ok(()) => {
                self.fresh.deleted(key, pod);
                let message = format!("Deleted pod: {}", pod.name());
                self.recorder.event(job, EventType::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
            Err(error) => {
                let message = format!("Error deleting: {error}");
                self.recorder.event(job, EventType::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }
}
