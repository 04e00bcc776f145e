//! The status of a Job, and how pods that have ended are counted: once each, whatever ends in between.
//!
//! ```text
//!   pod with finalizer ── named in uncountedTerminatedPods ── finalizer taken away ── counted, no longer named
//!                         (or its index in completedIndexes)
//! ```
//!
//! A pod that is named and has its finalizer is not counted and not named again; one that is named and has it
//! no longer is counted as it leaves the list, by the same write.

use std::collections::HashSet;
use std::sync::Arc;

use base::Timestamp;
use client::Resource as _;
use client::recorder::EventType;
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{Act, Plan, View, completions, condition, held, is_indexed, is_suspended, spec};
use super::pods;
use crate::pods::phase;

/// How many pods are named in a status at most, so that it does not grow large.
pub(super) const MOST_UNCOUNTED: usize = 500;

/// What became of a plan.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) created: usize,
    pub(super) deleted: usize,
    pub(super) deleted_ready: usize,
}

/// When a status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Write {
    /// It says what it said.
    Never,
    /// It may wait a little for more.
    Soon,
    Now,
}

/// An event that a Job is told of.
pub(super) type Told = (EventType, String, String);

/// What is to be written, and what comes after it.
#[derive(Debug)]
pub(super) struct Tracking {
    pub(super) status: JobStatus,
    pub(super) write: Write,
    /// The pods whose finalizers are taken away after that.
    pub(super) untrack: Vec<Arc<Pod>>,
    /// The uids of all pods that have theirs.
    pub(super) tracked: HashSet<String>,
    /// How the Job ends, if all pods are counted then.
    pub(super) end: Option<JobCondition>,
    pub(super) events: Vec<Told>,
}

