//! What containers of a pod have, changed while the pod is there.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn amounts(cpu: &str, memory: &str) -> Value {
    json!({"cpu": cpu, "memory": memory})
}

fn container(name: &str, requests: Value, limits: Value) -> Value {
    json!({"name": name, "image": "i", "resources": {"requests": requests, "limits": limits}})
}

async fn made(cluster: &Cluster, name: &str, spec: Value) -> Value {
    cluster.ok("POST", PODS, &json!({"metadata": {"name": name}, "spec": spec})).await
}

async fn patch(cluster: &Cluster, name: &str, change: &Value) -> (u16, Value) {
    let path = format!("{PODS}/{name}/resize");
    cluster
        .send_as("PATCH", &path, "application/strategic-merge-patch+json", Bytes::from(change.to_string()))
        .await
}

#[tokio::test]
async fn it_changes_amounts_by_a_path_of_its_own_and_nothing_else() {
    let cluster = Cluster::start().await;
    let spec = json!({"containers": [
        container("a", amounts("100m", "64Mi"), amounts("200m", "128Mi")),
        container("b", amounts("1", "1Gi"), json!({})),
    ]});
    let before = made(&cluster, "p", spec).await;
    let change = json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "150m"}}}]}});
    let (code, after) = patch(&cluster, "p", &change).await;
    assert_eq!(code, 200, "{after}");
    assert_eq!(after["spec"]["containers"][0]["resources"]["requests"], amounts("150m", "64Mi"));
    assert_eq!(after["spec"]["containers"][1], before["spec"]["containers"][1]);
    assert_eq!(after["metadata"]["generation"], json!(2));
    let managers = after["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    assert!(managers.iter().any(|manager| manager["subresource"] == "resize"), "{managers:?}");

    // Whatever else is sent along stays as it was; a limit may shrink, whatever the policy says.
    let path = format!("{PODS}/p/resize");
    let mut whole = cluster.ok("GET", &path, &Value::Null).await;
    whole["spec"]["containers"][0]["resources"]["limits"] = amounts("300m", "100Mi");
    whole["spec"]["containers"][0]["image"] = json!("other");
    whole["spec"]["activeDeadlineSeconds"] = json!(5);
    whole["metadata"]["labels"] = json!({"new": "x"});
    whole["status"]["phase"] = json!("Failed");
    let (code, after) = cluster.send("PUT", &path, &whole).await;
    assert_eq!(code, 200, "{after}");
    assert_eq!(after["spec"]["containers"][0]["resources"]["limits"], amounts("300m", "100Mi"));
    for kept in
        ["/spec/containers/0/image", "/spec/activeDeadlineSeconds", "/metadata/labels", "/status/phase"]
    {
        assert_eq!(after.pointer(kept), before.pointer(kept), "{kept}");
    }
    // The same in other words is no change.
    let same = json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "300m"}}}]}});
    assert_eq!(patch(&cluster, "p", &same).await.1["metadata"]["generation"], json!(3));
    // And the pod's own path changes none of it.
    let body = change.to_string().replace("150m", "160m");
    let path = format!("{PODS}/p");
    let (code, refused) =
        cluster.send_as("PATCH", &path, "application/strategic-merge-patch+json", Bytes::from(body)).await;
    let said = refused["message"].as_str().unwrap_or_default();
    assert!(code == 422 && said.contains("pod updates may not change fields other than"), "{refused}");
}

