//! A set and its pods in, what is done next as a line of text out.

use client::Outline as _;
use serde_json::{Value, json};

use super::*;
use crate::pods::PodOutline;
use crate::ready::Available;

fn set(spec: Value) -> StatefulSet {
    let mut set = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "set", "generation": 2},
        "spec": {"replicas": 3, "serviceName": "svc", "selector": {"matchLabels": {"app": "web"}},
                 "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
                 "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}},
    });
    let fields = set["spec"].as_object_mut().expect("an object");
    fields.extend(spec.as_object().expect("an object").clone());
    serde_json::from_value(set).expect("a set")
}

fn version(name: &str) -> Version {
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": name}]}});
    Version { name: name.to_owned(), template: serde_json::from_value(template).expect("a template") }
}

/// `ordinal:state` with `@revision` behind it if it is not the new one. The state is `pending`, `running`, `ready`,
/// `failed`, `done`, `bare` (ready, without its labels) or `ending`; `ready` and `ending` are ready.
fn pod(set: &StatefulSet, text: &str) -> Arc<Pod> {
    let (text, revision) = text.split_once('@').unwrap_or((text, "new"));
    let (ordinal, state) = text.split_once(':').expect("ordinal:state");
    let mut pod = pod::make(set, &version(revision), ordinal.parse().expect("a number"));
    pod.metadata.uid = Some(format!("uid-{ordinal}"));
    if state == "bare" {
        pod.metadata.labels = Some([("controller-revision-hash".to_owned(), revision.to_owned())].into());
    }
    let phase = match state {
        "pending" => "Pending",
        "failed" => "Failed",
        "done" => "Succeeded",
        _ => "Running",
    };
    let ready = if matches!(state, "ready" | "ending" | "bare") { "True" } else { "False" };
    let mut value = serde_json::to_value(pod).expect("JSON");
    value["status"] = json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]});
    if state == "ending" {
        value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    Arc::new(serde_json::from_value(value).expect("a pod"))
}

fn members(set: &StatefulSet, pods: &str, available: &Available) -> Vec<Member> {
    let pods = pods.split_whitespace().map(|text| pod(set, text));
    pods.filter_map(|pod| Member::of(set, pod.clone(), PodOutline::of(&pod), available)).collect()
}

fn words(phases: Phases) -> String {
    let step = |step: &Step| match step {
        Step::Create { pod, claims } => {
            let claims: String = claims.iter().map(|claim| format!("{}+", claim.name())).collect();
            format!(
                "create {claims}{}@{}",
                pod.name(),
                pod.label("controller-revision-hash").unwrap_or_default()
            )
        }
        Step::Await { claim, .. } => format!("await {claim}"),
        Step::Claim { claims, .. } => format!("claim {}", claims[0].name()),
        Step::Delete(pod) => format!("delete {}", pod.name()),
        Step::Mend(pod) => format!("mend {}", pod.name()),
        Step::Own { claim, owners, .. } => format!("own {} {}", claim.name(), owners.len()),
    };
    let phase = |phase: &Vec<Step>| phase.iter().map(step).collect::<Vec<_>>().join(", ");
    phases.iter().map(phase).collect::<Vec<_>>().join("; ")
}

/// With claims as text: `name`, with `!` where it is being deleted, with `<` where it is of a pod before.
#[track_caller]
fn check_claims(spec: Value, pods: &str, claims: &str, expected: &str) {
    let set = set(spec);
    let members = members(&set, pods, &Available::default());
    let found = |name: &str| {
        let found = claims.split_whitespace().find(|text| text.trim_end_matches(['!', '<']) == name)?;
        let mut claim = json!({"metadata": {"name": name}});
        if found.ends_with('!') {
            claim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        if found.ends_with('<') {
            let pod = name.trim_start_matches("data-");
            claim["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": "gone", "controller": true}]);
        }
        Some(Arc::new(serde_json::from_value::<PersistentVolumeClaim>(claim).expect("a claim")))
    };
    let (current, update) = (version("old"), version("new"));
    let scene = Scene { set: &set, current: &current, update: &update, members: &members, claim: &found };
    assert_eq!(words(plan(&scene)), expected);
}

#[track_caller]
fn check(spec: Value, pods: &str, expected: &str) {
    check_claims(spec, pods, "", expected);
}

fn parallel() -> Value {
    json!({"podManagementPolicy": "Parallel"})
}

fn rolling(rolling: Value) -> Value {
    json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}})
}

#[test]
fn in_order_a_pod_is_made_when_all_before_it_are_ready() {
    check(json!({}), "", "create web-0@new");
    check(json!({}), "0:pending", "");
    check(json!({}), "0:running", "");
    check(json!({}), "0:ready", "create web-1@new");
    check(json!({}), "0:ready 1:ready", "create web-2@new");
    check(json!({}), "0:ready 2:ready", "create web-1@new");
    check(json!({}), "0:running 2:ready", "");
    check(json!({}), "0:ready 1:ready 2:ready", "");
    check(json!({"ordinals": {"start": 5}}), "5:ready", "create web-6@new");
}

