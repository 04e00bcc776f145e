//! Containers that are added to pods that are there already.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cluster::{Cluster, pod};

const POD: &str = "/api/v1/namespaces/default/pods/a";
const PATH: &str = "/api/v1/namespaces/default/pods/a/ephemeralcontainers";

fn debug(name: &str) -> Value {
    json!({"name": name, "image": "busybox", "targetContainerName": "main"})
}

async fn patch(cluster: &Cluster, containers: &Value) -> (u16, Value) {
    let body = json!({"spec": {"ephemeralContainers": containers}}).to_string();
    cluster.send_as("PATCH", PATH, "application/strategic-merge-patch+json", Bytes::from(body)).await
}

#[tokio::test]
async fn they_are_added_by_a_path_of_their_own_which_changes_nothing_else() {
    let cluster = Cluster::start().await;
    let made = cluster.ok("POST", "/api/v1/namespaces/default/pods", &pod("a")).await;
    let target = made["spec"]["containers"][0]["name"].clone();
    let mut first = debug("one");
    first["targetContainerName"] = target;
    let (code, added) = patch(&cluster, &json!([first])).await;
    assert_eq!(code, 200, "{added}");
    let container = &added["spec"]["ephemeralContainers"][0];
    assert_eq!(
        (&container["name"], &container["imagePullPolicy"], &container["terminationMessagePath"]),
        (&json!("one"), &json!("Always"), &json!("/dev/termination-log"))
    );
    assert_eq!(
        added["metadata"]["generation"],
        json!(made["metadata"]["generation"].as_i64().unwrap_or(0) + 1)
    );
    let managers = added["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    assert!(managers.iter().any(|manager| manager["subresource"] == "ephemeralcontainers"), "{managers:?}");

    let mut whole = cluster.ok("GET", PATH, &Value::Null).await;
    let second = json!({"name": "two", "image": "busybox"});
    whole["spec"]["ephemeralContainers"].as_array_mut().expect("a list").push(second);
    whole["spec"]["containers"][0]["image"] = json!("other");
    whole["metadata"]["labels"] = json!({"new": "x"});
    whole["status"]["phase"] = json!("Failed");
    let (code, after) = cluster.send("PUT", PATH, &whole).await;
    assert_eq!(code, 200, "{after}");
    assert_eq!(after["spec"]["ephemeralContainers"].as_array().map(Vec::len), Some(2));
    for kept in ["/spec/containers", "/metadata/labels", "/status/phase"] {
        assert_eq!(after.pointer(kept), made.pointer(kept), "{kept}");
    }
    let (code, again) = patch(&cluster, &json!([])).await;
    assert_eq!((code, &again["metadata"]["generation"]), (200, &after["metadata"]["generation"]), "{again}");

    // Nor does the pod's own path change them.
    let (code, refused) = cluster
        .send_as(
            "PATCH",
            POD,
            "application/json-patch+json",
            r#"[{"op": "remove", "path": "/spec/ephemeralContainers"}]"#.into(),
        )
        .await;
    assert_eq!(code, 422, "{refused}");
}

#[tokio::test]
async fn those_that_are_there_stay_as_they_are_and_new_ones_follow_the_rules() {
    let cluster = Cluster::start().await;
    let made = cluster.ok("POST", "/api/v1/namespaces/default/pods", &pod("a")).await;
    let name = made["spec"]["containers"][0]["name"].as_str().expect("a name").to_owned();
    let plain = |name: &str| json!({"name": name, "image": "busybox"});
    assert_eq!(patch(&cluster, &json!([plain("one")])).await.0, 200);
    let with = |field: &str, value: Value| {
        let mut container = plain("two");
        container[field] = value;
        container
    };
    for (container, message) in [
        (
            with("ports", json!([{"containerPort": 80}])),
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
        ),
        (
            with("resources", json!({"limits": {"cpu": "1"}})),
            "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
        ),
        (
            with("targetContainerName", json!("none")),
            "spec.ephemeralContainers[0].targetContainerName: Not found: \"none\"",
        ),
        (with("image", json!("")), "spec.ephemeralContainers[0].image: Required value"),
        (with("name", json!(name)), "spec.ephemeralContainers[0].name: Duplicate value"),
        (
            json!({"name": "one", "image": "other"}),
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"one\" may not be changed",
        ),
        (
            json!({"name": "one", "$patch": "delete"}),
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"one\" may not be removed",
        ),
    ] {
        let (code, status) = patch(&cluster, &json!([container])).await;
        let said = status["message"].as_str().unwrap_or_default();
        assert!(code == 422 && said.contains(message), "{container}: {status}");
    }
    let mut stale = cluster.ok("GET", POD, &Value::Null).await;
    stale["metadata"]["resourceVersion"] = json!("1");
    assert_eq!(cluster.send("PUT", PATH, &stale).await.0, 409);
    let missing = PATH.replace("/a/", "/b/");
    assert_eq!(cluster.send_as("PATCH", &missing, "application/merge-patch+json", "{}".into()).await.0, 404);

    let mut mirror = pod("m");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    mirror["spec"]["nodeName"] = json!("n");
    let (code, made) = cluster.send("POST", "/api/v1/namespaces/default/pods", &mirror).await;
    assert_eq!(code, 201, "{made}");
    let body = json!({"spec": {"ephemeralContainers": [plain("one")]}}).to_string();
    let path = PATH.replace("/a/", "/m/");
    let (code, status) =
        cluster.send_as("PATCH", &path, "application/strategic-merge-patch+json", Bytes::from(body)).await;
    let said = status["message"].as_str().unwrap_or_default();
    assert!(
        code == 422 && said.contains("[]: Forbidden: static pods do not support ephemeral containers"),
        "{status}"
    );
}
