//! The thinking half of the controller of DaemonSets: pure.

use std::time::Duration;

use base::Timestamp;
use client::Resource as _;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};

use super::nodes::Fit;
use crate::deployment;
use crate::pods::{OutlinedPod, Phase, PodOutline};

/// A node, with the set's pods that are on it or meant for it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) node: String,
    /// None where there is no such node any more.
    pub(super) fit: Option<Fit>,
    /// The oldest first, and those that are on the node before those that are meant for it.
    pub(super) pods: Vec<DaemonPod>,
}

/// A pod of the set.
#[derive(Clone, Debug)]
pub(super) struct DaemonPod {
    pub(super) pod: OutlinedPod,
    /// Whether it is of the newest template.
    pub(super) is_new: bool,
    pub(super) is_available: bool,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// On which nodes a pod is made.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Deletion>,
    /// After how long it is to be looked again.
    pub(super) wake: Option<Duration>,
}

/// A pod that is to go.
#[derive(Debug)]
pub(super) struct Deletion {
    pub(super) pod: OutlinedPod,
    pub(super) node: String,
    pub(super) why: Why,
}

/// Why it is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There is another, or there is to be, or none is to be there.
    Superfluous,
    Failed,
    Succeeded,
}

/// How far a rolling update may go, in nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// So many may have a second pod.
    surge: usize,
    /// So many may have none that is available.
    unavailable: usize,
}

impl Work {
    pub(super) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.delete.is_empty()
    }

    fn delete(&mut self, place: &Place, pod: &DaemonPod, why: Why) {
        self.delete.push(Deletion { pod: pod.pod.clone(), node: place.node.clone(), why });
    }

    fn wake(&mut self, after: Duration) {
        self.wake = Some(self.wake.map_or(after, |known| known.min(after)));
    }
}

impl DaemonPod {
    fn outline(&self) -> &PodOutline {
        &self.pod.outline
    }

    /// By what pods of a place are in order.
    pub(super) fn order(&self) -> (bool, Option<Timestamp>, &str) {
        (self.outline().node.is_none(), self.outline().created, &self.pod.key.name)
    }
}

impl Place {
    fn runs(&self) -> bool {
        self.fit == Some(Fit::Runs)
    }

    fn staying(&self) -> impl Iterator<Item = &DaemonPod> {
        self.pods.iter().filter(|pod| !pod.outline().is_ending)
    }

