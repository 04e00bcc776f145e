//! Pods that are placed together.

use k8s_openapi::api::scheduling::v1alpha2::PodGroup;

use super::*;

const HELD: &str = "waiting for minCount pods from a gang to appear in scheduling queue";
const INCOMPLETE: &str = "pod group is unschedulable, waiting for minCount pods from a gang to be scheduled";
const PREEMPTING: &str = "pod group is unschedulable, pod group is waiting for preemption to complete";

fn heeding() -> World {
    World { planner: Planner::new().heeding_pod_groups(true), now: START }
}

fn change(name: &str, policy: Value) -> Change<PodGroup> {
    let group = json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"schedulingPolicy": policy}});
    Change::Added(Arc::new(serde_json::from_value(group).expect("a group")))
}

impl World {
    fn gang(&mut self, name: &str, count: i32) {
        let change = change(name, json!({"gang": {"minCount": count}}));
        self.planner.apply(Event::of_pod_group(&change), self.now);
    }

    /// What is told of every pod and group, sorted: of one decision, or of all that follow from one another.
    fn together(&mut self) -> Vec<String> {
        let mut told = self.decide_all();
        told.sort();
        told
    }
}

fn of(group: &str, mut pod: Value) -> Value {
    pod["spec"]["schedulingGroup"] = json!({"podGroupName": group});
    pod
}

/// One that wants a processor.
fn one(group: &str, name: &str) -> Value {
    of(group, wants(name, "1"))
}

fn annotated(group: &str, count: &str, mut pod: Value) -> Value {
    pod["metadata"]["annotations"] =
        json!({"gantry.dev/pod-group": group, "gantry.dev/pod-group-min-count": count});
    pod
}

fn told(names: &[&str], message: &str) -> Vec<String> {
    names.iter().map(|name| format!("{name}: {message}")).collect()
}

const FULL: &str = "0/1 nodes are available: 1 Insufficient cpu.";

#[test]
fn a_gang_waits_for_its_group_and_for_so_many_pods_as_it_takes() {
    let mut world = heeding();
    world.node(node("a", "9"));
    for name in ["p", "q"] {
        world.pod(one("g", name));
    }
    let missing = "waiting for pods's pod group \"g\" to appear in scheduling queue";
    assert_eq!(world.together(), told(&["p", "q"], missing));
    assert_eq!(world.planner.waiting(), [0, 0, 0, 2]);
    // Others go on, and nothing is tried again as long as nothing comes.
    world.pod(wants("alone", "1"));
    assert_eq!(world.together(), ["alone -> a"]);
    world.now += SECOND * 1000;
    assert_eq!((world.decide(), world.planner.next_due()), (None, None));
    world.gang("other", 1);
    assert_eq!(world.decide(), None);
    world.gang("g", 3);
    assert_eq!(world.decide(), None, "there are two");
    // One that is being deleted, and one of another namespace, are none of them.
    let mut deleted = one("g", "deleted");
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    world.pod(deleted);
    let mut elsewhere = one("g", "elsewhere");
    elsewhere["metadata"]["namespace"] = "other".into();
    world.pod(elsewhere);
    assert_eq!(world.together(), told(&["elsewhere"], missing));
    world.pod(one("g", "r"));
    assert_eq!(world.together(), ["g is placed", "p -> a", "q -> a", "r -> a"]);
}

#[test]
fn who_leaves_a_group_that_asked_for_more_lets_the_others_go() {
    let mut world = heeding();
    world.node(node("a", "9"));
    for (name, count) in [("p", "2"), ("q", "2"), ("r", "10")] {
        world.pod(annotated("g", count, wants(name, "1")));
    }
    assert_eq!(world.together().len(), 3);
    assert_eq!(world.planner.waiting(), [0, 0, 0, 3]);
    world.pod(annotated("h", "10", wants("r", "1")));
    let decided = world.together();
    let placed: Vec<_> = decided.iter().filter(|told| told.ends_with(" -> a")).collect();
    assert_eq!(placed, ["p -> a", "q -> a"], "{decided:?}");
}

