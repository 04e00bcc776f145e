//! What is to be done for a Job: objects in, what to do out.
//!
//! A Job is looked at in three steps, each pure, with what is done in between:
//!
//! 1. [`plan`]: which pods are made or deleted.
//! 2. [`super::track::track`]: the status that tells of it, with the pods that have ended named in it, and whose finalizers
//!    are taken away once it is written.
//! 3. [`super::track::conclude`]: the status where that makes an end of the Job.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::Resource as _;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::backoff::{Failures, Passed};
use super::indexes::Indexes;
use super::pods::{self, failures_before, finished_at, has_finalizer, is_ready, is_terminating};
use super::policy::{self, Verdict};
use crate::pods::{is_active, phase};

/// How many pods at most are created or deleted at once.
const BURST: usize = 500;

/// A Job and its pods, as they are looked at.
pub(super) struct View<'a> {
    pub(super) job: &'a Job,
    /// The pods that belong to it but for those that have ended and are counted.
    pub(super) pods: &'a [Arc<Pod>],
    /// The pods, by uid, that show the finalizer still which has been taken away.
    pub(super) untracked: &'a HashSet<String>,
    /// The pods that have failed since one succeeded.
    pub(super) failures: Failures,
    pub(super) now: Timestamp,
    pub(super) passed: &'a Passed,
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) act: Act,
    /// When to look again if nothing changes.
    pub(super) wake: Option<Duration>,
    /// The failures with those of the pods that have ended now.
    pub(super) failures: Failures,
    pub(super) seen: Seen,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    /// No pod is made or deleted: there are as many as there have to be, or it is waited.
    Nothing,
    /// The Job is at its end: these pods go, and are counted.
    End(Vec<Arc<Pod>>),
    /// These are too many: they go, and are not counted.
    Delete(Vec<Arc<Pod>>),
    Create(Vec<Creation>),
}

/// A pod to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Creation {
    pub(super) index: Option<i64>,
    /// How many of its index failed before it: those that count, and those that do not.
    pub(super) failures: Option<(i32, i32)>,
}

/// What was found out about the pods.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) start_time: Option<Time>,
    pub(super) active: usize,
    pub(super) ready: usize,
    pub(super) terminating: usize,
    pub(super) succeeded: i64,
    /// What the Job has come to, if anything.
    pub(super) verdict: Option<JobCondition>,
    /// The indexes that have succeeded by the status, and with those of the pods that have now.
    pub(super) counted_indexes: Indexes,
    pub(super) succeeded_indexes: Indexes,
    /// None where no index fails for itself.
    pub(super) failed_indexes: Option<Indexes>,
    /// By index, the uids of failed pods that stay until another has taken their count over.
    pub(super) awaited: BTreeMap<i64, Arc<Pod>>,
}

pub(super) fn spec(job: &Job) -> &JobSpec {
    static NOTHING: std::sync::LazyLock<JobSpec> = std::sync::LazyLock::new(JobSpec::default);
    job.spec.as_ref().unwrap_or(&NOTHING)
}

pub(super) fn is_indexed(job: &Job) -> bool {
    spec(job).completion_mode.as_deref() == Some("Indexed")
}

pub(super) fn is_suspended(job: &Job) -> bool {
    spec(job).suspend == Some(true)
}

/// Whether pods are replaced once they have ended, not as soon as they go.
fn replaces_ended_only(job: &Job) -> bool {
    let spec = spec(job);
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// How many have to succeed, where that is said.
pub(super) fn completions(job: &Job) -> Option<i64> {
    spec(job).completions.map(i64::from)
}

/// A condition that holds.
pub(super) fn held<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == kind && condition.status == "True")
}

/// Whether a Job has come to its end, and how.
pub(crate) fn finished(job: &Job) -> Option<&JobCondition> {
    let status = job.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")
}

