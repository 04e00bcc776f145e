//! The thinking half of the controller of StatefulSets: pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Resource as _;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::claims::{self, Owners, Retention};
use super::pod;
use super::version::{Member, Version, is_parallel, ordinals, partition, replicas, rolls, strategy};
use crate::deployment;
use crate::pods::Phase;

/// One thing to do.
#[derive(Debug)]
pub(super) enum Step {
    /// Make a pod, and before it the claims of it that are missing.
    Create { pod: Box<Pod>, claims: Vec<PersistentVolumeClaim> },
    /// Wait with a pod until a claim of it is gone that is being deleted.
    Await { pod: String, claim: String },
    /// Make claims of a pod that is there.
    Claim { pod: String, claims: Vec<PersistentVolumeClaim> },
    /// Delete this pod.
    Delete(Arc<Pod>),
    /// Give this pod the labels and volumes of its place.
    Mend(Arc<Pod>),
    /// Change the owners of a claim.
    Own { claim: Arc<PersistentVolumeClaim>, owners: Vec<OwnerReference>, is_conflict: bool },
}

/// What is done at the same time, before what follows.
pub(super) type Phases = Vec<Vec<Step>>;

/// How many pods at most are made at once.
const BURST: usize = 500;

/// A set as it is, with what it has.
pub(super) struct Scene<'a> {
    pub(super) set: &'a StatefulSet,
    /// What pods are of before a rollout, and below its partition.
    pub(super) current: &'a Version,
    /// What pods are to be of.
    pub(super) update: &'a Version,
    pub(super) members: &'a [Member],
    /// The claim of a name.
    pub(super) claim: &'a dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>>,
}

/// What brings a set to what is wanted of it. In order, or at once where pods do not wait for each other: first the
/// pods that there are to be, then those that are too many, from the last, then those of an earlier template, from the
/// last.
pub(super) fn plan(scene: &Scene<'_>) -> Phases {
    let wanted = ordinals(scene.set);
    let is_wanted = |member: &&Member| wanted.contains(&i64::from(member.ordinal));
    let kept = scene.members.iter().filter(is_wanted);
    let kept = kept.map(|member| (i64::from(member.ordinal), member)).collect();
    let mut condemned: Vec<&Member> = scene.members.iter().filter(|member| !is_wanted(member)).collect();
    condemned.sort_by_key(|member| std::cmp::Reverse(member.ordinal));
    let round = Round { scene, kept, condemned, is_parallel: is_parallel(scene.set) };
    let mut phases = Phases::new();
    // Each looks only at a world in which those before it have nothing to wait for.
    let _ =
        round.fill(&mut phases).and_then(|()| round.shrink(&mut phases)).map(|()| round.update(&mut phases));
    phases
}

struct Round<'a> {
    scene: &'a Scene<'a>,
    /// By ordinal, those that there are to be.
    kept: BTreeMap<i64, &'a Member>,
    /// The others, the last first.
    condemned: Vec<&'a Member>,
    is_parallel: bool,
}

