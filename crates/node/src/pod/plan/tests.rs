//! A pod as a line of text in, what is done next as a line of text out.

use super::*;

fn now() -> Duration {
    Duration::from_secs(1_800)
}

/// One container a word: `e:` ephemeral, `i:` init, `s:` sidecar, `m:` main; then `-` never started, `+` running,
/// a number: ended with that code, `!` running and found dead by a probe, `~N` ended with `N` and
/// backing off for ten seconds, `=N` ended with `N` to make room for another, `^` running in a sandbox that
/// is gone, `N^` ended in one.
fn container(word: &str) -> ContainerView {
    let (role, state) = word.split_once(':').expect("role:state");
    let role = match role {
        "i" => Role::Init,
        "s" => Role::Sidecar,
        "m" => Role::Main,
        "e" => Role::Ephemeral,
        other => panic!("unknown role {other}"),
    };
    let exited = |text: &str| InstanceState::Exited(text.parse().expect("an exit code"));
    let state = match state {
        "-" => None,
        "+" | "!" | "^" => Some(InstanceState::Running),
        text => Some(exited(text.trim_start_matches(['~', '=']).trim_end_matches('^'))),
    };
    let id = ContainerId("a".to_owned());
    ContainerView {
        name: word.to_owned(),
        role,
        next_attempt: u32::from(state.is_some()),
        latest: state.map(|state| Instance { id, in_current_sandbox: !word.ends_with('^'), state }),
        not_before: word.contains('~').then(|| now() + Duration::from_secs(10)),
        condemned: word.ends_with('!'),
        replaced: word.contains('='),
        started: true,
    }
}

#[track_caller]
fn check(restart: RestartPolicy, sandbox: SandboxState, containers: &str, expected: &str) {
    check_late(None, false, restart, sandbox, containers, expected);
}

/// With so many seconds left until the pod's deadline, or none where it is over already.
#[track_caller]
fn check_late(
    left: Option<u64>,
    overdue: bool,
    restart: RestartPolicy,
    sandbox: SandboxState,
    containers: &str,
    expected: &str,
) {
    let containers = containers.split_whitespace().map(container).collect();
    let deadline = left.map(|left| now() + Duration::from_secs(left));
    let plan = plan(&View { now: now(), deadline, overdue, told: false, restart, sandbox, containers });
    let mut words: Vec<String> = plan
        .steps
        .iter()
        .map(|step| match step {
            Step::CreateSandbox => "sandbox".to_owned(),
            Step::Start { container, attempt } => format!("start {container}#{attempt}"),
            Step::Kill { container, .. } => format!("kill {container}"),
            Step::StopContainers => "end".to_owned(),
            Step::StopSandbox => "stop".to_owned(),
        })
        .collect();
    if let Some(wake) = plan.wake {
        words.push(format!("wake {}", (wake - now()).as_secs()));
    }
    if plan.ended {
        words.push("ended".to_owned());
    }
    if plan.overdue {
        words.push("overdue".to_owned());
    }
    assert_eq!(words.join(", "), expected);
}

use RestartPolicy::{Always, Never, OnFailure};
use SandboxState::{Down, Missing, Ready};

#[test]
fn a_new_pod_gets_a_sandbox_then_its_init_containers_in_order_then_all_others() {
    check(Always, Missing, "i:- i:- m:- m:-", "sandbox");
    check(Always, Ready, "i:- i:- m:- m:-", "start 0#0");
    check(Always, Ready, "i:+ i:- m:- m:-", "");
    check(Always, Ready, "i:0 i:- m:- m:-", "start 1#0");
    check(Always, Ready, "i:0 i:0 m:- m:-", "start 2#0, start 3#0");
    check(Always, Ready, "i:0 i:0 m:+ m:+", "");
}

#[test]
fn a_sidecar_runs_on_beside_the_others_and_ends_with_them() {
    check(Always, Ready, "s:- m:-", "start 0#0");
    check(Always, Ready, "s:+ m:-", "start 1#0");
    check(Always, Ready, "s:1 m:+", "start 0#1");
    check(Never, Ready, "s:+ m:0", "end, ended");
    check(Never, Ready, "s:0 m:0", "stop, ended");
}

#[test]
fn what_has_ended_for_good_does_not_run_again_in_a_new_sandbox() {
    check(OnFailure, Down, "m:0 m:^", "sandbox");
    check(OnFailure, Ready, "m:0^ m:1^", "start 1#1");
    check(Never, Ready, "m:0^ m:-", "start 1#0");
    check(Always, Ready, "m:0^ m:+", "start 0#1");
    check(Never, Ready, "m:=0 m:+", "start 0#1");
}

