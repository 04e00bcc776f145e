//! What a namespace and a node hold a resize to.

use serde_json::{Value, json};

use crate::cluster::{Answer, Cluster};

const PODS: &str = "/api/v1/namespaces/default/pods";

fn container(cpu: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": "64Mi"});
    json!({"name": "a", "image": "i", "resources": {"requests": amounts, "limits": amounts}})
}

async fn resize(cluster: &Cluster, name: &str, cpu: &str) -> Answer {
    let mut pod = cluster.get(&format!("{PODS}/{name}")).await;
    let amounts = json!({"cpu": cpu, "memory": "64Mi"});
    pod["spec"]["containers"][0]["resources"] = json!({"requests": amounts, "limits": amounts});
    cluster.send("PUT", &format!("{PODS}/{name}/resize"), pod).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_say_that_it_can_is_not_asked_to() {
    let cluster = Cluster::start().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [container("1")]}});
    cluster.made(PODS, pod).await;
    let refused = resize(&cluster, "p", "2").await;
    assert_eq!(refused.code, 403, "{refused:?}");
    assert!(refused.message().ends_with("node \"n\" not found"), "{refused:?}");
    cluster.made("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await;
    let refused = resize(&cluster, "p", "2").await;
    let why = "pod update requires features GuaranteedQoSPodCPUResize which are not available on node \"n\"";
    assert!(refused.code == 403 && refused.message().ends_with(why), "{refused:?}");
    let declared = json!({"status": {"declaredFeatures": ["GuaranteedQoSPodCPUResize"]}});
    assert_eq!(cluster.send("PATCH", "/api/v1/nodes/n/status", declared).await.code, 200);
    assert_eq!(resize(&cluster, "p", "2").await.code, 200);
    // Of another pod nothing is asked that no node had to learn.
    let mut plain = container("1");
    plain["resources"]["limits"] = json!({});
    let pod = json!({"metadata": {"name": "b"}, "spec": {"nodeName": "gone", "containers": [plain]}});
    cluster.made(PODS, pod).await;
    let change = json!({"spec": {"containers": [{"name": "a", "image": "i", "resources": {"requests": {"cpu": "2", "memory": "64Mi"}}}]}});
    let answer = cluster.send("PATCH", &format!("{PODS}/b/resize"), change).await;
    assert_eq!(answer.code, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_charged_with_the_most_that_a_pod_has_or_is_to_have() {
    let cluster = Cluster::start().await;
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    cluster.made(quotas, json!({"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "3"}}})).await;
    let count = async || {
        let mut quota = cluster.get(&format!("{quotas}/q")).await;
        quota["status"] = json!({});
        let asked = cluster.send("PUT", &format!("{quotas}/q/status"), quota).await;
        assert_eq!(asked.code, 200, "{asked:?}");
        cluster.get(&format!("{quotas}/q")).await["status"]["used"]["requests.cpu"].clone()
    };
    assert_eq!(count().await, "0");
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container("1")]}});
    cluster.made(PODS, pod).await;
    assert_eq!(resize(&cluster, "p", "2").await.code, 200);
    let used = cluster.get(&format!("{quotas}/q")).await["status"]["used"]["requests.cpu"].clone();
    assert_eq!(used, "2", "it is charged at once");
    let refused = resize(&cluster, "p", "4").await;
    let why = "exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=2, limited: requests.cpu=3";
    assert!(refused.code == 403 && refused.message().ends_with(why), "{refused:?}");
    // What it has still counts until its node has taken it back.
    let told = json!({"status": {"containerStatuses": [{"name": "a", "image": "i", "imageID": "", "ready": true,
        "restartCount": 0, "state": {"running": {}}, "allocatedResources": {"cpu": "2"},
        "resources": {"requests": {"cpu": "2"}}}]}});
    assert_eq!(cluster.send("PATCH", &format!("{PODS}/p/status"), told).await.code, 200);
    assert_eq!(resize(&cluster, "p", "1").await.code, 200);
    assert_eq!(count().await, "2");
    let told = json!({"status": {"containerStatuses": [{"name": "a", "image": "i", "imageID": "", "ready": true,
        "restartCount": 0, "state": {"running": {}}, "allocatedResources": {"cpu": "1"},
        "resources": {"requests": {"cpu": "1"}}}]}});
    assert_eq!(cluster.send("PATCH", &format!("{PODS}/p/status"), told).await.code, 200);
    assert_eq!(count().await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_could_not_give_is_no_way_past_a_quota() {
    let cluster = Cluster::start().await;
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    cluster.made(quotas, json!({"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "3"}}})).await;
    let mut quota = cluster.get(&format!("{quotas}/q")).await;
    quota["status"] = json!({});
    assert_eq!(cluster.send("PUT", &format!("{quotas}/q/status"), quota).await.code, 200);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container("1")]}});
    cluster.made(PODS, pod).await;
    // What the quota does not bound is asked for beyond every node, and the node says so.
    let mut pod = cluster.get(&format!("{PODS}/p")).await;
    let amounts = json!({"cpu": "1", "memory": "10Ti"});
    pod["spec"]["containers"][0]["resources"] = json!({"requests": amounts, "limits": amounts});
    let asked = cluster.send("PUT", &format!("{PODS}/p/resize"), pod).await;
    assert_eq!(asked.code, 200, "{asked:?}");
    let generation = cluster.get(&format!("{PODS}/p")).await["metadata"]["generation"].clone();
    let amounts = json!({"cpu": "1", "memory": "64Mi"});
    let told = json!({"status": {
        "conditions": [{"type": "PodResizePending", "status": "True", "reason": "Infeasible",
            "observedGeneration": generation}],
        "containerStatuses": [{"name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {}}, "allocatedResources": amounts, "resources": {"requests": amounts}}],
    }});
    assert_eq!(cluster.send("PATCH", &format!("{PODS}/p/status"), told).await.code, 200);
    let refused = resize(&cluster, "p", "50").await;
    assert!(refused.code == 403 && refused.message().contains("exceeded quota: q, "), "{refused:?}");
    assert_eq!(resize(&cluster, "p", "3").await.code, 200);
    let used = cluster.get(&format!("{quotas}/q")).await["status"]["used"]["requests.cpu"].clone();
    assert_eq!(used, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_range_holds_what_is_changed_too() {
    let cluster = Cluster::start().await;
    let range =
        json!({"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container("1")]}});
    cluster.made(PODS, pod).await;
    cluster.made("/api/v1/namespaces/default/limitranges", range).await;
    let refused = resize(&cluster, "p", "3").await;
    let why = "maximum cpu usage per Container is 2, but limit is 3";
    assert!(refused.code == 403 && refused.message().ends_with(why), "{refused:?}");
    assert_eq!(resize(&cluster, "p", "2").await.code, 200);
}
