//! What is decided of a Job in one look: each line of a table is a look.

use serde_json::{Value, json};

use super::super::pods::{FAILURES, INDEX, TRACKING};
use super::super::track::{Done, Write, conclude, track};
use super::*;

const BEGIN: i64 = 1_767_225_600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + second).expect("a time")
}

/// `name:state`, or `name/index:state`, with `*failures` after an index. The state is `new`, `run`, `ready`,
/// `done`, `fail` (with an exit code after it: `fail42`) or `going`, after `-` where it has no finalizer (any more).
fn pod(text: &str) -> Arc<Pod> {
    let (name, state) = text.split_once(':').expect("name:state");
    let (state, tracked) = state.strip_prefix('-').map_or((state, true), |state| (state, false));
    let (name, index) = name.split_once('/').map_or((name, None), |(name, index)| (name, Some(index)));
    let (index, failures) = index.map_or((None, None), |index| {
        index.split_once('*').map_or((Some(index), None), |(index, failures)| (Some(index), Some(failures)))
    });
    let mut annotations = serde_json::Map::new();
    annotations.extend(index.map(|index| (INDEX.to_owned(), index.into())));
    annotations.extend(failures.map(|failures| (FAILURES.to_owned(), failures.into())));
    let code = state.strip_prefix("fail").map(|code| code.parse().unwrap_or(1));
    let phase = match state {
        "new" => "Pending",
        "done" => "Succeeded",
        _ if code.is_some() => "Failed",
        _ => "Running",
    };
    let ended = code.map(|code| {
        json!([{"name": "m", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "finishedAt": at(0).to_string()}}}])
    });
    let pod = json!({
        "metadata": {
            "name": name, "uid": name, "namespace": "n", "annotations": annotations,
            "finalizers": if tracked { json!([TRACKING]) } else { json!([]) },
            "deletionTimestamp": (state == "going").then(|| at(0).to_string()),
        },
        "spec": {"containers": [], "nodeName": if state == "new" { "" } else { "node" }},
        "status": {
            "phase": phase, "containerStatuses": ended,
            "conditions": [{"type": "Ready", "status": if state == "ready" { "True" } else { "False" }}],
        },
    });
    Arc::new(serde_json::from_value(pod).expect("a pod"))
}

fn job(spec: &Value, status: &Value) -> Job {
    let mut job = json!({
        "metadata": {"name": "j", "namespace": "n", "uid": "j"},
        "spec": {"parallelism": 2, "completions": 3, "backoffLimit": 6, "template": {"spec": {"containers": []}}},
        "status": {"startTime": at(0).to_string(), "uncountedTerminatedPods": {}},
    });
    for (place, more) in [("spec", spec), ("status", status)] {
        for (key, value) in more.as_object().expect("fields") {
            if value.is_null() {
                job[place].as_object_mut().expect("fields").remove(key);
            } else {
                job[place][key] = value.clone();
            }
        }
    }
    serde_json::from_value(job).expect("a job")
}

fn names(pods: &[Arc<Pod>]) -> String {
    pods.iter().map(|pod| pod.name()).collect::<Vec<_>>().join(" ")
}

fn told(status: &JobStatus) -> String {
    let mut words = Vec::new();
    let mut number = |name: &str, count: Option<i32>| {
        if count.unwrap_or_default() != 0 {
            words.push(format!("{name}={}", count.unwrap_or_default()));
        }
    };
    number("active", status.active);
    number("ready", status.ready);
    number("terminating", status.terminating);
    number("succeeded", status.succeeded);
    number("failed", status.failed);
    words.extend(status.completed_indexes.iter().map(|indexes| format!("done={indexes}")));
    words.extend(
        status.failed_indexes.iter().filter(|text| !text.is_empty()).map(|text| format!("bad={text}")),
    );
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    words.extend(uncounted.succeeded.map(|uids| format!("+[{}]", uids.join(" "))));
    words.extend(uncounted.failed.map(|uids| format!("-[{}]", uids.join(" "))));
    for condition in status.conditions.iter().flatten() {
        let reason = condition.reason.as_deref().unwrap_or_default();
        let no = if condition.status == "True" { "" } else { "not " };
        words.push(format!("{no}{}({reason})", condition.type_));
    }
    words.join(" ")
}

/// One look at a job at a second, where everything succeeds that is done: what is done, what is written, whose
/// finalizers go, and what is written then if that is its end.
fn look(spec: Value, status: Value, pods: &str, second: i64) -> String {
    look_with(spec, status, pods, second, Failures::default())
}

