//! StatefulSets and DaemonSets against a real API server: what they do, and that they do it once however often their
//! controllers are cut off.
#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use client::api::{Patch, PatchOptions, Propagation};
use client::{Api, Change, Client, DeleteOptions, Informer, ListOptions, Resource as _, Typed};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};
use support::{Cluster, object};
use testkit::wait_until_async;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What nodes do: they run what is on them, and end what is to end.
struct Nodes {
    history: Arc<Mutex<Vec<Change<Pod>>>>,
    _stop: DropGuard,
}

impl Nodes {
    /// Nodes of these names.
    async fn start(client: &Client, names: &[&str]) -> Self {
        for name in names {
            add_node(client, name, json!({})).await;
        }
        let (stop, history) = (CancellationToken::new(), Arc::new(Mutex::new(Vec::new())));
        let pods = Informer::new(Api::<Pod>::all(client), ListOptions::default());
        let kept = history.clone();
        pods.on_change(move |change| kept.lock().expect("nobody panics with it").push(change.clone()));
        let (follows, works) = (stop.clone(), stop.clone());
        let (store, client) = (pods.store(), client.clone());
        tokio::spawn(async move { pods.run(follows).await });
        let work = async move {
            loop {
                let revision = store.revision();
                for pod in store.list() {
                    run(&client, &pod).await;
                }
                store.until(|store| store.revision() > revision).await;
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                () = works.cancelled() => {}
                () = work => {}
            }
        });
        Self { history, _stop: stop.drop_guard() }
    }

    /// All changes of pods so far.
    fn history(&self) -> Vec<Change<Pod>> {
        self.history.lock().expect("nobody panics with it").clone()
    }
}

/// Has a pod run, or end, once it is on a node; one with the label `broken` runs and is never ready.
async fn run(client: &Client, pod: &Pod) {
    let api = Api::<Pod>::namespaced(client, pod.namespace().unwrap_or_default());
    if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
        return;
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    if pod.is_being_deleted() {
        let _ = api.delete(pod.name(), &DeleteOptions::now().uid(pod.uid())).await;
    } else if phase == "Pending" || phase.is_empty() {
        let ready = if pod.label("broken").is_some() { "False" } else { "True" };
        let ready = json!([{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let status = Patch::Merge(json!({"metadata": {"uid": pod.uid()},
                                         "status": {"phase": "Running", "conditions": ready}}));
        let _ = api.patch_status(pod.name(), &status, &PatchOptions::default()).await;
    }
}

async fn add_node(client: &Client, name: &str, labels: Value) {
    let nodes = Api::<Node>::all(client);
    nodes
        .create(&object(json!({"metadata": {"name": name, "labels": labels}})))
        .await
        .expect("create a node");
    let room = json!({"status": {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "110"},
                                 "conditions": [{"type": "Ready", "status": "True"}]}});
    nodes.patch_status(name, &Patch::Merge(room), &PatchOptions::default()).await.expect("give it room");
}

fn of<K: Typed>(cluster: &Cluster) -> Api<K> {
    Api::namespaced(&cluster.steady, "default")
}

async fn all<K: Typed>(cluster: &Cluster) -> Vec<K> {
    of::<K>(cluster).list_all(&ListOptions::default()).await.expect("list").items
}

async fn patch<K: Typed>(cluster: &Cluster, name: &str, change: Value) {
    of::<K>(cluster).patch(name, &Patch::Merge(change), &PatchOptions::default()).await.expect("patch");
}

fn template(app: &str, colour: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}},
           "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "COLOUR", "value": colour}]}]}})
}

fn stateful(name: &str, spec: Value) -> StatefulSet {
    let mut set = json!({"metadata": {"name": name}, "spec": {
        "serviceName": "svc", "replicas": 3, "selector": {"matchLabels": {"app": name}}, "template": template(name, "red"),
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
    }});
    let fields = set["spec"].as_object_mut().expect("an object");
    fields.extend(spec.as_object().expect("an object").clone());
    object(set)
}

