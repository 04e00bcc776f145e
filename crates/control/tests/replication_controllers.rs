//! ReplicationControllers keep so many pods, as ReplicaSets do.
#![forbid(unsafe_code)]

mod support;

use client::api::{Patch, PatchOptions};
use client::{Api, DeleteOptions, ListOptions, Resource as _};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use serde_json::{Value, json};
use support::{Cluster, object};
use testkit::wait_until_async;

fn controller(name: &str, replicas: i32, pod: Value) -> ReplicationController {
    object(json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": name}}, "spec": pod}},
    }))
}

fn main_container() -> Value {
    json!({"containers": [{"name": "main", "image": "app"}]})
}

async fn until_there_are(cluster: &Cluster, app: &str, count: usize) -> Vec<Pod> {
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    let selected = || async {
        let selector = format!("app={app}").parse().expect("a selector");
        pods.list_all(&ListOptions::default().labels(selector)).await.expect("list").items
    };
    wait_until_async("the pods", || async {
        let found = selected().await;
        if found.len() == count { Ok(()) } else { Err(format!("{app} has {} pods", found.len())) }
    })
    .await;
    selected().await
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_pods_are_kept_and_stay_behind_where_nothing_is_said() {
    let cluster = Cluster::start().await;
    let controllers = Api::<ReplicationController>::namespaced(&cluster.steady, "default");
    let made = controllers.create(&controller("web", 2, main_container())).await.expect("create");
    let pods = until_there_are(&cluster, "web", 2).await;
    assert!(pods.iter().all(|pod| pod.controller().is_some_and(|owner| owner.uid == made.uid())));
    wait_until_async("the status", || async {
        let status = controllers.get("web").await.expect("get").status.unwrap_or_default();
        if (status.replicas, status.fully_labeled_replicas) == (2, Some(2)) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    let fewer = Patch::Merge(json!({"spec": {"replicas": 1}}));
    controllers.patch("web", &fewer, &PatchOptions::default()).await.expect("patch");
    until_there_are(&cluster, "web", 1).await;

    controllers.delete("web", &DeleteOptions::default()).await.expect("delete");
    wait_until_async("it to go", || async {
        if controllers.find("web").await.expect("find").is_none() { Ok(()) } else { Err("it is there") }
    })
    .await;
    let left = until_there_are(&cluster, "web", 1).await;
    assert!(left[0].controller().is_none(), "it is nobody's");

    // Whoever comes next takes it over.
    let next = controllers.create(&controller("web", 1, main_container())).await.expect("create");
    wait_until_async("it to be taken over", || async {
        let pods = until_there_are(&cluster, "web", 1).await;
        let owner = pods[0].controller();
        if owner.is_some_and(|owner| owner.uid == next.uid()) { Ok(()) } else { Err("it is nobody's still") }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_pods_are_not_made_is_told_as_long_as_they_are_missing() {
    let cluster = Cluster::start().await;
    let controllers = Api::<ReplicationController>::namespaced(&cluster.steady, "default");
    let mut pod = main_container();
    pod["priorityClassName"] = json!("there-is-none");
    controllers.create(&controller("web", 2, pod)).await.expect("create");
    let conditions = || async {
        let status = controllers.get("web").await.expect("get").status.unwrap_or_default();
        status.conditions.unwrap_or_default()
    };
    wait_until_async("the condition", || async {
        let found = conditions().await;
        let told = found.iter().any(|condition| {
            let message = condition.message.as_deref().unwrap_or_default();
            condition.type_ == "ReplicaFailure"
                && condition.reason.as_deref() == Some("FailedCreate")
                && message.contains("no PriorityClass with name there-is-none was found")
        });
        if told { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    controllers.patch("web", &none, &PatchOptions::default()).await.expect("patch");
    wait_until_async("the condition to go", || async {
        let found = conditions().await;
        if found.is_empty() { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}
