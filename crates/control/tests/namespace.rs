//! Namespaces that go, and those that something holds.
#![forbid(unsafe_code)]

mod support;

use std::time::Duration;

use client::api::{Patch, PatchOptions};
use client::{Api, DeleteOptions, Resource as _, ResourceKind};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use serde_json::json;
use support::{Cluster, object};
use testkit::wait_until_async;

async fn until_gone(namespaces: &Api<Namespace>, name: &str) {
    wait_until_async("the namespace to go", || async {
        match namespaces.find(name).await.expect("find") {
            None => Ok(()),
            Some(left) => Err(left.status),
        }
    })
    .await;
}

/// Waits until a condition of the namespace is true and says this.
async fn until_told(namespaces: &Api<Namespace>, name: &str, kind: &str, message: &str) {
    wait_until_async("the status to say what holds the namespace", || async {
        let found = namespaces.get(name).await.expect("get");
        let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
        let told = conditions.iter().any(|condition| {
            condition.type_ == kind
                && condition.status == "True"
                && condition.message.as_deref() == Some(message)
        });
        if told { Ok(()) } else { Err(conditions) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_held_says_by_what_and_is_not_read_again_and_again() {
    let cluster = Cluster::start().await;
    let namespaces = Api::<Namespace>::all(&cluster.steady);
    let namespace: Namespace = object(json!({"metadata": {"name": "held"}}));
    namespaces.create(&namespace).await.expect("create");
    let maps = Api::<ConfigMap>::namespaced(&cluster.steady, "held");
    for (name, finalizers) in [("free", json!([])), ("held", json!(["example.org/hold"]))] {
        let map: ConfigMap = object(json!({"metadata": {"name": name, "finalizers": finalizers}}));
        maps.create(&map).await.expect("create");
    }
    namespaces.delete("held", &DeleteOptions::default()).await.expect("delete");
    let message =
        "Some content in the namespace has finalizers remaining: example.org/hold in 1 resource instances";
    until_told(&namespaces, "held", "NamespaceFinalizersRemaining", message).await;
    let message = "Some resources are remaining: configmaps. has 1 resource instances";
    until_told(&namespaces, "held", "NamespaceContentRemaining", message).await;
    assert!(maps.find("free").await.expect("find").is_none());
    let before = cluster.times_read("/api/v1/namespaces/held/");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cluster.times_read("/api/v1/namespaces/held/"), before, "nothing has changed");
    // What changes is seen at once, however rarely the namespace is looked at by then.
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &free, &PatchOptions::default()).await.expect("let it go");
    until_gone(&namespaces, "held").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_before_everything_else() {
    let cluster = Cluster::start().await;
    let namespaces = Api::<Namespace>::all(&cluster.steady);
    let namespace: Namespace = object(json!({"metadata": {"name": "ordered"}}));
    namespaces.create(&namespace).await.expect("create");
    let maps = Api::<ConfigMap>::namespaced(&cluster.steady, "ordered");
    let map: ConfigMap = object(json!({"metadata": {"name": "used"}}));
    maps.create(&map).await.expect("create");
    let pods = Api::<Pod>::namespaced(&cluster.steady, "ordered");
    let pod: Pod = object(json!({
        "metadata": {"name": "last", "finalizers": ["example.org/hold"]},
        "spec": {"serviceAccountName": "default", "automountServiceAccountToken": false,
                 "containers": [{"name": "main", "image": "app"}]},
    }));
    wait_until_async("the service account", || async { pods.create(&pod).await }).await;
    namespaces.delete("ordered", &DeleteOptions::default()).await.expect("delete");
    let message = "Some resources are remaining: pods. has 1 resource instances";
    until_told(&namespaces, "ordered", "NamespaceContentRemaining", message).await;
    let used = maps.get("used").await.expect("what the pod may use is there");
    assert!(!used.is_being_deleted());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    pods.patch("last", &free, &PatchOptions::default()).await.expect("let it go");
    until_gone(&namespaces, "ordered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_holds_no_namespace_that_has_nothing_of_it() {
    let cluster = Cluster::start().await;
    let kind = ResourceKind::dynamic("apiregistration.k8s.io", "v1", "APIService", "apiservices", false);
    let services = Api::dynamic(&cluster.steady, &kind, None);
    let service = model::Object::from_value(json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.dead.example.com"},
        "spec": {
            "group": "dead.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "service": {"namespace": "default", "name": "nowhere"},
        },
    }));
    services.create(&service.expect("an object")).await.expect("create");
    let namespaces = Api::<Namespace>::all(&cluster.steady);
    let namespace: Namespace = object(json!({"metadata": {"name": "free"}}));
    namespaces.create(&namespace).await.expect("create");
    let maps = Api::<ConfigMap>::namespaced(&cluster.steady, "free");
    let map: ConfigMap = object(json!({"metadata": {"name": "inside"}}));
    maps.create(&map).await.expect("create");
    namespaces.delete("free", &DeleteOptions::default()).await.expect("delete");
    until_gone(&namespaces, "free").await;
}