pub(super) fn condition(kind: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()).filter(|text| !text.is_empty()),
        message: Some(message.to_owned()).filter(|text| !text.is_empty()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

impl View<'_> {
    /// How long ago a moment was.
    fn passed(&self, moment: Timestamp) -> Duration {
        self.passed.since(moment, self.now)
    }

    /// Whether a pod has its finalizer still.
    pub(super) fn is_tracked(&self, pod: &Pod) -> bool {
        has_finalizer(pod) && !self.untracked.contains(pod.uid())
    }

    pub(super) fn is_failed(&self, pod: &Pod) -> bool {
        match phase(pod) {
            "Failed" => true,
            // Pods that go count as failed where nobody may tell their end any more.
            "Succeeded" => false,
            _ => !replaces_ended_only(self.job) && pod.metadata.deletion_timestamp.is_some(),
        }
    }

    /// Whether a pod works on an index that there is.
    pub(super) fn has_place(&self, pod: &Pod) -> bool {
        !is_indexed(self.job)
            || pods::index(pod).is_some_and(|index| index < completions(self.job).unwrap_or_default())
    }

    pub(super) fn verdict(&self, pod: &Pod) -> Verdict {
        policy::of_failure(self.job, pod)
    }

    /// Whether the index of a failed pod has failed for good.
    fn ends_index(&self, pod: &Pod, limit: i32) -> bool {
        if !self.is_failed(pod) {
            return false;
        }
        match self.verdict(pod) {
            Verdict::FailsIndex => true,
            verdict => verdict.counts() && failures_before(pod).0 >= limit,
        }
    }
}

/// What is to be done for a Job that is not at its end.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let (job, now) = (view.job, view.now);
    let spec = spec(job);
    let status = job.status.clone().unwrap_or_default();
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let named = |uids: &Option<Vec<String>>, pod: &Pod| uids.iter().flatten().any(|uid| uid == pod.uid());
    let is_new = |pod: &Pod, side| view.is_tracked(pod) && view.has_place(pod) && !named(side, pod);
    let all = || view.pods.iter().map(|pod| &**pod);
    let succeeded: Vec<&Pod> =
        all().filter(|pod| is_new(pod, &uncounted.succeeded) && phase(pod) == "Succeeded").collect();
    let failed: Vec<&Pod> =
        all().filter(|pod| is_new(pod, &uncounted.failed) && view.is_failed(pod)).collect();
    let active: Vec<Arc<Pod>> = view.pods.iter().filter(|pod| is_active(pod)).cloned().collect();

    let length = |uids: &Option<Vec<String>>| as_count(uids.iter().flatten().count());
    let failures = as_count(failed.iter().filter(|pod| view.verdict(pod).counts()).count())
        + i64::from(status.failed.unwrap_or_default())
        + length(&uncounted.failed);
    let mut seen = Seen {
        start_time: status.start_time.clone().or_else(|| (!is_suspended(job)).then_some(Time(now))),
        active: active.len(),
        ready: active.iter().filter(|pod| is_ready(pod)).count(),
        terminating: all().filter(|pod| is_terminating(pod)).count(),
        succeeded: as_count(succeeded.len())
            + i64::from(status.succeeded.unwrap_or_default())
            + length(&uncounted.succeeded),
        ..Seen::default()
    };
    let mut plan = Plan {
        act: Act::Nothing,
        wake: None,
        failures: view.failures.and(&succeeded, &failed),
        seen: Seen::default(),
    };
    seen.verdict = verdict(view, &status, failures, &seen, &mut plan.wake);
    if is_indexed(job) {
        look_at_indexes(view, &status, &active, &mut seen);
    }
    plan.act = if seen.verdict.is_some() {
        Act::End(active)
    } else if job.is_being_deleted() {
        Act::Nothing
    } else if is_suspended(job) {
        delete(surplus(job, &active, active.len()))
    } else {
        keep(view, spec, &active, &seen, plan.failures, &mut plan.wake)
    };
    plan.seen = seen;
    plan
}

fn as_count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What the Job has come to, but for what its indexes say.
fn verdict(
    view: &View<'_>,
    status: &JobStatus,
    failures: i64,
    seen: &Seen,
    wake: &mut Option<Duration>,
) -> Option<JobCondition> {
    let (job, now) = (view.job, view.now);
    let spec = spec(job);
    if let Some(met) = held(status, "SuccessCriteriaMet") {
        return Some(met.clone());
    }
    if let Some(target) = held(status, "FailureTarget") {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        return Some(condition("Failed", &text(&target.reason), &text(&target.message), now));
    }
    if spec.pod_failure_policy.is_some() {
        let failed = view.pods.iter().filter(|pod| view.is_failed(pod));
        let message = failed.map(|pod| view.verdict(pod)).find_map(|verdict| match verdict {
            Verdict::FailsJob(message) => Some(message),
            _ => None,
        });
        if let Some(message) = message {
            return Some(condition("FailureTarget", "PodFailurePolicy", &message, now));
        }
    }
    let limit = i64::from(spec.backoff_limit.unwrap_or(6));
    if failures > limit || restarted_too_often(view, limit) {
        let message = "Job has reached the specified backoff limit";
        return Some(condition("FailureTarget", "BackoffLimitExceeded", message, now));
    }
    let deadline = spec.active_deadline_seconds.filter(|_| !is_suspended(job))?;
    let deadline = Duration::from_secs(deadline.max(0).unsigned_abs());
    let began = seen.start_time.as_ref().map_or(now, |time| time.0);
    let passed = view.passed(began);
    if passed >= deadline {
        let message = "Job was active longer than specified deadline";
        return Some(condition("FailureTarget", "DeadlineExceeded", message, now));
    }
    sooner(wake, deadline - passed);
    None
}

