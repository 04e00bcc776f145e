//! DaemonSets: a pod on every node that fits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::recorder::{EventType, Recorder};
use client::{
    Action, Api, Change, Controller, DeleteOptions, Error, Freshness, ObjectKey, Outlines, Reconcile,
    Resource as _, Store,
};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod, PodTemplateSpec};
use model::select::LabelSelector;
use parking_lot::Mutex;
use tracing::debug;

use crate::history::{self, History, Kept, Surplus};
use crate::pods::{OutlinedPod, PodOutline};
use crate::ready::{Available, ReadyAges, seconds};
use crate::{Context, making, ownership, selecting, selector};

mod failed;
mod nodes;
mod plan;
mod pod;

use failed::Failed;
use nodes::NodeOutline;
use plan::{DaemonPod, Deletion, Place, Why, Work, manage, roll, status, surges};

/// How many pods at most are made, and how many deleted, at once.
const BURST: usize = 250;

/// Runs the controller.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    let sets = context.informers.of::<DaemonSet>();
    let all_pods = context.informers.of::<Pod>();
    let all_nodes = context.informers.of::<Node>();
    let revisions = context.informers.of::<ControllerRevision>();
    let reconciler = Reconciler {
        sets: sets.store(),
        pods: all_pods.store(),
        outlines: all_pods.outlines(),
        nodes: all_nodes.outlines(),
        fresh: Freshness::new(all_pods.store()),
        history: History::new(&context),
        ready: ReadyAges::default(),
        failed: Mutex::default(),
        recorder,
        context: context.clone(),
    };
    let controller = Controller::new("daemonset", &sets)
        .owns(&all_pods)
        .watches(&all_pods, selecting::orphans(&sets, Kept::selector))
        .owns(&revisions)
        .watches(&revisions, selecting::orphans(&sets, Kept::selector))
        .reads(&all_nodes)
        .workers(4);
    // A node that comes, goes or becomes another concerns all sets; a heartbeat concerns none.
    let (queue, all_sets) = (controller.queue(), sets.store());
    all_nodes.on_change(move |change: &Change<Node>| {
        if change.old().is_none_or(|old| !nodes::is_same(old, change.object())) {
            all_sets.list().iter().for_each(|set| queue.add(set.key()));
        }
    });
    controller.run_by(reconciler, context.stop).await;
}

impl Kept for DaemonSet {
    const HASH: &'static str = history::REVISION;

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
    sets: Store<DaemonSet>,
    pods: Store<Pod>,
    outlines: Outlines<Pod, PodOutline>,
    nodes: Outlines<Node, NodeOutline>,
    fresh: Freshness<Pod>,
    history: History,
    ready: ReadyAges,
    failed: Mutex<Failed>,
    recorder: Recorder,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(set) = self.sets.get(key) else {
            self.fresh.forget(key);
            self.history.forget(key);
            self.ready.forget(key);
            return Ok(Action::Done);
        };
        if !self.fresh.ready(key).await || !self.history.ready(key).await {
            return Ok(Action::After(Duration::from_secs(1)));
        }
        // Its revisions may be gone before its pods, and what is of which template is not known any more.
        if set.is_being_deleted() {
            self.failed.lock().forget(set.uid());
            return Ok(Action::Done);
        }
        let pods = self.claimed(key, &set).await?;
        let revisions = self.history.of(key, &*set).await?;
        let Some(newest) = self.history.newest(key, &*set, &revisions).await? else {
            return Ok(Action::Done);
        };
        let hash = newest.revision.label(history::REVISION).unwrap_or(newest.revision.name()).to_owned();
        let (same, old): (Vec<_>, Vec<_>) =
            revisions.into_iter().partition(|revision| history::is_of(revision, &*set));
        let twins = same.iter().filter(|revision| revision.uid() != newest.revision.uid());
        let hashes: Vec<&str> =
            twins.filter_map(|revision| revision.label(history::REVISION)).chain([&*hash]).collect();

