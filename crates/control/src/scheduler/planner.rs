//! The thinking half of the scheduler: what happened goes in, decisions come out. No task, no request, no
//! clock of its own.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use client::ObjectKey;

use super::cache::{Cache, Resident, Snapshot};
use super::configuration::Configuration;
use super::devices::Devices;
use super::event::Kind;
use super::framework::{Choice, Framework, Guest, Guests, Scene, Unfit};
use super::groups::{GroupId, Groups, Standing};
use super::neighbour::NamespaceLabels;
use super::news::{Changes, News};
use super::pod::{NodeName, PodId, PodInfo, Sighting, Uid};
use super::preemption::{self, Budgets, Found};
use super::queue::{Attempt, Queue};
use super::volumes::{Plan, Volumes};
use super::workloads::Workloads;

pub use super::event::Event;
pub use super::queue::{Incoming, Tries};

mod together;

/// Knows nodes, what is taken of them and which pods wait, and decides about one pod after the other.
///
/// What an event costs does not depend on how many pods there are, but on how many wait for news of that
/// kind; what a decision costs depends on the nodes. All moments are those of one steady clock.
pub struct Planner {
    frameworks: HashMap<String, Framework>,
    cache: Cache,
    queue: Queue,
    snapshot: Snapshot,
    namespaces: NamespaceLabels,
    volumes: Volumes,
    devices: Devices,
    workloads: Workloads,
    budgets: Budgets,
    guests: Guests,
    groups: Groups,
    /// What was decided about pods of one group, and is to be told.
    decided: VecDeque<Outcome>,
    changes: Changes,
    /// Where the next decision begins to look.
    start: usize,
    counts: Counts,
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
        /// What is to be done about its volumes and devices before.
        plan: Plan,
        /// How long that took.
        tries: Tries,
    },
    /// No node can take it.
    Refused {
        /// The pod.
        pod: PodId,
        /// Why, in Kubernetes' words.
        message: String,
        /// The filters that refused a node.
        by: Vec<&'static str>,
        /// What becomes of the node where others go for it.
        nomination: Nomination,
        /// Whether it was looked for a node where others could go.
        sought_room: bool,
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
    /// The pods of a PodGroup were decided about together; what of each of them is told besides.
    Grouped {
        /// The PodGroup.
        group: ObjectKey,
        /// Why they were not placed, in Kubernetes' words; nothing if they were.
        refused: Option<String>,
    },
}