fn look_with(spec: Value, status: Value, pods: &str, second: i64, failures: Failures) -> String {
    let job = job(&spec, &status);
    let pods: Vec<Arc<Pod>> = pods.split_whitespace().map(pod).collect();
    let untracked = HashSet::new();
    let view = View {
        job: &job,
        pods: &pods,
        untracked: &untracked,
        failures,
        now: at(second),
        passed: &Passed::default(),
    };
    let plan = plan(&view);
    let mut done = Done::default();
    let mut text = match &plan.act {
        Act::Nothing => String::new(),
        Act::Create(creations) => {
            done.created = creations.len();
            let one = |creation: &Creation| match (creation.index, creation.failures) {
                (None, _) => "pod".to_owned(),
                (Some(index), Some((failures, ignored))) => format!("{index}*{failures}+{ignored}"),
                (Some(index), None) => index.to_string(),
            };
            format!("create {}; ", creations.iter().map(one).collect::<Vec<_>>().join(" "))
        }
        Act::Delete(pods) | Act::End(pods) => {
            done.deleted = pods.len();
            done.deleted_ready = pods.iter().filter(|pod| is_ready(pod)).count();
            match &plan.act {
                Act::End(_) if pods.is_empty() => String::new(),
                Act::End(_) => format!("end {}; ", names(pods)),
                _ => format!("delete {}; ", names(pods)),
            }
        }
    };
    if let Some(wake) = plan.wake {
        text += &format!("look after {}; ", wake.as_secs());
    }
    let tracking = track(&view, &plan, done);
    text += match tracking.write {
        Write::Never => "same",
        Write::Soon => "soon ",
        Write::Now => "",
    };
    if tracking.write > Write::Never {
        text += &told(&tracking.status);
    }
    if !tracking.untrack.is_empty() {
        text += &format!("; free {}", names(&tracking.untrack));
    }
    let mut tracked = tracking.tracked.clone();
    tracked.retain(|uid| tracking.untrack.iter().all(|pod| pod.uid() != uid));
    if let Some((status, events)) = conclude(&view, &tracking, &tracked) {
        text += &format!("; {}", told(&status));
        events.iter().for_each(|(_, reason, _)| text += &format!(" !{reason}"));
    }
    tracking.events.iter().for_each(|(_, reason, _)| text += &format!(" !{reason}"));
    text
}

#[track_caller]
fn check(spec: Value, status: Value, pods: &str, expected: &str) {
    assert_eq!(look(spec, status, pods, 0), expected);
}

#[test]
fn so_many_run_at_a_time_until_enough_have_succeeded() {
    let none = || json!({});
    check(
        none(),
        json!({"startTime": null, "uncountedTerminatedPods": null}),
        "",
        "create pod pod; active=2",
    );
    check(none(), none(), "a:run b:ready", "soon active=2 ready=1");
    check(none(), json!({"active": 2, "ready": 1, "terminating": 0}), "a:run b:ready", "same");
    check(none(), none(), "a:run b:done", "create pod; soon active=2 +[b]; free b");
    check(
        none(),
        json!({"uncountedTerminatedPods": {"succeeded": ["b"]}}),
        "a:run b:-done",
        "create pod; soon active=2 succeeded=1",
    );
    // No more than are missing.
    check(none(), json!({"succeeded": 2}), "a:run", "soon active=1 succeeded=2");
    check(
        none(),
        json!({"succeeded": 2}),
        "a:run b:new",
        "delete b; soon active=1 terminating=1 succeeded=2",
    );
    check(json!({"parallelism": 0}), none(), "a:ready b:new", "delete b a; soon terminating=2");
    let met = "SuccessCriteriaMet(CompletionsReached)";
    check(
        none(),
        json!({"succeeded": 2, "active": 1}),
        "c:done",
        &format!("succeeded=2 +[c] {met}; free c; succeeded=3 {met} Complete(CompletionsReached) !Completed"),
    );
}

#[test]
fn without_a_number_one_success_ends_it_when_all_have_ended() {
    let open = || json!({"completions": null});
    check(open(), json!({}), "", "create pod pod; soon active=2");
    check(open(), json!({}), "a:done b:run", "soon active=1 +[a]; free a");
    let met = "SuccessCriteriaMet(CompletionsReached)";
    check(
        open(),
        json!({"succeeded": 1}),
        "b:fail",
        &format!(
            "succeeded=1 -[b] {met}; free b; succeeded=1 failed=1 {met} Complete(CompletionsReached) !Completed"
        ),
    );
}

