//! The thinking half of the scheduler: what happened goes in, decisions come out. No task, no request, no
//! clock of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::{Change, Resource as _};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};

use super::cache::{Cache, Snapshot};
use super::framework::{Framework, Scene};
use super::neighbour::NamespaceLabels;
use super::news::News;
use super::node::NodeFacts;
use super::pod::{NodeName, PodId, Sighting, Uid};
use super::queue::Queue;

/// Knows nodes, what is taken of them and which pods wait, and decides about one pod after the other.
///
/// What an event costs does not depend on how many pods there are, but on how many wait for news of that
/// kind; what a decision costs depends on the nodes. All moments are those of one steady clock.
pub struct Planner {
    framework: Framework,
    cache: Cache,
    queue: Queue,
    snapshot: Snapshot,
    namespaces: NamespaceLabels,
    counts: Counts,
}

/// Something that happened to a pod, a node or a namespace, cut down to what matters here.
#[derive(Debug)]
pub struct Event(Kind);

#[derive(Debug)]
enum Kind {
    Pod(Sighting),
    PodGone(Uid),
    Node(NodeFacts),
    NodeGone(NodeName),
    Namespace(String, BTreeMap<String, String>),
    NamespaceGone(String),
}

/// What was decided about a pod.
#[derive(Debug)]
pub enum Outcome {
    /// It gets this node, where it is counted from now on. To be written; then to be told by
    /// [`Planner::written`].
    Chosen {
        /// The pod.
        pod: PodId,
        /// The node's name.
        node: Arc<str>,
    },
    /// No node can take it.
    Refused {
        /// The pod.
        pod: PodId,
        /// Why, in Kubernetes' words.
        message: String,
        /// The filters that refused a node.
        by: Vec<&'static str>,
    },
    /// Deciding panicked; it is done again.
    Failed {
        /// The pod.
        pod: PodId,
        /// The panic.
        panic: base::panics::Panic,
        /// When.
        delay: Duration,
    },
}

/// How the writing of a decision ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// The pod has its node.
    Bound,
    /// There is no such pod any more.
    Gone,
    /// It was not written, or nobody knows.
    Failed,
}

/// What was done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Pods that were decided about.
    pub decisions: usize,
    /// Nodes that were copied for a decision, because they had changed.
    pub copied: usize,
    /// Pods that were looked at since what happened to a node might help them.
    pub asked: usize,
    /// Pods that are tried again for that reason.
    pub woken: usize,
}

