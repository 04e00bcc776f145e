//! What is to be done for a CronJob: objects and the time in, steps out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::Resource as _;
use client::recorder::EventType;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use model::schedule::{self, Schedule};

use crate::{job, ownership};

/// What a job is told of: for when it was made.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// So much after a time it is looked, so that it has come for sure.
const AFTER: Duration = Duration::from_millis(100);
/// The clock may be set: it is looked at it this often at least.
const LOOK: Duration = Duration::from_secs(60);
/// So many times may be missed before somebody is to look at it.
const MANY: i64 = 100;

/// A CronJob and its jobs, as they are looked at.
pub(super) struct View<'a> {
    pub(super) cron: &'a CronJob,
    pub(super) jobs: &'a [Arc<Job>],
    /// The active ones, by uid, that are not there any more.
    pub(super) gone: &'a [String],
    pub(super) now: Timestamp,
}

/// An event of a CronJob.
pub(super) type Told = (EventType, &'static str, String);

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The status before anything is done.
    pub(super) status: CronJobStatus,
    /// Jobs that are over and too many.
    pub(super) remove: Vec<Arc<Job>>,
    pub(super) start: Option<Start>,
    pub(super) events: Vec<Told>,
    pub(super) wake: Option<Duration>,
}

/// A job to make.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) at: Timestamp,
    pub(super) job: Job,
    /// The ones that go before it.
    pub(super) replaces: Vec<ObjectReference>,
}

/// Whether a job is named as one that runs.
pub(super) fn is_active(status: &CronJobStatus, uid: &str) -> bool {
    status.active.iter().flatten().any(|job| job.uid.as_deref() == Some(uid))
}

/// Names a job no longer as one that runs.
pub(super) fn forget(status: &mut CronJobStatus, uid: &str) {
    if let Some(active) = &mut status.active {
        active.retain(|job| job.uid.as_deref() != Some(uid));
        if active.is_empty() {
            status.active = None;
        }
    }
}

pub(super) fn plan(view: &View<'_>) -> Plan {
    let cron = view.cron;
    let status = cron.status.clone().unwrap_or_default();
    let mut plan = Plan { status, ..Plan::default() };
    plan.remove = history(view);
    look_at_jobs(view, &mut plan);
    for uid in view.gone {
        let name = plan.status.active.iter().flatten().find(|job| job.uid.as_deref() == Some(uid));
        let name = name.and_then(|job| job.name.clone()).unwrap_or_default();
        plan.events.push((EventType::Normal, "MissingJob", format!("Active job went missing: {name}")));
        forget(&mut plan.status, uid);
    }
    if cron.metadata.deletion_timestamp.is_none() {
        schedule(view, &mut plan);
    }
    plan
}