#[test]
fn a_pod_is_counted_once_wherever_it_was_interrupted() {
    let named =
        json!({"uncountedTerminatedPods": {"succeeded": ["a"]}, "active": 2, "ready": 0, "terminating": 0});
    // Named, and its finalizer is there still.
    check(json!({"completions": 9}), named.clone(), "a:done b:run c:run", "same; free a");
    // Named, and its finalizer is gone, or the whole pod.
    check(json!({"completions": 9}), named.clone(), "a:-done b:run c:run", "soon active=2 succeeded=1");
    check(json!({"completions": 9}), named.clone(), "b:run c:run", "soon active=2 succeeded=1");
    // Counted.
    let counted = json!({"succeeded": 1, "active": 2, "ready": 0, "terminating": 0});
    check(json!({"completions": 9}), counted, "a:-done b:run c:run", "same");
    // One that failed and was named is not a success later.
    let failed =
        json!({"uncountedTerminatedPods": {"failed": ["a"]}, "active": 2, "ready": 0, "terminating": 0});
    check(json!({"completions": 9}), failed, "a:done b:run c:run", "same; free a");
}

#[test]
fn the_cache_may_show_a_finalizer_that_is_gone() {
    let job =
        job(&json!({"completions": 9}), &json!({"succeeded": 1, "active": 1, "ready": 0, "terminating": 0}));
    let pods = [pod("a:done"), pod("b:run")];
    let untracked = HashSet::from(["a".to_owned()]);
    let view = View {
        job: &job,
        pods: &pods,
        untracked: &untracked,
        failures: Failures::default(),
        now: at(0),
        passed: &Passed::default(),
    };
    let tracking = track(&view, &plan(&view), Done::default());
    assert_eq!((told(&tracking.status), tracking.untrack.len()), ("active=1 succeeded=1".to_owned(), 0));
}

#[test]
fn failed_pods_are_replaced_later_and_later_until_it_is_too_often() {
    let none = || json!({});
    check(none(), none(), "a:fail b:run", "look after 10; soon active=1 -[a]; free a");
    assert_eq!(look(none(), none(), "a:fail b:run", 10), "create pod; soon active=2 -[a]; free a");
    let failures = Failures { count: 3, last: Some(at(0)) };
    assert_eq!(
        look_with(none(), json!({"failed": 3}), "b:run", 5, failures),
        "look after 35; soon active=1 failed=3"
    );
    let target = "FailureTarget(BackoffLimitExceeded)";
    check(
        json!({"backoffLimit": 1}),
        json!({"failed": 1}),
        "a:fail b:ready",
        &format!("end b; terminating=1 failed=1 -[a b] {target}; free a b"),
    );
    check(
        json!({"backoffLimit": 1}),
        json!({"failed": 3, "conditions": [{"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded"}]}),
        "b:-going",
        &format!("soon terminating=1 failed=3 {target}"),
    );
    check(
        json!({"backoffLimit": 1}),
        json!({"failed": 3, "conditions": [{"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded"}]}),
        "",
        &format!(
            "soon failed=3 {target}; failed=3 {target} Failed(BackoffLimitExceeded) !BackoffLimitExceeded"
        ),
    );
}

#[test]
fn a_deadline_ends_it_unless_it_is_suspended() {
    let spec = || json!({"activeDeadlineSeconds": 60});
    assert_eq!(look(spec(), json!({}), "a:run b:run", 20), "look after 40; soon active=2");
    let target = "FailureTarget(DeadlineExceeded)";
    assert_eq!(look(spec(), json!({}), "a:new", 60), format!("end a; terminating=1 -[a] {target}; free a"),);
    let suspended = json!({"activeDeadlineSeconds": 60, "suspend": true});
    assert_eq!(look(suspended, json!({}), "", 100), "Suspended(JobSuspended) !Suspended");
}

