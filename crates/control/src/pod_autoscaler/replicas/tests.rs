//! The calculations, with the cases of Kubernetes' own.

use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).expect("a time")
}

/// A pod that started so long ago; its readiness changed as long ago.
fn pod(name: &str, phase: &str, ready: &str, started: i64, changed: i64, request: &str) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"containers": [
                {"name": "a", "resources": {"requests": {"cpu": request}}},
                {"name": "b", "resources": {"requests": {"cpu": request}}},
            ]},
            "status": {
                "phase": phase,
                "startTime": at(-started).to_string(),
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": at(-changed).to_string()}],
            },
        }))
        .expect("a pod"),
    )
}

/// Pods that have been ready for long, each of two containers that ask for half a processor.
fn old(count: usize) -> Vec<Arc<Pod>> {
    (0..count).map(|number| pod(&format!("p{number}"), "Running", "True", 3600, 3500, "500m")).collect()
}

fn measures(values: &[i64]) -> Measures {
    let measure = |value: &i64| Measure { value: *value, at: at(0), window: Duration::from_secs(30) };
    values.iter().enumerate().map(|(number, value)| (format!("p{number}"), measure(value))).collect()
}

fn target(replicas: i32, pods: &[Arc<Pod>]) -> Target<'_> {
    Target { replicas, pods, tolerances: Tolerances { up: 0.1, down: 0.1 }, now: at(0) }
}

/// So many hundredths of what is requested are wanted, of a pod each a processor; how many pods that makes, and how
/// many hundredths are used.
fn utilization(replicas: i32, pods: &[Arc<Pod>], used: &[i64], percent: i32, expected: (i32, i32)) {
    let wanted = Wanted::Utilization(percent);
    let found = by_resource(target(replicas, pods), measures(used), "cpu", "", wanted).expect("a proposal");
    assert_eq!((found.replicas, found.utilization), (expected.0, Some(expected.1)), "{used:?} {percent}");
}

#[test]
fn pods_are_as_many_as_what_is_used_is_more_than_what_is_wanted() {
    utilization(3, &old(3), &[300, 500, 700], 30, (5, 50));
    utilization(3, &old(3), &[900, 950, 1000], 50, (6, 95));
    utilization(5, &old(5), &[100, 300, 500, 250, 250], 50, (3, 28));
    utilization(1, &old(1), &[1], 50, (0, 0));
    // Within a tenth nothing is done.
    utilization(3, &old(3), &[1010, 1030, 1020], 100, (3, 102));
    utilization(3, &old(3), &[910, 920, 930], 100, (3, 92));
}

#[test]
fn each_direction_has_a_tolerance_of_its_own() {
    let pods = old(3);
    let check = |up, down, used: &[i64], expected| {
        let target = Target { tolerances: Tolerances { up, down }, ..target(3, &pods) };
        let found =
            by_resource(target, measures(used), "cpu", "", Wanted::Utilization(50)).expect("a proposal");
        assert_eq!(found.replicas, expected, "{up} {down} {used:?}");
    };
    check(0.0, 0.1, &[510, 510, 510], 4);
    check(0.2, 0.1, &[590, 590, 590], 3);
    check(0.1, 0.5, &[260, 260, 260], 3);
    check(0.1, 0.3, &[260, 260, 260], 2);
}

#[test]
fn of_what_is_not_known_as_little_change_as_can_be_is_made() {
    // Missing: nothing is used when there are to be more, all of it when there are to be fewer.
    utilization(3, &old(3), &[1000, 1000], 50, (4, 100));
    utilization(3, &old(3), &[300, 300], 50, (3, 30));
    utilization(2, &old(2), &[1000], 100, (2, 100));
    utilization(4, &old(4), &[100, 450, 250], 50, (4, 26));
    // What is wanted may be more than what is requested.
    utilization(2, &old(2), &[1000], 110, (2, 100));
    utilization(6, &old(6), &[1000, 1000, 1000, 1000, 1000], 140, (5, 100));
}