#[test]
fn who_comes_to_a_group_that_has_what_it_takes_is_tried_alone() {
    let mut world = heeding();
    world.node(node("a", "1"));
    for number in 0..10 {
        world.pod(annotated("g", "1", wants(&format!("p{number}"), "1")));
        let decided = world.together();
        assert_eq!(decided.len(), 1, "{decided:?}");
    }
}

#[test]
fn of_a_gang_all_are_placed_or_none() {
    let mut world = heeding();
    world.node(node("a", "2"));
    world.gang("g", 3);
    for name in ["p", "q", "r"] {
        world.pod(one("g", name));
    }
    let waits = || {
        [vec!["g: pod group is unschedulable".to_owned()], told(&["p", "q"], INCOMPLETE), told(&["r"], FULL)]
    };
    assert_eq!(world.together(), waits().concat());
    // Nothing was taken: another gets the room, and nothing of what was thought is news to them.
    world.now += SECOND * 60;
    assert_eq!(world.decide(), None);
    world.pod(wants("alone", "2"));
    assert_eq!(world.together(), ["alone -> a"]);
    world.pod(on("a", wants("alone", "2")));
    assert_eq!(world.decide(), None);
    world.pod_gone("alone");
    assert_eq!(world.together(), waits().concat());
    world.now += SECOND * 60;
    world.node(node("b", "1"));
    assert_eq!(world.together(), ["g is placed", "p -> a", "q -> a", "r -> b"]);
}

#[test]
fn two_gangs_that_each_could_take_half_do_not_hold_each_other_up() {
    let mut world = heeding();
    world.node(node("a", "2"));
    world.node(node("b", "2"));
    for group in ["g", "h"] {
        world.gang(group, 3);
    }
    for number in 0..3 {
        world.pod(one("g", &format!("g{number}")));
        world.pod(one("h", &format!("h{number}")));
    }
    let decided = world.together();
    let placed = decided.iter().filter(|told| told.contains(" -> ")).count();
    assert_eq!(placed, 3, "{decided:?}");
    assert!(decided.contains(&"g is placed".to_owned()), "{decided:?}");
    assert!(decided.contains(&"h: pod group is unschedulable".to_owned()), "{decided:?}");
    for (name, at) in [("g0", "a"), ("g1", "b"), ("g2", "a")] {
        world.pod(on(at, one("g", name)));
    }
    world.now += SECOND * 60;
    for number in 0..2 {
        world.pod_gone(&format!("g{number}"));
        world.now += SECOND * 60;
    }
    let decided = world.together();
    assert!(
        decided.iter().filter(|told| told.starts_with('h') && told.contains(" -> ")).count() == 3,
        "{decided:?}"
    );
}

#[test]
fn those_beyond_the_number_come_after() {
    let mut world = heeding();
    world.node(node("a", "3"));
    world.gang("g", 2);
    for name in ["p", "q", "r", "s"] {
        world.pod(one("g", name));
    }
    assert_eq!(
        world.together(),
        [
            vec!["g is placed".to_owned()],
            vec!["p -> a".into(), "q -> a".into(), "r -> a".into()],
            told(&["s"], FULL)
        ]
        .concat()
    );
    world.now += SECOND * 60;
    world.node(node("a", "5"));
    assert_eq!(world.together(), ["g is placed", "s -> a"]);
    world.pod(one("g", "t"));
    assert_eq!(world.together(), ["g is placed", "t -> a"]);
    // One that goes and comes back needs nobody but those that are there.
    for name in ["p", "q", "r", "s", "t"] {
        world.pod(on("a", one("g", name)));
    }
    world.pod_gone("q");
    let mut again = one("g", "q");
    again["metadata"]["uid"] = "another".into();
    world.pod(again);
    assert_eq!(world.together(), ["g is placed", "q -> a"]);
}