#[test]
fn suspending_deletes_without_counting_and_going_on_begins_the_time_anew() {
    let spec = || json!({"suspend": true});
    check(spec(), json!({}), "a:ready b:run", "delete b a; terminating=2 Suspended(JobSuspended) !Suspended");
    let suspended = || json!({"conditions": [{"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}]});
    check(spec(), suspended(), "a:-going", "soon terminating=1 Suspended(JobSuspended)");
    assert_eq!(
        look(json!({}), suspended(), "", 30),
        "create pod pod; active=2 not Suspended(JobResumed) !Resumed"
    );
    let job = job(&json!({}), &suspended());
    let untracked = HashSet::new();
    let view = View {
        job: &job,
        pods: &[],
        untracked: &untracked,
        failures: Failures::default(),
        now: at(30),
        passed: &Passed::default(),
    };
    let tracking = track(&view, &plan(&view), Done::default());
    assert_eq!(tracking.status.start_time, Some(Time(at(30))));
    // Nothing to do is done, and has a time.
    let nothing = json!({"suspend": true, "completions": 0});
    let text = look(nothing.clone(), json!({"startTime": null}), "", 0);
    assert!(text.ends_with("Complete(CompletionsReached) !Completed"), "{text}");
    let never = self::job(&nothing, &json!({"startTime": null}));
    let view = View {
        job: &never,
        pods: &[],
        untracked: &untracked,
        failures: Failures::default(),
        now: at(5),
        passed: &Passed::default(),
    };
    let tracking = track(&view, &plan(&view), Done::default());
    let ended = conclude(&view, &tracking, &HashSet::new()).expect("it ends").0;
    assert_eq!(ended.start_time, Some(Time(at(5))));
    // One that was made suspended has no time at all.
    check(spec(), json!({"startTime": null}), "", "Suspended(JobSuspended) !Suspended");
}

#[test]
fn every_index_succeeds_once() {
    let spec = || json!({"completionMode": "Indexed", "completions": 5});
    check(spec(), json!({}), "", "create 0 1; soon active=2");
    check(spec(), json!({}), "a/0:run b/1:done", "create 2; soon active=2 succeeded=1 done=1; free b");
    check(
        spec(),
        json!({"completedIndexes": "0-2", "succeeded": 3}),
        "a/3:run b/4:done",
        "soon active=1 succeeded=4 done=0-2,4; free b",
    );
    // Two of an index, one of none, one that is too many.
    check(
        spec(),
        json!({}),
        "a/0:new b/0:ready c:run d/7:run",
        "delete c d a; soon active=1 ready=1 terminating=3",
    );
    // An index that was counted is not again.
    check(
        spec(),
        json!({"completedIndexes": "1", "succeeded": 1}),
        "a/0:run b/1:done c/2:run",
        "soon active=2 succeeded=1 done=1; free b",
    );
    let met = "SuccessCriteriaMet(CompletionsReached)";
    check(
        spec(),
        json!({"completedIndexes": "0-3", "succeeded": 4}),
        "b/4:done",
        &format!(
            "succeeded=5 done=0-4 {met}; free b; succeeded=5 done=0-4 {met} Complete(CompletionsReached) !Completed"
        ),
    );
}

#[test]
fn fewer_indexes_than_there_were_are_enough() {
    let spec = json!({"completionMode": "Indexed", "completions": 2});
    let met = "SuccessCriteriaMet(CompletionsReached)";
    check(
        spec.clone(),
        json!({"completedIndexes": "0,1,4", "succeeded": 3}),
        "",
        &format!(
            "succeeded=2 done=0,1 {met}; succeeded=2 done=0,1 {met} Complete(CompletionsReached) !Completed"
        ),
    );
    check(
        spec,
        json!({"completedIndexes": "0", "succeeded": 1}),
        "a/1:run b/4:run",
        "delete b; soon active=1 terminating=1 succeeded=1 done=0",
    );
}

#[test]
fn indexes_fail_each_for_itself() {
    let spec = |most: Value| {
        json!({"completionMode": "Indexed", "completions": 3, "backoffLimit": i32::MAX,
            "backoffLimitPerIndex": 1, "maxFailedIndexes": most})
    };
    let none = || spec(Value::Null);
    // The failed pod stays until its count is taken over.
    check(none(), json!({"failedIndexes": ""}), "a/0*0:fail b/1*0:run", "look after 10; soon active=1");
    let waits = look(none(), json!({"failedIndexes": ""}), "a/0*0:fail", 0);
    assert_eq!(waits, "create 1*0+0; look after 10; soon active=1");
    assert_eq!(
        look(none(), json!({"failedIndexes": ""}), "a/0*0:fail b/1*0:run", 10),
        "create 0*1+0; soon active=2"
    );
    check(
        none(),
        json!({"failedIndexes": ""}),
        "a/0*0:fail c/0*1:run b/1*0:run",
        "soon active=2 -[a]; free a",
    );
    check(
        none(),
        json!({"failedIndexes": ""}),
        "c/0*1:fail b/1*0:run",
        "create 2*0+0; soon active=2 bad=0 -[c]; free c",
    );
    let target = "FailureTarget(FailedIndexes)";
    check(
        none(),
        json!({"failedIndexes": "0", "failed": 2, "completedIndexes": "1", "succeeded": 1}),
        "d/2*0:done",
        &format!(
            "succeeded=2 failed=2 done=1,2 bad=0 {target}; free d; succeeded=2 failed=2 done=1,2 bad=0 {target} Failed(FailedIndexes) !FailedIndexes"
        ),
    );
    check(
        spec(json!(0)),
        json!({"failedIndexes": ""}),
        "c/0*1:fail b/1*0:run",
        "end b; terminating=1 bad=0 -[c b] FailureTarget(MaxFailedIndexesExceeded); free c b",
    );
}

#[test]
fn policies_say_which_failures_count() {
    let spec = |action: &str| {
        let rule = json!({"action": action, "onExitCodes": {"operator": "In", "values": [42]}});
        json!({"podFailurePolicy": {"rules": [rule]}, "podReplacementPolicy": "Failed"})
    };
    check(spec("Ignore"), json!({}), "a:fail42 b:run", "look after 10; soon active=1; free a");
    check(spec("Count"), json!({}), "a:fail42 b:run", "look after 10; soon active=1 -[a]; free a");
    check(
        spec("FailJob"),
        json!({}),
        "a:fail42 b:run",
        "end b; terminating=1 -[a b] FailureTarget(PodFailurePolicy); free a b",
    );
    check(spec("FailJob"), json!({}), "a:fail1 b:run", "look after 10; soon active=1 -[a]; free a");
}

#[test]
fn pods_that_go_are_replaced_at_once_or_when_they_have_ended() {
    assert_eq!(
        look(json!({}), json!({}), "a:going b:run", 10),
        "create pod; soon active=2 terminating=1 -[a]; free a"
    );
    check(
        json!({"podReplacementPolicy": "Failed"}),
        json!({}),
        "a:going b:run",
        "soon active=1 terminating=1",
    );
    let indexed = json!({"podReplacementPolicy": "Failed", "completionMode": "Indexed", "parallelism": 3});
    check(indexed, json!({}), "a/0:going b/1:run", "create 2; soon active=2 terminating=1");
}

#[test]
fn enough_indexes_are_enough_by_the_policy() {
    let spec = json!({"completionMode": "Indexed", "completions": 5,
        "successPolicy": {"rules": [{"succeededIndexes": "0-1"}]}});
    check(spec.clone(), json!({}), "a/0:done b/2:run", "create 1; soon active=2 succeeded=1 done=0; free a");
    let met = "SuccessCriteriaMet(SuccessPolicy)";
    check(
        spec.clone(),
        json!({"completedIndexes": "0", "succeeded": 1}),
        "a/1:done b/2:run",
        &format!("end b; terminating=1 succeeded=2 done=0,1 {met}; free a b"),
    );
    let met_before = json!({"completedIndexes": "0,1", "succeeded": 2,
        "conditions": [{"type": "SuccessCriteriaMet", "status": "True", "reason": "SuccessPolicy"}]});
    check(
        spec,
        met_before,
        "",
        &format!(
            "soon succeeded=2 done=0,1 {met}; succeeded=2 done=0,1 {met} Complete(SuccessPolicy) !Completed"
        ),
    );
}

#[test]
fn restarts_within_pods_count_too() {
    let looked = |limit: i32, restarts: i32| {
        let spec = json!({"backoffLimit": limit, "template": {"spec": {"containers": [], "restartPolicy": "OnFailure"}}});
        let job = job(&spec, &json!({}));
        let mut pod = Pod::clone(&pod("a:run"));
        let status = pod.status.get_or_insert_default();
        status.container_statuses = serde_json::from_value(json!([{
            "name": "m", "image": "", "imageID": "", "ready": false, "restartCount": restarts}]))
        .expect("statuses");
        let (pods, untracked) = ([Arc::new(pod)], HashSet::new());
        let view = View {
            job: &job,
            pods: &pods,
            untracked: &untracked,
            failures: Failures::default(),
            now: at(0),
            passed: &Passed::default(),
        };
        plan(&view).seen.verdict.is_some()
    };
    assert!(!looked(3, 2) && looked(3, 3) && !looked(0, 0) && looked(0, 1));
}

#[test]
fn a_job_that_goes_lets_its_pods_go() {
    let mut job = job(&json!({}), &json!({"active": 1, "ready": 0, "terminating": 0}));
    job.metadata.deletion_timestamp = Some(Time(at(0)));
    let (pods, untracked) = ([pod("a:run")], HashSet::new());
    let view = View {
        job: &job,
        pods: &pods,
        untracked: &untracked,
        failures: Failures::default(),
        now: at(0),
        passed: &Passed::default(),
    };
    let plan = plan(&view);
    assert!(matches!(plan.act, Act::Nothing));
    let tracking = track(&view, &plan, Done::default());
    assert_eq!((tracking.write, names(&tracking.untrack)), (Write::Never, "a".to_owned()));
}
