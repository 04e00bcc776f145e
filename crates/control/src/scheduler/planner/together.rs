//! Decides about the pods of a group together: all that it takes get their nodes, or none does.
//!
//! One after the other is given a node in thought, counted there for the next. If so many find one as have to be
//! placed together, what was thought is what is decided, and the others wait for theirs. If not, all of it is taken
//! back before anybody else is looked at, so that no group ever holds what another one waits for; then it is thought
//! out once more with less important pods gone, and these are asked to go only if all would find a node then.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::panics::Panic;

use super::{Nomination, Outcome, Planner, told};
use crate::scheduler::cache::{Aside, Resident};
use crate::scheduler::framework::{Choice, Guest, Refusers, Unfit};
use crate::scheduler::groups::{GroupId, Lack};
use crate::scheduler::news::News;
use crate::scheduler::pod::{NodeName, PodId, Uid};
use crate::scheduler::preemption::Found;
use crate::scheduler::queue::{Attempt, OF_GROUP, Tries};

const UNSCHEDULABLE: &str = "pod group is unschedulable";
/// What is told of one that found a node where too few of the others did, or that was not looked at any more.
const INCOMPLETE: &str = "pod group is unschedulable, waiting for minCount pods from a gang to be scheduled";
/// What is told where room is made for all.
const PREEMPTING: &str = "pod group is unschedulable, pod group is waiting for preemption to complete";
/// The plugin that says what a group lacks.
const PLUGIN: &str = "GangScheduling";

/// Where the pods of a group would go.
#[derive(Default)]
struct Thought {
    placed: Vec<Placed>,
    refused: Vec<Refused>,
    failed: Vec<(Attempt, Panic)>,
    /// It was known without them that too few find a node, or that enough do.
    untried: Vec<Attempt>,
}

/// A pod that would find a node.
struct Placed {
    pod: PodId,
    tries: Tries,
    found: Place,
}

enum Place {
    /// As it is.
    Free(Choice),
    /// With others gone.
    Room { node: NodeName, victims: Vec<Resident>, aside: Vec<Aside>, unfit: Box<Unfit> },
}

struct Refused {
    attempt: Attempt,
    unfit: Box<Unfit>,
    found: Option<Found>,
}

impl Thought {
    fn makes_room(&self) -> bool {
        self.placed.iter().any(|placed| matches!(placed.found, Place::Room { .. }))
    }
}

impl Planner {
    /// Tries the pods again that are held if their group is there now; where it is not (any more), those again for
    /// which nodes are kept.
    pub(super) fn look_at_group(&mut self, group: &GroupId, now: Duration) {
        let is_there = self.groups.standing(group).quorum().is_ok();
        let is_idle = if is_there { !self.queue.holds_any() } else { self.guests.is_empty() };
        if is_idle {
            return;
        }
        for uid in self.groups.waiting(group) {
            if is_there {
                self.queue.let_go(&uid, now);
            } else if self.queue.pod(&uid).is_some_and(|pod| pod.nominated.is_some()) {
                self.queue.retry(&uid, now, OF_GROUP);
            }
        }
    }

    /// Decides about a pod that is to be tried now and all of its group that wait with it.
    pub(super) fn decide_together(&mut self, first: Attempt, group: &GroupId, now: Duration) {
        let standing = self.groups.standing(group);
        let minimum = match standing.quorum() {
            Ok(minimum) => minimum,
            Err(lack) => return self.hold(first, &lack, now),
        };
        let wanted = minimum.saturating_sub(standing.placed);
        let mut attempts = vec![first];
        // Once so many have their nodes, each of the others is tried for itself, when it is its turn.
        if wanted > 0 {
            for uid in self.groups.waiting(group) {
                attempts.extend(self.queue.take(&uid));
            }
        }
        if let Some(lack) = differ(&attempts) {
            return attempts.into_iter().for_each(|attempt| self.hold(attempt, &lack, now));
        }
        // Nodes that are kept for them are theirs.
        let guests: Vec<(NodeName, Guest)> =
            attempts.iter().filter_map(|attempt| self.take_guest(&attempt.pod.id.uid)).collect();
        let mut thought = self.think(attempts, wanted, false);
        if thought.placed.len() < wanted && self.may_make_room(&thought) {
            let attempts = self.take_back(thought);
            thought = self.think(attempts, wanted, true);
        }
        if thought.placed.len() >= wanted && !thought.makes_room() {
            self.settle(thought, group, guests, now);
        } else if thought.placed.len() >= wanted {
            self.make_room_for_all(thought, group, guests, now);
        } else {
            self.refuse_all(thought, group, guests, now);
        }
    }

