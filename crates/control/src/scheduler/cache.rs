//! The nodes with what is taken of them, kept true event by event: none costs more the more pods there are.
//!
//! ```text
//!                    ┌── shown bound ──▶ placed ──▶ released (ended, gone)
//!   assumed ─────────┤                     ▲
//!   (decided, and    ├── written ── shown bound
//!   counted at once) │      └── not shown within a quarter of an hour ──▶ expired: decided anew
//!                    └── not written ──▶ forgotten: decided anew
//! ```
//!
//! Each change of a node gives it a new generation, by which a [`Snapshot`] knows what it has to copy.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::neighbour::Neighbour;
use super::news::News;
use super::node::{NodeFacts, Taken};
use super::pod::{NodeName, PodInfo, Share, Standing, Uid};
use super::queue::Attempt;

mod crowd;
mod snapshot;

pub(super) use crowd::{Count, Crowd, Whom};
pub(super) use snapshot::Snapshot;

/// After so long a decision that was written and is not shown is taken for one that did not come to be.
const EXPIRY: Duration = Duration::from_secs(15 * 60);

/// Nodes by name, pods by uid.
#[derive(Debug, Default)]
pub(super) struct Cache {
    nodes: HashMap<NodeName, Entry>,
    pods: HashMap<Uid, Held>,
    generation: u64,
    /// When nodes changed last: one entry for each node.
    changed: BTreeMap<u64, NodeName>,
    /// When a node came or went last.
    members: u64,
    /// When assumptions expire.
    expiring: BTreeSet<(Duration, Uid)>,
    news: BTreeMap<NodeName, News>,
    /// Whether pods that come are news.
    tells_who_comes: bool,
    /// What pods are to others, each kept once.
    neighbours: HashSet<Arc<Neighbour>>,
    /// How many there were when those were let go of last that no pod is any more.
    swept: usize,
    /// How many nodes have each image.
    images: HashMap<Box<str>, usize>,
}

/// A node, or only what pods take of one that is not known (yet, or any more).
#[derive(Debug, Default)]
struct Entry {
    generation: u64,
    facts: Option<Arc<NodeFacts>>,
    taken: Taken,
    /// The pods that take it.
    pods: HashSet<Uid>,
}

/// A pod that has its share of a node.
#[derive(Debug)]
struct Held {
    node: NodeName,
    share: Arc<Share>,
    standing: Standing,
    /// Seldom, and for a moment: it takes no room in the others.
    assumed: Option<Box<Assumed>>,
}

/// A pod that is on a node, as one that may have to go.
#[derive(Clone, Debug)]
pub(super) struct Resident {
    pub(super) uid: Uid,
    pub(super) share: Arc<Share>,
    pub(super) standing: Standing,
}

/// A pod that was taken away in thought.
#[derive(Debug)]
pub(super) struct Aside {
    uid: Uid,
    held: Held,
}

/// That a pod is counted before the API has shown it on its node.
#[derive(Debug)]
struct Assumed {
    /// To go on from if the assumption fails, and the pod still waits.
    attempt: Attempt,
    waits: bool,
    /// Set once the decision is written.
    expires: Option<Duration>,
}

impl Cache {
    /// Takes a node in as it is now.
    pub(super) fn set_node(&mut self, facts: NodeFacts) {
        let name = facts.name.clone();
        let entry = self.nodes.entry(name.clone()).or_default();
        let news = entry.facts.as_ref().map_or(News::NODE_ADDED, |old| facts.news_since(old));
        if news.is_empty() && entry.facts.as_ref().is_some_and(|old| **old == facts) {
            return;
        }
        let facts = Arc::new(facts);
        let old = entry.facts.replace(Arc::clone(&facts));
        self.count_images(old.as_deref(), Some(&facts));
        let generation = self.touch(&name, news);
        if news == News::NODE_ADDED {
            self.members = generation;
        }
    }

    /// Forgets a node; what its pods take stays, in case that it comes back.
    pub(super) fn remove_node(&mut self, name: &NodeName) {
        let Some(entry) = self.nodes.get_mut(name) else { return };
        if let Some(old) = entry.facts.take() {
            self.count_images(Some(&old), None);
            self.members = self.touch(name, News::default());
            self.drop_if_empty(name);
            self.tell_all(News::NODE_GONE);
        }
    }

    /// How many nodes have each image.
    pub(super) fn images(&self) -> &HashMap<Box<str>, usize> {
        &self.images
    }