/// The status after what was done of a plan.
pub(super) fn track(view: &View<'_>, plan: &Plan, done: Done) -> Tracking {
    let (job, seen, now) = (view.job, &plan.seen, view.now);
    let before = job.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let mut events = Vec::new();
    status.start_time.clone_from(&seen.start_time);
    status.uncounted_terminated_pods.get_or_insert_default();
    let active = (seen.active + done.created).saturating_sub(done.deleted);
    let verdict = match (&seen.verdict, &plan.act) {
        // What is left of the pods may have to be counted first.
        (Some(_), Act::End(pods)) if done.deleted != pods.len() => None,
        (Some(verdict), _) => Some(verdict.clone()),
        (None, _) if is_complete(view, plan, active) => {
            let message = "Reached expected number of succeeded pods";
            Some(condition("SuccessCriteriaMet", "CompletionsReached", message, now))
        }
        (None, _) => {
            if seen.verdict.is_none() && !job.is_being_deleted() {
                suspension(view, &mut status, &mut events);
            }
            None
        }
    };
    status.active = count(active);
    status.ready = Some(number(seen.ready.saturating_sub(done.deleted_ready)));
    status.terminating = Some(number(seen.terminating + done.deleted));

    let tracked: HashSet<String> =
        view.pods.iter().filter(|pod| view.is_tracked(pod)).map(|pod| pod.uid().to_owned()).collect();
    settle(&mut status, &tracked);
    let untrack = name_ended(view, plan, verdict.as_ref(), &mut status);
    let end = announce(verdict, &mut status, now);
    let write = match () {
        () if status == before => Write::Never,
        () if may_wait(&before, &status) && (end.is_none() || untrack.is_empty()) => Write::Soon,
        () => Write::Now,
    };
    Tracking { status, write, untrack, tracked, end, events }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A count as it is written: not at all where it is none.
fn count(count: usize) -> Option<i32> {
    Some(number(count)).filter(|count| *count > 0)
}

fn is_complete(view: &View<'_>, plan: &Plan, active: usize) -> bool {
    let succeeded = plan.seen.succeeded;
    let enough = completions(view.job).map_or(succeeded > 0, |completions| succeeded >= completions);
    enough && active == 0
}

/// Says that a Job is suspended, and that it is no longer.
fn suspension(view: &View<'_>, status: &mut JobStatus, events: &mut Vec<Told>) {
    let now = view.now;
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().position(|condition| condition.type_ == "Suspended");
    let is_suspended = is_suspended(view.job);
    let (state, reason, message) = if is_suspended {
        ("True", "JobSuspended", "Job suspended")
    } else {
        ("False", "JobResumed", "Job resumed")
    };
    let next = JobCondition { status: state.to_owned(), ..condition("Suspended", reason, message, now) };
    let is_said = |condition: &JobCondition| {
        condition.status == next.status
            && condition.reason == next.reason
            && condition.message == next.message
    };
    match known {
        Some(place) if is_said(&conditions[place]) => return,
        Some(place) => conditions[place] = next,
        None if is_suspended => conditions.push(next),
        None => {
            if conditions.is_empty() {
                status.conditions = None;
            }
            return;
        }
    }
    let event = if is_suspended { "Suspended" } else { "Resumed" };
    events.push((EventType::Normal, event.to_owned(), message.to_owned()));
    if !is_suspended {
        // What it may take counts from when it goes on.
        status.start_time = Some(Time(now));
    }
}

/// Counts those that are named and have no finalizer any more.
fn settle(status: &mut JobStatus, tracked: &HashSet<String>) {
    let Some(uncounted) = &mut status.uncounted_terminated_pods else { return };
    let sides =
        [(&mut uncounted.succeeded, &mut status.succeeded), (&mut uncounted.failed, &mut status.failed)];
    for (uids, total) in sides {
        let Some(named) = uids else { continue };
        let before = named.len();
        named.retain(|uid| tracked.contains(uid));
        let settled = number(before - named.len());
        if settled > 0 {
            *total = Some(total.unwrap_or_default().saturating_add(settled));
        }
        if named.is_empty() {
            *uids = None;
        }
    }
}

/// Names pods that have ended; gives those whose finalizers can go then.
fn name_ended(
    view: &View<'_>,
    plan: &Plan,
    verdict: Option<&JobCondition>,
    status: &mut JobStatus,
) -> Vec<Arc<Pod>> {
    let (job, seen) = (view.job, &plan.seen);
    let indexed = is_indexed(job);
    let failing = verdict.is_some_and(|verdict| verdict.type_ != "SuccessCriteriaMet");
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let was_failed: HashSet<String> = uncounted.failed.iter().flatten().cloned().collect();
    let was_succeeded: HashSet<String> = uncounted.succeeded.iter().flatten().cloned().collect();
    let (mut succeeded, mut failed) =
        (uncounted.succeeded.take().unwrap_or_default(), uncounted.failed.take().unwrap_or_default());
    let mut indexes = Vec::new();
    let mut untrack = Vec::new();
    let mut order: Vec<&Arc<Pod>> = view.pods.iter().filter(|pod| view.is_tracked(pod)).collect();
    if indexed {
        order.sort_by_key(|pod| pods::index(pod));
    }
    for pod in order {
        let (uid, has_failed) = (pod.uid().to_owned(), view.is_failed(pod));
        if !is_over(view, plan, pod, has_failed, verdict.is_some()) {
            continue;
        }
        untrack.push(pod.clone());
        if phase(pod) == "Succeeded" && !was_failed.contains(&uid) {
            match pods::index(pod) {
                // Its index is enough to know that it is counted.
                Some(index) if indexed && view.has_place(pod) => {
                    if !seen.counted_indexes.has(index) {
                        indexes.push(index);
                    }
                }
                _ if indexed => {}
                _ if was_succeeded.contains(&uid) => {}
                _ => succeeded.push(uid),
            }
        } else if (has_failed || failing)
            && !was_failed.contains(&uid)
            && view.has_place(pod)
            && view.verdict(pod).counts()
        {
            failed.push(uid);
        }
        if indexes.len() + succeeded.len() + failed.len() >= MOST_UNCOUNTED {
            break;
        }
    }
    let list = |uids: Vec<String>| Some(uids).filter(|uids| !uids.is_empty());
    uncounted.succeeded = list(succeeded);
    uncounted.failed = list(failed);
    status.uncounted_terminated_pods = Some(uncounted);
    if indexed {
        let done = seen.counted_indexes.with(indexes);
        status.succeeded = Some(i32::try_from(done.count()).unwrap_or(i32::MAX)).filter(|count| *count > 0);
        status.completed_indexes = Some(done.to_string()).filter(|text| !text.is_empty());
        status.failed_indexes = seen.failed_indexes.as_ref().map(ToString::to_string);
    }
    untrack
}

/// Whether a pod need not be kept any longer once it is named.
fn is_over(view: &View<'_>, plan: &Plan, pod: &Pod, has_failed: bool, ends: bool) -> bool {
    if view.job.is_being_deleted() || ends || phase(pod) == "Succeeded" {
        return true;
    }
    let is_awaited = || {
        let awaited = pods::index(pod).and_then(|index| plan.seen.awaited.get(&index));
        awaited.is_some_and(|awaited| awaited.uid() == pod.uid())
    };
    has_failed && !(spec(view.job).backoff_limit_per_index.is_some() && is_awaited())
}

/// Puts what the Job has come to into the status; gives the condition that it ends with.
fn announce(verdict: Option<JobCondition>, status: &mut JobStatus, now: Timestamp) -> Option<JobCondition> {
    let verdict = verdict?;
    let (reason, message) =
        (verdict.reason.clone().unwrap_or_default(), verdict.message.clone().unwrap_or_default());
    let last = match verdict.type_.as_str() {
        "FailureTarget" => "Failed",
        "SuccessCriteriaMet" => "Complete",
        _ => return Some(verdict),
    };
    if held(status, &verdict.type_).is_none() {
        status.conditions.get_or_insert_default().push(verdict);
    }
    Some(condition(last, &reason, &message, now))
}

/// Whether nothing is new that is to be known at once. Pods are kept until they are named, so that names may
/// wait for more of them.
fn may_wait(before: &JobStatus, after: &JobStatus) -> bool {
    before.uncounted_terminated_pods.is_some()
        && before.conditions == after.conditions
        && before.start_time == after.start_time
}

/// The status once finalizers are gone, where that is the end of the Job. `tracked` are the uids of pods that
/// have theirs still.
pub(super) fn conclude(
    view: &View<'_>,
    tracking: &Tracking,
    tracked: &HashSet<String>,
) -> Option<(JobStatus, Vec<Told>)> {
    let end = tracking.end.as_ref()?;
    let mut status = tracking.status.clone();
    settle(&mut status, tracked);
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let is_open = uncounted.succeeded.is_some() || uncounted.failed.is_some();
    // More have ended than could be named at once.
    let are_left = tracking.untrack.len() >= MOST_UNCOUNTED;
    if is_open || are_left || status.terminating.unwrap_or_default() > 0 {
        return None;
    }
    // One that never began, since nothing was to be done or it was suspended, begins as it ends.
    status.start_time.get_or_insert(Time(view.now));
    status.conditions.get_or_insert_default().push(end.clone());
    let mut events = Vec::new();
    if end.type_ == "Complete" {
        status.completion_time.clone_from(&end.last_transition_time);
        let succeeded = i64::from(status.succeeded.unwrap_or_default());
        if completions(view.job).is_some_and(|completions| succeeded > completions) {
            let message = "Too many succeeded pods running after completion count reached";
            events.push((EventType::Warning, "TooManySucceededPods".to_owned(), message.to_owned()));
        }
        events.push((EventType::Normal, "Completed".to_owned(), "Job completed".to_owned()));
    } else {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        events.push((EventType::Warning, text(&end.reason), text(&end.message)));
    }
    Some((status, events))
}
