//! A deployment and its sets in, what is done next as a line of text out.

use super::*;
use serde_json::{Value, json};

fn deployment(spec: Value) -> Deployment {
    let mut spec = spec;
    let image = spec.as_object_mut().expect("an object").remove("image").unwrap_or(json!("v2"));
    spec["template"] = template(&image);
    spec["selector"] = json!({"matchLabels": {"app": "x"}});
    let object = json!({"metadata": {"name": "web", "namespace": "n", "uid": "d",
                                     "annotations": {"deployment.kubernetes.io/revision": "2"}}, "spec": spec});
    serde_json::from_value(object).expect("a deployment")
}

fn template(image: &Value) -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

/// `image:replicas/available@revision`, with what it notes after `=`: the wanted number, and after `/` the most.
fn set(text: &str) -> Arc<ReplicaSet> {
    let (text, noted) = text.split_once('=').unwrap_or((text, ""));
    let (image, rest) = text.split_once(':').expect("image:…");
    let (counts, revision) = rest.split_once('@').expect("…@revision");
    let (replicas, available) = counts.split_once('/').expect("replicas/available");
    let number = |text: &str| text.parse::<i32>().expect("a number");
    let mut annotations = json!({"deployment.kubernetes.io/revision": revision});
    if !noted.is_empty() {
        let (desired, most) = noted.split_once('/').unwrap_or((noted, ""));
        annotations["deployment.kubernetes.io/desired-replicas"] = json!(desired);
        annotations["deployment.kubernetes.io/max-replicas"] = json!(most);
    }
    let object = json!({
        "metadata": {"name": image, "uid": image, "annotations": annotations},
        "spec": {"replicas": number(replicas), "template": template(&json!(image)), "selector": {}},
        "status": {"replicas": number(replicas), "availableReplicas": number(available)},
    });
    Arc::new(serde_json::from_value(object).expect("a set"))
}

#[track_caller]
fn check(spec: Value, sets: &str, old_pods_run: bool, expected: &str) {
    let sets: Vec<_> = sets.split_whitespace().map(set).collect();
    let words: Vec<String> = plan(&deployment(spec), &sets, old_pods_run)
        .iter()
        .filter_map(|step| match step {
            Step::Create(set) => Some(format!("create {}", replicas(set))),
            Step::Update { set, replicas: to, .. } if replicas(set) == *to => None,
            Step::Update { set, replicas, .. } => Some(format!("{} to {replicas}", set.name())),
            Step::Delete(set) => Some(format!("delete {}", set.name())),
            Step::Annotate(revision) => Some(format!("revision {revision}")),
        })
        .collect();
    assert_eq!(words.join(", "), expected);
}

#[test]
fn a_new_deployment_gets_a_set_with_all_replicas() {
    check(json!({"replicas": 3}), "", false, "create 3, revision 1");
}

#[test]
fn a_new_template_gets_a_set_as_large_as_the_surge_allows() {
    check(json!({"replicas": 4}), "v1:4/4@1", false, "create 1, revision 2");
}

#[test]
fn a_rolling_update_goes_step_by_step() {
    check(json!({"replicas": 4}), "v1:4/4@1 v2:1/1@2", false, "v1 to 2");
    check(json!({"replicas": 4}), "v1:2/2@1 v2:1/1@2", false, "v2 to 3");
    check(json!({"replicas": 4}), "v1:0/0@1 v2:4/4@2", false, "");
}

#[test]
fn recreating_waits_until_the_last_old_pod_is_gone() {
    let spec = json!({"replicas": 2, "strategy": {"type": "Recreate"}});
    check(spec.clone(), "v1:2/2@1", true, "create 0, revision 2");
    check(spec.clone(), "v1:2/2@1 v2:0/0@2", true, "v1 to 0");
    check(spec.clone(), "v1:0/0@1 v2:0/0@2", true, "");
    check(spec, "v1:0/0@1 v2:0/0@2", false, "v2 to 2");
}

#[test]
fn a_paused_deployment_rolls_nothing_out_and_still_scales() {
    check(json!({"replicas": 3, "paused": true}), "v1:3/3@1", false, "");
    check(json!({"replicas": 5, "paused": true}), "v1:3/3@1=3", false, "v1 to 5");
}

#[test]
fn scaling_in_the_middle_of_a_rollout_goes_to_all_sets_in_proportion() {
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}});
    let spec = |replicas: u32| json!({"replicas": replicas, "strategy": rolling});
    check(spec(30), "v1:8/8@1=10/13 v2:5/0@2=10/13", false, "v1 to 20, v2 to 13");
    check(spec(0), "v1:8/8@1=10/13 v2:5/0@2=10/13", false, "v1 to 0, v2 to 0");
    // Of equals the newer one gets more, and the older one less.
    check(spec(11), "v1:6/6@1=9/12 v2:6/0@2=9/12", false, "v2 to 7, v1 to 7");
    check(spec(12), "v1:6/6@1=9/12 v2:6/0@2=9/12", false, "v2 to 8, v1 to 7");
    check(spec(6), "v1:6/6@1=9/12 v2:6/0@2=9/12", false, "v1 to 4, v2 to 5");
    // The new one is done, and an old one was adopted.
    check(spec(4), "v1:2/2@1=2/5 v2:4/4@2=4/7", false, "v1 to 0");
    let recreate = json!({"replicas": 5, "strategy": {"type": "Recreate"}});
    check(recreate, "v1:2/2@1=3/3 v2:1/1@2=3/3", true, "v1 to 0");
}

#[test]
fn what_is_there_is_scaled_before_a_new_template_gets_its_set() {
    check(json!({"replicas": 8}), "v1:4/4@1=4/5", false, "v1 to 8");
    check(json!({"replicas": 8}), "v1:8/4@1=8/10", false, "create 2, revision 2");
    check(json!({"replicas": 2}), "v1:4/4@1=4/5", false, "v1 to 2");
}

#[test]
fn going_back_makes_the_old_set_the_newest_revision() {
    check(json!({"replicas": 1, "image": "v1"}), "v1:0/0@1 v2:1/1@2", false, "v1 to 1, revision 3");
}

#[test]
fn only_as_many_old_sets_are_kept_as_the_history_has_room_for() {
    check(
        json!({"replicas": 1, "revisionHistoryLimit": 1}),
        "a:0/0@1 b:0/0@2 v2:1/1@3",
        false,
        "revision 3, delete a",
    );
}