        let (places, available) = self.places(key, &set, pods.clone(), &hashes);
        let now = self.context.clock.elapsed();
        let mut work = {
            let failed = self.failed.lock();
            manage(&places, surges(&set), &|node| failed.wait(&plan::remembered(&set, node), now))
        };
        // An update goes on only where every node has what it is to have.
        if work.is_empty() {
            work = Work { wake: work.wake, ..roll(&set, &places) };
        }
        let wakes = [work.wake, available.wait(pods.iter().map(|pod| &*pod.outline))];
        let acted = if work.is_empty() { Ok(()) } else { self.act(key, &set, &hash, work).await };
        let published = self.publish(key, &set, &places, newest.collisions).await;
        let is_live = |revision: &ControllerRevision| {
            let hash = revision.label(history::REVISION);
            hash.is_some()
                && pods.iter().any(|pod| pod.labels.get(history::REVISION).map(String::as_str) == hash)
        };
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let surplus = Surplus { old: &old, limit, is_live: &is_live, counts_live: true }.revisions();
        acted?;
        self.history.shorten(key, surplus).await?;
        let soon = wakes.into_iter().flatten().min();
        Ok(published?.unwrap_or_else(|| soon.map_or(Action::Done, Action::After)))
    }
}

impl Reconciler {
    /// The set's pods, with those that it takes over, without those that it lets go of.
    async fn claimed(&self, key: &ObjectKey, set: &DaemonSet) -> Result<Vec<OutlinedPod>, Error> {
        let Some(selector) = Kept::selector(set) else { return Ok(Vec::new()) };
        let all = self.outlines.by_controller(&key.namespace, set.uid());
        let (mut owned, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|pod| pod.is_selected(&selector));
        for pod in others.iter().filter(|pod| !pod.outline.is_ending).filter_map(|pod| self.same(pod)) {
            ownership::release(&self.pods_of(key), set, &*pod).await?;
        }
        for pod in self.pods.select_orphans(&key.namespace, &selector) {
            if pod.is_being_deleted() {
                continue;
            }
            if !self.stays(key, set).await? {
                break;
            }
            if let Some(pod) = ownership::adopt(&self.pods_of(key), set, &*pod).await? {
                self.fresh.created(key, &pod);
                let labels = Arc::new(pod.metadata.labels.clone().unwrap_or_default());
                let outline = Arc::new(client::Outline::of(&pod));
                owned.push(OutlinedPod { key: pod.key(), labels, outline });
            }
        }
        Ok(owned)
    }

    /// The pod that an outline is of, if it is there still.
    fn same(&self, pod: &OutlinedPod) -> Option<Arc<Pod>> {
        self.pods.get(&pod.key).filter(|found| found.uid() == &*pod.outline.uid)
    }

    /// All nodes with the set's pods, and nodes that are gone with those that are meant for them still.
    fn places(
        &self,
        key: &ObjectKey,
        set: &DaemonSet,
        pods: Vec<OutlinedPod>,
        hashes: &[&str],
    ) -> (Vec<Place>, Available) {
        let since = pods.iter().map(|pod| &pod.outline);
        let since = since.filter_map(|pod| Some((pod.uid.clone().into_string(), pod.ready_since?)));
        let least = seconds(set.spec.as_ref().and_then(|spec| spec.min_ready_seconds));
        let available = self.ready.look(key, &*self.context.clock, least, since);
        let mut by_node: BTreeMap<String, Vec<DaemonPod>> = BTreeMap::new();
        for pod in pods {
            // Others take care of it until it is gone.
            if pod.outline.is_ending && pod.outline.is_terminal() {
                continue;
            }
            let node = pod.outline.node.as_deref().map(str::to_owned);
            let Some(node) = node.or_else(|| pod::node(&*self.same(&pod)?)) else { continue };
            let revision = pod.labels.get(history::REVISION);
            let is_new = revision.is_some_and(|revision| hashes.contains(&&**revision));
            let is_available = available.holds(&pod.outline);
            by_node.entry(node).or_default().push(DaemonPod { pod, is_new, is_available });
        }
        let spec = pod::spec(set);
        let mut places = Vec::new();
        for node in self.nodes.select("", &LabelSelector::everything()) {
            let fit = nodes::fit(&spec, &node.key.name, &node.labels, &node.outline);
            let pods = by_node.remove(&node.key.name).unwrap_or_default();
            places.push(Place { node: node.key.name, fit: Some(fit), pods });
        }
        places.extend(by_node.into_iter().map(|(node, pods)| Place { node, fit: None, pods }));
        for place in &mut places {
            place.pods.sort_by(|one, other| one.order().cmp(&other.order()));
        }
        (places, available)
    }

