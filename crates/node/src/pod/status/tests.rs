//! Facts about containers in, the status as a few lines of text out.

use super::*;
use serde_json::json;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("in range")
}

fn running() -> Facts {
    let run = Run { id: "id".to_owned(), started_at: Some(now()), ..Run::default() };
    Facts { current: Some(run), ready: true, started: true, ..Facts::default() }
}

fn exited(code: i32) -> Facts {
    let end = End { code, at: Some(now()), reason: "Error".to_owned(), message: String::new() };
    let run = Run { id: "id".to_owned(), end: Some(end), ..Run::default() };
    Facts { current: Some(run), ready: true, started: true, ..Facts::default() }
}

fn waiting(facts: Facts, reason: &str) -> Facts {
    Facts { waiting: Some((reason.to_owned(), "why".to_owned())), ..facts }
}

#[track_caller]
fn check(policy: &str, ended: bool, facts: &[(&str, Facts)], expected: &str) {
    check_failure(policy, ended, None, facts, expected);
}

#[track_caller]
fn check_failure(
    policy: &str,
    ended: bool,
    failure: Option<(&str, &str)>,
    facts: &[(&str, Facts)],
    expected: &str,
) {
    let names = |prefix: &str| -> Vec<_> {
        facts
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, _)| json!({"name": name, "image": "x"}))
            .collect()
    };
    let pod = json!({"metadata": {"generation": 3}, "spec": {
        "restartPolicy": policy, "initContainers": names("init"), "containers": names("main"),
        "ephemeralContainers": names("debug")}});
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    let containers = facts.iter().map(|(name, facts)| ((*name).to_owned(), facts.clone())).collect();
    let status = status(&View {
        pod: &pod,
        now: now(),
        host_ip: "192.0.2.1",
        pod_ips: &["10.42.0.5".to_owned()],
        sandbox_ready: true,
        containers: &containers,
        ended,
        failure,
        resize: &Progress::default(),
        whole: None,
    });
    let mut words = vec![status.phase.clone().expect("a phase")];
    words.extend(
        status.reason.iter().zip(&status.message).map(|(reason, message)| format!("{reason}:{message}")),
    );
    for condition in status.conditions.iter().flatten().filter(|c| c.status != "True") {
        words.push(format!("!{}:{}", condition.type_, condition.reason.as_deref().unwrap_or("-")));
    }
    let all =
        [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    for container in all.into_iter().flatten().flatten() {
        let state = container.state.clone().expect("a state");
        let state = match (state.waiting, state.running, state.terminated) {
            (Some(waiting), ..) => waiting.reason.expect("a reason"),
            (_, Some(_), _) => "running".to_owned(),
            (.., Some(ended)) => format!("ended {}", ended.exit_code),
            _ => "nothing".to_owned(),
        };
        words.push(format!("{}={state}{}", container.name, if container.ready { " ready" } else { "" }));
    }
    assert_eq!(words.join(", "), expected);
}

#[test]
fn a_pod_is_pending_until_every_container_has_run() {
    check(
        "Always",
        false,
        &[("main", Facts::default())],
        "Pending, !Ready:ContainersNotReady, !ContainersReady:ContainersNotReady, main=ContainerCreating",
    );
    check(
        "Always",
        false,
        &[("init", running()), ("main", Facts::default())],
        "Pending, !Initialized:ContainersNotInitialized, !Ready:ContainersNotReady, !ContainersReady:ContainersNotReady, init=running, main=PodInitializing",
    );
    check("Always", false, &[("main", running())], "Running, main=running ready");
}

#[test]
fn an_ephemeral_container_is_told_of_and_decides_nothing() {
    check(
        "Always",
        false,
        &[("main", running()), ("debug", Facts::default())],
        "Running, main=running ready, debug=ContainerCreating",
    );
    check(
        "Always",
        false,
        &[("main", running()), ("debug", running())],
        "Running, main=running ready, debug=running",
    );
    check(
        "Always",
        false,
        &[("main", running()), ("debug", exited(1))],
        "Running, main=running ready, debug=ended 1",
    );
    check(
        "Never",
        true,
        &[("main", exited(0)), ("debug", exited(1))],
        "Succeeded, !Ready:PodCompleted, !ContainersReady:PodCompleted, main=ended 0, debug=ended 1",
    );
}

#[test]
fn a_container_that_is_not_ready_makes_the_pod_not_ready() {
    let unready = Facts { ready: false, ..running() };
    check(
        "Always",
        false,
        &[("main", unready)],
        "Running, !Ready:ContainersNotReady, !ContainersReady:ContainersNotReady, main=running",
    );
}

#[test]
fn a_container_that_keeps_failing_waits_and_the_pod_still_runs() {
    check(
        "Always",
        false,
        &[("main", waiting(exited(1), "CrashLoopBackOff"))],
        "Running, !Ready:ContainersNotReady, !ContainersReady:ContainersNotReady, main=CrashLoopBackOff",
    );
}