#[tokio::test]
async fn each_rule_refuses_in_its_own_words() {
    let cluster = Cluster::start().await;
    let restarts = |mut container: Value| {
        container["resizePolicy"] = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
        container
    };
    let mut sidecar = container("s", amounts("10m", "16Mi"), json!({}));
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({
        "initContainers": [container("i", amounts("10m", "16Mi"), json!({})),
                           restarts(container("r", amounts("10m", "16Mi"), json!({}))), sidecar],
        "containers": [container("a", amounts("100m", "64Mi"), amounts("200m", "128Mi"))],
    });
    made(&cluster, "p", spec).await;
    made(&cluster, "best", json!({"containers": [{"name": "a", "image": "i"}]})).await;
    let full = || amounts("100m", "64Mi");
    let two = json!([container("a", full(), full()), container("b", full(), full())]);
    made(&cluster, "two", json!({ "containers": two })).await;
    let of = |list: &str, name: &str, resources: Value| {
        let mut change = json!({"spec": {}});
        change["spec"][list] = json!([{"name": name, "resources": resources}]);
        change
    };
    let main = |resources: Value| of("containers", "a", resources);
    for (pod, change, message) in [
        (
            "best",
            main(json!({"requests": {"memory": "1Mi"}})),
            r#"spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing"#,
        ),
        (
            "two",
            main(json!({"requests": {"cpu": "50m"}})),
            r#"spec: Invalid value: "Guaranteed": Pod QOS Class may not change as a result of resizing"#,
        ),
        (
            "p",
            of("initContainers", "s", json!({"requests": {"memory": null}})),
            "spec.initContainers[2].resources.requests: Forbidden: resource requests cannot be removed",
        ),
        (
            "p",
            main(json!({"limits": {"cpu": null}})),
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
        ),
        (
            "p",
            main(json!({"limits": {"ephemeral-storage": "1Gi"}})),
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            "p",
            main(json!({"requests": {"cpu": "500m"}})),
            r#"spec.containers[0].resources.requests: Invalid value: "500m": must be less than or equal to cpu limit of 200m"#,
        ),
        (
            "p",
            main(json!({"requests": {"cpu": "-1"}})),
            "spec.containers[0].resources.requests[cpu]: Invalid value",
        ),
        (
            "p",
            json!({"spec": {"containers": [{"name": "a", "resizePolicy": [
            {"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}]}}),
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            "p",
            json!({"spec": {"containers": [{"name": "new", "image": "i"}]}}),
            "spec.containers: Forbidden: containers may not be added or removed on resize",
        ),
        (
            "p",
            of("initContainers", "r", json!({"requests": {"cpu": "20m"}})),
            "spec.initContainers[1]: Forbidden: non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
        ),
        (
            "p",
            of("initContainers", "s", json!({"limits": {"ephemeral-storage": "1Gi"}})),
            "spec.initContainers[2]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable",
        ),
        (
            "two",
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "containers": [{"name": "b"}, {"name": "a"}]}}),
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize, \
          spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize",
        ),
    ] {
        let (code, status) = patch(&cluster, pod, &change).await;
        let said = status["message"].as_str().unwrap_or_default();
        assert!(code == 422 && said.contains(message), "{change}: {status}");
    }
    for (name, cpu) in [("i", "20m"), ("s", "30m")] {
        let (code, after) =
            patch(&cluster, "p", &of("initContainers", name, json!({"requests": {"cpu": cpu}}))).await;
        assert_eq!(code, 200, "{after}");
    }
    // What no number can be is told before any rule.
    let (code, status) = patch(&cluster, "p", &main(json!({"requests": {"cpu": "many"}}))).await;
    assert!(matches!(code, 400 | 422), "{status}");
    let (code, after) =
        patch(&cluster, "p", &main(json!({"requests": {"memory": "9E"}, "limits": {"memory": "9E"}}))).await;
    assert_eq!(code, 200, "what no node has is for the node to refuse: {after}");
}

#[tokio::test]
async fn some_pods_are_never_resized() {
    let cluster = Cluster::start().await;
    let mirror = json!({
        "metadata": {"name": "m", "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "n", "containers": [container("a", amounts("1", "1Gi"), json!({}))]},
    });
    cluster.ok("POST", PODS, &mirror).await;
    let windows =
        json!({"os": {"name": "windows"}, "containers": [container("a", amounts("1", "1Gi"), json!({}))]});
    made(&cluster, "w", windows).await;
    let old_node = json!({"nodeName": "n", "containers": [container("a", amounts("1", "1Gi"), json!({}))]});
    made(&cluster, "o", old_node).await;
    let told = json!([{"name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                       "state": {"running": {"startedAt": "2026-11-29T10:00:00Z"}}}]);
    let status = json!({"status": {"containerStatuses": told}}).to_string();
    let path = format!("{PODS}/o/status");
    let (code, said) =
        cluster.send_as("PATCH", &path, "application/merge-patch+json", Bytes::from(status)).await;
    assert_eq!(code, 200, "{said}");
    let change = json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "2"}}}]}});
    for (name, message) in [
        ("m", "[]: Forbidden: static pods cannot be resized"),
        ("w", "[]: Forbidden: windows pods cannot be resized"),
        ("o", "spec: Forbidden: Pod running on node without support for resize"),
    ] {
        let (code, status) = patch(&cluster, name, &change).await;
        let said = status["message"].as_str().unwrap_or_default();
        assert!(code == 422 && said.contains(message), "{name}: {status}");
    }
}
