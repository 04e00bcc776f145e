//! Who is tried next, and when again: pods in, order out.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn pod(name: &str, priority: i32) -> PodInfo {
    let pod = serde_json::json!({
        "metadata": {"name": name, "namespace": "n", "uid": name},
        "spec": {"priority": priority, "containers": [{"name": "c"}]},
    });
    PodInfo::of(&serde_json::from_value(pod).expect("a pod"))
}

fn queue() -> Queue {
    Queue::new(SECOND, SECOND * 10)
}

/// The names of all that are to be tried, in their order; they are taken out.
fn drain(queue: &mut Queue) -> Vec<String> {
    std::iter::from_fn(|| queue.pop()).map(|attempt| attempt.pod.id.key.name.clone()).collect()
}

fn refuse(queue: &mut Queue, now: Duration) {
    let attempt = queue.pop().expect("a pod is to be tried");
    queue.refused(attempt, Refusers::default(), now);
}

#[test]
fn the_highest_priority_comes_first_and_then_the_longest_wait() {
    let mut queue = queue();
    for (name, priority, at) in [("late", 0, 3), ("early", 0, 1), ("urgent", 9, 4), ("idle", -1, 0)] {
        queue.set(pod(name, priority), SECOND * at);
    }
    // Seen anew without a change: it keeps its turn.
    queue.set(pod("early", 0), SECOND * 9);
    assert_eq!(drain(&mut queue), ["urgent", "early", "late", "idle"]);
}

#[test]
fn a_change_of_priority_is_heard_and_any_other_keeps_the_turn() {
    let mut queue = queue();
    for name in ["a", "b", "c"] {
        queue.set(pod(name, 0), SECOND);
    }
    queue.set(PodInfo { node_name: Some("x".into()), ..pod("a", 0) }, SECOND * 2);
    queue.set(pod("c", 5), SECOND * 2);
    let first = queue.pop().expect("a pod");
    assert_eq!(first.pod.id.key.name, "c");
    let next = queue.pop().expect("a pod").pod;
    assert_eq!((next.id.key.name.as_str(), next.node_name.as_deref()), ("a", Some("x")));
}

#[test]
fn back_off_doubles_from_one_second_to_ten() {
    let mut queue = queue();
    queue.set(pod("a", 0), Duration::ZERO);
    let (mut now, mut delays) = (Duration::ZERO, Vec::new());
    for _ in 0..6 {
        let attempt = queue.pop().expect("its back-off is over");
        delays.push(queue.failed(attempt, now).as_secs());
        assert_eq!(queue.lengths(), [0, 1, 0, 0]);
        let due = queue.next_due().expect("it backs off");
        queue.advance(due - Duration::from_millis(1));
        assert!(queue.pop().is_none(), "not before");
        queue.advance(due);
        now = due;
    }
    assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
}

#[test]
fn what_nothing_may_help_waits_five_minutes_and_no_longer() {
    let mut queue = queue();
    queue.set(pod("a", 0), Duration::ZERO);
    refuse(&mut queue, SECOND);
    assert_eq!(queue.wake(SECOND * 2, "NodeAdd", |_, _| false), Woken { asked: 1, moved: 0 });
    assert_eq!(queue.lengths(), [0, 0, 1, 0]);
    assert_eq!(queue.next_due(), Some(SECOND * 301));
    queue.advance(SECOND * 300);
    assert_eq!(queue.lengths(), [0, 0, 1, 0]);
    queue.advance(SECOND * 301);
    assert_eq!(drain(&mut queue), ["a"]);
    assert_eq!(queue.next_due(), None);
}

#[test]
fn news_move_whom_they_may_help_but_not_past_the_back_off() {
    let mut queue = queue();
    for name in ["a", "b"] {
        queue.set(pod(name, 0), Duration::ZERO);
    }
    refuse(&mut queue, Duration::ZERO);
    refuse(&mut queue, Duration::ZERO);
    let half = Duration::from_millis(500);
    let only_a = |pod: &PodInfo, _| pod.id.key.name == "a";
    assert_eq!(queue.wake(half, "NodeAdd", only_a), Woken { asked: 2, moved: 1 });
    assert_eq!((queue.lengths(), queue.next_due()), ([0, 1, 1, 0], Some(SECOND)));
    queue.advance(SECOND);
    assert_eq!(drain(&mut queue), ["a"]);
    // The other has backed off by now, and is tried at once.
    assert_eq!(queue.wake(SECOND, "NodeAdd", |_, _| true), Woken { asked: 1, moved: 1 });
    assert_eq!(drain(&mut queue), ["b"]);
}

#[test]
fn a_pod_that_changed_is_tried_again_and_one_that_is_gone_is_nowhere() {
    let mut queue = queue();
    for name in ["a", "b", "c"] {
        queue.set(pod(name, 0), Duration::ZERO);
    }
    refuse(&mut queue, Duration::ZERO);
    let attempt = queue.pop().expect("b");
    queue.failed(attempt, Duration::ZERO);
    assert_eq!(queue.lengths(), [1, 1, 1, 0]);
    queue.set(pod("a", 0), SECOND * 2);
    assert_eq!(queue.lengths(), [1, 1, 1, 0], "nothing new");
    queue.set(PodInfo { node_name: Some("x".into()), ..pod("a", 0) }, SECOND * 2);
    assert_eq!(queue.lengths(), [2, 1, 0, 0]);
    for name in ["a", "b", "c", "d"] {
        queue.remove(&name.into());
    }
    assert_eq!((queue.lengths(), queue.pods.len(), queue.next_due()), ([0, 0, 0, 0], 0, None));
}

#[test]
fn it_is_told_why_pods_came_into_which_line_and_since_when_they_wait() {
    let mut queue = queue();
    for name in ["a", "b"] {
        queue.set(pod(name, 0), SECOND);
    }
    refuse(&mut queue, SECOND * 2);
    let attempt = queue.pop().expect("the other one is to be tried");
    queue.failed(attempt, SECOND * 2);
    queue.set(pod("a", 5), SECOND * 2);
    queue.advance(SECOND * 3);
    let told: Vec<_> = queue.take_incoming().into_iter().collect();
    let expected = [
        (("active", "BackoffComplete"), 2),
        (("active", "PodAdd"), 2),
        (("backoff", "PodUpdate"), 1),
        (("backoff", "ScheduleAttemptFailure"), 1),
        (("unschedulable", "ScheduleAttemptFailure"), 1),
    ];
    assert_eq!(told, expected);
    assert!(queue.take_incoming().is_empty());
    refuse(&mut queue, SECOND * 4);
    queue.wake(SECOND * 9, "NodeAdd", |_, _| true);
    refuse(&mut queue, SECOND * 9);
    queue.advance(SECOND * 9 + PATIENCE);
    let told = queue.take_incoming();
    assert_eq!((told[&("active", "NodeAdd")], told[&("active", "UnschedulableTimeout")]), (1, 1), "{told:?}");
    let attempt = queue.pop().expect("one is to be tried");
    assert_eq!(attempt.tries().since, SECOND);
    assert!(attempt.tries().number >= 2);
}