#[test]
fn one_that_comes_back_waits_for_as_many_as_it_takes() {
    let mut world = heeding();
    world.node(node("a", "9"));
    world.gang("g", 2);
    world.pod(on("a", one("g", "p")));
    let mut leaving = on("a", one("g", "q"));
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    world.pod(leaving.clone());
    world.pod(one("g", "r"));
    // Two are there, of which one stays.
    assert_eq!(world.together(), ["g is placed", "r -> a"]);
    world.pod(on("a", one("g", "r")));
    leaving["metadata"]["name"] = "p".into();
    leaving["metadata"]["uid"] = "p".into();
    world.pod(leaving);
    world.pod_gone("r");
    let mut again = one("g", "r");
    again["metadata"]["uid"] = "another".into();
    world.pod(again);
    assert_eq!(world.together(), told(&["r"], HELD));
}

#[test]
fn what_was_placed_before_a_restart_counts() {
    let mut world = heeding();
    world.node(node("a", "3"));
    world.gang("g", 4);
    for name in ["p", "q"] {
        world.pod(on("a", one("g", name)));
    }
    for name in ["r", "s"] {
        world.pod(one("g", name));
    }
    let told =
        [vec!["g: pod group is unschedulable".to_owned()], told(&["r"], INCOMPLETE), told(&["s"], FULL)];
    assert_eq!(world.together(), told.concat());
    world.now += SECOND * 60;
    world.node(node("b", "1"));
    assert_eq!(world.together(), ["g is placed", "r -> a", "s -> b"]);
    // One of them is not written: it alone is tried again.
    world.pod(on("a", one("g", "r")));
    assert_eq!(world.written("s", Written::Failed), Some(SECOND * 2));
    world.now += SECOND * 2;
    assert_eq!(world.together(), ["g is placed", "s -> b"]);
    // And one that is gone before it is written leaves three, of which none has to go.
    world.written("s", Written::Gone);
    world.pod(one("g", "t"));
    assert_eq!(world.together(), ["g is placed", "t -> b"]);
}

#[test]
fn pods_that_come_and_go_are_counted_as_they_are() {
    let mut world = heeding();
    world.node(node("a", "9"));
    world.gang("g", 2);
    world.pod(one("g", "p"));
    assert_eq!(world.together(), told(&["p"], HELD));
    world.pod_gone("p");
    world.pod(one("g", "q"));
    assert_eq!(world.together(), told(&["q"], HELD));
    // Somebody else places one: now there are two.
    world.pod(on("a", one("g", "r")));
    assert_eq!(world.together(), ["g is placed", "q -> a"]);
    // A group that is gone, and another of its name.
    let gone = change("g", json!({"gang": {"minCount": 2}}));
    let Change::Added(group) = gone else { unreachable!() };
    world.planner.apply(Event::of_pod_group(&Change::Deleted(group)), world.now);
    world.pod(one("g", "s"));
    assert_eq!(world.together(), ["s: waiting for pods's pod group \"g\" to appear in scheduling queue"]);
    world.planner.apply(Event::of_pod_group(&change("g", json!({"basic": {}}))), world.now);
    assert_eq!(world.together(), ["g is placed", "g is placed", "s -> a"]);
    for name in ["q", "r", "s"] {
        world.pod_gone(name);
    }
    assert!(world.planner.groups.is_empty() && world.planner.queue.waiting().next().is_none());
}

#[test]
fn of_a_basic_group_as_many_are_placed_as_can_be() {
    let mut world = heeding();
    world.node(node("a", "1"));
    world.planner.apply(Event::of_pod_group(&change("g", json!({"basic": {}}))), world.now);
    for name in ["p", "q"] {
        world.pod(one("g", name));
    }
    assert_eq!(world.together(), ["g is placed".to_owned(), "p -> a".into(), format!("q: {FULL}")]);
}

#[test]
fn nobody_goes_for_half_a_gang() {
    let mut world = heeding();
    world.node(node("a", "1"));
    world.node(node("b", "1"));
    world.gang("g", 2);
    world.pod(on("a", wants("low", "1")));
    world.pod(on("b", important(wants("high", "1"), 9)));
    for name in ["p", "q"] {
        world.pod(important(one("g", name), 5));
    }
    let (mut refused, mut nominated) = (0, 0);
    while let Some(outcome) = world.planner.decide(world.now) {
        if let Outcome::Refused { nomination, .. } = outcome {
            refused += 1;
            nominated += usize::from(matches!(nomination, Nomination::At { .. }));
        }
    }
    assert_eq!((refused, nominated), (2, 0));
    // Everybody is where he was.
    world.pod(important(wants("r", "1"), 5));
    assert_eq!(refusal(&mut world).1, "a for [\"low\"], not for []");
}

