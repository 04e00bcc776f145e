//! The scheduler against a real API server: what it writes, what it leaves alone, what a late watch costs.
#![forbid(unsafe_code)]

mod support;

use client::Api;
use client::api::{Patch, PatchOptions};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::scheduling::v1alpha2::PodGroup;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use support::{Cluster, object};
use testkit::wait_until_async;

const REFUSED: &str = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: \
    0/1 nodes are available: 1 No preemption victims found for incoming pod.";

async fn add_node(cluster: &Cluster, name: &str, cpu: &str) {
    let nodes = Api::<Node>::all(&cluster.steady);
    nodes.create(&object(json!({"metadata": {"name": name}}))).await.expect("create a node");
    let room = json!({"status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "110"}}});
    nodes.patch_status(name, &Patch::Merge(room), &PatchOptions::default()).await.expect("give it room");
}

async fn add_pod(cluster: &Cluster, name: &str, spec: Value) {
    add_annotated_pod(cluster, name, json!({}), spec).await;
}

async fn add_annotated_pod(cluster: &Cluster, name: &str, annotations: Value, spec: Value) {
    let mut spec = spec;
    spec["containers"] = json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]);
    let pod: Pod = object(json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec}));
    Api::<Pod>::namespaced(&cluster.steady, "default").create(&pod).await.expect("create a pod");
}

/// What became of a pod: its node, or why it waits, or nothing yet.
fn fate(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let told = conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .find_map(|condition| condition.message.clone());
    match (node, told) {
        (Some(node), None) => format!("on {node}"),
        (None, Some(message)) => message,
        (None, None) => String::new(),
        (Some(node), Some(message)) => format!("on {node}, and told to wait: {message}"),
    }
}

async fn fates(cluster: &Cluster) -> Vec<(String, String)> {
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    let pods = pods.list_all(&client::ListOptions::default()).await.expect("list").items;
    pods.iter().map(|pod| (pod.metadata.name.clone().expect("a name"), fate(pod))).collect()
}