fn sooner(wake: &mut Option<Duration>, rest: Duration) {
    *wake = Some(wake.map_or(rest, |wake| wake.min(rest)));
}

/// Whether containers that are started again in their pods were started too often.
fn restarted_too_often(view: &View<'_>, limit: i64) -> bool {
    let pod = spec(view.job).template.spec.as_ref();
    if pod.and_then(|pod| pod.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let restarts: i64 = view.pods.iter().map(|pod| pods::restarts(pod)).sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

/// Which indexes have succeeded and failed, and what the Job has come to by that.
fn look_at_indexes(view: &View<'_>, status: &JobStatus, active: &[Arc<Pod>], seen: &mut Seen) {
    let (job, now) = (view.job, view.now);
    let spec = spec(job);
    let completions = completions(job).unwrap_or_default();
    let parse = |text: &Option<String>| Indexes::parse(text.as_deref().unwrap_or_default(), completions);
    let placed = |holds: &dyn Fn(&Pod) -> bool| -> BTreeSet<i64> {
        let pods = view.pods.iter().filter(|pod| has_finalizer(pod) && view.has_place(pod) && holds(pod));
        pods.filter_map(|pod| pods::index(pod)).collect()
    };
    seen.counted_indexes = parse(&status.completed_indexes);
    seen.succeeded_indexes = seen.counted_indexes.with(placed(&|pod| phase(pod) == "Succeeded"));
    seen.succeeded = seen.succeeded_indexes.count();
    if let Some(limit) = spec.backoff_limit_per_index {
        let failed = parse(&status.failed_indexes).with(placed(&|pod| view.ends_index(pod, limit)));
        let (bad, good) = (failed.count(), seen.succeeded);
        if seen.verdict.is_none() {
            let most = spec.max_failed_indexes.map(i64::from);
            seen.verdict = if most.is_some_and(|most| bad > most) {
                let message = "Job has exceeded the specified maximal number of failed indexes";
                Some(condition("FailureTarget", "MaxFailedIndexesExceeded", message, now))
            } else if bad > 0 && bad + good >= completions {
                Some(condition("FailureTarget", "FailedIndexes", "Job has failed indexes", now))
            } else {
                None
            };
        }
        seen.awaited = awaited(view, active, &seen.succeeded_indexes, &failed);
        seen.failed_indexes = Some(failed);
    }
    if seen.verdict.is_none()
        && let Some(policy) = &spec.success_policy
        && let Some(message) = policy::of_success(policy, completions, &seen.succeeded_indexes)
    {
        seen.verdict = Some(condition("SuccessCriteriaMet", "SuccessPolicy", &message, now));
    }
}

/// Failed pods that stay until the next of their index is there, which goes on from their counts.
fn awaited(
    view: &View<'_>,
    active: &[Arc<Pod>],
    succeeded: &Indexes,
    failed: &Indexes,
) -> BTreeMap<i64, Arc<Pod>> {
    let taken: BTreeSet<i64> = active.iter().filter_map(|pod| pods::index(pod)).collect();
    let mut awaited: BTreeMap<i64, Arc<Pod>> = BTreeMap::new();
    let count = |pod: &Pod| {
        let (counted, ignored) = failures_before(pod);
        i64::from(counted) + i64::from(ignored)
    };
    for pod in
        view.pods.iter().filter(|pod| view.is_tracked(pod) && view.has_place(pod) && view.is_failed(pod))
    {
        let Some(index) = pods::index(pod) else { continue };
        if succeeded.has(index) || failed.has(index) || taken.contains(&index) {
            continue;
        }
        let later = awaited
            .get(&index)
            .is_none_or(|known| count(known) <= count(pod) && finished_at(pod) >= finished_at(known));
        if later {
            awaited.insert(index, pod.clone());
        }
    }
    awaited
}

/// As many pods as there have to be.
fn keep(
    view: &View<'_>,
    spec: &JobSpec,
    active: &[Arc<Pod>],
    seen: &Seen,
    failures: Failures,
    wake: &mut Option<Duration>,
) -> Act {
    let job = view.job;
    let parallelism = i64::from(spec.parallelism.unwrap_or(1));
    let running = as_count(active.len());
    let wanted = match completions(job) {
        // Any pod that succeeds ends it: what runs then runs to its end.
        None if seen.succeeded > 0 => running,
        None => parallelism,
        Some(completions) => (completions - seen.succeeded).min(parallelism).max(0),
    };
    let too_many = usize::try_from(running - wanted).unwrap_or_default();
    let mut surplus = surplus(job, active, too_many);
    if !surplus.is_empty() {
        surplus.truncate(BURST);
        return delete(surplus);
    }
    let going = if replaces_ended_only(job) { as_count(seen.terminating) } else { 0 };
    let missing = usize::try_from(wanted - going - running).unwrap_or_default().min(BURST);
    if missing == 0 {
        return Act::Nothing;
    }
    let by_index = spec.backoff_limit_per_index.is_some();
    let rest = if by_index { Duration::ZERO } else { failures.remaining(|last| view.passed(last)) };
    if !rest.is_zero() {
        sooner(wake, rest);
        return Act::Nothing;
    }
    if !is_indexed(job) {
        return Act::Create(vec![Creation::default(); missing]);
    }
    let mut busy: Vec<i64> = active.iter().filter_map(|pod| pods::index(pod)).collect();
    if replaces_ended_only(job) {
        busy.extend(view.pods.iter().filter(|pod| is_terminating(pod)).filter_map(|pod| pods::index(pod)));
    }
    let failed = seen.failed_indexes.clone().unwrap_or_default();
    let taken = seen.succeeded_indexes.and(&failed).with(busy);
    let mut creations = Vec::new();
    let mut rests = Vec::new();
    for index in taken.first_absent(missing, completions(job).unwrap_or_default()) {
        let before = seen.awaited.get(&index);
        let rest = before.map(|pod| rest_of_index(view, pod)).unwrap_or_default();
        if rest.is_zero() {
            let failures = by_index.then(|| before.map_or((0, 0), |pod| failures_with(view, pod)));
            creations.push(Creation { index: Some(index), failures });
        } else {
            rests.push(rest);
        }
    }
    if let Some(rest) = rests.into_iter().min() {
        sooner(wake, rest);
    }
    if creations.is_empty() { Act::Nothing } else { Act::Create(creations) }
}

/// How long an index waits for the next pod after one has failed.
fn rest_of_index(view: &View<'_>, pod: &Pod) -> Duration {
    let (counted, ignored) = failures_before(pod);
    let count = i64::from(counted) + i64::from(ignored) + 1;
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    Failures { count, last: Some(finished_at(pod)) }.remaining(|last| view.passed(last))
}

/// The counts of the pod that comes after one that failed.
fn failures_with(view: &View<'_>, pod: &Pod) -> (i32, i32) {
    let (counted, ignored) = failures_before(pod);
    if view.verdict(pod).counts() {
        (counted.saturating_add(1), ignored)
    } else {
        (counted, ignored.saturating_add(1))
    }
}

fn delete(pods: Vec<Arc<Pod>>) -> Act {
    if pods.is_empty() { Act::Nothing } else { Act::Delete(pods) }
}

/// The pods that are too many: those that work on no index that there is, all but one of those that work on the
/// same, and, if that makes not `least`, those that have come least far.
fn surplus(job: &Job, active: &[Arc<Pod>], least: usize) -> Vec<Arc<Pod>> {
    let mut order: Vec<&Arc<Pod>> = active.iter().collect();
    let (mut surplus, mut rest) = (Vec::new(), Vec::new());
    if is_indexed(job) {
        let completions = completions(job).unwrap_or_default();
        // The best of an index first.
        order.sort_by_key(|pod| Reverse(pods::worth(pod)));
        let mut taken = BTreeSet::new();
        for pod in order {
            let index = pods::index(pod).filter(|index| *index < completions);
            let is_first = index.is_some_and(|index| taken.insert(index));
            if is_first { rest.push(pod) } else { surplus.push(pod.clone()) }
        }
    } else {
        rest = order;
    }
    let more = least.saturating_sub(surplus.len());
    if more > 0 {
        rest.sort_by_key(|pod| pods::worth(pod));
        surplus.extend(rest.into_iter().take(more).cloned());
    }
    surplus
}

#[cfg(test)]
mod tests;
