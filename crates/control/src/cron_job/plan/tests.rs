use serde_json::{Value, json};

use super::*;

fn cron(spec: &Value, status: &Value) -> CronJob {
    let mut cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": "c", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:10Z"},
        "spec": {
            "schedule": "0 * * * *", "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1, "jobTemplate": {
                "metadata": {"labels": {"l": "v"}, "annotations": {"a": "b"}},
                "spec": {"template": {"spec": {"containers": []}}},
            },
        },
        "status": status,
    });
    for (key, value) in spec.as_object().expect("fields") {
        cron["spec"][key] = value.clone();
    }
    serde_json::from_value(cron).expect("a cron job")
}

/// `name:state`: `run`, `good` or `bad`, with the hour at which it began after it.
fn job(text: &str) -> Arc<Job> {
    let (name, state) = text.split_once(':').expect("name:state");
    let hour = state.trim_start_matches(|c: char| c.is_alphabetic());
    let hour = if hour.is_empty() { "00" } else { hour };
    let time = format!("2026-01-01T{hour}:00:00Z");
    let condition = match state.trim_end_matches(|c: char| c.is_numeric()) {
        "good" => "Complete",
        "bad" => "Failed",
        _ => "Suspended",
    };
    let job = json!({
        "metadata": {"name": name, "uid": name}, "spec": {"template": {}},
        "status": {
            "startTime": time, "completionTime": (condition == "Complete").then_some(&time),
            "conditions": [{"type": condition, "status": "True"}],
        },
    });
    Arc::new(serde_json::from_value(job).expect("a job"))
}

fn run(spec: Value, status: Value, jobs: &str, now: &str) -> Plan {
    let cron = cron(&spec, &status);
    let jobs: Vec<Arc<Job>> = jobs.split_whitespace().map(job).collect();
    let now = format!("2026-01-{now}Z").parse().expect("a time");
    plan(&View { cron: &cron, jobs: &jobs, gone: &[], now })
}

/// What is done at a time of January, given by day and time.
#[track_caller]
fn check(spec: Value, status: Value, jobs: &str, now: &str, expected: &str) {
    let plan = run(spec, status, jobs, now);
    let mut words = Vec::new();
    words.extend(plan.remove.iter().map(|job| format!("remove {}", job.name())));
    if let Some(start) = &plan.start {
        for job in &start.replaces {
            words.push(format!("replace {}", job.name.as_deref().unwrap_or_default()));
        }
        words.push(format!("start {}", start.at));
    }
    words.extend(plan.events.iter().map(|(_, reason, _)| format!("!{reason}")));
    assert_eq!(words.join(", "), expected);
}

fn last(time: &str) -> Value {
    json!({"lastScheduleTime": format!("2026-01-{time}Z")})
}

#[test]
fn a_job_is_made_when_its_time_has_come_and_once() {
    let none = || json!({});
    check(none(), none(), "", "01T00:59:59", "");
    check(none(), none(), "", "01T01:00:00", "start 2026-01-01T01:00:00Z");
    check(none(), last("01T01:00:00"), "", "01T01:30:00", "");
    check(none(), last("01T01:00:00"), "", "01T02:00:01", "start 2026-01-01T02:00:00Z");
    check(json!({"suspend": true}), none(), "", "01T01:00:00", "");
    // In the morning of a place further east it is another day.
    let tokyo = json!({"schedule": "0 9 * * *", "timeZone": "Asia/Tokyo"});
    check(tokyo, none(), "", "02T00:00:00", "start 2026-01-02T00:00:00Z");
}

#[test]
fn of_those_that_were_missed_the_last_one_is_made_up_for() {
    let none = || json!({});
    check(none(), last("01T01:00:00"), "", "01T09:30:00", "start 2026-01-01T09:00:00Z");
    let often = || json!({"schedule": "* * * * *"});
    check(often(), last("01T01:00:00"), "", "01T02:30:30", "start 2026-01-01T02:30:00Z");
    check(often(), last("01T01:00:00"), "", "01T02:41:30", "start 2026-01-01T02:41:00Z, !TooManyMissedTimes");
    check(
        json!({"schedule": "@every 7s"}),
        last("01T01:00:00"),
        "",
        "01T01:00:22",
        "start 2026-01-01T01:00:21Z",
    );
    // Neither a clock that was wrong for years nor times far apart are gone through one by one.
    let spec = json!({"schedule": "@every 1s"});
    check(
        spec,
        json!({"lastScheduleTime": "1970-01-01T00:00:00Z"}),
        "",
        "01T00:00:00",
        "start 2026-01-01T00:00:00Z, !TooManyMissedTimes",
    );
    let spec = json!({"schedule": "* * * 3 *"});
    check(
        spec,
        json!({"lastScheduleTime": "1970-01-01T00:00:00Z"}),
        "",
        "01T00:00:00",
        "start 2025-03-31T23:59:00Z, !TooManyMissedTimes",
    );
}

#[test]
fn what_is_too_late_is_left_out() {
    let spec = |seconds: i64| json!({"startingDeadlineSeconds": seconds});
    check(spec(60), last("01T01:00:00"), "", "01T02:00:59", "start 2026-01-01T02:00:00Z");
    // Times before the deadline do not come into view at all.
    check(spec(60), last("01T01:00:00"), "", "01T02:01:30", "");
    check(spec(200), json!({}), "", "01T00:30:00", "");
    let often = json!({"schedule": "* * * * *", "startingDeadlineSeconds": 200});
    check(often, last("01T01:00:00"), "", "02T02:41:30", "start 2026-01-02T02:41:00Z");
}