    /// How many of a group that wait would find a node now, without room being made. It is as it was afterwards, but
    /// that all of them wait as after an attempt.
    pub(in crate::scheduler) fn would_find_nodes(&mut self, group: &GroupId) -> usize {
        let waiting = self.groups.waiting(group);
        let attempts: Vec<Attempt> = waiting.iter().filter_map(|uid| self.queue.take(uid)).collect();
        let guests: Vec<(NodeName, Guest)> = waiting.iter().filter_map(|uid| self.take_guest(uid)).collect();
        let thought = self.think(attempts, 0, false);
        let found = thought.placed.len();
        for attempt in self.take_back(thought) {
            self.queue.refused(attempt, Refusers::default(), Duration::ZERO);
        }
        self.invite_back(guests);
        found
    }

    /// Whether others may have to go for one that found no node.
    fn may_make_room(&self, thought: &Thought) -> bool {
        let refused = thought.refused.iter().map(|refused| &refused.attempt);
        refused.chain(&thought.untried).any(|attempt| {
            attempt.pod.preempts && self.frameworks[&attempt.pod.scheduler].preemption.is_some()
        })
    }

    /// Does not try a pod whose group lacks something.
    fn hold(&mut self, mut attempt: Attempt, lack: &Lack, now: Duration) {
        let pod = attempt.pod.id.clone();
        let nomination = self.forget_node(&mut attempt);
        self.queue.hold(attempt, now);
        let message = lack.to_string();
        let by = vec![PLUGIN];
        self.decided.push_back(Outcome::Refused { pod, message, by, nomination, sought_room: false });
    }

    /// Keeps no node any more for a pod.
    fn forget_node(&mut self, attempt: &mut Attempt) -> Nomination {
        self.disinvite(&attempt.pod.id.uid);
        if attempt.pod.nominated.is_none() {
            return Nomination::Same;
        }
        Arc::make_mut(&mut attempt.pod).nominated = None;
        Nomination::None
    }

    /// Gives the pods nodes in thought, the most important first, until all were tried, `wanted` cannot be reached,
    /// or it is reached by making room.
    fn think(&mut self, attempts: Vec<Attempt>, wanted: usize, may_make_room: bool) -> Thought {
        let mut left: VecDeque<Attempt> = attempts.into();
        let order = |attempt: &Attempt| (Reverse(attempt.pod.priority()), attempt.came);
        left.make_contiguous().sort_by_key(order);
        let mut thought = Thought::default();
        while thought.placed.len() + left.len() >= wanted
            && !(thought.makes_room() && thought.placed.len() >= wanted)
            && let Some(attempt) = left.pop_front()
        {
            let (pod, tries) = (attempt.pod.id.clone(), attempt.tries());
            match self.choose(&attempt.pod, may_make_room) {
                Ok(Ok(choice)) => {
                    self.assume(attempt, &choice);
                    thought.placed.push(Placed { pod, tries, found: Place::Free(choice) });
                }
                Ok(Err((unfit, Some(Found::Room(candidate))))) => {
                    let victims = candidate.victims.iter();
                    let aside = victims.filter_map(|victim| self.cache.set_aside(&victim.uid)).collect();
                    self.cache.assume(attempt, &candidate.node);
                    let (node, victims) = (candidate.node, candidate.victims);
                    let found = Place::Room { node, victims, aside, unfit };
                    thought.placed.push(Placed { pod, tries, found });
                }
                Ok(Err((unfit, found))) => thought.refused.push(Refused { attempt, unfit, found }),
                Err(panic) => thought.failed.push((attempt, panic)),
            }
        }
        thought.untried = left.into();
        thought
    }