/// A gang of two that others, one on each of two nodes, go for.
fn preempting() -> World {
    let mut world = heeding();
    world.gang("g", 2);
    for name in ["a", "b"] {
        world.node(node(name, "1"));
        world.pod(on(name, wants(&format!("on-{name}"), "1")));
    }
    for name in ["p", "q"] {
        world.pod(important(one("g", name), 5));
    }
    let refused = "0/2 nodes are available: 2 Insufficient cpu.";
    assert_eq!(refusal(&mut world), (refused.to_owned(), "a for [\"on-a\"], not for []".to_owned()));
    assert_eq!(refusal(&mut world), (refused.to_owned(), "b for [\"on-b\"], not for []".to_owned()));
    assert_eq!(world.decide_all(), [format!("g: {PREEMPTING}")]);
    world
}

#[test]
fn room_is_made_for_a_whole_gang_and_kept_for_it() {
    let mut world = preempting();
    // One of them goes; others that are less important do not come in between.
    world.pod_gone("on-a");
    world.pod(wants("r", "1"));
    world.now += SECOND * 2;
    let decided = world.together();
    assert!(decided.contains(&"r: 0/2 nodes are available: 2 Insufficient cpu.".to_owned()), "{decided:?}");
    assert!(!decided.iter().any(|told| told.contains("->")), "{decided:?}");
    world.pod_gone("on-b");
    world.now += SECOND * 20;
    let decided = world.together();
    assert!(
        decided.starts_with(&["g is placed".to_owned(), "p -> a".into(), "q -> b".into()]),
        "{decided:?}"
    );
}

#[test]
fn room_that_a_gang_cannot_use_any_more_is_given_to_others() {
    let mut world = preempting();
    world.pod_gone("on-a");
    world.pod_gone("q");
    world.now += SECOND * 2;
    world.pod(wants("r", "1"));
    assert_eq!(world.together(), [format!("p: {HELD}"), "r -> a".into()]);
    assert!(world.planner.guests.is_empty());
}

#[test]
fn a_gang_that_fits_beside_some_of_its_own_asks_nobody_to_go() {
    let mut world = heeding();
    world.node(node("a", "2"));
    world.gang("g", 2);
    world.pod(on("a", wants("low", "1")));
    // The large one does not fit, and the two that are enough do not need it.
    world.node(node("b", "1"));
    world.pod(important(of("g", wants("large", "2")), 5));
    for name in ["p", "q"] {
        world.pod(important(one("g", name), 5));
    }
    assert_eq!(
        world.together(),
        ["g is placed", "large: 0/2 nodes are available: 2 Insufficient cpu.", "p -> a", "q -> b"]
    );
    // Nor does one go for another of the same group.
    let mut world = heeding();
    world.node(node("a", "1"));
    world.gang("g", 1);
    world.pod(on("a", one("g", "p")));
    assert_eq!(world.together(), ["g is placed"]);
    world.pod(important(one("g", "q"), 5));
    assert_eq!(world.together(), ["g: pod group is unschedulable".to_owned(), format!("q: {FULL}")]);
}

