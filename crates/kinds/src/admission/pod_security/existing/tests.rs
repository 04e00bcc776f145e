use serde_json::{Value, json};

use super::super::policy::{Level, Version};
use super::*;

const BASELINE: Standard = Standard { level: Level::Baseline, version: Version::Latest };

fn pod(name: &str, spec: Value, controller: &str) -> Object {
    let owners = match controller {
        "" => json!([]),
        uid => json!([{"uid": "other"}, {"uid": uid, "controller": true}]),
    };
    let pod = json!({"metadata": {"name": name, "ownerReferences": owners}, "spec": spec});
    Object::from_value(pod).expect("an object")
}

/// What is said of these pods, of which some are of one controller.
fn check(pods: &[Object], expected: &[&str]) {
    let plugin = PodSecurity::default();
    let mut tally = Tally::default();
    let later: Vec<&Object> =
        pods.iter().filter(|pod| tally.counts(&plugin, pod) && !tally.look(pod, BASELINE)).collect();
    for pod in later {
        if tally.checked < MOST {
            tally.check(pod, BASELINE);
        }
    }
    assert_eq!(tally.warnings("space", BASELINE), expected);
}

#[test]
fn pods_with_the_same_fault_are_told_of_together() {
    let (host, ports) =
        (json!({"hostPID": true}), json!({"containers": [{"name": "a", "ports": [{"hostPort": 1}]}]}));
    check(&[pod("a", json!({}), "")], &[]);
    let head =
        "existing pods in namespace \"space\" violate the new PodSecurity enforce level \"baseline:latest\"";
    check(&[pod("a", host.clone(), "")], &[head, "a: host namespaces"]);
    check(
        &[pod("b", host.clone(), ""), pod("a", host.clone(), ""), pod("c", ports.clone(), "")],
        &[head, "a (and 1 other pod): host namespaces", "c: hostPort"],
    );
    let all: Vec<Object> = (0..5).map(|n| pod(&format!("p{n}"), ports.clone(), "set")).collect();
    check(&all, &[head, "p0 (and 4 other pods): hostPort"]);
}

#[test]
fn one_of_each_controller_comes_before_the_others_and_there_is_an_end() {
    let good = json!({});
    let mut pods: Vec<Object> = (0..MOST).map(|n| pod(&format!("p{n:04}"), good.clone(), "set")).collect();
    pods.push(pod("z", json!({"hostPID": true}), "last"));
    let head =
        "existing pods in namespace \"space\" violate the new PodSecurity enforce level \"baseline:latest\"";
    check(
        &pods,
        &[
            "new PodSecurity enforce level only checked against the first 3000 of 3001 existing pods",
            head,
            "z: host namespaces",
        ],
    );
}