#[test]
fn pods_that_begin_do_not_count_and_do_not_hold_up() {
    let young = |ready: &str| pod("p2", "Running", ready, 100, 80, "500m");
    let with = |last: Arc<Pod>| [old(2), vec![last]].concat();
    // Not ready within five minutes of its start: what it uses is not looked at.
    utilization(3, &with(young("False")), &[300, 500, 900], 30, (3, 40));
    utilization(2, &with(young("True")), &[300, 500, 700], 30, (5, 50));
    // Ready for less than what was measured covers.
    utilization(3, &with(pod("p2", "Running", "True", 100, 10, "500m")), &[300, 500, 900], 30, (3, 40));
    // Old and never ready, and old and ready once.
    utilization(3, &with(pod("p2", "Running", "False", 3600, 3590, "500m")), &[400, 500, 900], 30, (3, 45));
    utilization(3, &with(pod("p2", "Running", "False", 3600, 100, "500m")), &[300, 500, 700], 30, (5, 50));
    // Waiting for a node, failed, on its way out.
    utilization(3, &with(pod("p2", "Pending", "False", 10, 10, "500m")), &[500, 700], 50, (3, 60));
    utilization(3, &with(pod("p2", "Failed", "False", 900, 800, "500m")), &[500, 700], 50, (3, 60));
    let mut ending = Pod::clone(&pod("p2", "Running", "True", 3600, 3500, "500m"));
    ending.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    utilization(3, &with(Arc::new(ending)), &[500, 700, 5000], 50, (3, 60));
}

#[test]
fn what_cannot_be_worked_out_says_why() {
    let check = |pods: &[Arc<Pod>], used: &[i64], resource: &str, container: &str, expected: &str| {
        let wanted = Wanted::Utilization(50);
        let found = by_resource(target(1, pods), measures(used), resource, container, wanted);
        assert_eq!(found.expect_err("no proposal"), expected);
    };
    check(&[], &[1], "cpu", "", "no pods returned by selector while calculating replica count");
    check(&old(1), &[], "cpu", "", "did not receive metrics for any ready pods");
    check(&old(1), &[1], "memory", "", "missing request for memory in container a of Pod p0");
    check(&old(1), &[1], "memory", "b", "missing request for memory in container b of Pod p0");
    check(
        &[pod("p0", "Running", "True", 900, 800, "0")],
        &[1],
        "cpu",
        "",
        "no metrics returned matched known pods",
    );
}

#[test]
fn a_container_is_looked_at_alone_and_a_pod_as_a_whole_where_it_says_so() {
    let found = by_resource(target(1, &old(1)), measures(&[500]), "cpu", "b", Wanted::Utilization(50));
    assert_eq!(found.expect("a proposal"), Proposal { replicas: 2, utilization: Some(100), usage: 500 });
    let mut whole = Pod::clone(&old(1)[0]);
    let resources = json!({"requests": {"cpu": "2"}});
    whole.spec.as_mut().expect("a spec").resources = serde_json::from_value(resources).expect("resources");
    utilization(1, &[Arc::new(whole)], &[1000], 25, (2, 50));
}

#[test]
fn averages_and_values_are_wanted_without_requests() {
    let average = |replicas, count: usize, used: &[i64], wanted, expected| {
        let found = by_pods(target(replicas, &old(count)), measures(used), wanted).expect("a proposal");
        assert_eq!((found.replicas, found.usage), expected, "{used:?} {wanted}");
    };
    average(3, 3, &[20_000, 10_000, 30_000], 15_000, (4, 20_000));
    average(3, 3, &[12_000, 12_000, 12_000], 15_000, (3, 12_000));
    average(3, 3, &[15_500, 15_500, 15_500], 15_000, (3, 15_500));
    average(3, 3, &[50_000], 15_000, (4, 50_000));
    average(3, 3, &[1000, 1000], 15_000, (2, 1000));

    let value = |replicas, count: usize, usage, wanted, expected| {
        let found = by_value(target(replicas, &old(count)), usage, wanted).map(|found| found.replicas);
        assert_eq!(found.as_ref().map_err(String::as_str), expected, "{replicas} {usage} {wanted}");
    };
    value(3, 3, 20_000, 15_000, Ok(&4));
    value(3, 3, 16_000, 15_000, Ok(&3));
    value(4, 3, 3000, 15_000, Ok(&1));
    // From nothing and to nothing.
    value(0, 0, 30_000, 15_000, Ok(&2));
    value(0, 0, 1, 15_000, Ok(&1));
    value(0, 0, 0, 15_000, Ok(&0));
    value(1, 1, 0, 15_000, Ok(&0));
    let why = "unable to calculate ready pods: no pods returned by selector while calculating replica count";
    value(3, 0, 30_000, 15_000, Err(why));

    let each = |there, usage, wanted, expected| {
        let found = by_value_per_pod(target(there, &[]), there, usage, wanted);
        assert_eq!((found.replicas, found.usage), expected, "{there} {usage} {wanted}");
    };
    each(3, 8600, 2150, (4, 2867));
    each(3, 6200, 2000, (3, 2067));
    each(0, 95_000, 10_000, (10, 95_000));
    each(0, 0, 10_000, (0, 0));
    each(2, i64::MAX, 1, (i32::MAX, i64::MAX / 2 + 1));
}