#[test]
fn that_a_gang_was_placed_is_told_after_a_restart_and_no_more_once_it_is_said() {
    let mut world = heeding();
    world.node(node("a", "3"));
    world.gang("g", 2);
    world.pod(on("a", one("g", "p")));
    assert_eq!(world.decide(), None);
    world.pod(on("a", one("g", "q")));
    assert_eq!(world.together(), ["g is placed"]);
    world.pod(on("a", one("g", "r")));
    assert_eq!(world.decide(), None, "it was told");
    // It was not written.
    world.gang("g", 2);
    assert_eq!(world.together(), ["g is placed"]);
    let Change::Added(group) = change("g", json!({"gang": {"minCount": 2}})) else { unreachable!() };
    let mut said = (*group).clone();
    let condition = json!({"type": "PodGroupScheduled", "status": "True", "reason": "Scheduled", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    said.status = serde_json::from_value(json!({"conditions": [condition]})).expect("a status");
    world.planner.apply(Event::of_pod_group(&Change::Updated { old: group, new: Arc::new(said) }), world.now);
    assert_eq!(world.decide(), None);
}

#[test]
fn annotations_name_groups_without_objects() {
    let mut world = World::new();
    world.node(node("a", "2"));
    // PodGroups are not heeded here: what names one is a pod as others.
    world.pod(of("nobody", wants("alone", "0")));
    assert_eq!(world.together(), ["alone -> a"]);
    world.pod(annotated("g", "2", wants("p", "1")));
    assert_eq!(world.together(), told(&["p"], HELD));
    // Who says the most is waited for.
    world.pod(annotated("g", "3", wants("q", "1")));
    assert_eq!(world.together(), told(&["q"], HELD));
    world.pod(annotated("g", "", wants("r", "1")));
    assert_eq!(world.together(), [told(&["p", "q"], INCOMPLETE), told(&["r"], FULL)].concat());
    world.pod(annotated("g", "2", wants("q", "1")));
    world.now += SECOND * 20;
    assert_eq!(world.together(), [vec!["p -> a".to_owned(), "q -> a".into()], told(&["r"], FULL)].concat());
    for bad in ["", "0", "-1", "many", "99999999999"] {
        let mut world = World::new();
        world.node(node("a", "2"));
        world.pod(annotated("g", bad, wants("p", "1")));
        let why = "waiting for a pod of the group to say how many have to be scheduled together: annotation \
                   gantry.dev/pod-group-min-count, a number of at least 1";
        assert_eq!(world.together(), told(&["p"], why), "{bad}");
        world.pod(annotated("g", "1", wants("q", "1")));
        assert_eq!(world.together(), ["p -> a", "q -> a"], "{bad}");
    }
}

#[test]
fn a_gang_has_one_scheduler() {
    let configuration = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "profiles": [{"schedulerName": "one"}, {"schedulerName": "other"}],
    });
    let configuration = Configuration::read(configuration).expect("it is taken");
    let mut world = World { planner: Planner::with(&configuration).heeding_pod_groups(true), now: START };
    world.node(node("a", "9"));
    world.gang("g", 2);
    let by = |scheduler: &str, name: &str| {
        let mut pod = one("g", name);
        pod["spec"]["schedulerName"] = scheduler.into();
        pod
    };
    world.pod(by("one", "p"));
    world.pod(by("other", "q"));
    world.pod(by("nobody's", "r"));
    let why = "all pods in a single pod group should have the same .spec.schedulerName set, got: \"one\" and \"other\"";
    assert_eq!(world.together(), told(&["p", "q"], why));
    world.pod_gone("q");
    assert_eq!(world.decide(), None);
    world.pod(by("one", "s"));
    assert_eq!(world.together(), ["g is placed", "p -> a", "s -> a"]);
}

#[test]
fn a_fault_about_one_of_a_gang_leaves_nothing_behind() {
    struct Faulty;
    impl Filter for Faulty {
        fn name(&self) -> &'static str {
            "Faulty"
        }
        fn listens(&self) -> News {
            News::default()
        }
        fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Prepared<'a> {
            assert!(&*pod.id.uid != "q", "a fault");
            Prepared::skip()
        }
    }
    let mut world = heeding();
    let profile = world.planner.frameworks.get_mut("default-scheduler").expect("it is there");
    profile.filters.push(Box::new(Faulty));
    world.node(node("a", "2"));
    world.gang("g", 2);
    for name in ["p", "q"] {
        world.pod(one("g", name));
    }
    let told =
        ["g: pod group is unschedulable".to_owned(), format!("p: {INCOMPLETE}"), "q: a fault 1s".into()];
    assert_eq!(world.together(), told);
    world.pod(wants("alone", "2"));
    assert_eq!(world.together(), ["alone -> a"]);
}
