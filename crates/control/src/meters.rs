//! What is counted of controllers, for all of this process, under the names of Kubernetes' own.

use std::sync::LazyLock;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use metrics::{Counter, Family, Histogram, Kind, Text};

const JOB_SECONDS: &[f64] = &[
    0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384, 32.768,
    65.536,
];
const LATE_SECONDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

struct All {
    job_syncs: Family<Counter, 3>,
    job_took: Family<Histogram, 3>,
    jobs_finished: Family<Counter, 3>,
    job_pods_finished: Family<Counter, 2>,
    late: Histogram,
    evictions: Family<Counter, 1>,
}

static ALL: LazyLock<All> = LazyLock::new(|| All {
    job_syncs: Family::new(["action", "completion_mode", "result"], Counter::default),
    job_took: Family::new(["action", "completion_mode", "result"], || Histogram::of_seconds(JOB_SECONDS)),
    jobs_finished: Family::new(["completion_mode", "reason", "result"], Counter::default),
    job_pods_finished: Family::new(["completion_mode", "result"], Counter::default),
    late: Histogram::of_seconds(LATE_SECONDS),
    evictions: Family::new(["zone"], Counter::default),
});

/// What a look at a job came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobAction {
    /// Nothing was to be done but to count.
    Tracking,
    PodsCreated,
    PodsDeleted,
}

/// A look at a job has ended after so long.
pub(crate) fn job_synced(job: &Job, action: JobAction, is_ok: bool, took: Duration) {
    let action = match action {
        JobAction::Tracking => "tracking",
        JobAction::PodsCreated => "pods_created",
        JobAction::PodsDeleted => "pods_deleted",
    };
    let labels = [action, completion_mode(job), if is_ok { "success" } else { "error" }];
    ALL.job_syncs.with(labels).increment();
    ALL.job_took.with(labels).observe(took);
}

/// The status of a job was written in the place of the one that it has: pods are counted by it, and perhaps the job has
/// ended.
pub(crate) fn job_written(job: &Job, status: &JobStatus) {
    let mode = completion_mode(job);
    let before = job.status.as_ref();
    let counts = |status: Option<&JobStatus>| {
        let count = |count: Option<i32>| u64::try_from(count.unwrap_or_default()).unwrap_or_default();
        status.map_or([0, 0], |status| [count(status.succeeded), count(status.failed)])
    };
    let (were, are) = (counts(before), counts(Some(status)));
    for (result, more) in ["succeeded", "failed"].into_iter().zip(0..) {
        let more = are[more].saturating_sub(were[more]);
        if more > 0 {
            ALL.job_pods_finished.with([mode, result]).add(more);
        }
    }
    let end = |status: Option<&JobStatus>| {
        let conditions = status.and_then(|status| status.conditions.clone()).unwrap_or_default();
        conditions.into_iter().find(|condition| {
            condition.status == "True" && matches!(condition.type_.as_str(), "Complete" | "Failed")
        })
    };
    if let (None, Some(end)) = (end(before), end(Some(status))) {
        let result = if end.type_ == "Complete" { "succeeded" } else { "failed" };
        ALL.jobs_finished.with([mode, end.reason.as_deref().unwrap_or_default(), result]).increment();
    }
}

fn completion_mode(job: &Job) -> &'static str {
    match job.spec.as_ref().and_then(|spec| spec.completion_mode.as_deref()) {
        Some("Indexed") => "Indexed",
        _ => "NonIndexed",
    }
}

/// A job was made so long after its time had come.
pub(crate) fn job_made(late: Duration) {
    ALL.late.observe(late);
}

/// Pods are to leave a node in this zone.
pub(crate) fn node_evicts(zone: &str) {
    ALL.evictions.with([zone]).increment();
}

/// Writes what is counted.
pub(crate) fn write(text: &mut Text) {
    let help = "[STABLE] The number of job syncs";
    ALL.job_syncs.write(text, "job_controller_job_syncs_total", help);
    let help = "[STABLE] The time it took to sync a job";
    ALL.job_took.write(text, "job_controller_job_sync_duration_seconds", help);
    let help = "[STABLE] The number of finished jobs";
    ALL.jobs_finished.write(text, "job_controller_jobs_finished_total", help);
    let help = "[STABLE] The number of finished Pods that are fully tracked";
    ALL.job_pods_finished.write(text, "job_controller_job_pods_finished_total", help);
    let help = "[STABLE] Time between when a cronjob is scheduled to be run, and when the corresponding job is created";
    let name = "cronjob_controller_job_creation_skew_duration_seconds";
    text.block(name, Kind::Histogram, help).histogram(&[], &ALL.late);
    let help =
        "[STABLE] Number of Node evictions that happened since current instance of NodeController started.";
    ALL.evictions.write(text, "node_collector_evictions_total", help);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(status: &Value) -> Job {
        let job = json!({"spec": {"completionMode": "Indexed", "template": {}}, "status": status});
        serde_json::from_value(job).expect("a job")
    }

    #[test]
    fn pods_and_jobs_are_counted_by_what_is_written_of_them() {
        // Of all tests in this process, only this one uses this mode and reason.
        let told = || {
            let mut text = Text::default();
            write(&mut text);
            let text = text.finish();
            let lines =
                text.lines().filter(|line| line.contains("Indexed\"") && !line.contains("NonIndexed"));
            lines.filter(|line| line.contains("finished_total")).map(str::to_owned).collect::<Vec<_>>()
        };
        let before = told();
        let status = json!({"succeeded": 3, "failed": 1, "conditions": [
            {"type": "SuccessCriteriaMet", "status": "True"},
            {"type": "Complete", "status": "True", "reason": "OnlyHere"},
        ]});
        let was = job(&json!({"succeeded": 1}));
        job_written(&was, job(&status).status.as_ref().expect("a status"));
        // Written once more, it says nothing new.
        job_written(&job(&status), job(&status).status.as_ref().expect("a status"));
        let finished = "job_controller_jobs_finished_total{completion_mode=\"Indexed\",reason=\"OnlyHere\",\
                        result=\"succeeded\"} 1";
        let after = told();
        assert!(after.iter().any(|line| line == finished), "{after:?}");
        let count = |all: &[String], result: &str| {
            let named =
                format!("job_pods_finished_total{{completion_mode=\"Indexed\",result=\"{result}\"}} ");
            let found = all.iter().find_map(|line| line.split_once(&named));
            found.map_or(0, |(_, count)| count.parse::<u64>().expect("a number"))
        };
        assert!(count(&after, "succeeded") >= count(&before, "succeeded") + 2, "{before:?} {after:?}");
        assert!(count(&after, "failed") > count(&before, "failed"), "{before:?} {after:?}");
    }
}
