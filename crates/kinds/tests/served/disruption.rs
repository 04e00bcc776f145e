use futures::future::join_all;
use serde_json::{Value, json};

use crate::cluster::{Answer, Cluster};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// A pod that a node runs.
async fn running(cluster: &Cluster, name: &str, ready: bool) {
    let containers = json!([{"name": "a", "image": "i"}]);
    let pod = json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"nodeName": "n", "containers": containers}});
    cluster.made(PODS, pod).await;
    let condition = json!({"type": "Ready", "status": if ready { "True" } else { "False" }});
    let status = json!({"status": {"phase": "Running", "conditions": [condition]}});
    assert_eq!(cluster.send("PATCH", &format!("{PODS}/{name}/status"), status).await.code, 200);
}

async fn budget(cluster: &Cluster, name: &str, status: Value) {
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    cluster.made(BUDGETS, json!({"metadata": {"name": name}, "spec": spec})).await;
    let answer =
        cluster.send("PATCH", &format!("{BUDGETS}/{name}/status"), json!({ "status": status })).await;
    assert_eq!(answer.code, 200, "{answer:?}");
}

async fn evict(cluster: &Cluster, name: &str) -> Answer {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    cluster.send("POST", &format!("{PODS}/{name}/eviction"), eviction).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_go_than_the_budget_has_to_spare_however_many_are_asked_for_at_once() {
    let cluster = Cluster::start().await;
    for n in 0..5 {
        running(&cluster, &format!("p{n}"), true).await;
    }
    budget(
        &cluster,
        "b",
        json!({"observedGeneration": 1, "disruptionsAllowed": 2, "desiredHealthy": 3, "currentHealthy": 5}),
    )
    .await;
    let names: Vec<String> = (0..5).map(|n| format!("p{n}")).collect();
    let answers = join_all(names.iter().map(|name| evict(&cluster, name))).await;
    assert_eq!(answers.iter().filter(|answer| answer.code == 201).count(), 2, "{answers:?}");
    let refused = answers.iter().find(|answer| answer.code == 429).expect("the others are refused");
    assert_eq!(refused.message(), "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(
        refused.body["details"]["causes"],
        json!([{"reason": "DisruptionBudget", "message": "The disruption budget b needs 3 healthy pods and has 5 currently"}])
    );
    let budget = cluster.get(&format!("{BUDGETS}/b")).await;
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert_eq!(budget["status"]["conditions"][0]["reason"], "InsufficientPods");
    let gone: Vec<&String> = budget["status"]["disruptedPods"].as_object().expect("some").keys().collect();
    assert_eq!(gone.len(), 2);
    let pod = cluster.get(&format!("{PODS}/{}", gone[0])).await;
    assert!(pod["metadata"].get("deletionTimestamp").is_some(), "{pod}");
    let conditions = pod["status"]["conditions"].as_array().expect("conditions");
    assert!(conditions.iter().any(|one| one["reason"] == "EvictionByEvictionAPI"), "{pod}");
    // One that is on its way out is not counted twice.
    assert_eq!(evict(&cluster, gone[0]).await.code, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_count_goes_and_what_is_not_known_does_not() {
    let cluster = Cluster::start().await;
    running(&cluster, "ready", true).await;
    running(&cluster, "unready", false).await;
    budget(&cluster, "b", json!({"observedGeneration": 0})).await;
    let refused = evict(&cluster, "ready").await;
    assert_eq!((refused.code, &refused.body["details"]["retryAfterSeconds"]), (429, &json!(10)));
    let cause = &refused.body["details"]["causes"][0]["message"];
    assert_eq!(cause, "The disruption budget b is still being processed by the server.");
    let status = json!({"status": {"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1}});
    assert_eq!(cluster.send("PATCH", &format!("{BUDGETS}/b/status"), status).await.code, 200);
    assert_eq!(evict(&cluster, "ready").await.code, 429);
    assert_eq!(evict(&cluster, "unready").await.code, 201, "it does nothing for the budget");
    budget(&cluster, "second", json!({"observedGeneration": 1})).await;
    let refused = evict(&cluster, "ready").await;
    assert_eq!(refused.code, 500);
    assert!(refused.message().contains("more than one PodDisruptionBudget"), "{refused:?}");
    for name in ["b", "second"] {
        cluster.send("DELETE", &format!("{BUDGETS}/{name}"), Value::Null).await;
    }
    assert_eq!(evict(&cluster, "ready").await.code, 201, "no budget is in the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_may_be_of_the_version_before_and_of_no_other() {
    let cluster = Cluster::start().await;
    let path = format!("{PODS}/p/eviction");
    let protobuf = |version: &str| {
        let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
        let kind = [field(1, version.as_bytes()), field(2, b"Eviction")].concat();
        let metadata = field(1, &field(1, b"p"));
        [b"k8s\0".to_vec(), field(1, &kind), field(2, &metadata)].concat()
    };
    for (version, code) in [("policy/v1", 201), ("policy/v1beta1", 201), ("policy/v2", 400), ("v1", 400)] {
        let eviction =
            json!({"apiVersion": version, "kind": "Eviction", "metadata": {"name": "p"}}).to_string();
        let forms: [(&str, Vec<u8>); 3] = [
            ("application/json", eviction.clone().into()),
            ("application/yaml", eviction.into()),
            ("application/vnd.kubernetes.protobuf", protobuf(version)),
        ];
        for (form, body) in forms {
            running(&cluster, "p", true).await;
            let answer = cluster.send_as("POST", &path, form, body.into()).await;
            assert_eq!(answer.code, code, "{form} of {version}: {answer:?}");
            let pod = cluster.get(&format!("{PODS}/p")).await;
            assert_eq!(pod["metadata"].get("deletionTimestamp").is_some(), code == 201, "{pod}");
            let now = json!({"gracePeriodSeconds": 0});
            cluster.send("DELETE", &format!("{PODS}/p"), now).await;
        }
    }
    // No other kind is taken for one.
    running(&cluster, "p", true).await;
    let budget =
        json!({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "p"}});
    assert_eq!(cluster.send("POST", &path, budget).await.code, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_volumes_are_held_and_grow_where_their_class_lets_them() {
    let cluster = Cluster::start().await;
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let spec = json!({
        "accessModes": ["ReadWriteOnce"], "storageClassName": "c", "resources": {"requests": {"storage": "1Gi"}},
    });
    let made = cluster.made(claims, json!({"metadata": {"name": "c"}, "spec": spec})).await;
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let volume =
        json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"}});
    let made =
        cluster.made("/api/v1/persistentvolumes", json!({"metadata": {"name": "v"}, "spec": volume})).await;
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
    assert_eq!(made["status"]["phase"], "Pending");
    // A status says since when it is what it is, and a time that its writer gives stays.
    let status = "/api/v1/persistentvolumes/v/status";
    for (patch, told) in [
        (json!({"phase": "Available", "lastPhaseTransitionTime": "2001-02-03T04:05:06Z"}), true),
        (json!({"message": "as before"}), true),
        (json!({"phase": "Bound"}), false),
    ] {
        let changed = cluster.send("PATCH", status, json!({"status": patch})).await;
        let since = &changed.body["status"]["lastPhaseTransitionTime"];
        assert_eq!(since == "2001-02-03T04:05:06Z", told, "{changed:?}");
        assert!(since.is_string(), "{changed:?}");
    }

    let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    assert_eq!(cluster.send("PATCH", &format!("{claims}/c/status"), bound).await.code, 200);
    let grow = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let refused = cluster.send("PATCH", &format!("{claims}/c"), grow.clone()).await;
    assert_eq!(refused.code, 403, "{refused:?}");
    assert!(
        refused.message().contains("the storageclass that provisions the pvc must support resize"),
        "{refused:?}"
    );
    let class =
        json!({"metadata": {"name": "c"}, "provisioner": "example.com/p", "allowVolumeExpansion": true});
    cluster.made("/apis/storage.k8s.io/v1/storageclasses", class).await;
    assert_eq!(cluster.send("PATCH", &format!("{claims}/c"), grow).await.code, 200);
}