#[test]
fn an_image_that_cannot_be_pulled_keeps_the_pod_pending() {
    check(
        "Always",
        false,
        &[("main", waiting(Facts::default(), "ErrImagePull"))],
        "Pending, !Ready:ContainersNotReady, !ContainersReady:ContainersNotReady, main=ErrImagePull",
    );
}

#[test]
fn a_pod_that_has_ended_succeeded_or_failed_by_its_exit_codes() {
    check(
        "Never",
        true,
        &[("main", exited(0))],
        "Succeeded, !Ready:PodCompleted, !ContainersReady:PodCompleted, main=ended 0",
    );
    check(
        "Never",
        true,
        &[("main1", exited(0)), ("main2", exited(2))],
        "Failed, !Ready:PodFailed, !ContainersReady:PodFailed, main1=ended 0, main2=ended 2",
    );
}

#[test]
fn an_end_that_was_told_stays_whatever_is_left_of_it_here() {
    let ended = |name: &str, code: i32| {
        json!({"name": name, "image": "x", "imageID": "", "ready": false,
        "restartCount": 0, "state": {"terminated": {"exitCode": code}}})
    };
    let pod = json!({
        "spec": {"restartPolicy": "Never", "initContainers": [{"name": "init", "image": "x"}],
            "containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}, {"name": "c", "image": "x"}]},
        "status": {"phase": "Failed", "reason": "Evicted", "initContainerStatuses": [ended("init", 0)],
            "containerStatuses": [ended("a", 1), ended("b", 2), ended("c", 3)]}});
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    // One is known as it was told, one is known to have ended otherwise, one runs again, and of one nothing is known.
    let containers = [("a", running()), ("b", exited(0)), ("c", Facts::default())];
    let containers = containers.map(|(name, facts)| (name.to_owned(), facts)).into();
    let status = status(&View {
        pod: &pod,
        now: now(),
        host_ip: "192.0.2.1",
        pod_ips: &[],
        sandbox_ready: false,
        containers: &containers,
        ended: true,
        failure: None,
        resize: &Progress::default(),
        whole: None,
    });
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
    let code = |status: &ContainerStatus| status.state.as_ref()?.terminated.as_ref().map(|end| end.exit_code);
    let all = [&status.init_container_statuses, &status.container_statuses];
    let codes: Vec<_> = all.into_iter().flatten().flatten().map(code).collect();
    assert_eq!(codes, [Some(0), Some(1), Some(0), Some(3)]);
}

#[test]
fn a_pod_has_not_ended_while_one_of_its_containers_runs() {
    check(
        "Never",
        true,
        &[("init", running()), ("main", exited(0))],
        "Running, !Ready:ContainersNotReady, !ContainersReady:ContainersNotReady, init=running, main=ended 0",
    );
}

#[test]
fn a_pod_that_was_ended_has_failed_for_that_reason_whatever_its_containers_said() {
    let failure = Some(("DeadlineExceeded", "too long"));
    check_failure("Never", true, failure, &[("main", running())], "Running, main=running ready");
    check_failure(
        "Never",
        true,
        failure,
        &[("main", exited(0))],
        "Failed, DeadlineExceeded:too long, !Ready:PodFailed, !ContainersReady:PodFailed, main=ended 0",
    );
}

#[test]
fn a_pod_whose_init_container_failed_for_good_was_never_initialised() {
    check(
        "Never",
        true,
        &[("init", exited(1)), ("main", Facts::default())],
        "Failed, !Initialized:ContainersNotInitialized, !Ready:PodFailed, !ContainersReady:PodFailed, init=ended 1, main=PodInitializing",
    );
}

#[test]
fn a_condition_keeps_the_time_at_which_it_last_changed() {
    let long_ago = Time(Timestamp::from_second(1_000).expect("in range"));
    let old = json!({"conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:16:40Z"},
        {"type": "example.org/gate", "status": "True"}]});
    let pod = json!({"spec": {"containers": [{"name": "main"}]}, "status": old});
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    let check = |facts: Facts| {
        let containers = BTreeMap::from([("main".to_owned(), facts)]);
        let view = View {
            pod: &pod,
            now: now(),
            host_ip: "",
            pod_ips: &[],
            sandbox_ready: true,
            containers: &containers,
            ended: false,
            failure: None,
            resize: &Progress::default(),
            whole: None,
        };
        status(&view).conditions.expect("conditions")
    };
    let time_of = |conditions: &[PodCondition]| {
        conditions.iter().find(|c| c.type_ == "Ready").and_then(|c| c.last_transition_time.clone())
    };
    assert_eq!(time_of(&check(running())), Some(long_ago));
    assert_eq!(time_of(&check(exited(1))), Some(Time(now())));
    assert!(check(running()).iter().any(|condition| condition.type_ == "example.org/gate"));
}