/// What becomes of the node where others go for a pod.
#[derive(Debug, PartialEq, Eq)]
pub enum Nomination {
    /// Nothing.
    Same,
    /// There is none any more.
    None,
    /// It is this one from now on.
    At {
        /// The node's name.
        node: Arc<str>,
        /// Who has to go; some of them may be going already.
        victims: Vec<PodId>,
        /// Less important ones that others went for there, and who have to look for another node.
        displaced: Vec<PodId>,
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
    /// Knows nothing yet, and does what Kubernetes' scheduler does by default.
    pub fn new() -> Self {
        Self::with(&Configuration::default())
    }

    /// Knows nothing yet.
    pub fn with(configuration: &Configuration) -> Self {
        let framework = |profile: &super::configuration::Profile| {
            (profile.name.clone(), Framework::of(profile, configuration))
        };
        Self {
            frameworks: configuration.profiles.iter().map(framework).collect(),
            cache: Cache::default(),
            queue: Queue::new(configuration.first_back_off, configuration.most_back_off),
            snapshot: Snapshot::default(),
            namespaces: NamespaceLabels::default(),
            volumes: Volumes::default(),
            devices: Devices::default(),
            workloads: Workloads::default(),
            budgets: Budgets::default(),
            guests: Guests::default(),
            groups: Groups::default(),
            decided: VecDeque::default(),
            changes: Changes::default(),
            start: 0,
            counts: Counts::default(),
        }
    }

    /// Places the pods of a PodGroup together, where there are such; else pods that name one are pods of no group.
    #[must_use]
    pub fn heeding_pod_groups(mut self, heeds: bool) -> Self {
        self.groups.heed_declared(heeds);
        self
    }

    /// Takes in what happened.
    pub fn apply(&mut self, Event(kind): Event, now: Duration) {
        match kind {
            Kind::Pod(sighting) => self.see(sighting, now),
            Kind::PodGone(uid) => self.gone(&uid, now),
            Kind::Node(facts) => self.cache.set_node(facts),
            Kind::NodeGone(name) => self.cache.remove_node(&name),
            Kind::Namespace(name, labels) => {
                if self.namespaces.set(name, labels) {
                    self.cache.tell_all(News::NAMESPACE_LABELS);
                }
            }
            Kind::NamespaceGone(name) => self.namespaces.remove(&name),
            Kind::Claim(claim) => {
                self.changes.news |= News::CLAIM;
                self.changes.claims.insert(client::Resource::key(&*claim));
                self.volumes.set_claim(claim);
            }
            Kind::ClaimGone(key) => self.volumes.remove_claim(&key),
            Kind::Volume(volume) => {
                self.changes.news |= News::VOLUME;
                self.volumes.set_volume(volume);
            }
            Kind::VolumeGone(name) => self.volumes.remove_volume(&name),
            Kind::Storage(change) => {
                self.changes.news |= News::STORAGE;
                change.apply(&mut self.volumes);
            }
            Kind::Devices(change) => {
                self.changes.news |= News::DEVICES;
                change.apply(&mut self.devices);
            }
            Kind::Service { namespace, name, selector } => {
                self.workloads.set_service(&namespace, &name, selector);
            }
            Kind::Owner { namespace, owner, selector: Some(selector) } => {
                self.workloads.set_owner(&namespace, owner, selector);
            }
            Kind::Owner { namespace, owner, selector: None } => {
                self.workloads.remove_owner(&namespace, &owner);
            }
            Kind::Budget(key, Some(budget)) => self.budgets.set(key, &budget),
            Kind::Budget(key, None) => self.budgets.remove(&key),
            Kind::Group(key, policy) => {
                let is_other = self.groups.set_policy(&key, policy);
                let group = GroupId { key, is_declared: true };
                if is_other {
                    self.look_at_group(&group, now);
                }
                self.tell_if_placed(&group);
            }
        }
    }

    /// Takes in how a pod is.
    fn see(&mut self, sighting: Sighting, now: Duration) {
        match sighting {
            // What is shown may be older than what was decided.
            Sighting::Waiting(pod) if self.cache.is_assumed(&pod.id.uid) => self.cache.amend(*pod),
            Sighting::Waiting(mut pod) => {
                let uid = pod.id.uid.clone();
                if !self.frameworks.contains_key(&pod.scheduler) {
                    return self.gone(&uid, now);
                }
                self.cache.share_neighbour(&mut pod);
                self.cache.remove(&uid);
                match (&pod.nominated, self.guest(&uid)) {
                    (Some(node), _) => {
                        let node = node.clone();
                        self.invite(&pod, &node, true);
                    }
                    // What was decided may not be shown yet; what was shown once and is not any more is over.
                    (None, Some((node, false))) => pod.nominated = Some(node),
                    (None, Some((_, true))) => self.disinvite(&uid),
                    (None, None) => {}
                }
                let left = self.groups.wait(&pod);
                self.queue.set(*pod, now);
                self.look_at(left, now);
            }
            Sighting::Placed { uid, node, share, standing, member } => {
                self.queue.remove(&uid);
                self.disinvite(&uid);
                // One that goes does not count among those of its group.
                let changed = match share.leaving {
                    true => self.groups.leave(&uid),
                    false => self.groups.place(&uid, share.namespace(), member.as_deref()),
                };
                self.cache.place(&uid, &node, share, standing);
                self.look_at(changed, now);
            }
            Sighting::Idle { uid } if self.cache.is_assumed(&uid) => {
                self.cache.renounce(&uid);
                let group = self.groups.leave(&uid);
                self.look_at(group, now);
            }
            Sighting::Idle { uid } | Sighting::Ended { uid } => self.gone(&uid, now),
        }
    }

    fn gone(&mut self, uid: &Uid, now: Duration) {
        self.queue.remove(uid);
        self.disinvite(uid);
        self.volumes.release(uid);
        self.devices.release(uid);
        self.cache.remove(uid);
        let group = self.groups.leave(uid);
        self.look_at(group, now);
    }

    /// Tries the pods again that wait for a group which has changed.
    fn look_at(&mut self, group: Option<GroupId>, now: Duration) {
        if let Some(group) = group {
            self.look_at_group(&group, now);
            self.tell_if_placed(&group);
        }
    }

    /// Decides about the next pod, if one is to be tried now; of a group, about all that wait. What is decided about
    /// several comes one after the other.
    pub fn decide(&mut self, now: Duration) -> Option<Outcome> {
        if let Some(outcome) = self.decided.pop_front() {
            return Some(outcome);
        }
        for attempt in self.cache.expire(now) {
            self.volumes.release(&attempt.pod.id.uid);
            self.devices.release(&attempt.pod.id.uid);
            self.groups.wait(&attempt.pod);
            self.queue.failed(attempt, now);
        }
        self.spread_news(now);
        self.queue.advance(now);
        let attempt = self.queue.pop()?;
        if let Some(group) = self.groups.of(&attempt.pod.id.uid).cloned() {
            self.decide_together(attempt, &group, now);
            return self.decided.pop_front();
        }
        let pod = attempt.pod.id.clone();
        Some(match self.choose(&attempt.pod, true) {
            Ok(Ok(choice)) => {
                self.disinvite(&pod.uid);
                let tries = attempt.tries();
                self.assume(attempt, &choice);
                Outcome::Chosen { pod, node: choice.node, plan: choice.plan, tries }
            }
            Ok(Err((unfit, found))) => self.refuse(attempt, &unfit, found, now),
            Err(panic) => Outcome::Failed { pod, panic, delay: self.queue.failed(attempt, now) },
        })
    }

    /// Whether a decision may take so long that whoever asks for it should let others go on meanwhile.
    pub fn may_take_long(&self) -> bool {
        self.decided.is_empty() && !self.groups.is_empty()
    }

    /// The best node for a pod as everything is now, or why there is none and, where it `may_make_room`, what came of
    /// that.
    fn choose(&mut self, pod: &PodInfo, may_make_room: bool) -> Result<Chosen, base::panics::Panic> {
        self.counts.decisions += 1;
        self.counts.copied += self.snapshot.refresh(&self.cache);
        let mut start = self.start;
        let chosen = base::panics::catch(|| {
            let framework = &self.frameworks[&pod.scheduler];
            let scene = self.scene();
            framework.choose(pod, scene, &mut start).map_err(|unfit| {
                let found = may_make_room.then(|| self.make_room(framework, pod, scene, &unfit));
                (unfit, found.flatten())
            })
        });
        self.start = start;
        chosen
    }

    /// Counts a pod where it was decided to go.
    fn assume(&mut self, attempt: Attempt, choice: &Choice) {
        let uid = &attempt.pod.id.uid;
        self.volumes.assume(uid, &choice.node, choice.plan.clone());
        self.devices.assume(uid, &choice.plan.devices);
        self.cache.assume(attempt, &choice.node);
    }

    fn make_room(
        &self,
        framework: &Framework,
        pod: &PodInfo,
        scene: Scene<'_>,
        unfit: &Unfit,
    ) -> Option<Found> {
        // Nobody goes for another of the same group.
        let group = self.groups.of(&pod.id.uid);
        let is_other = |resident: &Resident| group.is_none() || self.groups.of(&resident.uid) != group;
        let residents = |node: &NodeName| {
            let mut residents = self.cache.residents(node);
            residents.retain(is_other);
            residents
        };
        match scene.nodes.is_empty() {
            true => None,
            false => preemption::find(framework, pod, scene, unfit, &self.budgets, &residents, self.start),
        }
    }

    fn refuse(
        &mut self,
        mut attempt: Attempt,
        unfit: &Unfit,
        found: Option<Found>,
        now: Duration,
    ) -> Outcome {
        let pod = attempt.pod.id.clone();
        self.heed_who_comes(&attempt.pod);
        let by = self.frameworks[&attempt.pod.scheduler].names(unfit.by);
        let message = told(&attempt.pod, unfit, found.as_ref());
        let nomination = match found {
            None | Some(Found::NotNow(_)) => Nomination::Same,
            Some(Found::Nowhere(_)) => {
                self.disinvite(&pod.uid);
                Arc::make_mut(&mut attempt.pod).nominated = None;
                Nomination::None
            }
            Some(Found::Room(candidate)) => self.nominate(&mut attempt, &candidate.node, candidate.victims),
        };
        self.queue.refused(attempt, unfit.by, now);
        Outcome::Refused { pod, message, by, nomination, sought_room: unfit.nodes > 0 }
    }

    /// Has the pods that come told, if that may help one that was refused.
    fn heed_who_comes(&mut self, pod: &PodInfo) {
        if pod.heeds_who_comes() {
            self.cache.tell_who_comes(true);
        }
    }

    /// Keeps the node for a pod where others go for it.
    fn nominate(&mut self, attempt: &mut Attempt, node: &NodeName, victims: Vec<Resident>) -> Nomination {
        let displaced = self.displaced(&attempt.pod, node);
        Arc::make_mut(&mut attempt.pod).nominated = Some(node.clone());
        self.invite(&Arc::clone(&attempt.pod), node, false);
        let victim = |resident: Resident| PodId {
            key: ObjectKey::new(resident.share.namespace(), &*resident.share.name),
            uid: resident.uid,
        };
        let victims = victims.into_iter().map(victim).collect();
        Nomination::At { node: node.clone(), victims, displaced }
    }

    /// Takes in how the writing of a decision ended; gives after how long it is decided anew, if it is.
    pub fn written(&mut self, pod: &PodId, written: Written, now: Duration) -> Option<Duration> {
        self.volumes.release(&pod.uid);
        self.devices.release(&pod.uid);
        match written {
            Written::Bound => {
                self.cache.written(&pod.uid, now);
                None
            }
            Written::Gone => {
                if self.cache.is_assumed(&pod.uid) {
                    self.cache.forget(&pod.uid);
                    let group = self.groups.leave(&pod.uid);
                    self.look_at(group, now);
                }
                None
            }
            Written::Failed => {
                let attempt = self.cache.forget(&pod.uid)?;
                self.groups.wait(&attempt.pod);
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

    /// How many pods are to be tried, back off, wait for news, and are held until their groups are there.
    pub fn waiting(&self) -> [usize; 4] {
        self.queue.lengths()
    }

    /// Which pods came to be tried, to back off and to wait for news since this was asked last, and why.
    pub fn take_incoming(&mut self) -> Incoming {
        self.queue.take_incoming()
    }

    /// Makes what is looked at what it is now.
    pub(super) fn look(&mut self) {
        self.counts.copied += self.snapshot.refresh(&self.cache);
    }

    /// The group of a pod that was shown.
    pub(super) fn group_of(&self, uid: &Uid) -> Option<GroupId> {
        self.groups.of(uid).cloned()
    }

    pub(super) fn standing(&self, group: &GroupId) -> Standing {
        self.groups.standing(group)
    }

    /// The profile of a name.
    pub(super) fn framework(&self, scheduler: &str) -> Option<&Framework> {
        self.frameworks.get(scheduler)
    }

    pub(super) fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    pub(super) fn residents(&self, node: &NodeName) -> Vec<super::cache::Resident> {
        self.cache.residents(node)
    }

    pub(super) fn scene(&self) -> Scene<'_> {
        Scene {
            nodes: self.snapshot.nodes(),
            crowd: Some(self.snapshot.crowd()),
            namespaces: &self.namespaces,
            volumes: &self.volumes,
            devices: &self.devices,
            workloads: &self.workloads,
            images: self.cache.images(),
            guests: &self.guests,
        }
    }

    /// Counts a pod where others go for it; `shown` by the API, or only decided.
    fn invite(&mut self, pod: &PodInfo, node: &NodeName, shown: bool) {
        let (uid, key) = (pod.id.uid.clone(), pod.id.key.clone());
        let guest = Guest { uid, key, share: pod.share.clone(), shown };
        if let Some(guests) = self.guests.get_mut(node)
            && let Some(known) = guests.iter_mut().find(|known| known.uid == guest.uid)
        {
            *known = guest;
            return;
        }
        self.disinvite(&guest.uid);
        self.guests.entry(node.clone()).or_default().push(guest);
    }

    /// Does not count it there any more, which others may be glad of.
    fn disinvite(&mut self, uid: &Uid) {
        let Some((node, _)) = self.guest(uid) else { return };
        if let Some(guests) = self.guests.get_mut(&node) {
            guests.retain(|guest| guest.uid != *uid);
            if guests.is_empty() {
                self.guests.remove(&node);
            }
        }
        self.cache.tell(&node, News::POD_LEFT);
    }

    /// Where others go for a pod, and whether the API has shown it.
    fn guest(&self, uid: &Uid) -> Option<(NodeName, bool)> {
        let mut nodes = self.guests.iter();
        nodes.find_map(|(node, guests)| {
            let guest = guests.iter().find(|guest| guest.uid == *uid)?;
            Some((node.clone(), guest.shown))
        })
    }

    /// Takes away the less important guests of a node, who have to look for another; gives them.
    fn displaced(&mut self, pod: &PodInfo, node: &NodeName) -> Vec<PodId> {
        let Some(guests) = self.guests.get_mut(node) else { return Vec::new() };
        let gone = guests.extract_if(.., |guest| guest.share.priority < pod.priority());
        let gone: Vec<PodId> = gone.map(|guest| PodId { key: guest.key, uid: guest.uid }).collect();
        if guests.is_empty() {
            self.guests.remove(node);
        }
        gone
    }

    /// Tries those pods again to which it may help what happened since this was done last. However much
    /// it was, each of them is asked once for each node.
    fn spread_news(&mut self, now: Duration) {
        let news = self.cache.take_news();
        let changes = std::mem::take(&mut self.changes);
        if !self.queue.awaits_news() {
            self.cache.tell_who_comes(false);
            return;
        }
        if !changes.news.is_empty() {
            let frameworks = &self.frameworks;
            let woken = self.queue.wake(now, changes.news.name(), |pod, by| {
                frameworks[&pod.scheduler].may_be_helped(pod, by, &changes)
            });
            self.counts.asked += woken.asked;
            self.counts.woken += woken.moved;
        }
        if news.is_empty() {
            return;
        }
        self.counts.copied += self.snapshot.refresh(&self.cache);
        for (name, news) in news {
            let scene = Scene {
                nodes: self.snapshot.nodes(),
                crowd: Some(self.snapshot.crowd()),
                namespaces: &self.namespaces,
                volumes: &self.volumes,
                devices: &self.devices,
                workloads: &self.workloads,
                images: self.cache.images(),
                guests: &self.guests,
            };
            let Some(node) = self.snapshot.node(&name) else { continue };
            let frameworks = &self.frameworks;
            let woken = self.queue.wake(now, news.name(), |pod, by| {
                frameworks[&pod.scheduler].may_help(pod, by, node, news, scene)
            });
            self.counts.asked += woken.asked;
            self.counts.woken += woken.moved;
        }
    }
}

/// The best node for a pod, or why there is none and what came of making room.
type Chosen = Result<Choice, (Box<Unfit>, Option<Found>)>;

/// Why no node can take a pod, with what came of making room unless it was made.
fn told(pod: &PodInfo, unfit: &Unfit, found: Option<&Found>) -> String {
    // What comes after the filters says what it did.
    let devices = match pod.devices.is_empty() {
        true => "no new claims to deallocate",
        false => "still not schedulable",
    };
    unfit.message(&match found {
        None if unfit.nodes == 0 => String::new(),
        None => devices.to_owned(),
        Some(Found::NotNow(reason)) => format!("{devices}, preemption: {reason}"),
        Some(Found::Nowhere(reason)) => format!("{devices}, preemption: {reason}"),
        Some(Found::Room(_)) => String::new(),
    })
}

impl Default for Planner {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