    /// Takes all back that was thought; gives whom it was about.
    fn take_back(&mut self, thought: Thought) -> Vec<Attempt> {
        let Thought { placed, refused, failed, untried } = thought;
        let mut attempts = untried;
        attempts.extend(refused.into_iter().map(|refused| refused.attempt));
        attempts.extend(failed.into_iter().map(|(attempt, _)| attempt));
        attempts.extend(self.take_back_placed(placed).into_iter().map(|(attempt, _)| attempt));
        attempts
    }

    fn take_back_placed(&mut self, placed: Vec<Placed>) -> Vec<(Attempt, Place)> {
        let mut back = Vec::with_capacity(placed.len());
        for Placed { pod, mut found, .. } in placed.into_iter().rev() {
            self.volumes.release(&pod.uid);
            self.devices.release(&pod.uid);
            let attempt = self.cache.forget(&pod.uid).expect("it was just assumed, and waits");
            if let Place::Room { aside, .. } = &mut found {
                aside.drain(..).for_each(|aside| self.cache.put_back(aside));
            }
            back.push((attempt, found));
        }
        // Everything is as it was: nobody has seen anything that would be news.
        self.cache.take_news();
        back.reverse();
        back
    }

    /// Those that found a node get it; the others wait, each for its own.
    fn settle(&mut self, thought: Thought, group: &GroupId, guests: Vec<(NodeName, Guest)>, now: Duration) {
        let (is_any, is_refused) = (!thought.placed.is_empty(), !thought.refused.is_empty());
        for Placed { pod, tries, found } in thought.placed {
            let Place::Free(Choice { node, plan, .. }) = found else { unreachable!("no room was made") };
            self.groups.assume(&pod.uid);
            self.decided.push_back(Outcome::Chosen { pod, node, plan, tries });
        }
        self.give_up(guests);
        for Refused { attempt, unfit, .. } in thought.refused {
            self.snapshot.refresh(&self.cache);
            let found = base::panics::catch(|| {
                let framework = &self.frameworks[&attempt.pod.scheduler];
                self.make_room(framework, &attempt.pod, self.scene(), &unfit)
            });
            let outcome = match found {
                Ok(found) => self.refuse(attempt, &unfit, found, now),
                Err(panic) => self.fail(attempt, panic, now),
            };
            self.decided.push_back(outcome);
        }
        self.fail_all(thought.failed, now);
        if is_any {
            self.tell_group(group, None);
        } else if is_refused {
            self.tell_group(group, Some(UNSCHEDULABLE));
        }
    }

    /// Others are asked to go, so that all find a node when they are tried again.
    fn make_room_for_all(
        &mut self,
        thought: Thought,
        group: &GroupId,
        guests: Vec<(NodeName, Guest)>,
        now: Duration,
    ) {
        let Thought { placed, refused, failed, untried } = thought;
        let placed = self.take_back_placed(placed);
        self.give_up(guests);
        // Whatever happens to those that have to go is news to all.
        let by = placed.iter().map(|(_, place)| match place {
            Place::Room { unfit, .. } => unfit.by,
            Place::Free(_) => Refusers::default(),
        });
        let by = by.chain(refused.iter().map(|refused| refused.unfit.by)).collect::<Refusers>();
        for (mut attempt, place) in placed {
            let pod = attempt.pod.id.clone();
            let (node, victims, message, own) = match place {
                Place::Room { node, victims, unfit, .. } => {
                    let message = unfit.message("");
                    (node, victims, message, self.frameworks[&attempt.pod.scheduler].names(unfit.by))
                }
                Place::Free(choice) => (choice.node, Vec::new(), PREEMPTING.to_owned(), vec![PLUGIN]),
            };
            let sought_room = !victims.is_empty();
            let nomination = self.nominate(&mut attempt, &node, victims);
            self.heed_who_comes(&attempt.pod);
            self.queue.refused(attempt, by, now);
            self.decided.push_back(Outcome::Refused { pod, message, by: own, nomination, sought_room });
        }
        self.refuse_others(refused, untried, by, PREEMPTING, now);
        self.fail_all(failed, now);
        self.tell_group(group, Some(PREEMPTING));
    }