#[test]
fn one_that_runs_is_let_run_or_waited_for_or_replaced() {
    let spec = |policy: &str| json!({"concurrencyPolicy": policy});
    let status =
        || json!({"active": [{"name": "j", "uid": "j"}], "lastScheduleTime": "2026-01-01T01:00:00Z"});
    check(spec("Allow"), status(), "j:run", "01T02:00:00", "start 2026-01-01T02:00:00Z");
    check(spec("Forbid"), status(), "j:run", "01T02:00:00", "!JobAlreadyActive");
    check(spec("Forbid"), status(), "j:good", "01T02:00:00", "start 2026-01-01T02:00:00Z, !SawCompletedJob");
    check(spec("Replace"), status(), "j:run", "01T02:00:00", "replace j, start 2026-01-01T02:00:00Z");
}

#[test]
fn jobs_that_are_over_are_kept_up_to_a_number() {
    let spec = json!({"successfulJobsHistoryLimit": 2, "suspend": true});
    check(spec, json!({}), "a:good05 b:good02 c:good03 d:bad01 e:bad04", "02T00:00:00", "remove b, remove d");
    let all = json!({"successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 0, "suspend": true});
    check(all, json!({}), "a:good05 d:bad01 r:run", "02T00:00:00", "remove a, remove d, !UnexpectedJob");
}

#[test]
fn the_status_tells_what_runs_and_what_went_well() {
    let active =
        json!({"active": [{"name": "a", "uid": "a"}, {"name": "b", "uid": "b"}, {"name": "c", "uid": "c"}]});
    let suspended = json!({"suspend": true});
    let seen = run(suspended.clone(), active.clone(), "a:good05 b:bad06 c:run x:good03", "02T00:00:00");
    let status = serde_json::to_value(seen.status).expect("a status");
    assert_eq!(
        status,
        json!({"active": [{"name": "c", "uid": "c"}], "lastSuccessfulTime": "2026-01-01T05:00:00Z"})
    );
    let cron = cron(&suspended, &active);
    let gone = ["b".to_owned()];
    let now = "2026-01-02T00:00:00Z".parse().expect("a time");
    let plan = plan(&View { cron: &cron, jobs: &[], gone: &gone, now });
    assert_eq!(plan.status.active.map(|active| active.len()), Some(2));
    assert_eq!(plan.events, [(EventType::Normal, "MissingJob", "Active job went missing: b".to_owned())]);
}

#[test]
fn a_job_knows_what_it_was_made_for() {
    let plan = run(json!({"timeZone": "Europe/Paris"}), json!({}), "", "01T01:00:30");
    let job = serde_json::to_value(plan.start.expect("a job is made").job).expect("a document");
    let metadata = &job["metadata"];
    assert_eq!(metadata["name"], "c-29453820");
    assert_eq!(metadata["labels"], json!({"l": "v"}));
    assert_eq!(metadata["annotations"], json!({"a": "b", SCHEDULED: "2026-01-01T02:00:00+01:00"}));
    assert_eq!(metadata["ownerReferences"][0]["uid"], "u");
    let plan = run(json!({}), json!({}), "", "01T01:00:30");
    let job = plan.start.expect("a job is made").job;
    assert_eq!(job.metadata.annotations.expect("annotations")[SCHEDULED], "2026-01-01T01:00:00Z");
}

#[test]
fn it_is_looked_again_when_the_next_time_has_come() {
    let wake = |spec: Value, now: &str| run(spec, json!({}), "", now).wake.map(|wake| wake.as_millis());
    assert_eq!(wake(json!({}), "01T00:59:50"), Some(10_100));
    assert_eq!(wake(json!({}), "01T01:00:00"), Some(60_000), "the clock may be set meanwhile");
    assert_eq!(wake(json!({"suspend": true}), "01T01:00:00"), None);
}

#[test]
fn what_is_wrong_is_told() {
    let none = || json!({});
    check(json!({"timeZone": "Nowhere"}), none(), "", "01T01:00:00", "!UnknownTimeZone");
    check(json!({"schedule": "x"}), none(), "", "01T01:00:00", "!UnparseableSchedule");
    check(json!({"schedule": "0 0 31 2 *"}), none(), "", "01T01:00:00", "!InvalidSchedule");
    let own = json!({"schedule": "TZ=Asia/Tokyo 0 10 * * *"});
    check(own, none(), "", "01T01:00:00", "start 2026-01-01T01:00:00Z, !UnsupportedSchedule");
    let plan = run(json!({"startingDeadlineSeconds": 0}), last("01T01:00:00"), "", "01T02:00:01");
    assert!(plan.start.is_none());
}

#[test]
fn one_that_has_ended_is_not_named_as_one_that_runs() {
    let at = "2026-01-01T01:00:00Z".parse().expect("a time");
    let mut status = CronJobStatus::default();
    started(&mut status, at, None);
    assert_eq!((status.active.clone(), status.last_schedule_time.clone()), (None, Some(Time(at))));
    started(&mut status, at, Some(ObjectReference::default()));
    assert_eq!(status.active.map(|active| active.len()), Some(1));
}