fn daemon(name: &str, spec: Value) -> DaemonSet {
    let mut set = json!({"metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}}, "template": template(name, "red")}});
    let fields = set["spec"].as_object_mut().expect("an object");
    fields.extend(spec.as_object().expect("an object").clone());
    object(set)
}

fn colour(pod: &Pod) -> String {
    let spec = serde_json::to_value(&pod.spec).expect("JSON");
    spec.pointer("/containers/0/env/0/value").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The pods of an app that stay, as `name colour`, by name.
async fn pods(cluster: &Cluster, app: &str) -> Vec<String> {
    let pods = all::<Pod>(cluster).await;
    let own = pods.iter().filter(|pod| pod.label("app") == Some(app) && !pod.is_being_deleted());
    own.map(|pod| format!("{} {}", pod.name(), colour(pod))).collect()
}

async fn until_pods(cluster: &Cluster, app: &str, expected: &[&str]) {
    wait_until_async(&format!("the pods {expected:?}"), || async {
        let found = pods(cluster, app).await;
        if found == expected { Ok(()) } else { Err(found) }
    })
    .await;
}

/// Waits until the status of a set has these fields.
async fn until_status<K: Typed>(cluster: &Cluster, name: &str, expected: Value) {
    wait_until_async(&format!("the status {expected}"), || async {
        let set = serde_json::to_value(of::<K>(cluster).get(name).await.expect("get")).expect("JSON");
        let holds = |(key, value): (&String, &Value)| set["status"][key] == *value;
        let wanted = expected.as_object().expect("an object");
        let is_new = set["status"]["observedGeneration"] == set["metadata"]["generation"];
        if is_new && wanted.iter().all(holds) { Ok(()) } else { Err(set["status"].to_string()) }
    })
    .await;
}

async fn until_event(cluster: &Cluster, reason: &str, message: &str) {
    wait_until_async(&format!("the event {reason}: {message}"), || async {
        let events = all::<Event>(cluster).await;
        let found = events.iter().any(|event| {
            event.reason.as_deref() == Some(reason) && event.message.as_deref() == Some(message)
        });
        let told = || events.iter().filter_map(|event| event.message.clone()).collect::<Vec<_>>();
        if found { Ok(()) } else { Err(told()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_from_its_first_pod_to_whoever_takes_it_over() {
    let cluster = Cluster::start().await;
    let _nodes = Nodes::start(&cluster.steady, &["n"]).await;
    let on_node = |colour: &str| {
        let mut template = template("web", colour);
        template["spec"]["nodeName"] = json!("n");
        template
    };
    let policy = json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
    let set =
        stateful("web", json!({"template": on_node("red"), "persistentVolumeClaimRetentionPolicy": policy}));
    let sets = of::<StatefulSet>(&cluster);
    let made = sets.create(&set).await.expect("create");
    until_status::<StatefulSet>(&cluster, "web", json!({"readyReplicas": 3, "updatedReplicas": 3})).await;
    until_pods(&cluster, "web", &["web-0 red", "web-1 red", "web-2 red"]).await;
    until_event(&cluster, "SuccessfulCreate", "create Claim data-web-0 Pod web-0 in StatefulSet web success")
        .await;
    until_event(&cluster, "SuccessfulCreate", "create Pod web-2 in StatefulSet web successful").await;
    let owners = |claim: &PersistentVolumeClaim| {
        claim.owners().iter().map(|owner| owner.kind.clone()).collect::<Vec<_>>()
    };
    wait_until_async("the claims to be the set's", || async {
        let claims = all::<PersistentVolumeClaim>(&cluster).await;
        let found: Vec<_> = claims.iter().map(|claim| (claim.name().to_owned(), owners(claim))).collect();
        let is_own = |(_, owners): &(String, Vec<String>)| *owners == ["StatefulSet"];
        if found.len() == 3 && found.iter().all(is_own) { Ok(()) } else { Err(found) }
    })
    .await;

    // By partition, then whole, then back: which is no third revision.
    let partition = |number: i32| json!({"type": "RollingUpdate", "rollingUpdate": {"partition": number}});
    let blue = json!({"spec": {"updateStrategy": partition(2), "template": on_node("blue")}});
    patch::<StatefulSet>(&cluster, "web", blue).await;
    until_status::<StatefulSet>(
        &cluster,
        "web",
        json!({"updatedReplicas": 1, "currentReplicas": 2, "readyReplicas": 3}),
    )
    .await;
    until_pods(&cluster, "web", &["web-0 red", "web-1 red", "web-2 blue"]).await;
    patch::<StatefulSet>(&cluster, "web", json!({"spec": {"updateStrategy": partition(0)}})).await;
    until_status::<StatefulSet>(
        &cluster,
        "web",
        json!({"updatedReplicas": 3, "currentReplicas": 3, "readyReplicas": 3}),
    )
    .await;
    until_pods(&cluster, "web", &["web-0 blue", "web-1 blue", "web-2 blue"]).await;
    until_event(&cluster, "SuccessfulDelete", "delete Pod web-0 in StatefulSet web successful").await;
    patch::<StatefulSet>(&cluster, "web", json!({"spec": {"template": on_node("red")}})).await;
    until_pods(&cluster, "web", &["web-0 red", "web-1 red", "web-2 red"]).await;
    let numbers = || async {
        let revisions = all::<ControllerRevision>(&cluster).await;
        let mut numbers: Vec<_> = revisions.iter().map(|revision| revision.revision).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers().await, [2, 3]);

    // The claim of a pod that is too many goes with it.
    patch::<StatefulSet>(&cluster, "web", json!({"spec": {"replicas": 2}})).await;
    until_pods(&cluster, "web", &["web-0 red", "web-1 red"]).await;
    wait_until_async("its claim to go", || async {
        let claims = all::<PersistentVolumeClaim>(&cluster).await;
        if claims.len() == 2 { Ok(()) } else { Err(claims.len()) }
    })
    .await;
    // And it is made anew with the pod.
    patch::<StatefulSet>(
        &cluster,
        "web",
        json!({"spec": {"replicas": 3, "podManagementPolicy": "OrderedReady"}}),
    )
    .await;
    until_status::<StatefulSet>(&cluster, "web", json!({"readyReplicas": 3})).await;
    assert_eq!(all::<PersistentVolumeClaim>(&cluster).await.len(), 3);
    // Its claims cannot be made to grow in the template.
    let grown = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}}]}});
    let refused = sets.patch("web", &Patch::Merge(grown), &PatchOptions::default()).await;
    assert!(matches!(refused, Err(client::Error::Invalid(_))), "{refused:?}");

    // What has ended is made anew, and who is not the set's is let go of.
    let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    let before = of::<Pod>(&cluster).get("web-1").await.expect("get");
    of::<Pod>(&cluster).patch_status("web-1", &ended, &PatchOptions::default()).await.expect("patch");
    wait_until_async("another pod", || async {
        match of::<Pod>(&cluster).find("web-1").await.expect("find") {
            Some(pod) if pod.uid() != before.uid() => Ok(()),
            other => Err(other.map(|pod| pod.metadata.deletion_timestamp)),
        }
    })
    .await;
    patch::<Pod>(
        &cluster,
        "web-0",
        json!({"metadata": {"labels": {"statefulset.kubernetes.io/pod-name": null}}}),
    )
    .await;
    wait_until_async("the label to come back", || async {
        let pod = of::<Pod>(&cluster).get("web-0").await.expect("get");
        if pod.label("statefulset.kubernetes.io/pod-name") == Some("web-0") {
            Ok(())
        } else {
            Err(pod.metadata.labels)
        }
    })
    .await;

    // Left behind, pods and revisions are the next one's.
    until_status::<StatefulSet>(&cluster, "web", json!({"readyReplicas": 3})).await;
    patch::<StatefulSet>(&cluster, "web", json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}}})).await;
    wait_until_async("the claims to be nobody's", || async {
        let claims = all::<PersistentVolumeClaim>(&cluster).await;
        let owned: Vec<_> = claims.iter().flat_map(owners).collect();
        if owned.is_empty() { Ok(()) } else { Err(owned) }
    })
    .await;
    let uids =
        || async { all::<Pod>(&cluster).await.iter().map(|pod| pod.uid().to_owned()).collect::<Vec<_>>() };
    let before = uids().await;
    sets.delete("web", &DeleteOptions::default().propagation(Propagation::Orphan)).await.expect("delete");
    wait_until_async("it to go", || async {
        if sets.find("web").await.expect("find").is_none() { Ok(()) } else { Err("it is there") }
    })
    .await;
    let next = sets.create(&set).await.expect("create");
    assert_ne!(made.uid(), next.uid());
    until_status::<StatefulSet>(&cluster, "web", json!({"readyReplicas": 3, "updatedReplicas": 3})).await;
    assert_eq!(uids().await, before);
    assert_eq!(numbers().await, [2, 3]);
    let owner = |owned: Option<model::OwnerReference>| owned.map(|owner| owner.uid);
    assert!(
        all::<Pod>(&cluster).await.iter().all(|pod| owner(pod.controller()).as_deref() == Some(next.uid()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_watch_ends_no_pod_that_has_the_name_of_another_by_then() {
    let cluster = Cluster::start().await;
    let _nodes = Nodes::start(&cluster.steady, &["n"]).await;
    let on_node = |colour: &str| {
        let mut template = template("web", colour);
        template["spec"]["nodeName"] = json!("n");
        template
    };
    let spec = json!({"replicas": 1, "template": on_node("red"), "volumeClaimTemplates": []});
    of::<StatefulSet>(&cluster).create(&stateful("web", spec)).await.expect("create");
    until_status::<StatefulSet>(&cluster, "web", json!({"readyReplicas": 1})).await;
    cluster.stall_watches("pods");
    let pods = of::<Pod>(&cluster);
    pods.delete("web-0", &DeleteOptions::now()).await.expect("delete");
    let mut other = on_node("grey");
    other["metadata"]["name"] = json!("web-0");
    let other = pods.create(&object(other)).await.expect("create");
    // The pod that the controller knows is of an earlier template now. What it does about that is done when it says
    // that it has seen the new one.
    patch::<StatefulSet>(&cluster, "web", json!({"spec": {"template": on_node("blue")}})).await;
    until_status::<StatefulSet>(&cluster, "web", json!({"replicas": 1})).await;
    let found = pods.get("web-0").await.expect("get");
    assert_eq!((found.uid(), found.is_being_deleted()), (other.uid(), false));
    // It belongs to the set by its name and labels, and is replaced as one of an earlier template is.
    cluster.stall_watches("");
    until_pods(&cluster, "web", &["web-0 blue"]).await;
    until_event(&cluster, "SuccessfulDelete", "delete Pod web-0 in StatefulSet web successful").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_set_follows_its_nodes() {
    let cluster = Cluster::start().await;
    let _nodes = Nodes::start(&cluster.steady, &["a", "b"]).await;
    let rolling = |surge: u32, unavailable: u32| json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
    let set = daemon("log", json!({"updateStrategy": rolling(0, 1)}));
    let sets = of::<DaemonSet>(&cluster);
    sets.create(&set).await.expect("create");
    let everywhere = |nodes: u32| {
        json!({"desiredNumberScheduled": nodes, "currentNumberScheduled": nodes, "numberAvailable": nodes,
               "updatedNumberScheduled": nodes})
    };
    until_status::<DaemonSet>(&cluster, "log", everywhere(2)).await;
    // One that nothing else would be put on, and one that is not for it.
    let nodes = Api::<Node>::all(&cluster.steady);
    add_node(&cluster.steady, "c", json!({})).await;
    let cordoned = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    nodes.patch("c", &cordoned, &PatchOptions::default()).await.expect("patch");
    let taint = json!({"metadata": {"name": "d"}, "spec": {"taints": [{"key": "of", "value": "others", "effect": "NoSchedule"}]}});
    nodes.create(&object(taint)).await.expect("create");
    until_status::<DaemonSet>(&cluster, "log", everywhere(3)).await;
    let colours = || async {
        let mut found: Vec<(String, String)> = Vec::new();
        for pod in all::<Pod>(&cluster).await.iter().filter(|pod| !pod.is_being_deleted()) {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            found.push((node, colour(pod)));
        }
        found.sort();
        found.into_iter().map(|(node, colour)| format!("{node} {colour}")).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(colours().await, "a red, b red, c red");

    patch::<DaemonSet>(&cluster, "log", json!({"spec": {"template": template("log", "blue")}})).await;
    until_status::<DaemonSet>(&cluster, "log", everywhere(3)).await;
    assert_eq!(colours().await, "a blue, b blue, c blue");
    // New ones first, and no old one goes as long as they are not ready.
    let mut broken = template("log", "green");
    broken["metadata"]["labels"]["broken"] = json!("yes");
    patch::<DaemonSet>(
        &cluster,
        "log",
        json!({"spec": {"updateStrategy": rolling(1, 0), "template": broken}}),
    )
    .await;
    wait_until_async("one more", || async {
        let found = colours().await;
        if found == "a blue, a green, b blue, c blue" { Ok(()) } else { Err(found) }
    })
    .await;
    let back = json!({"spec": {"template": {"metadata": {"labels": {"broken": null}}}}});
    patch::<DaemonSet>(&cluster, "log", back).await;
    until_status::<DaemonSet>(&cluster, "log", everywhere(3)).await;
    wait_until_async("the old ones to go", || async {
        let found = colours().await;
        if found == "a green, b green, c green" { Ok(()) } else { Err(found) }
    })
    .await;

    let failed = Patch::Merge(json!({"status": {"phase": "Failed"}}));
    let pods = all::<Pod>(&cluster).await;
    let of_a =
        pods.iter().find(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some("a")));
    let of_a = of_a.expect("a pod on the node").name();
    of::<Pod>(&cluster).patch_status(of_a, &failed, &PatchOptions::default()).await.expect("patch");
    let told = format!("Found failed daemon pod default/{of_a} on node a, will try to kill it");
    until_event(&cluster, "FailedDaemonPod", &told).await;
    until_event(&cluster, "SuccessfulDelete", &format!("Deleted pod: {of_a}")).await;
    until_status::<DaemonSet>(&cluster, "log", everywhere(3)).await;

    // A node that is no longer one of its.
    let mut elsewhere = template("log", "green");
    elsewhere["spec"]["nodeSelector"] = json!({"for": "logs"});
    let labelled = Patch::Merge(json!({"metadata": {"labels": {"for": "logs"}}}));
    nodes.patch("b", &labelled, &PatchOptions::default()).await.expect("patch");
    patch::<DaemonSet>(
        &cluster,
        "log",
        json!({"spec": {"updateStrategy": rolling(0, 1), "template": elsewhere}}),
    )
    .await;
    until_status::<DaemonSet>(&cluster, "log", everywhere(1)).await;
    assert_eq!(colours().await, "b green");

    // Left behind, the pod is the next one's.
    let before = all::<Pod>(&cluster).await[0].uid().to_owned();
    let left = sets.get("log").await.expect("get");
    sets.delete("log", &DeleteOptions::default().propagation(Propagation::Orphan)).await.expect("delete");
    wait_until_async("it to go", || async {
        if sets.find("log").await.expect("find").is_none() { Ok(()) } else { Err("it is there") }
    })
    .await;
    let again = daemon("log", json!({"template": left.spec.expect("a spec").template}));
    sets.create(&again).await.expect("create");
    until_status::<DaemonSet>(&cluster, "log", everywhere(1)).await;
    assert_eq!(all::<Pod>(&cluster).await[0].uid(), before);
}

/// What became of pods, in order: never two of an ordinal or of a node, and in order where there is one.
fn check_history(history: &[Change<Pod>]) -> BTreeMap<String, usize> {
    let (mut there, mut counts): (BTreeMap<String, Arc<Pod>>, BTreeMap<String, usize>) = Default::default();
    let place = |pod: &Pod| match pod.label("statefulset.kubernetes.io/pod-name") {
        Some(name) => name.to_owned(),
        None => {
            let spec = serde_json::to_value(&pod.spec).expect("JSON");
            let node = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0\
                        /matchFields/0/values/0";
            format!("on {}", spec.pointer(node).and_then(Value::as_str).expect("a node that it is meant for"))
        }
    };
    let is_ready = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    for change in history {
        let pod = change.object();
        let place = place(pod);
        let index: Option<u32> = pod.label("apps.kubernetes.io/pod-index").and_then(|text| text.parse().ok());
        match change {
            Change::Added(_) => {
                *counts.entry(place.clone()).or_default() += 1;
                for earlier in 0..index.unwrap_or(0) {
                    let earlier = there.get(&format!("web-{earlier}")).expect("all before it are there");
                    assert!(is_ready(earlier) && !earlier.is_being_deleted(), "{place} does not wait");
                }
                let known = there.insert(place.clone(), pod.clone());
                assert!(known.is_none(), "{place} has two: {known:?}");
            }
            Change::Updated { old, new } => {
                assert_eq!(old.uid(), new.uid(), "{place} has two");
                if new.is_being_deleted() && !old.is_being_deleted() {
                    for later in index.map_or(3, |index| index + 1)..3 {
                        let later = there.get(&format!("web-{later}")).expect("all behind it are there");
                        assert!(is_ready(later) && colour(later) == "blue", "{place} does not wait");
                    }
                }
                there.insert(place, pod.clone());
            }
            Change::Deleted(_) => drop(there.remove(&place)),
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_at_every_write_each_pod_is_made_once() {
    let mut cluster = Cluster::start().await;
    let nodes = Nodes::start(&cluster.steady, &["a", "b"]).await;
    let controllers = ["statefulset-controller", "daemon-set-controller"];
    cluster.cut_at_writes(&controllers);
    let on_node = |colour: &str| {
        let mut template = template("web", colour);
        template["spec"]["nodeName"] = json!("a");
        template
    };
    let set = stateful("web", json!({"template": on_node("red")}));
    of::<StatefulSet>(&cluster).create(&set).await.expect("create");
    of::<DaemonSet>(&cluster).create(&daemon("log", json!({}))).await.expect("create");
    let mut cuts = 0;
    for colour in ["red", "blue"] {
        patch::<StatefulSet>(&cluster, "web", json!({"spec": {"template": on_node(colour)}})).await;
        patch::<DaemonSet>(&cluster, "log", json!({"spec": {"template": template("log", colour)}})).await;
        loop {
            let done = async {
                let (web, log) = (
                    json!({"updatedReplicas": 3, "readyReplicas": 3, "currentReplicas": 3}),
                    json!({"updatedNumberScheduled": 2, "numberAvailable": 2}),
                );
                until_status::<StatefulSet>(&cluster, "web", web).await;
                until_status::<DaemonSet>(&cluster, "log", log).await;
            };
            tokio::select! {
                biased;
                () = cluster.until_cut() => {}
                () = done => break,
            }
            cluster.stop_controllers().await;
            cuts += cluster.count_cut();
            cluster.cut_at_writes(&controllers);
            cluster.start_controllers();
            assert!(cuts < 200, "it comes to no end");
        }
    }
    // Each write was the last of a run: claims, pods that were made and deleted, revisions, and what was told of it.
    assert!(cuts >= 3 + 10 + 5 + 4 + 2, "{cuts}");
    let counts = check_history(&nodes.history());
    let expected = ["on a", "on b", "web-0", "web-1", "web-2"].map(|place| (place.to_owned(), 2));
    assert_eq!(counts, BTreeMap::from(expected));
    assert_eq!(all::<PersistentVolumeClaim>(&cluster).await.len(), 3);
    let revisions = all::<ControllerRevision>(&cluster).await;
    let mut names: Vec<String> = revisions
        .iter()
        .map(|found| format!("{} {}", found.controller().expect("an owner").kind, found.revision))
        .collect();
    names.sort();
    assert_eq!(names, ["DaemonSet 1", "DaemonSet 2", "StatefulSet 1", "StatefulSet 2"]);
}
