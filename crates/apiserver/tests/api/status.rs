//! What the writers of statuses may change, and what counts as a change of what is wanted.

use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Labels, annotations and owners after a patch of the status that sets all of them.
async fn patched(cluster: &Cluster, one: &str) -> [bool; 3] {
    let patch = json!({
        "metadata": {
            "labels": {"by-status": "l"}, "annotations": {"by-status": "a"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}],
        },
        "status": {"observedGeneration": 1},
    });
    let changed = cluster.ok("PATCH", &format!("{one}/status?fieldManager=writer"), &patch).await;
    let metadata = &changed["metadata"];
    assert_eq!(cluster.get(one).await.1["metadata"], *metadata, "it is stored");
    let found = [
        metadata["labels"]["by-status"] == "l",
        metadata["annotations"]["by-status"] == "a",
        metadata["ownerReferences"][0]["name"] == "o",
    ];
    let managers = metadata["managedFields"].as_array().expect("managers");
    let writer = managers.iter().find(|entry| entry["manager"] == "writer").expect("it manages what it set");
    assert_eq!(writer["subresource"], "status");
    let owned = &writer["fieldsV1"]["f:metadata"];
    let owned = [
        &owned["f:labels"]["f:by-status"],
        &owned["f:annotations"]["f:by-status"],
        &owned["f:ownerReferences"],
    ]
    .map(|field| !field.is_null());
    assert_eq!(owned, found, "{writer}");
    found
}

#[tokio::test]
async fn annotations_and_mostly_labels_are_changed_with_the_status() {
    let cluster = Cluster::start().await;
    let workloads = "/apis/apps/v1/namespaces/default";
    cluster.ok("POST", &format!("{workloads}/deployments"), &deployment("a", 1)).await;
    let mut set = deployment("a", 1);
    set["kind"] = json!("ReplicaSet");
    cluster.ok("POST", &format!("{workloads}/replicasets"), &set).await;
    cluster.ok("POST", PODS, &pod("a")).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]},
    });
    cluster.ok("POST", "/api/v1/namespaces/default/services", &service).await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}});
    cluster.ok("POST", "/api/v1/nodes", &node).await;
    for (one, expected) in [
        (format!("{workloads}/deployments/a"), [false, true, true]),
        (format!("{workloads}/replicasets/a"), [true, true, true]),
        (format!("{PODS}/a"), [true, true, false]),
        ("/api/v1/namespaces/default/services/a".to_owned(), [true, true, true]),
        ("/api/v1/namespaces/default".to_owned(), [true, true, true]),
        ("/api/v1/nodes/a".to_owned(), [true, true, true]),
    ] {
        assert_eq!(patched(&cluster, &one).await, expected, "{one}");
    }
}

#[tokio::test]
async fn what_the_rules_say_of_metadata_holds_for_the_writers_of_statuses_too() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", PODS, &pod("a")).await;
    let odd = json!({"metadata": {"annotations": {"not a key": "x"}}});
    let (code, status) = cluster.send("PATCH", &format!("{PODS}/a/status"), &odd).await;
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("metadata.annotations")));
    // Whoever lets go of the last finalizer by the status ends the object.
    let held = json!({"metadata": {"finalizers": ["example.org/hold"]}});
    cluster.ok("PATCH", &format!("{PODS}/a"), &held).await;
    cluster.ok("DELETE", &format!("{PODS}/a"), &json!({})).await;
    assert_eq!(cluster.get(&format!("{PODS}/a")).await.0, 200);
    cluster.ok("PATCH", &format!("{PODS}/a/status"), &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(cluster.get(&format!("{PODS}/a")).await.0, 404);
}

#[tokio::test]
async fn a_node_has_no_say_in_what_selects_its_pods() {
    let cluster = Cluster::start().await;
    let mut bound = pod("a");
    bound["spec"]["nodeName"] = json!("n1");
    cluster.ok("POST", PODS, &bound).await;
    let node = apiserver::Identity::node("n1");
    let patch = async |patch: Value| {
        let request = http::Request::patch(format!("{PODS}/a/status"))
            .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
            .body(bytes::Bytes::from(patch.to_string()));
        let answer = cluster.handle.call(request.expect("a well-formed request"), node.clone()).await;
        let code = answer.status().as_u16();
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body").to_bytes();
        (code, serde_json::from_slice::<Value>(&body).expect("JSON"))
    };
    let (code, status) = patch(json!({"metadata": {"labels": {"app": "shop"}}})).await;
    let refused = "pods \"a\" is forbidden: node \"n1\" cannot update labels through pod status";
    assert_eq!((code, &status["message"]), (403, &json!(refused)));
    let (code, told) =
        patch(json!({"metadata": {"annotations": {"a": "b"}}, "status": {"phase": "Running"}})).await;
    assert_eq!((code, &told["status"]["phase"]), (200, &json!("Running")));
}

#[tokio::test]
async fn a_pod_that_is_bound_wants_nothing_else_than_before() {
    let cluster = Cluster::start().await;
    let generation = |pod: &Value| pod["metadata"]["generation"].as_i64();
    assert_eq!(generation(&cluster.ok("POST", PODS, &pod("a")).await), Some(1));
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
        "target": {"kind": "Node", "name": "n1"},
    });
    cluster.ok("POST", &format!("{PODS}/a/binding"), &binding).await;
    let bound = cluster.get(&format!("{PODS}/a")).await.1;
    assert_eq!((generation(&bound), &bound["spec"]["nodeName"]), (Some(1), &json!("n1")));
    let other = json!({"spec": {"activeDeadlineSeconds": 9}});
    assert_eq!(generation(&cluster.ok("PATCH", &format!("{PODS}/a"), &other).await), Some(2));
}
