use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("within the calendar")
}

fn started(pid: u32, seconds: i64) -> Input {
    Input::Started { pid, at: at(seconds), by_policy: false }
}

fn exited(code: i32, seconds: i64) -> Input {
    Input::Exited { code, oom_killed: false, error: None, at: at(seconds) }
}

/// Runs `inputs` from a container's creation and writes down the states and effects.
#[track_caller]
fn check(restart: RestartPolicy, auto_remove: bool, inputs: &[Input], expected: &[&str]) {
    let wishes = Wishes { restart, auto_remove };
    let mut life = Life::default();
    let mut trace = Vec::new();
    for input in inputs {
        let (next, effects) = step(&life, input, wishes);
        let effects: Vec<String> = effects
            .iter()
            .map(|effect| match effect {
                Effect::Emit(action) => (*action).to_owned(),
                Effect::RestartAfter(delay) => format!("restart in {} ms", delay.as_millis()),
                Effect::Remove => "remove".to_owned(),
            })
            .collect();
        trace.push(format!("{} [{}]", next.status.as_str(), effects.join(", ")));
        life = next;
    }
    assert_eq!(trace, expected);
}

#[test]
fn without_a_policy_a_container_that_ends_stays_ended() {
    check(RestartPolicy::No, false, &[started(7, 0), exited(3, 1)], &["running [start]", "exited [die]"]);
}

#[test]
fn with_auto_remove_a_container_that_ends_is_removed() {
    check(
        RestartPolicy::No,
        true,
        &[started(7, 0), exited(0, 1)],
        &["running [start]", "exited [die, remove]"],
    );
}

#[test]
fn short_runs_are_restarted_with_doubling_delays_and_a_long_run_ends_the_series() {
    let again = |pid, seconds| Input::Started { pid, at: at(seconds), by_policy: true };
    check(
        RestartPolicy::Always,
        false,
        &[started(1, 0), exited(0, 1), again(2, 2), exited(0, 3), again(3, 4), exited(0, 60)],
        &[
            "running [start]",
            "restarting [die, restart in 100 ms]",
            "running [start]",
            "restarting [die, restart in 200 ms]",
            "running [start]",
            "restarting [die, restart in 100 ms]",
        ],
    );
}

#[test]
fn on_failure_restarts_only_failures_and_only_so_often() {
    let policy = RestartPolicy::OnFailure { retries: Some(1) };
    let again = Input::Started { pid: 2, at: at(2), by_policy: true };
    check(policy, false, &[started(1, 0), exited(0, 1)], &["running [start]", "exited [die]"]);
    check(
        policy,
        false,
        &[started(1, 0), exited(1, 1), again, exited(1, 3)],
        &["running [start]", "restarting [die, restart in 100 ms]", "running [start]", "exited [die]"],
    );
}

#[test]
fn what_is_stopped_by_hand_is_left_alone_until_the_engine_is_opened_anew() {
    let inputs = [
        started(1, 0),
        Input::Halted { returns: false },
        exited(143, 1),
        Input::Reopened { rebooted: false },
    ];
    check(
        RestartPolicy::Always,
        false,
        &inputs,
        &["running [start]", "running []", "exited [die]", "restarting [restart in 0 ms]"],
    );
    check(
        RestartPolicy::UnlessStopped,
        false,
        &inputs,
        &["running [start]", "running []", "exited [die]", "exited []"],
    );
}

#[test]
fn a_stop_while_waiting_for_the_restart_ends_the_waiting() {
    check(
        RestartPolicy::Always,
        false,
        &[started(1, 0), exited(1, 1), Input::Halted { returns: false }],
        &["running [start]", "restarting [die, restart in 100 ms]", "exited []"],
    );
}

#[test]
fn an_exit_that_is_told_twice_counts_once() {
    check(
        RestartPolicy::No,
        false,
        &[started(1, 0), exited(1, 1), exited(1, 1)],
        &["running [start]", "exited [die]", "exited []"],
    );
}

#[test]
fn the_kernel_killing_for_memory_is_told_before_the_end() {
    let oom = Input::Exited { code: 137, oom_killed: true, error: None, at: at(1) };
    check(RestartPolicy::No, false, &[started(1, 0), oom], &["running [start]", "exited [oom, die]"]);
}

#[test]
fn a_container_that_cannot_be_started_by_hand_stays_as_it_was() {
    let failed = Input::StartFailed {
        code: 127,
        message: "no such program".to_owned(),
        fact: None,
        at: at(0),
        by_policy: false,
    };
    check(RestartPolicy::Always, false, &[failed], &["created []"]);
}

#[test]
fn a_frozen_container_can_die() {
    check(
        RestartPolicy::No,
        false,
        &[started(1, 0), Input::Frozen, exited(137, 1)],
        &["running [start]", "paused [pause]", "exited [die]"],
    );
}

#[test]
fn one_that_removes_itself_does_not_where_it_is_stopped_to_be_started_again() {
    let inputs =
        [started(1, 0), Input::Halted { returns: true }, exited(143, 1), started(2, 2), exited(0, 3)];
    check(
        RestartPolicy::No,
        true,
        &inputs,
        &["running [start]", "running []", "exited [die]", "running [start]", "exited [die, remove]"],
    );
    // The stop failed: whenever it ends then, that is the end.
    let inputs =
        [started(1, 0), Input::Halted { returns: true }, Input::Halted { returns: false }, exited(0, 1)];
    check(
        RestartPolicy::No,
        true,
        &inputs,
        &["running [start]", "running []", "running []", "exited [die, remove]"],
    );
    let failed =
        Input::StartFailed { code: 127, message: "gone".to_owned(), fact: None, at: at(2), by_policy: false };
    check(
        RestartPolicy::No,
        true,
        &[started(1, 0), Input::Halted { returns: true }, exited(143, 1), failed],
        &["running [start]", "running []", "exited [die]", "exited [remove]"],
    );
    // It had ended before whoever wanted it back gave up.
    let ended =
        [started(1, 0), Input::Halted { returns: true }, exited(0, 1), Input::Halted { returns: false }];
    check(
        RestartPolicy::No,
        true,
        &ended,
        &["running [start]", "running []", "exited [die]", "exited [remove]"],
    );
    let stopped = [started(1, 0), exited(0, 1), Input::Halted { returns: false }];
    check(RestartPolicy::No, false, &stopped, &["running [start]", "exited [die]", "exited []"]);
}

#[test]
fn one_that_was_found_alive_is_what_its_shim_says() {
    let found = |frozen| Input::Found { pid: 9, frozen };
    check(
        RestartPolicy::Always,
        false,
        &[started(1, 0), found(true), found(false), exited(0, 60)],
        &["running [start]", "paused []", "running []", "restarting [die, restart in 100 ms]"],
    );
}