    fn count_images(&mut self, old: Option<&NodeFacts>, new: Option<&NodeFacts>) {
        if let (Some(old), Some(new)) = (old, new)
            && old.images == new.images
        {
            return;
        }
        for name in new.into_iter().flat_map(|facts| facts.images.keys()) {
            *self.images.entry(name.clone()).or_default() += 1;
        }
        for name in old.into_iter().flat_map(|facts| facts.images.keys()) {
            if let Some(count) = self.images.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.images.remove(name);
                }
            }
        }
    }

    /// The pods of a node, in no order.
    pub(super) fn residents(&self, node: &NodeName) -> Vec<Resident> {
        let uids = self.nodes.get(node).into_iter().flat_map(|entry| &entry.pods);
        let resident = |uid: &Uid| {
            let held = self.pods.get(uid)?;
            Some(Resident { uid: uid.clone(), share: held.share.clone(), standing: held.standing.clone() })
        };
        uids.filter_map(resident).collect()
    }

    /// Tells news of a node.
    pub(super) fn tell(&mut self, node: &NodeName, news: News) {
        *self.news.entry(node.clone()).or_default() |= news;
    }

    /// Tells news of every node.
    pub(super) fn tell_all(&mut self, news: News) {
        for name in self.nodes.keys() {
            *self.news.entry(name.clone()).or_default() |= news;
        }
    }

    /// Counts a pod on the node that was decided for it.
    pub(super) fn assume(&mut self, attempt: Attempt, node: &NodeName) {
        let (uid, share) = (attempt.pod.id.uid.clone(), attempt.pod.share.clone());
        debug_assert!(!self.pods.contains_key(&uid), "{uid} has a node already");
        self.add(&uid, node, &share);
        let assumed = Some(Box::new(Assumed { attempt, waits: true, expires: None }));
        let standing = Standing::default();
        self.pods.insert(uid, Held { node: node.clone(), share, standing, assumed });
    }

    /// Whether a pod is counted that the API has not shown yet.
    pub(super) fn is_assumed(&self, uid: &Uid) -> bool {
        self.pods.get(uid).is_some_and(|held| held.assumed.is_some())
    }

    /// Notes that an assumption is written: what remains is to see it.
    pub(super) fn written(&mut self, uid: &Uid, now: Duration) {
        if let Some(assumed) = self.pods.get_mut(uid).and_then(|held| held.assumed.as_mut()) {
            let expires = now + EXPIRY;
            assumed.expires = Some(expires);
            self.expiring.insert((expires, uid.clone()));
        }
    }

    /// Takes a pod away in thought, to be put back by [`Cache::put_back`] before anything else happens to it.
    pub(super) fn set_aside(&mut self, uid: &Uid) -> Option<Aside> {
        let held = self.pods.remove(uid)?;
        self.take_away(uid, &held, News::default());
        Some(Aside { uid: uid.clone(), held })
    }

    /// Puts back what was taken away in thought.
    pub(super) fn put_back(&mut self, Aside { uid, held }: Aside) {
        self.add(&uid, &held.node, &held.share);
        self.pods.insert(uid, held);
    }

    /// Takes an assumption back, if it is one still; gives what is to be tried again.
    pub(super) fn forget(&mut self, uid: &Uid) -> Option<Attempt> {
        if !self.is_assumed(uid) {
            return None;
        }
        let assumed = self.release(uid)?.assumed?;
        assumed.waits.then_some(assumed.attempt)
    }

    /// Notes how a pod is now whose decision is being written: what is counted for it stays.
    pub(super) fn amend(&mut self, pod: PodInfo) {
        let held = self.pods.get_mut(&pod.id.uid);
        if let Some(assumed) = held.and_then(|held| held.assumed.as_mut()) {
            assumed.attempt.pod = Arc::new(pod);
            assumed.waits = true;
        }
    }

    /// Notes that a pod does not wait any more whose decision is being written.
    pub(super) fn renounce(&mut self, uid: &Uid) {
        if let Some(assumed) = self.pods.get_mut(uid).and_then(|held| held.assumed.as_mut()) {
            assumed.waits = false;
        }
    }

    /// Counts a pod on the node that the API shows it on, whatever was assumed.
    pub(super) fn place(&mut self, uid: &Uid, node: &NodeName, mut share: Share, standing: Standing) {
        let known = self.pods.get_mut(uid).filter(|held| held.node == *node && *held.share == share);
        if let Some(held) = known {
            held.standing = standing;
            let assumed = held.assumed.take();
            self.expire_no_more(uid, assumed.as_deref());
            return;
        }
        share.neighbour = self.known(share.neighbour);
        let share = Arc::new(share);
        if let Some(old) = self.pods.remove(uid) {
            self.expire_no_more(uid, old.assumed.as_deref());
            let shrank = share.is_less_than(&old.share).then_some(News::POD_SHRANK);
            let relabelled = (share.neighbour != old.share.neighbour).then_some(News::POD_LABELS);
            let leaves = (share.leaving && !old.share.leaving).then_some(News::POD_LEAVES);
            let news = match old.node == *node {
                true => shrank.into_iter().chain(relabelled).chain(leaves).collect(),
                false => News::POD_LEFT,
            };
            self.take_away(uid, &old, news);
        }
        self.add(uid, node, &share);
        self.pods.insert(uid.clone(), Held { node: node.clone(), share, standing, assumed: None });
    }

    /// Gives back what a pod took that ended or is gone.
    pub(super) fn remove(&mut self, uid: &Uid) {
        self.release(uid);
    }

    /// Takes back the assumptions that are overdue; gives what is to be tried again.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<Attempt> {
        let mut expired = Vec::new();
        while let Some((at, uid)) = self.expiring.first().cloned() {
            if at > now {
                break;
            }
            self.expiring.pop_first();
            expired.extend(self.forget(&uid));
        }
        expired
    }

    /// When the next assumption expires.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.expiring.first().map(|(at, _)| *at)
    }

    /// What happened since this was asked last, for each node that is there.
    pub(super) fn take_news(&mut self) -> BTreeMap<NodeName, News> {
        let mut news = std::mem::take(&mut self.news);
        news.retain(|name, _| self.nodes.get(name).is_some_and(|entry| entry.facts.is_some()));
        news
    }

    /// Tells of pods that come from now on, or does not any more.
    pub(super) fn tell_who_comes(&mut self, tells: bool) {
        self.tells_who_comes = tells;
    }

    /// Where a pod is counted.
    #[cfg(test)]
    pub(super) fn node_of(&self, uid: &Uid) -> Option<NodeName> {
        self.pods.get(uid).map(|held| held.node.clone())
    }

    /// Whether nothing is left of what is gone.
    #[cfg(test)]
    pub(super) fn keeps_only_what_it_needs(&self) -> bool {
        let needed = |entry: &Entry| entry.facts.is_some() || entry.taken.pods > 0;
        let expires = |held: &&Held| held.assumed.as_ref().is_some_and(|assumed| assumed.expires.is_some());
        self.nodes.values().all(needed)
            && self.changed.len() == self.nodes.len()
            && self.expiring.len() == self.pods.values().filter(expires).count()
    }

    fn release(&mut self, uid: &Uid) -> Option<Held> {
        let held = self.pods.remove(uid)?;
        self.expire_no_more(uid, held.assumed.as_deref());
        self.take_away(uid, &held, News::POD_LEFT);
        Some(held)
    }

    fn add(&mut self, uid: &Uid, node: &NodeName, share: &Share) {
        let entry = self.nodes.entry(node.clone()).or_default();
        entry.taken.add(share);
        entry.pods.insert(uid.clone());
        self.touch(node, if self.tells_who_comes { News::POD_CAME } else { News::default() });
    }

    /// Keeps what a pod is to others once for all that are the same.
    pub(super) fn share_neighbour(&mut self, pod: &mut PodInfo) {
        if let Some(share) = Arc::get_mut(&mut pod.share) {
            share.neighbour = self.known(std::mem::take(&mut share.neighbour));
        }
    }

    /// The one that is kept of those that are the same.
    fn known(&mut self, neighbour: Arc<Neighbour>) -> Arc<Neighbour> {
        if let Some(known) = self.neighbours.get(&neighbour) {
            return Arc::clone(known);
        }
        if self.neighbours.len() >= 2 * self.swept.max(64) {
            self.neighbours.retain(|neighbour| Arc::strong_count(neighbour) > 1);
            self.swept = self.neighbours.len();
        }
        self.neighbours.insert(Arc::clone(&neighbour));
        neighbour
    }

    fn take_away(&mut self, uid: &Uid, held: &Held, news: News) {
        let entry = self.nodes.get_mut(&held.node).expect("a node stays for as long as pods take of it");
        entry.taken.take_away(&held.share);
        entry.pods.remove(uid);
        self.touch(&held.node, news);
        self.drop_if_empty(&held.node);
    }

    /// Gives a node a new generation, and notes what happened to it.
    fn touch(&mut self, name: &NodeName, news: News) -> u64 {
        self.generation += 1;
        let entry = self.nodes.get_mut(name).expect("it was just changed");
        self.changed.remove(&entry.generation);
        entry.generation = self.generation;
        self.changed.insert(self.generation, name.clone());
        if !news.is_empty() {
            *self.news.entry(name.clone()).or_default() |= news;
        }
        self.generation
    }

    fn drop_if_empty(&mut self, name: &NodeName) {
        let empty = |entry: &&Entry| entry.facts.is_none() && entry.taken.pods == 0;
        if let Some(entry) = self.nodes.get(name).filter(empty) {
            self.changed.remove(&entry.generation);
            self.nodes.remove(name);
        }
    }

    fn expire_no_more(&mut self, uid: &Uid, assumed: Option<&Assumed>) {
        if let Some(at) = assumed.and_then(|assumed| assumed.expires) {
            self.expiring.remove(&(at, uid.clone()));
        }
    }
}