#[test]
fn what_was_told_to_have_ended_does_not_run_again_whatever_is_known_of_it() {
    for (sandbox, words, steps) in [
        (Ready, "m:-", vec![Step::StopSandbox]),
        (Ready, "m:1", vec![Step::StopSandbox]),
        (Ready, "m:+", vec![Step::StopContainers]),
        (Down, "m:^", Vec::new()),
        (Missing, "i:- m:-", Vec::new()),
    ] {
        let containers = words.split_whitespace().map(container).collect();
        let view = View {
            now: now(),
            deadline: None,
            overdue: false,
            told: true,
            restart: Always,
            sandbox,
            containers,
        };
        assert_eq!(plan(&view), Plan { steps, ended: true, ..Plan::default() }, "{words}");
    }
}

#[test]
fn an_ephemeral_container_runs_once_and_nothing_waits_for_it() {
    check(Always, Missing, "e:- m:-", "sandbox");
    check(Always, Ready, "e:- i:- m:-", "start 0#0, start 1#0");
    check(Always, Ready, "e:- i:+ m:-", "start 0#0");
    check(Always, Ready, "e:- m:+", "start 0#0");
    check(Always, Ready, "e:+ e:- m:+", "start 1#0");
    check(Always, Ready, "e:+ m:+", "");
    for ended in ["e:0", "e:1", "e:^", "e:7"] {
        check(Always, Ready, &format!("{ended} m:+"), "");
        check(Always, Ready, &format!("{ended} m:-"), "start 1#0");
    }
    check(Always, Ready, "e:~0 m:+", "");
    check(Never, Ready, "e:+ m:0", "end, ended");
    check(Never, Ready, "e:- m:0", "stop, ended");
    check(OnFailure, Ready, "e:1 m:0", "stop, ended");
}

#[test]
fn the_restart_policy_decides_who_is_started_again() {
    check(Always, Ready, "m:0", "start 0#1");
    check(OnFailure, Ready, "m:1", "start 0#1");
    check(OnFailure, Ready, "m:0 m:+", "");
    check(OnFailure, Ready, "m:0", "stop, ended");
    check(Never, Ready, "m:1", "stop, ended");
    check(Never, Down, "m:1", "ended");
}

#[test]
fn a_pod_ends_when_it_has_been_active_for_as_long_as_it_may_be() {
    check_late(Some(60), false, Always, Ready, "m:+", "wake 60");
    check_late(Some(60), false, Always, Ready, "m:~1", "wake 10");
    check_late(Some(5), false, Always, Ready, "m:~1", "wake 5");
    check_late(Some(0), false, Always, Ready, "i:0 s:+ m:+", "end, ended, overdue");
    check_late(Some(0), false, Always, Ready, "m:~1", "stop, ended, overdue");
    check_late(Some(0), false, Always, Missing, "m:-", "ended, overdue");
    // What had ended before stays as it ended; what was ended for it does not become that.
    check_late(Some(0), false, Never, Ready, "m:0", "stop, ended");
    check_late(Some(0), true, Never, Ready, "m:0", "stop, ended, overdue");
    check_late(None, true, Always, Ready, "m:0", "stop, ended, overdue");
}

#[test]
fn a_failed_init_container_is_tried_again_unless_the_policy_forbids() {
    check(Always, Ready, "i:1 m:-", "start 0#1");
    check(OnFailure, Ready, "i:1 m:-", "start 0#1");
    check(Never, Ready, "i:1 m:-", "stop, ended");
}

#[test]
fn a_container_that_keeps_failing_is_started_after_its_back_off() {
    check(Always, Ready, "m:~1 m:+", "wake 10");
    check(Always, Ready, "m:~1 m:0", "start 1#1, wake 10");
}

#[test]
fn a_container_that_a_probe_found_dead_is_killed() {
    check(Always, Ready, "m:! m:+", "kill 0");
}

#[test]
fn a_lost_sandbox_is_made_again_and_everything_begins_anew() {
    check(Always, Down, "i:0 m:+", "sandbox");
    check(Always, Ready, "i:^ m:^", "start 0#1");
}

#[test]
fn a_container_that_made_room_for_another_is_made_anew_whatever_the_policy() {
    for policy in [Always, OnFailure, Never] {
        check(policy, Ready, "m:=137", "start 0#1");
        check(policy, Ready, "m:=0 m:+", "start 0#1");
    }
}