impl Round<'_> {
    /// Pods that are missing, that have ended, that are not what their place wants. None where what follows has to
    /// wait.
    fn fill(&self, phases: &mut Phases) -> Option<()> {
        let set = self.scene.set;
        let mut together = Vec::new();
        for ordinal in ordinals(set) {
            let (steps, goes_on) = match self.kept.get(&ordinal) {
                None => (self.create(ordinal), false),
                Some(member) => self.keep(member),
            };
            if self.is_parallel {
                together.extend(steps);
                if together.len() >= BURST {
                    phases.push(together);
                    return None;
                }
            } else {
                phases.extend(steps.into_iter().map(|step| vec![step]));
                if !goes_on {
                    return None;
                }
            }
        }
        if !together.is_empty() {
            phases.push(together);
        }
        Some(())
    }

    fn create(&self, ordinal: i64) -> Vec<Step> {
        let Scene { set, current, update, claim, .. } = self.scene;
        let start = ordinals(set).start;
        let earlier = match partition(set) {
            Some(partition) => ordinal < start + i64::from(partition),
            None => rolls(set) && ordinal < start + i64::from(current_replicas(set)),
        };
        let pod = pod::make(set, if earlier { current } else { update }, ordinal);
        let mut missing = Vec::new();
        for wanted in claims::make(set, pod.name()) {
            match claim(wanted.name()) {
                None => missing.push(wanted),
                // It goes with the pod before this one.
                Some(found) if Retention::of(set).with_pod && claims::is_stale(&found, pod.name()) => {
                    return Vec::new();
                }
                Some(found) if found.is_being_deleted() => {
                    return vec![Step::Await { pod: pod.name().to_owned(), claim: found.name().to_owned() }];
                }
                Some(_) => {}
            }
        }
        vec![Step::Create { pod: Box::new(pod), claims: missing }]
    }

    /// What a pod lacks that is there, and whether those after it need not wait for it.
    fn keep(&self, member: &Member) -> (Vec<Step>, bool) {
        let set = self.scene.set;
        let mut steps = Vec::new();
        if member.outline.is_terminal() {
            // A new one is made when it is gone, and no sooner.
            if !member.outline.is_ending {
                steps.push(Step::Delete(member.pod.clone()));
            }
            return (steps, false);
        }
        let has_storage = pod::has_storage(set, &member.pod);
        if member.outline.phase == Phase::Pending || !has_storage {
            let claims = claims::make(set, member.pod.name());
            let missing: Vec<_> =
                claims.into_iter().filter(|wanted| (self.scene.claim)(wanted.name()).is_none()).collect();
            if !missing.is_empty() {
                steps.push(Step::Claim { pod: member.pod.name().to_owned(), claims: missing });
            }
        }
        if member.outline.phase == Phase::Pending {
            steps.extend(self.owners(member));
        }
        if !self.is_parallel && member.is_unavailable() {
            return (steps, false);
        }
        if !pod::has_identity(&member.pod) || !has_storage {
            steps.push(Step::Mend(member.pod.clone()));
        }
        if member.outline.phase != Phase::Pending {
            steps.extend(self.owners(member));
        }
        (steps, true)
    }

    /// What is wrong with the owners of a pod's claims.
    fn owners(&self, member: &Member) -> Vec<Step> {
        let owners = Owners::new(self.scene.set, &member.pod);
        let names = claims::names(self.scene.set, member.pod.name());
        let found = names.filter_map(|(_, name)| (self.scene.claim)(&name));
        let changed = found.filter_map(|claim| {
            let claims::Change { owners, is_conflict } = owners.change(&claim)?;
            Some(Step::Own { claim, owners, is_conflict })
        });
        changed.collect()
    }

    /// Pods that are too many. None where what follows has to wait.
    fn shrink(&self, phases: &mut Phases) -> Option<()> {
        let owners: Vec<Step> = self.condemned.iter().flat_map(|member| self.owners(member)).collect();
        if !owners.is_empty() {
            phases.push(owners);
        }
        if self.is_parallel {
            let going = self.condemned.iter().filter(|member| !member.outline.is_ending);
            let going: Vec<Step> = going.map(|member| Step::Delete(member.pod.clone())).collect();
            if !going.is_empty() {
                phases.push(going);
            }
            return Some(());
        }
        let Some(last) = self.condemned.first() else { return Some(()) };
        // One that does not work is waited for, unless it is the one that all wait for.
        let is_first_broken = || self.first_unavailable().is_some_and(|first| Arc::ptr_eq(first, &last.pod));
        if !last.outline.is_ending && (last.is_available || is_first_broken()) {
            phases.push(vec![Step::Delete(last.pod.clone())]);
        }
        None
    }

    /// The first pod that is not available, where no pod before it is missing.
    fn first_unavailable(&self) -> Option<&Arc<Pod>> {
        for ordinal in ordinals(self.scene.set) {
            let member = self.kept.get(&ordinal)?;
            if member.is_unavailable() {
                return Some(&member.pod);
            }
        }
        let first = self.condemned.iter().rev().find(|member| member.is_unavailable());
        first.map(|member| &member.pod)
    }

    /// Pods of another template than the newest.
    fn update(&self, phases: &mut Phases) {
        let set = self.scene.set;
        if !rolls(set) {
            return;
        }
        let wanted = ordinals(set);
        let from = wanted.start + i64::from(partition(set).unwrap_or(0));
        let last_first = (from.min(wanted.end)..wanted.end).rev();
        let is_old =
            |member: &Member| member.revision() != self.scene.update.name && !member.outline.is_ending;
        let rolling = strategy(set).and_then(|strategy| strategy.rolling_update.as_ref());
        if let Some(most) = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) {
            let mut room = self.room(most);
            let mut going = Vec::new();
            for member in last_first.filter_map(|ordinal| self.kept.get(&ordinal)) {
                if room == 0 {
                    break;
                }
                if is_old(member) {
                    room -= 1;
                    going.push(Step::Delete(member.pod.clone()));
                }
            }
            if !going.is_empty() {
                phases.push(going);
            }
            return;
        }
        for ordinal in last_first {
            let Some(member) = self.kept.get(&ordinal) else { return };
            if is_old(member) {
                phases.push(vec![Step::Delete(member.pod.clone())]);
                return;
            }
            if member.is_unavailable() {
                return;
            }
        }
    }

    /// How many more pods may be unavailable, of all that there are to be.
    fn room(&self, most: &IntOrString) -> i32 {
        let all = replicas(self.scene.set);
        let most = deployment::resolve(most, all, false).max(1);
        let available = self.kept.values().filter(|member| !member.is_unavailable()).count();
        let unavailable = all.saturating_sub(i32::try_from(available).unwrap_or(i32::MAX));
        most.saturating_sub(unavailable).max(0)
    }
}

fn current_replicas(set: &StatefulSet) -> i32 {
    set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0)
}

/// What the status says, but for what others write into it.
pub(super) fn status(
    set: &StatefulSet,
    (current, update): (&str, &str),
    members: &[Member],
    collisions: Option<i32>,
) -> StatefulSetStatus {
    let old = set.status.clone().unwrap_or_default();
    let count = |holds: &dyn Fn(&Member) -> bool| {
        i32::try_from(members.iter().filter(|member| holds(member)).count()).unwrap_or(i32::MAX)
    };
    let of = |revision: &str| count(&|member| member.revision() == revision && !member.outline.is_ending);
    // Zero is not written, as the API's own controllers do not write it.
    let shown = |count: i32| (count != 0).then_some(count);
    let ready = count(&|member| member.is_ready);
    let updated = of(update);
    let mut status = StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(&|_| true),
        ready_replicas: shown(ready),
        available_replicas: Some(count(&|member| member.is_available)),
        current_replicas: shown(of(current)),
        updated_replicas: shown(updated),
        current_revision: Some(current.to_owned()),
        update_revision: Some(update.to_owned()),
        collision_count: Some(collisions.or(old.collision_count).unwrap_or(0)),
        conditions: old.conditions,
    };
    let wanted = replicas(set);
    if rolls(set) && updated == wanted && ready == wanted && status.replicas == wanted {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
    status
}

#[cfg(test)]
mod tests;
