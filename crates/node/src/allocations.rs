//! What the pods of this node were granted, all together: who asks for more gets it where there is room.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use crate::pod::allocation::{Allocation, Capacity, Refusal, Room, Tenant, decide};
use crate::pod::is_over;

/// What all pods were granted, by uid. Kept on disk by the workers of the pods.
pub(crate) struct Allocations {
    entries: Mutex<Entries>,
    /// Wakes the worker of the pod with this uid.
    wake: UnboundedSender<String>,
}

#[derive(Default)]
struct Entries {
    by_uid: HashMap<String, Entry>,
    /// Counts those that begin to wait.
    waited: u64,
}

struct Entry {
    allocation: Allocation,
    /// The most that it was granted before, as long as its containers may have it.
    held: Option<Room>,
    refused: Option<Refused>,
    /// What it asked for when this was granted.
    generation: i64,
    /// It takes nothing any more.
    released: bool,
}

#[derive(Clone)]
struct Refused {
    refusal: Refusal,
    generation: i64,
    since: u64,
}

/// How it stands with one pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    /// What it was granted.
    pub(crate) allocation: Allocation,
    /// The generation of the pod that asked for that.
    pub(crate) generation: i64,
    /// Why it was not granted what it asks for, and the generation that asks.
    pub(crate) refused: Option<(Refusal, i64)>,
}

impl Allocations {
    /// Nobody was granted anything yet.
    pub(crate) fn new(wake: UnboundedSender<String>) -> Self {
        Self { entries: Mutex::default(), wake }
    }

    /// Grants a pod what it was granted before the daemon began, or what it asks for where nobody knows. Before that
    /// its containers may have had more, and have it still: what they were found to have is not given to others.
    pub(crate) fn admit(&self, uid: &str, pod: &Arc<Pod>, before: Option<(Allocation, Room)>) {
        let mut entries = self.entries.lock();
        entries.by_uid.entry(uid.to_owned()).or_insert_with(|| {
            let (allocation, found) = before.unwrap_or_else(|| (Allocation::wanted(pod), Room::default()));
            let granted = Room::taken(&allocation.applied(pod));
            Entry {
                held: (granted.most(found) != granted).then_some(found),
                allocation,
                refused: None,
                generation: pod.metadata.generation.unwrap_or(0),
                released: false,
            }
        });
    }