impl Planner {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self {
            framework: Framework::new(),
            cache: Cache::default(),
            queue: Queue::default(),
            snapshot: Snapshot::default(),
            namespaces: NamespaceLabels::default(),
            counts: Counts::default(),
        }
    }

    /// Takes in what happened.
    pub fn apply(&mut self, Event(kind): Event, now: Duration) {
        match kind {
            // What is shown may be older than what was decided.
            Kind::Pod(Sighting::Waiting(pod)) if self.cache.is_assumed(&pod.id.uid) => self.cache.amend(pod),
            Kind::Pod(Sighting::Waiting(mut pod)) => {
                self.cache.share_neighbour(&mut pod);
                self.cache.remove(&pod.id.uid);
                self.queue.set(pod, now);
            }
            Kind::Pod(Sighting::Placed { uid, node, share }) => {
                self.queue.remove(&uid);
                self.cache.place(&uid, &node, share);
            }
            Kind::Pod(Sighting::Idle { uid }) if self.cache.is_assumed(&uid) => self.cache.renounce(&uid),
            Kind::Pod(Sighting::Idle { uid } | Sighting::Ended { uid }) | Kind::PodGone(uid) => {
                self.queue.remove(&uid);
                self.cache.remove(&uid);
            }
            Kind::Node(facts) => self.cache.set_node(facts),
            Kind::NodeGone(name) => self.cache.remove_node(&name),
            Kind::Namespace(name, labels) => {
                if self.namespaces.set(name, labels) {
                    self.cache.tell_all(News::NAMESPACE_LABELS);
                }
            }
            Kind::NamespaceGone(name) => self.namespaces.remove(&name),
        }
    }

    /// Decides about the next pod, if one is to be tried now.
    pub fn decide(&mut self, now: Duration) -> Option<Outcome> {
        for attempt in self.cache.expire(now) {
            self.queue.failed(attempt, now);
        }
        self.spread_news(now);
        self.queue.advance(now);
        let attempt = self.queue.pop()?;
        self.counts.decisions += 1;
        self.counts.copied += self.snapshot.refresh(&self.cache);
        let pod = attempt.pod.id.clone();
        let framework = &self.framework;
        let scene = Scene { nodes: self.snapshot.nodes(), namespaces: &self.namespaces };
        Some(match base::panics::catch(|| framework.choose(&attempt.pod, scene)) {
            Ok(Ok(node)) => {
                self.cache.assume(attempt, &node);
                Outcome::Chosen { pod, node }
            }
            Ok(Err(unfit)) => {
                if attempt.pod.heeds_who_comes() {
                    self.cache.tell_who_comes(true);
                }
                self.queue.refused(attempt, unfit.by, now);
                Outcome::Refused { pod, message: unfit.message, by: framework.names(unfit.by) }
            }
            Err(panic) => Outcome::Failed { pod, panic, delay: self.queue.failed(attempt, now) },
        })
    }

    /// Takes in how the writing of a decision ended; gives after how long it is decided anew, if it is.
    pub fn written(&mut self, pod: &PodId, written: Written, now: Duration) -> Option<Duration> {
        match written {
            Written::Bound => {
                self.cache.written(&pod.uid, now);
                None
            }
            Written::Gone => {
                self.cache.forget(&pod.uid);
                None
            }
            Written::Failed => {
                let attempt = self.cache.forget(&pod.uid)?;
                Some(self.queue.failed(attempt, now))
            }
        }
    }

    /// When [`Planner::decide`] may have something to do though nothing happens.
    pub fn next_due(&self) -> Option<Duration> {
        [self.queue.next_due(), self.cache.next_expiry()].into_iter().flatten().min()
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many pods are to be tried, back off, and wait for news.
    pub fn waiting(&self) -> [usize; 3] {
        self.queue.lengths()
    }

    /// Tries those pods again to which it may help what happened since this was done last. However much
    /// it was, each of them is asked once for each node.
    fn spread_news(&mut self, now: Duration) {
        let news = self.cache.take_news();
        if !self.queue.awaits_news() {
            self.cache.tell_who_comes(false);
            return;
        }
        if news.is_empty() {
            return;
        }
        self.counts.copied += self.snapshot.refresh(&self.cache);
        let (framework, snapshot) = (&self.framework, &self.snapshot);
        for (name, news) in news {
            let Some(node) = snapshot.node(&name) else { continue };
            let woken = self.queue.wake(now, |pod, by| framework.may_help(pod, by, node, news));
            self.counts.asked += woken.asked;
            self.counts.woken += woken.moved;
        }
    }
}

impl Default for Planner {
    fn default() -> Self {
        Self::new()
    }
}

impl Event {
    /// What a change of a pod means, in this order.
    pub fn of_pod(change: &Change<Pod>) -> impl Iterator<Item = Self> + use<> {
        let pod = change.object();
        // Another of the same name: the one before is gone.
        let replaced =
            change.old().filter(|old| old.uid() != pod.uid()).map(|old| Kind::PodGone(old.uid().into()));
        let kind = match change {
            Change::Deleted(pod) => Kind::PodGone(pod.uid().into()),
            Change::Added(pod) | Change::Updated { new: pod, .. } => Kind::Pod(Sighting::of(pod)),
        };
        replaced.into_iter().chain([kind]).map(Self)
    }

    /// What a change of a node means.
    pub fn of_node(change: &Change<Node>) -> Self {
        Self(match change {
            Change::Deleted(node) => Kind::NodeGone(node.name().into()),
            Change::Added(node) | Change::Updated { new: node, .. } => Kind::Node(NodeFacts::of(node)),
        })
    }

    /// What a change of a namespace means.
    pub fn of_namespace(change: &Change<Namespace>) -> Self {
        Self(match change {
            Change::Deleted(namespace) => Kind::NamespaceGone(namespace.name().to_owned()),
            Change::Added(namespace) | Change::Updated { new: namespace, .. } => {
                let labels = namespace.metadata.labels.clone().unwrap_or_default();
                Kind::Namespace(namespace.name().to_owned(), labels)
            }
        })
    }
}

#[cfg(test)]
mod tests;