#[test]
fn no_pod_is_made_while_there_is_another_of_its_ordinal() {
    for state in ["pending", "running", "ending"] {
        check(json!({"replicas": 1}), &format!("0:{state}"), "");
        check(json!({"replicas": 1, "podManagementPolicy": "Parallel"}), &format!("0:{state}"), "");
    }
    // What has ended is deleted, however it has ended, and made anew when it is gone.
    check(json!({}), "0:failed", "delete web-0");
    check(json!({}), "0:ready 1:done", "delete web-1");
    check(parallel(), "0:failed 1:done", "delete web-0, delete web-1, create web-2@new");
}

#[test]
fn in_parallel_nothing_waits() {
    check(parallel(), "", "create web-0@new, create web-1@new, create web-2@new");
    check(parallel(), "1:running", "create web-0@new, create web-2@new");
    check(parallel(), "0:pending 1:ready 2:ready 3:ready 4:running", "delete web-4, delete web-3");
    let many = json!({"replicas": 2_000_000_000, "podManagementPolicy": "Parallel"});
    let phases = |set: &StatefulSet| {
        let (current, update) = (version("old"), version("new"));
        plan(&Scene { set, current: &current, update: &update, members: &[], claim: &|_| None })
    };
    assert_eq!(phases(&set(many)).iter().map(Vec::len).collect::<Vec<_>>(), [BURST]);
}

#[test]
fn too_many_go_from_the_last_one_by_one() {
    let one = json!({"replicas": 1});
    check(one.clone(), "0:ready 1:ready 2:ready", "delete web-2");
    check(one.clone(), "0:ready 1:ready 2:ending", "");
    check(one.clone(), "0:running 1:ready 2:ready", "");
    // One that does not work is waited for if another does not either, before it.
    check(one.clone(), "0:ready 1:ready 2:running", "delete web-2");
    check(one, "0:ready 1:running 2:running", "");
    check(json!({"replicas": 0}), "0:ready", "delete web-0");
    check(json!({"replicas": 1, "ordinals": {"start": 1}}), "0:ready 1:ready 2:ready", "delete web-2");
    check(json!({"replicas": 1, "ordinals": {"start": 1}}), "0:ready 1:ready", "delete web-0");
}

#[test]
fn a_rollout_goes_from_the_last_and_waits_for_each() {
    check(json!({}), "0:ready@old 1:ready@old 2:ready@old", "delete web-2");
    check(json!({}), "0:ready@old 1:ready@old 2:ending@old", "");
    check(json!({}), "0:ready@old 1:ready@old", "create web-2@new");
    check(json!({}), "0:ready@old 1:ready@old 2:running", "");
    check(json!({}), "0:ready@old 1:ready@old 2:ready", "delete web-1");
    check(json!({}), "0:ready 1:ready 2:ready", "");
    check(json!({"updateStrategy": {"type": "OnDelete"}}), "0:ready@old 1:ready@old 2:ready@old", "");
    check(json!({"updateStrategy": {"type": "OnDelete"}}), "0:ready@old 1:ready@old", "create web-2@new");
    // A pod of a template that does not work holds the rollout up, the one back to the former as well: who
    // wants it deletes the pod.
    check(json!({}), "0:ready@old 1:ready@old 2:running@broken", "");
    check(parallel(), "0:ready@old 1:ready@old 2:running@broken", "delete web-2");
}

#[test]
fn below_the_partition_pods_stay_what_they_are() {
    let two = || rolling(json!({"partition": 2}));
    check(two(), "0:ready@old 1:ready@old 2:ready@old", "delete web-2");
    check(two(), "0:ready@old 1:ready@old 2:ready", "");
    check(two(), "0:ready@old", "create web-1@old");
    check(two(), "0:ready@old 1:ready@old", "create web-2@new");
    let mut from_five = two();
    from_five["ordinals"] = json!({"start": 5});
    check(from_five.clone(), "5:ready@old", "create web-6@old");
    check(from_five, "5:ready@old 6:ready@old 7:ready@old", "delete web-7");
    check(rolling(json!({"partition": 9})), "0:ready@old 1:ready@old 2:ready@old", "");
}

#[test]
fn as_many_go_at_once_as_may_be_unavailable() {
    let most = |most: Value| {
        let mut spec = rolling(json!({"partition": 0, "maxUnavailable": most}));
        spec["podManagementPolicy"] = json!("Parallel");
        spec["replicas"] = json!(4);
        spec
    };
    let old = "0:ready@old 1:ready@old 2:ready@old 3:ready@old";
    check(most(json!(2)), old, "delete web-3, delete web-2");
    check(most(json!("75%")), old, "delete web-3, delete web-2, delete web-1");
    check(most(json!("10%")), old, "delete web-3");
    check(most(json!(2)), "0:ready@old 1:running@old 2:ready@old 3:ready@old", "delete web-3");
    check(most(json!(2)), "0:ready@old 1:ready@old 2:running 3:running", "");
    check(most(json!(2)), "0:ready@old 1:ready@old 2:running 3:ready", "delete web-1");
}