/// The jobs that are over and more than are to be kept, oldest first.
fn history(view: &View<'_>) -> Vec<Arc<Job>> {
    let spec = &view.cron.spec;
    let mut remove = Vec::new();
    let limits =
        [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    for (kind, limit) in limits {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
        let ended = |job: &&Arc<Job>| job::finished(job).is_some_and(|condition| condition.type_ == kind);
        let mut over: Vec<&Arc<Job>> = view.jobs.iter().filter(ended).collect();
        over.sort_by_key(|job| {
            let start = job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
            (start.is_none(), start, job.name().to_owned())
        });
        let surplus = over.len().saturating_sub(limit);
        remove.extend(over.into_iter().take(surplus).cloned());
    }
    remove
}

/// Which jobs run, and which have ended.
fn look_at_jobs(view: &View<'_>, plan: &mut Plan) {
    for job in view.jobs {
        let (name, is_known) = (job.name(), is_active(&plan.status, job.uid()));
        let Some(end) = job::finished(job) else {
            if !is_known {
                let message = format!("Saw a job that the controller did not create or forgot: {name}");
                plan.events.push((EventType::Warning, "UnexpectedJob", message));
            }
            continue;
        };
        if is_known {
            forget(&mut plan.status, job.uid());
            let message = format!("Saw completed job: {name}, condition: {}", end.type_);
            plan.events.push((EventType::Normal, "SawCompletedJob", message));
        }
        let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
        if let Some(completed) = completed.filter(|_| end.type_ == "Complete")
            && plan.status.last_successful_time.as_ref().is_none_or(|last| completed.0 > last.0)
        {
            plan.status.last_successful_time = Some(completed);
        }
    }
}

fn schedule(view: &View<'_>, plan: &mut Plan) {
    let (cron, now) = (view.cron, view.now);
    let spec = &cron.spec;
    let mut warn = |reason, message| plan.events.push((EventType::Warning, reason, message));
    let zone = spec.time_zone.as_deref();
    if let Some(zone) = zone.filter(|zone| schedule::zone(zone).is_none()) {
        return warn("UnknownTimeZone", format!("invalid timeZone: {zone:?}: unknown time zone {zone}"));
    }
    if spec.suspend == Some(true) {
        return;
    }
    let times = &spec.schedule;
    if times.contains("TZ") {
        let message = format!(
            "CRON_TZ or TZ used in schedule {times:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        );
        warn("UnsupportedSchedule", message);
    }
    let schedule = match Schedule::parse(times, zone) {
        Ok(schedule) => schedule,
        Err(error) => {
            return warn("UnparseableSchedule", format!("unparseable schedule: {times:?} : {error}"));
        }
    };
    let due = match Due::of(cron, now, &schedule, true) {
        Ok(due) => due,
        Err(error) => return warn("InvalidSchedule", format!("invalid schedule: {times} : {error}")),
    };
    plan.wake = next(cron, now, &schedule).map(|rest| rest.min(LOOK));
    let Some(at) = due.at else { return };
    if due.missed > MANY {
        let message =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        warn("TooManyMissedTimes", message.to_owned());
    }
    let deadline =
        spec.starting_deadline_seconds.map(|seconds| Duration::from_secs(seconds.max(0).unsigned_abs()));
    if deadline.is_some_and(|deadline| at.checked_add(deadline).is_ok_and(|end| end < now)) {
        let time = at.strftime("%a, %d %b %Y %H:%M:%S +0000");
        return warn("MissSchedule", format!("Missed scheduled time to start a job: {time}"));
    }
    let name = job_name(cron, at);
    let running = plan.status.active.clone().unwrap_or_default();
    let is_done =
        plan.status.last_schedule_time.as_ref().is_some_and(|last| last.0.as_second() == at.as_second());
    if is_done || running.iter().any(|job| job.name.as_deref() == Some(&*name)) {
        return;
    }
    let replaces = match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !running.is_empty() => {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            return plan.events.push((EventType::Normal, "JobAlreadyActive", message.to_owned()));
        }
        Some("Replace") => running,
        _ => Vec::new(),
    };
    plan.start = Some(Start { at, job: job(cron, name, at, &schedule), replaces });
}

/// When a job is to be made.
#[derive(Debug)]
struct Due {
    /// From when on times count.
    since: Timestamp,
    /// The last time that has come, if one has.
    at: Option<Timestamp>,
    /// About how many have.
    missed: i64,
}

impl Due {
    fn of(cron: &CronJob, now: Timestamp, schedule: &Schedule, by_deadline: bool) -> Result<Self, String> {
        let last = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
        let mut since = last.or(cron.metadata.creation_timestamp.as_ref()).map_or(now, |time| time.0);
        let deadline = cron.spec.starting_deadline_seconds.filter(|_| by_deadline);
        if let Some(seconds) = deadline {
            let begin = now.checked_sub(Duration::from_secs(seconds.max(0).unsigned_abs()));
            since = begin.map_or(since, |begin| since.max(begin));
        }
        let never = || "time difference between two schedules is less than 1 second".to_owned();
        let first = schedule.next(since).ok_or_else(never)?;
        let second = schedule.next(first).ok_or_else(never)?;
        if now < first {
            return Ok(Self { since, at: None, missed: 0 });
        }
        if now < second {
            return Ok(Self { since, at: Some(first), missed: 0 });
        }
        let between = (second.as_second() - first.as_second()).max(1);
        let missed = (now.as_second() - first.as_second()) / between + 1;
        Ok(Self { since, at: Some(last_until(schedule, first, now)), missed })
    }
}

/// The last time that a schedule has between one that it has and now.
fn last_until(schedule: &Schedule, first: Timestamp, now: Timestamp) -> Timestamp {
    let at = |second| Timestamp::from_second(second).unwrap_or(first);
    let (mut low, mut high) = (first.as_second(), now.as_second());
    if let Some(every) = schedule.every() {
        let every = i64::try_from(every).unwrap_or(i64::MAX);
        return at(low + (high - low) / every * every);
    }
    // After which moments one comes until now, and after which none does.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let comes = schedule.next(at(middle)).is_some_and(|next| next <= now);
        *(if comes { &mut low } else { &mut high }) = middle;
    }
    schedule.next(at(low)).filter(|next| *next <= now).unwrap_or(first)
}

/// How long it is until the next time.
fn next(cron: &CronJob, now: Timestamp, schedule: &Schedule) -> Option<Duration> {
    let from = match Due::of(cron, now, schedule, false) {
        Ok(Due { at: Some(at), .. }) => at,
        Ok(Due { at: None, since, .. }) => since,
        Err(_) => now,
    };
    let next = schedule.next(from)?;
    Some(Duration::try_from(next.duration_since(now)).unwrap_or_default() + AFTER)
}

/// By its name it is known which time a job was made for, so that it is made once.
fn job_name(cron: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", cron.name(), at.as_second().div_euclid(60))
}

fn job(cron: &CronJob, name: String, at: Timestamp, schedule: &Schedule) -> Job {
    let template = &cron.spec.job_template;
    let metadata = template.metadata.clone().unwrap_or_default();
    let mut annotations: BTreeMap<String, String> = metadata.annotations.unwrap_or_default();
    let zone = match &cron.spec.time_zone {
        Some(_) => schedule.zone().clone(),
        None => schedule::zone("").unwrap_or_else(|| schedule.zone().clone()),
    };
    let local = at.to_zoned(zone);
    let offset = if local.offset().is_zero() { "Z".to_owned() } else { local.strftime("%:z").to_string() };
    annotations.insert(SCHEDULED.to_owned(), format!("{}{offset}", local.strftime("%Y-%m-%dT%H:%M:%S")));
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: cron.namespace().map(str::to_owned),
            labels: metadata.labels,
            annotations: Some(annotations),
            owner_references: ownership::owned_by(cron),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Notes that a job was made, and names it as one that runs if it does.
pub(super) fn started(status: &mut CronJobStatus, at: Timestamp, job: Option<ObjectReference>) {
    if let Some(job) = job {
        status.active.get_or_insert_default().push(job);
    }
    status.last_schedule_time = Some(Time(at));
}

#[cfg(test)]
mod tests;