    /// As [`Allocations::admit`], of a pod that was never admitted before: if it has a place beside those of `pods`
    /// that were, and have not ended.
    pub(crate) fn admit_beside<E>(
        &self,
        uid: &str,
        pod: &Arc<Pod>,
        pods: &[Arc<Pod>],
        has_place: impl FnOnce(&[Arc<Pod>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut entries = self.entries.lock();
        if entries.by_uid.contains_key(uid) {
            return Ok(());
        }
        let others = pods.iter().filter(|other| self::uid(other) != uid && !is_over(other));
        let granted = |other: &Arc<Pod>| match entries.by_uid.get(self::uid(other)) {
            Some(entry) => (!entry.released).then(|| entry.allocation.applied(other)),
            // It began before the daemon did, and its worker has not.
            None => other.status.as_ref()?.start_time.as_ref().map(|_| Arc::clone(other)),
        };
        has_place(&others.filter_map(granted).collect::<Vec<_>>())?;
        let entry = Entry {
            held: None,
            allocation: Allocation::wanted(pod),
            refused: None,
            generation: pod.metadata.generation.unwrap_or(0),
            released: false,
        };
        entries.by_uid.insert(uid.to_owned(), entry);
        Ok(())
    }

    /// How it stands with a pod that was admitted.
    pub(crate) fn standing(&self, uid: &str) -> Option<Standing> {
        let entries = self.entries.lock();
        let entry = entries.by_uid.get(uid)?;
        let refused = entry.refused.as_ref();
        Some(Standing {
            allocation: entry.allocation.clone(),
            generation: entry.generation,
            refused: refused.map(|refused| (refused.refusal.clone(), refused.generation)),
        })
    }

    /// The pods with what they were granted.
    pub(crate) fn applied(&self, pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let entries = self.entries.lock();
        let granted = |pod: &Arc<Pod>| match entries.by_uid.get(uid(pod)) {
            Some(entry) => entry.allocation.applied(pod),
            None => Arc::clone(pod),
        };
        pods.iter().map(granted).collect()
    }

    /// Decides on all that ask for something else than they have been granted, and wakes those for whom something
    /// has changed.
    pub(crate) fn settle(&self, pods: &[Arc<Pod>], capacity: impl FnOnce() -> Capacity) {
        let mut entries = self.entries.lock();
        let Entries { by_uid, waited } = &mut *entries;
        let mut waits = false;
        for pod in pods {
            let Some(entry) = by_uid.get_mut(uid(pod)) else { continue };
            if entry.allocation.is_all_of(pod) {
                if entry.refused.take().is_some() {
                    let _ = self.wake.send(uid(pod).to_owned());
                }
            } else {
                waits = true;
            }
        }
        if !waits {
            return;
        }
        let living = pods
            .iter()
            .filter(|pod| !is_over(pod) && by_uid.get(uid(pod)).is_none_or(|entry| !entry.released));
        let tenants: Vec<Tenant> = living
            .map(|pod| match by_uid.get(uid(pod)) {
                Some(entry) => Tenant {
                    granted: entry.allocation.applied(pod),
                    held: entry.held.unwrap_or_default(),
                    since: entry.refused.as_ref().map_or(u64::MAX, |refused| refused.since),
                    pod: Arc::clone(pod),
                },
                // Its worker has not begun: it takes what it asks for.
                None => Tenant {
                    pod: Arc::clone(pod),
                    granted: Arc::clone(pod),
                    held: Room::default(),
                    since: u64::MAX,
                },
            })
            .collect();
        for (place, fits) in decide(&tenants, capacity()) {
            let pod = &tenants[place].pod;
            let Some(entry) = by_uid.get_mut(uid(pod)) else { continue };
            let generation = pod.metadata.generation.unwrap_or(0);
            match fits {
                Ok(()) => {
                    let before = Room::taken(&entry.allocation.applied(pod));
                    entry.held = Some(entry.held.unwrap_or_default().most(before));
                    entry.allocation = Allocation::wanted(pod);
                    (entry.refused, entry.generation) = (None, generation);
                }
                Err(refusal) => {
                    let known = entry.refused.as_ref();
                    if known.is_some_and(|known| known.refusal == refusal && known.generation == generation) {
                        continue;
                    }
                    *waited += 1;
                    let since = known.map_or(*waited, |known| known.since);
                    entry.refused = Some(Refused { refusal, generation, since });
                }
            }
            let _ = self.wake.send(uid(pod).to_owned());
        }
    }

    /// The containers of a pod have what it was granted, and no more. Says whether others may have what it had.
    pub(crate) fn is_there(&self, uid: &str) -> bool {
        self.entries.lock().by_uid.get_mut(uid).is_some_and(|entry| entry.held.take().is_some())
    }

    /// A pod takes nothing any more. Says whether it took something before.
    pub(crate) fn release(&self, uid: &str) -> bool {
        let mut entries = self.entries.lock();
        entries.by_uid.get_mut(uid).is_some_and(|entry| !std::mem::replace(&mut entry.released, true))
    }

    /// Nothing of a pod is left.
    pub(crate) fn forget(&self, uid: &str) {
        self.entries.lock().by_uid.remove(uid);
    }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::pod::allocation::DEFERRED;

    fn pod(uid: &str, cpu: &str, generation: i64) -> Arc<Pod> {
        let spec = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]});
        let metadata = json!({"name": uid, "uid": uid, "generation": generation});
        Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod"))
    }

    fn capacity() -> Capacity {
        let room = Room { cpu: 4000, memory: 1 << 30 };
        Capacity { all: room, allocatable: room }
    }

    fn woken(wakes: &mut UnboundedReceiver<String>) -> Vec<String> {
        std::iter::from_fn(|| wakes.try_recv().ok()).collect()
    }

    #[test]
    fn who_waits_gets_what_another_gives_back_once_that_is_given_back() {
        let (sender, mut wakes) = unbounded_channel();
        let allocations = Allocations::new(sender);
        for (name, cpu) in [("a", "3"), ("b", "1")] {
            allocations.admit(name, &pod(name, cpu, 1), None);
        }
        let pods = [pod("a", "3", 1), pod("b", "2", 2)];
        allocations.settle(&pods, capacity);
        let standing = allocations.standing("b").expect("admitted");
        assert_eq!(
            standing.refused.map(|(refusal, generation)| (refusal.reason, generation)),
            Some((DEFERRED, 2))
        );
        assert_eq!(woken(&mut wakes), ["b"]);
        // Nothing new is no news.
        allocations.settle(&pods, capacity);
        assert_eq!(woken(&mut wakes), [""; 0]);
        let pods = [pod("a", "1", 2), pod("b", "2", 2)];
        allocations.settle(&pods, capacity);
        assert_eq!(woken(&mut wakes), ["a"], "its containers still have it");
        assert!(allocations.is_there("a"));
        allocations.settle(&pods, capacity);
        assert_eq!(woken(&mut wakes), ["b"]);
        let standing = allocations.standing("b").expect("admitted");
        assert_eq!((standing.refused, standing.generation), (None, 2));
        assert!(standing.allocation.is_all_of(&pods[1]));
    }

    #[test]
    fn who_asks_for_what_it_has_waits_no_more_and_who_has_ended_takes_nothing() {
        let (sender, mut wakes) = unbounded_channel();
        let allocations = Allocations::new(sender);
        for (name, cpu) in [("a", "3"), ("b", "1")] {
            allocations.admit(name, &pod(name, cpu, 1), None);
        }
        allocations.settle(&[pod("a", "3", 1), pod("b", "2", 2)], capacity);
        allocations.settle(&[pod("a", "3", 1), pod("b", "1", 3)], capacity);
        assert_eq!(woken(&mut wakes), ["b", "b"]);
        assert_eq!(allocations.standing("b").expect("admitted").refused, None);
        assert!(allocations.release("a") && !allocations.release("a"));
        allocations.settle(&[pod("a", "3", 1), pod("b", "4", 4)], capacity);
        assert!(allocations.standing("b").expect("admitted").allocation.is_all_of(&pod("b", "4", 4)));
    }

    #[test]
    fn what_containers_have_still_when_the_daemon_begins_is_nobody_else_s() {
        let (sender, _wakes) = unbounded_channel();
        let allocations = Allocations::new(sender);
        let before = Allocation::wanted(&pod("a", "1", 2));
        allocations.admit("a", &pod("a", "1", 2), Some((before, Room { cpu: 3000, memory: 0 })));
        allocations.admit("b", &pod("b", "1", 1), None);
        let pods = [pod("a", "1", 2), pod("b", "2", 2)];
        allocations.settle(&pods, capacity);
        let refused = allocations.standing("b").expect("admitted").refused;
        assert_eq!(refused.map(|(refusal, _)| refusal.reason), Some(DEFERRED));
        assert!(allocations.is_there("a"));
        allocations.settle(&pods, capacity);
        assert!(allocations.standing("b").expect("admitted").allocation.is_all_of(&pods[1]));
    }

    #[test]
    fn who_comes_first_has_a_place_and_who_has_ended_has_none() {
        let (sender, _wakes) = unbounded_channel();
        let allocations = Allocations::new(sender);
        let begun = |uid: &str, phase: &str| {
            let mut pod = Pod::clone(&pod(uid, "1", 1));
            let status = json!({"phase": phase, "startTime": "2026-01-01T00:00:00Z"});
            pod.status = serde_json::from_value(status).expect("a status");
            Arc::new(pod)
        };
        let pods = [
            pod("a", "1", 1),
            pod("b", "1", 1),
            begun("before", "Running"),
            begun("ended", "Succeeded"),
            pod("c", "1", 1),
        ];
        let admit = |index: usize, most: usize| {
            let pod = &pods[index];
            allocations.admit_beside(uid(pod), pod, &pods, |others| {
                if others.len() < most { Ok(()) } else { Err(others.len()) }
            })
        };
        assert_eq!(admit(0, 2), Ok(()));
        assert_eq!(admit(1, 2), Err(2));
        assert!(allocations.standing("b").is_none());
        // It is let in already.
        assert_eq!(admit(0, 0), Ok(()));
        allocations.release("a");
        assert_eq!(admit(4, 2), Ok(()));
        assert_eq!(admit(1, 2), Err(2));
    }

    #[test]
    fn what_was_granted_before_the_daemon_began_is_what_counts() {
        let (sender, _wakes) = unbounded_channel();
        let allocations = Allocations::new(sender);
        let before = Allocation::wanted(&pod("a", "1", 1));
        allocations.admit("a", &pod("a", "9", 2), Some((before.clone(), Room::default())));
        allocations.settle(&[pod("a", "9", 2)], capacity);
        let standing = allocations.standing("a").expect("admitted");
        assert_eq!(standing.allocation, before);
        assert_eq!(standing.refused.map(|(refusal, _)| refusal.reason), Some("Infeasible"));
    }
}