    /// Whether the set is there to stay. Asked of the API: the cache may not show yet that it goes and
    /// leaves its pods behind.
    async fn stays(&self, key: &ObjectKey, set: &DaemonSet) -> Result<bool, Error> {
        ownership::stays(&Api::<DaemonSet>::namespaced(&self.context.client, &key.namespace), set).await
    }

    /// Creates and deletes. Creations begin with one and double, so that a template that is refused
    /// is refused once and not a hundred times.
    async fn act(&self, key: &ObjectKey, set: &DaemonSet, hash: &str, work: Work) -> Result<(), Error> {
        debug!(set = %key, create = work.create.len(), delete = work.delete.len(), "acting");
        let (mut nodes, mut batch) = (work.create.into_iter().take(BURST), 1);
        let mut created = Ok(());
        while created.is_ok() {
            let now: Vec<String> = nodes.by_ref().take(batch).collect();
            if now.is_empty() {
                break;
            }
            if !self.stays(key, set).await? {
                return Ok(());
            }
            let results = join_all(now.iter().map(|node| self.create(key, set, hash, node))).await;
            created = results.into_iter().collect();
            batch *= 2;
        }
        let deletions = &work.delete[..work.delete.len().min(BURST)];
        {
            let (mut failed, now) = (self.failed.lock(), self.context.clock.elapsed());
            for node in Work::failed_on(deletions) {
                failed.deleted(plan::remembered(set, node), now);
            }
        }
        let deleted = join_all(deletions.iter().map(|deletion| self.delete(key, set, deletion))).await;
        created.and(deleted.into_iter().collect())
    }

    async fn create(&self, key: &ObjectKey, set: &DaemonSet, hash: &str, node: &str) -> Result<(), Error> {
        let pod = pod::make(set, hash, node);
        if let Some(pod) = making::create(&self.pods_of(key), &self.recorder, set, &pod).await? {
            self.fresh.created(key, &pod);
        }
        Ok(())
    }

    async fn delete(&self, key: &ObjectKey, set: &DaemonSet, deletion: &Deletion) -> Result<(), Error> {
        let Deletion { pod, node, why } = deletion;
        let name = &pod.key.name;
        let found = |how: &str, verb: &str| {
            format!("Found {how} daemon pod {}/{name} on node {node}, will try to {verb} it", key.namespace)
        };
        match why {
            Why::Superfluous => {}
            Why::Failed => {
                self.recorder.event(set, EventType::Warning, "FailedDaemonPod", found("failed", "kill"));
            }
            Why::Succeeded => {
                let message = found("succeeded", "delete");
                self.recorder.event(set, EventType::Normal, "SucceededDaemonPod", message);
            }
        }
        let Some(pod) = self.same(pod) else { return Ok(()) };
        match self.pods_of(key).delete(name, &DeleteOptions::default().uid(pod.uid())).await {
            Ok(()) => {
                self.fresh.deleted(key, &pod);
                let message = format!("Deleted pod: {name}");
                self.recorder.event(set, EventType::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
            Err(error) => {
                let message = format!("Error deleting: {error}");
                self.recorder.event(set, EventType::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }

    /// Publishes the status if it changed; says when to come back if that was in vain.
    async fn publish(
        &self,
        key: &ObjectKey,
        set: &DaemonSet,
        places: &[Place],
        collisions: Option<i32>,
    ) -> Result<Option<Action>, Error> {
        let next = status(set, places, collisions);
        if set.status.as_ref() == Some(&next) {
            return Ok(None);
        }
        let api: Api<DaemonSet> = Api::namespaced(&self.context.client, &key.namespace);
        let mut changed = DaemonSet::clone(set);
        changed.status = Some(next);
        match api.update_status(&changed).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(None),
            // The cache is behind; its next change brings us back.
            Err(Error::Conflict(_)) => Ok(Some(Action::After(Duration::from_millis(20)))),
            Err(error) => Err(error),
        }
    }

    fn pods_of(&self, key: &ObjectKey) -> Api<Pod> {
        Api::namespaced(&self.context.client, &key.namespace)
    }
}