    /// The pod of the newest template and the one of another that stay; none where there are several of either.
    fn new_and_old(&self) -> Option<(Option<&DaemonPod>, Option<&DaemonPod>)> {
        let (new, old): (Vec<_>, Vec<_>) = self.staying().partition(|pod| pod.is_new);
        (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
    }
}

/// Whether a set's update makes new pods before the old ones go.
pub(super) fn surges(set: &DaemonSet) -> bool {
    bounds(set, 1).is_some_and(|bounds| bounds.surge > 0)
}

/// How far a set's update may go on so many nodes; none where pods are replaced when somebody deletes them.
fn bounds(set: &DaemonSet, nodes: usize) -> Option<Bounds> {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    if strategy.and_then(|strategy| strategy.type_.as_deref()).is_some_and(|kind| kind != "RollingUpdate") {
        return None;
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let of = i32::try_from(nodes).unwrap_or(i32::MAX);
    let part = |value: Option<&_>| {
        value.map_or(0, |value| usize::try_from(deployment::resolve(value, of, true)).unwrap_or(0))
    };
    let surge = part(rolling.and_then(|rolling| rolling.max_surge.as_ref()));
    let unavailable = part(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()));
    Some(Bounds { surge, unavailable: if surge == 0 { unavailable.max(1) } else { unavailable } })
}

/// What brings a pod to every node where one is to be, and no other pods. `wait` says for how long a pod that
/// failed on a node has to be left there.
pub(super) fn manage(places: &[Place], surges: bool, wait: &dyn Fn(&str) -> Option<Duration>) -> Work {
    let mut work = Work::default();
    for place in places {
        match place.fit {
            // Of those that were on a node that is gone others take care.
            None => {
                let meant = place.staying().filter(|pod| pod.outline().node.is_none());
                meant.for_each(|pod| work.delete(place, pod, Why::Superfluous));
            }
            Some(Fit::Never) => place.staying().for_each(|pod| work.delete(place, pod, Why::Superfluous)),
            Some(Fit::Runs) if place.pods.is_empty() => work.create.push(place.node.clone()),
            Some(Fit::Runs | Fit::Stays) => settle(place, surges, wait, &mut work),
        }
    }
    work
}

/// Of the pods of a node where there may be some.
fn settle(place: &Place, surges: bool, wait: &dyn Fn(&str) -> Option<Duration>, work: &mut Work) {
    let mut running = Vec::new();
    for pod in place.staying() {
        match (pod.outline().phase, wait(&place.node)) {
            (Phase::Failed, Some(left)) => work.wake(left),
            (Phase::Failed, None) => work.delete(place, pod, Why::Failed),
            (Phase::Succeeded, _) => work.delete(place, pod, Why::Succeeded),
            _ => running.push(pod),
        }
    }
    if !surges {
        running.iter().skip(1).for_each(|pod| work.delete(place, pod, Why::Superfluous));
        return;
    }
    match running[..] {
        [] if place.runs() => work.create.push(place.node.clone()),
        [] | [_] => {}
        _ => {
            let (new, old): (Vec<&DaemonPod>, Vec<&DaemonPod>) =
                running.into_iter().partition(|pod| pod.is_new);
            new.iter()
                .skip(1)
                .chain(old.iter().skip(1))
                .for_each(|pod| work.delete(place, pod, Why::Superfluous));
            if let (Some(new), Some(old)) = (new.first(), old.first())
                && (!old.outline().is_ready || new.is_available)
            {
                work.delete(place, old, Why::Superfluous);
            }
        }
    }
}

/// The next step of a rolling update, where every node has the pods that it is to have.
pub(super) fn roll(set: &DaemonSet, places: &[Place]) -> Work {
    let wanted = places.iter().filter(|place| place.runs()).count();
    let Some(bounds) = bounds(set, wanted) else { return Work::default() };
    // A node that is not among those that are to have a pod, and has none, is no part of it.
    let places: Vec<&Place> = places.iter().filter(|place| place.runs() || !place.pods.is_empty()).collect();
    if bounds.surge > 0 { surge(bounds, wanted, &places) } else { replace(bounds, &places) }
}

/// Deletes old pods: those that are not available at once, others as many as may be unavailable.
fn replace(bounds: Bounds, places: &[&Place]) -> Work {
    let mut work = Work::default();
    let (mut unavailable, mut candidates) = (0, Vec::new());
    for place in places {
        match place.new_and_old() {
            Some((Some(new), None)) => unavailable += usize::from(!new.is_available),
            Some((None, Some(old))) if old.is_available => candidates.push((place, old)),
            Some((None, Some(old))) => {
                work.delete(place, old, Why::Superfluous);
                unavailable += 1;
            }
            // One is about to be made, or one too many to go.
            _ => unavailable += 1,
        }
    }
    let room = bounds.unavailable.saturating_sub(unavailable);
    candidates.into_iter().take(room).for_each(|(place, old)| work.delete(place, old, Why::Superfluous));
    work
}

/// Makes new pods beside old ones, and deletes old ones whose new ones are available.
fn surge(bounds: Bounds, wanted: usize, places: &[&Place]) -> Work {
    let mut work = Work::default();
    let (mut surging, mut available) = (0, 0);
    let (mut candidates, mut leaving) = (Vec::new(), Vec::new());
    for place in places {
        let Some((new, old)) = place.new_and_old() else {
            surging += 1;
            continue;
        };
        available += usize::from(old.or(new).is_some_and(|pod| pod.is_available));
        match (new, old) {
            (_, None) => {}
            (None, Some(old)) if !place.runs() => {
                if old.is_available {
                    leaving.push((place, old));
                } else {
                    work.delete(place, old, Why::Superfluous);
                }
            }
            (None, Some(old)) if old.is_available => candidates.push(place.node.clone()),
            (None, Some(_)) => work.create.push(place.node.clone()),
            (Some(new), Some(old)) if new.is_available => work.delete(place, old, Why::Superfluous),
            (Some(_), Some(_)) => surging += 1,
        }
    }
    // A pod on a node that is no longer among those that are to have one goes when all of those have one.
    let spare = available.saturating_sub(wanted);
    leaving.into_iter().take(spare).for_each(|(place, old)| work.delete(place, old, Why::Superfluous));
    work.create.extend(candidates.into_iter().take(bounds.surge.saturating_sub(surging)));
    work
}

/// What the status says, but for what others write into it.
pub(super) fn status(set: &DaemonSet, places: &[Place], collisions: Option<i32>) -> DaemonSetStatus {
    let old = set.status.clone().unwrap_or_default();
    let count = |holds: &dyn Fn(&Place) -> bool| {
        i32::try_from(places.iter().filter(|place| place.fit.is_some() && holds(place)).count())
            .unwrap_or(i32::MAX)
    };
    // Of several pods the oldest counts.
    let first = |holds: &dyn Fn(&DaemonPod) -> bool| {
        count(&|place| place.runs() && place.pods.first().is_some_and(holds))
    };
    // Zero is not written, as the API's own controllers do not write it.
    let shown = |count: i32| (count != 0).then_some(count);
    let desired = count(&Place::runs);
    let available = first(&|pod| pod.is_available);
    DaemonSetStatus {
        observed_generation: set.metadata.generation,
        desired_number_scheduled: desired,
        current_number_scheduled: first(&|_| true),
        number_misscheduled: count(&|place| !place.runs() && !place.pods.is_empty()),
        number_ready: first(&|pod| pod.outline().is_ready),
        updated_number_scheduled: shown(first(&|pod| pod.is_new)),
        number_available: shown(available),
        number_unavailable: shown(desired.saturating_sub(available)),
        collision_count: collisions.filter(|count| *count > 0).or(old.collision_count),
        conditions: old.conditions,
    }
}

/// The name of a set and how far its template has come: under which pods that failed are remembered.
pub(super) fn remembered(set: &DaemonSet, node: &str) -> super::failed::Place {
    let generation = set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
    (set.uid().to_owned(), generation, node.to_owned())
}

#[cfg(test)]
mod tests;