/// Waits until so many pods have each of these fates.
async fn until(cluster: &Cluster, expected: &[(&str, usize)]) {
    wait_until_async("pods to be placed or told", || async {
        let fates = fates(cluster).await;
        let count = |fate: &str| fates.iter().filter(|(_, found)| found == fate).count();
        if expected.iter().all(|(fate, number)| count(fate) == *number) { Ok(()) } else { Err(fates) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_not_given_twice_though_the_watch_shows_no_binding() {
    let cluster = Cluster::start().await;
    for number in 0..5 {
        add_pod(&cluster, &format!("p{number}"), json!({})).await;
    }
    until(&cluster, &[("no nodes available to schedule pods", 5)]).await;
    cluster.stall_watches("pods");
    add_node(&cluster, "a", "3").await;
    until(&cluster, &[("on a", 3), (REFUSED, 2)]).await;
    let events = Api::<Event>::namespaced(&cluster.steady, "default");
    wait_until_async("the events", || async {
        let events = events.list_all(&client::ListOptions::default()).await.expect("list").items;
        let told = |reason: &str, message: &str| {
            let of = |event: &&Event| event.reason.as_deref() == Some(reason);
            events.iter().filter(of).filter(|event| event.message.as_deref() == Some(message)).count()
        };
        let assigned = (0..5).map(|n| told("Scheduled", &format!("Successfully assigned default/p{n} to a")));
        let (assigned, refused) = (assigned.sum::<usize>(), told("FailedScheduling", REFUSED));
        if (assigned, refused) == (3, 2) { Ok(()) } else { Err((assigned, refused)) }
    })
    .await;
    // Once the watch goes on, a pod that leaves makes room for one that waits.
    cluster.stall_watches("");
    let placed = fates(&cluster).await.into_iter().find(|(_, fate)| fate == "on a").expect("three are").0;
    let now = client::DeleteOptions { grace_period_seconds: Some(0), ..client::DeleteOptions::default() };
    Api::<Pod>::namespaced(&cluster.steady, "default").delete(&placed, &now).await.expect("delete");
    until(&cluster, &[("on a", 3), (REFUSED, 1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_has_managers_with_the_names_that_tools_know() {
    let cluster = Cluster::start().await;
    let managers = |metadata: &ObjectMeta| -> Vec<String> {
        let entries = metadata.managed_fields.iter().flatten();
        entries.filter_map(|entry| entry.manager.clone()).collect()
    };
    let deployments = Api::<Deployment>::namespaced(&cluster.steady, "default");
    let deployment = json!({
        "metadata": {"name": "a"},
        "spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "template": {
                "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    });
    deployments.create(&object(deployment)).await.expect("create");
    add_node(&cluster, "a", "3").await;
    until(&cluster, &[("on a", 1)]).await;
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    let pods = pods.list_all(&client::ListOptions::default()).await.expect("list").items;
    let mut found = managers(&pods[0].metadata);
    found.sort();
    // Its status has an entry of its own where it had to wait for the node.
    found.dedup();
    assert_eq!(found, ["kube-controller-manager", "kube-scheduler"]);
    assert_eq!(pods[0].metadata.generation, Some(1), "to be placed is what it wanted from the start");
    let sets = Api::<ReplicaSet>::namespaced(&cluster.steady, "default");
    let sets = sets.list_all(&client::ListOptions::default()).await.expect("list").items;
    assert!(
        managers(&sets[0].metadata).iter().all(|manager| manager == "kube-controller-manager"),
        "{sets:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_others_are_left_alone_and_a_new_scheduler_goes_on_from_what_is_there() {
    let mut cluster = Cluster::start().await;
    add_node(&cluster, "a", "2").await;
    add_pod(&cluster, "others", json!({"schedulerName": "another"})).await;
    add_pod(&cluster, "gated", json!({"schedulingGates": [{"name": "example.org/wait"}]})).await;
    add_pod(&cluster, "first", json!({})).await;
    until(&cluster, &[("on a", 1)]).await;
    cluster.stop_controllers().await;
    for name in ["second", "third"] {
        add_pod(&cluster, name, json!({})).await;
    }
    cluster.start_controllers();
    until(&cluster, &[("on a", 2), (REFUSED, 1)]).await;
    let fates = fates(&cluster).await;
    let untouched = fates.iter().filter(|(name, _)| name == "others" || name == "gated");
    assert!(
        untouched.clone().count() == 2 && untouched.clone().all(|(_, fate)| !fate.contains("on a")),
        "{fates:?}"
    );
    let others = fates.iter().find(|(name, _)| name == "others").expect("it is there");
    assert_eq!(others.1, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_more_important_pod_has_others_go_and_comes_when_they_have() {
    let cluster = Cluster::start().await;
    let classes = Api::<PriorityClass>::all(&cluster.steady);
    classes.create(&object(json!({"metadata": {"name": "high"}, "value": 1000}))).await.expect("create");
    add_node(&cluster, "a", "1").await;
    add_pod(&cluster, "low", json!({})).await;
    until(&cluster, &[("on a", 1)]).await;
    add_pod(&cluster, "high", json!({"priorityClassName": "high"})).await;
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    wait_until_async("the less important pod to go", || async {
        let (low, high) = (pods.get("low").await.expect("get"), pods.get("high").await.expect("get"));
        let conditions = low.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut targets = conditions.filter(|condition| condition.type_ == "DisruptionTarget");
        let goes = targets.any(|condition| {
            condition.reason.as_deref() == Some("PreemptionByScheduler")
                && condition.message.as_deref()
                    == Some("default-scheduler: preempting to accommodate a higher priority pod")
        });
        let nominated = high.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
        let going = low.metadata.deletion_timestamp.is_some() && goes;
        if going && nominated == Some("a") { Ok(()) } else { Err((low.status, high.status)) }
    })
    .await;
    assert_eq!(fate(&pods.get("high").await.expect("get")), "0/1 nodes are available: 1 Insufficient cpu.");
    let high = pods.get("high").await.expect("get").metadata.uid.expect("a uid");
    let events = Api::<Event>::namespaced(&cluster.steady, "default");
    wait_until_async("the event", || async {
        let events = events.list_all(&client::ListOptions::default()).await.expect("list").items;
        let message = format!("Preempted by pod {high} on node a");
        let told = |event: &Event| {
            event.reason.as_deref() == Some("Preempted")
                && event.message.as_deref() == Some(&message)
                && event.involved_object.name.as_deref() == Some("low")
        };
        if events.iter().any(told) { Ok(()) } else { Err(events) }
    })
    .await;
    // Its node is done with it.
    let now = client::DeleteOptions { grace_period_seconds: Some(0), ..client::DeleteOptions::default() };
    pods.delete("low", &now).await.expect("delete");
    wait_until_async("the more important pod to come", || async {
        let high = pods.get("high").await.expect("get");
        let node = high.spec.as_ref().and_then(|spec| spec.node_name.clone());
        if node.as_deref() == Some("a") { Ok(()) } else { Err(high) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_bound_before_the_pod_that_waits_for_them() {
    let cluster = Cluster::start().await;
    let classes = Api::<StorageClass>::all(&cluster.steady);
    for (name, provisioner) in [("local", "kubernetes.io/no-provisioner"), ("made", "example.com/made")] {
        let class = json!({"metadata": {"name": name}, "provisioner": provisioner,
                           "volumeBindingMode": "WaitForFirstConsumer"});
        classes.create(&object(class)).await.expect("create a class");
    }
    add_node(&cluster, "a", "9").await;
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]});
    let volume = json!({"metadata": {"name": "pv"}, "spec": {
        "storageClassName": "local", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "local": {"path": "/data"}, "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}});
    let volumes = Api::<PersistentVolume>::all(&cluster.steady);
    volumes.create(&object(volume)).await.expect("create a volume");
    let phase = json!({"status": {"phase": "Available"}});
    volumes.patch_status("pv", &Patch::Merge(phase), &PatchOptions::default()).await.expect("it is free");
    let claims = Api::<PersistentVolumeClaim>::namespaced(&cluster.steady, "default");
    for (name, class) in [("found", "local"), ("late", "made")] {
        let claim = json!({"metadata": {"name": name}, "spec": {"storageClassName": class,
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        claims.create(&object(claim)).await.expect("create a claim");
    }
    let uses = |name: &str| json!([{"name": "v", "persistentVolumeClaim": {"claimName": name}}]);
    add_pod(&cluster, "one", json!({"volumes": uses("found")})).await;
    add_pod(&cluster, "two", json!({"volumes": uses("late")})).await;
    wait_until_async("the volume to be given, and the node to be said", || async {
        let (volume, claim) = (volumes.get("pv").await.expect("get"), claims.get("late").await.expect("get"));
        let spec = volume.spec.as_ref();
        let given = spec.and_then(|spec| spec.claim_ref.as_ref()?.name.clone());
        let said = |annotations: &Option<std::collections::BTreeMap<String, String>>, key: &str| {
            annotations.as_ref().and_then(|all| all.get(key).cloned())
        };
        let by = said(&volume.metadata.annotations, "pv.kubernetes.io/bound-by-controller");
        let node = said(&claim.metadata.annotations, "volume.kubernetes.io/selected-node");
        let done =
            given.as_deref() == Some("found") && by.as_deref() == Some("yes") && node.as_deref() == Some("a");
        if done { Ok(()) } else { Err((volume, claim)) }
    })
    .await;
    // Where nobody binds claims it is done here; where somebody does, these come too late and change nothing.
    for (name, volume) in [("found", "pv"), ("late", "pv2")] {
        let patch = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
                           "spec": {"volumeName": volume}});
        let _ = claims.patch(name, &Patch::Merge(patch), &PatchOptions::default()).await;
    }
    wait_until_async("the pods to come", || async {
        let fates = fates(&cluster).await;
        if fates.iter().all(|(_, fate)| fate == "on a") { Ok(()) } else { Err(fates) }
    })
    .await;
}

const HELD: &str = "waiting for minCount pods from a gang to appear in scheduling queue";

async fn add_group(cluster: &Cluster, name: &str, count: i32) {
    let group =
        json!({"metadata": {"name": name}, "spec": {"schedulingPolicy": {"gang": {"minCount": count}}}});
    Api::<PodGroup>::namespaced(&cluster.steady, "default")
        .create(&object(group))
        .await
        .expect("create a group");
}

async fn add_member(cluster: &Cluster, name: &str, group: &str) {
    add_pod(cluster, name, json!({"schedulingGroup": {"podGroupName": group}})).await;
}

/// Waits until it is said so of a group that it was placed.
async fn until_group(cluster: &Cluster, name: &str, expected: [&str; 3]) {
    let groups = Api::<PodGroup>::namespaced(&cluster.steady, "default");
    wait_until_async("a group to be told how it is", || async {
        let group = groups.get(name).await.expect("get");
        let conditions = group.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut scheduled = conditions.filter(|condition| condition.type_ == "PodGroupScheduled");
        let told =
            scheduled.next().map(|condition| [&*condition.status, &*condition.reason, &*condition.message]);
        if told == Some(expected) { Ok(()) } else { Err(group.status.clone()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_is_placed_as_a_whole_and_its_group_stays_as_long_as_its_pods() {
    let cluster = Cluster::start().await;
    add_node(&cluster, "a", "1").await;
    add_member(&cluster, "p", "g").await;
    until(&cluster, &[("waiting for pods's pod group \"g\" to appear in scheduling queue", 1)]).await;
    add_group(&cluster, "g", 2).await;
    add_member(&cluster, "q", "g").await;
    let incomplete = "pod group is unschedulable, waiting for minCount pods from a gang to be scheduled";
    until(&cluster, &[(incomplete, 1), (REFUSED, 1)]).await;
    until_group(&cluster, "g", ["False", "Unschedulable", "pod group is unschedulable"]).await;
    add_node(&cluster, "b", "1").await;
    until(&cluster, &[("on a", 1), ("on b", 1)]).await;
    until_group(&cluster, "g", ["True", "Scheduled", ""]).await;
    // It goes when the last of its pods has.
    let groups = Api::<PodGroup>::namespaced(&cluster.steady, "default");
    groups.delete("g", &client::DeleteOptions::default()).await.expect("delete");
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    let now = client::DeleteOptions { grace_period_seconds: Some(0), ..client::DeleteOptions::default() };
    pods.delete("p", &now).await.expect("delete");
    let group = groups.get("g").await.expect("q holds it");
    assert!(group.metadata.deletion_timestamp.is_some(), "{group:?}");
    let ended = json!({"status": {"phase": "Succeeded"}});
    pods.patch_status("q", &Patch::Merge(ended), &PatchOptions::default()).await.expect("it ends");
    wait_until_async("the group to go", || async {
        match groups.find("g").await.expect("ask") {
            None => Ok(()),
            Some(group) => Err(group),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_comes_anew_counts_those_of_a_gang_that_were_placed() {
    let mut cluster = Cluster::start().await;
    add_group(&cluster, "g", 3).await;
    add_node(&cluster, "a", "3").await;
    for name in ["p", "q"] {
        add_member(&cluster, name, "g").await;
    }
    until(&cluster, &[(HELD, 2)]).await;
    cluster.stop_controllers().await;
    // It ended when two of three were written.
    for name in ["p", "q"] {
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "a"}});
        let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
        let options = client::api::WriteOptions::default();
        pods.create_subresource::<Value>(name, "binding", &binding, &options).await.expect("bind");
    }
    add_member(&cluster, "r", "g").await;
    cluster.start_controllers();
    until(&cluster, &[("on a", 3)]).await;
    until_group(&cluster, "g", ["True", "Scheduled", ""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_make_a_gang_where_there_is_no_object() {
    let cluster = Cluster::start().await;
    add_node(&cluster, "a", "3").await;
    let gang = json!({"gantry.dev/pod-group": "g", "gantry.dev/pod-group-min-count": "2"});
    add_annotated_pod(&cluster, "p", gang.clone(), json!({})).await;
    until(&cluster, &[(HELD, 1)]).await;
    let events = Api::<Event>::namespaced(&cluster.steady, "default");
    wait_until_async("the event", || async {
        let events = events.list_all(&client::ListOptions::default()).await.expect("list").items;
        let told = |event: &&Event| event.message.as_deref() == Some(HELD);
        if events.iter().filter(told).count() == 1 { Ok(()) } else { Err(events) }
    })
    .await;
    add_annotated_pod(&cluster, "q", gang, json!({})).await;
    until(&cluster, &[("on a", 2)]).await;
}