    /// None gets a node; all wait for what may help those that found none.
    fn refuse_all(
        &mut self,
        thought: Thought,
        group: &GroupId,
        guests: Vec<(NodeName, Guest)>,
        now: Duration,
    ) {
        let Thought { placed, refused, failed, mut untried } = thought;
        untried.extend(self.take_back_placed(placed).into_iter().map(|(attempt, _)| attempt));
        let go_already = |refused: &Refused| {
            matches!(refused.found, Some(Found::NotNow(_))) && refused.attempt.pod.nominated.is_some()
        };
        if refused.iter().any(go_already) {
            // Others still go for them.
            self.invite_back(guests);
        } else {
            self.give_up(guests);
        }
        let by = refused.iter().map(|refused| refused.unfit.by).collect();
        self.refuse_others(refused, untried, by, INCOMPLETE, now);
        self.fail_all(failed, now);
        self.tell_group(group, Some(UNSCHEDULABLE));
    }

    fn refuse_others(
        &mut self,
        refused: Vec<Refused>,
        untried: Vec<Attempt>,
        by: Refusers,
        message: &str,
        now: Duration,
    ) {
        let own = refused.into_iter().map(|Refused { attempt, unfit, found }| {
            let names = self.frameworks[&attempt.pod.scheduler].names(unfit.by);
            let message = told(&attempt.pod, &unfit, found.as_ref());
            (attempt, message, names, found.is_some())
        });
        let own: Vec<_> = own.collect();
        let others = untried.into_iter().map(|attempt| (attempt, message.to_owned(), vec![PLUGIN], false));
        for (mut attempt, message, names, sought_room) in own.into_iter().chain(others) {
            let pod = attempt.pod.id.clone();
            let nomination = match self.guest(&pod.uid) {
                Some(_) => Nomination::Same,
                None => self.forget_node(&mut attempt),
            };
            self.heed_who_comes(&attempt.pod);
            self.queue.refused(attempt, by, now);
            self.decided.push_back(Outcome::Refused { pod, message, by: names, nomination, sought_room });
        }
    }

    fn fail_all(&mut self, failed: Vec<(Attempt, Panic)>, now: Duration) {
        for (attempt, panic) in failed {
            let outcome = self.fail(attempt, panic, now);
            self.decided.push_back(outcome);
        }
    }

    fn fail(&mut self, attempt: Attempt, panic: Panic, now: Duration) -> Outcome {
        Outcome::Failed { pod: attempt.pod.id.clone(), panic, delay: self.queue.failed(attempt, now) }
    }

    /// Tells of a PodGroup that its pods were placed where that is not said, though they have their nodes: whoever
    /// placed them may have ended before.
    pub(super) fn tell_if_placed(&mut self, group: &GroupId) {
        if self.groups.is_to_be_told(group) {
            self.tell_group(group, None);
        }
    }

    fn tell_group(&mut self, group: &GroupId, refused: Option<&str>) {
        if group.is_declared {
            if refused.is_none() {
                self.groups.tell(group);
            }
            let refused = refused.map(str::to_owned);
            self.decided.push_back(Outcome::Grouped { group: group.key.clone(), refused });
        }
    }

    /// Takes a pod from where others go for it.
    fn take_guest(&mut self, uid: &Uid) -> Option<(NodeName, Guest)> {
        let (node, _) = self.guest(uid)?;
        let guests = self.guests.get_mut(&node)?;
        let place = guests.iter().position(|guest| guest.uid == *uid)?;
        let guest = guests.remove(place);
        if guests.is_empty() {
            self.guests.remove(&node);
        }
        Some((node, guest))
    }

    fn invite_back(&mut self, guests: Vec<(NodeName, Guest)>) {
        for (node, guest) in guests {
            self.guests.entry(node).or_default().push(guest);
        }
    }

    /// Keeps nodes for them no more, which others may be glad of.
    fn give_up(&mut self, guests: Vec<(NodeName, Guest)>) {
        guests.into_iter().for_each(|(node, _)| self.cache.tell(&node, News::POD_LEFT));
    }
}

/// That pods wait for different schedulers.
fn differ(attempts: &[Attempt]) -> Option<Lack> {
    let mut names = attempts.iter().map(|attempt| &attempt.pod.scheduler);
    let first = names.next()?;
    let other = names.find(|name| *name != first)?;
    Some(Lack::OneScheduler(first.clone(), other.clone()))
}