#[test]
fn pods_are_waited_for_until_they_have_been_ready_for_long_enough() {
    let set = set(json!({"minReadySeconds": 30, "replicas": 2}));
    let (current, update) = (version("old"), version("new"));
    let after = |seconds: u64| {
        let available = Available::of(30, &[("uid-0", seconds)]);
        let members = members(&set, "0:ready", &available);
        let wake = available.wait(members.iter().map(|member| &member.outline)).map(|wake| wake.as_secs());
        let scene =
            Scene { set: &set, current: &current, update: &update, members: &members, claim: &|_| None };
        let shown = status(&set, ("old", "new"), &members, None);
        (words(plan(&scene)), wake, shown.ready_replicas, shown.available_replicas)
    };
    assert_eq!(after(10), (String::new(), Some(20), Some(1), Some(0)));
    assert_eq!(after(30), ("create web-1@new".to_owned(), None, Some(1), Some(1)));
}

#[test]
fn claims_are_made_before_their_pods_and_go_before_new_ones() {
    let claiming = |scaled: &str| {
        json!({"replicas": 1, "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
               "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": scaled}})
    };
    check_claims(claiming("Retain"), "", "", "create data-web-0+web-0@new");
    check_claims(claiming("Retain"), "", "data-web-0", "create web-0@new");
    check_claims(claiming("Retain"), "", "data-web-0!", "await data-web-0");
    check_claims(claiming("Retain"), "", "data-web-0<", "create web-0@new");
    check_claims(claiming("Delete"), "", "data-web-0<", "");
    check_claims(claiming("Retain"), "0:pending", "", "claim data-web-0");
    check_claims(claiming("Retain"), "0:pending", "data-web-0", "");
    check_claims(claiming("Retain"), "0:ready", "", "");
    // What is too many takes its claims along, which are told so first.
    check_claims(
        claiming("Delete"),
        "0:ready 1:ready",
        "data-web-0 data-web-1",
        "own data-web-1 1; delete web-1",
    );
}

#[test]
fn pods_get_what_their_place_wants_of_them() {
    check(json!({"replicas": 1}), "0:bare", "mend web-0");
    check(json!({"replicas": 1, "podManagementPolicy": "Parallel"}), "0:bare", "mend web-0");
    let set = set(json!({
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
        "ordinals": {"start": 3},
    }));
    let mut version = version("new");
    let spec = version.template.spec.as_mut().expect("a spec");
    let volumes = json!([{"name": "data", "emptyDir": {}}, {"name": "cache", "emptyDir": {}}]);
    spec.volumes = serde_json::from_value(volumes).expect("volumes");
    let made = serde_json::to_value(pod::make(&set, &version, 4)).expect("JSON");
    assert_eq!(
        made["metadata"]["labels"],
        json!({"app": "web", "apps.kubernetes.io/pod-index": "4", "controller-revision-hash": "new",
               "statefulset.kubernetes.io/pod-name": "web-4"})
    );
    assert_eq!((&made["spec"]["hostname"], &made["spec"]["subdomain"]), (&json!("web-4"), &json!("svc")));
    assert_eq!(
        made["spec"]["volumes"],
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-4"}},
               {"name": "cache", "emptyDir": {}}])
    );
}

#[test]
fn names_tell_ordinals_and_each_has_one_name() {
    use super::super::version::ordinal;
    for (pod, expected) in [
        ("web-0", Some(0)),
        ("web-12", Some(12)),
        ("web-01", None),
        ("web-+1", None),
        ("web--1", None),
        ("web-", None),
        ("web-a", None),
        ("web-1-1", None),
        ("web2-1", None),
        ("web-99999999999", None),
    ] {
        assert_eq!(ordinal("web", pod), expected, "{pod}");
    }
}

#[test]
fn the_status_tells_how_far_the_rollout_is() {
    let check = |spec: Value, pods: &str, expected: Value| {
        let set = set(spec);
        let members = members(&set, pods, &Available::default());
        let shown = serde_json::to_value(status(&set, ("old", "new"), &members, None)).expect("JSON");
        assert_eq!(shown, expected);
    };
    check(
        json!({}),
        "0:ready@old 1:ready@old 2:ready",
        json!({"replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "currentReplicas": 2, "updatedReplicas": 1,
               "currentRevision": "old", "updateRevision": "new", "collisionCount": 0, "observedGeneration": 2}),
    );
    // What is ending is there and ready, but of neither.
    check(
        json!({}),
        "0:ready@old 1:ending@old 2:running",
        json!({"replicas": 3, "readyReplicas": 2, "availableReplicas": 2, "currentReplicas": 1, "updatedReplicas": 1,
               "currentRevision": "old", "updateRevision": "new", "collisionCount": 0, "observedGeneration": 2}),
    );
    check(
        json!({}),
        "0:ready 1:ready 2:ready",
        json!({"replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "currentReplicas": 3, "updatedReplicas": 3,
               "currentRevision": "new", "updateRevision": "new", "collisionCount": 0, "observedGeneration": 2}),
    );
    let none = json!({"replicas": 0, "availableReplicas": 0, "currentRevision": "new", "updateRevision": "new",
                      "collisionCount": 0, "observedGeneration": 2});
    check(json!({"replicas": 0}), "", none);
}
