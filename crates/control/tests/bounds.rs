//! What is bounded is counted when it comes back, how many pods may go follows from how many there are, and what is in
//! use stays.
#![forbid(unsafe_code)]

mod support;

use client::api::{Patch, PatchOptions};
use client::{Api, DeleteOptions, ListOptions, Resource as _};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, ResourceQuota};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};
use support::{Cluster, define_things, object};
use testkit::wait_until_async;

/// Waits until a quota says that so much is used.
async fn until_used(cluster: &Cluster, quota: &str, expected: Value) {
    let quotas = Api::<ResourceQuota>::namespaced(&cluster.steady, "default");
    wait_until_async("the count", || async {
        let status = quotas.get(quota).await.expect("get").status.unwrap_or_default();
        let used = serde_json::to_value(status.used).expect("JSON");
        if used == expected { Ok(()) } else { Err(format!("{used}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_or_has_ended_may_be_made_anew() {
    let cluster = Cluster::start().await;
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    let maps = Api::<ConfigMap>::namespaced(&cluster.steady, "default");
    let pod = |name: &str| -> Pod {
        object(json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "i"}]}}))
    };
    pods.create(&pod("first")).await.expect("create");
    let quota: ResourceQuota = object(json!({
        "metadata": {"name": "q"}, "spec": {"hard": {"pods": "2", "count/configmaps": "9"}},
    }));
    let quotas = Api::<ResourceQuota>::namespaced(&cluster.steady, "default");
    quotas.create(&quota).await.expect("create");
    // The authority's certificate is in every namespace.
    until_used(&cluster, "q", json!({"pods": "1", "count/configmaps": "1"})).await;
    pods.create(&pod("second")).await.expect("create");
    let map: ConfigMap = object(json!({"metadata": {"name": "m"}}));
    maps.create(&map).await.expect("create");
    until_used(&cluster, "q", json!({"pods": "2", "count/configmaps": "2"})).await;
    pods.create(&pod("third")).await.expect_err("there is no more");
    pods.delete("first", &DeleteOptions::now()).await.expect("delete");
    maps.delete("m", &DeleteOptions::default()).await.expect("delete");
    until_used(&cluster, "q", json!({"pods": "1", "count/configmaps": "1"})).await;
    let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    pods.patch_status("second", &ended, &PatchOptions::default()).await.expect("patch");
    until_used(&cluster, "q", json!({"pods": "0", "count/configmaps": "1"})).await;
    let more = Patch::Merge(json!({"spec": {"hard": {"pods": null, "services": "3"}}}));
    quotas.patch("q", &more, &PatchOptions::default()).await.expect("patch");
    until_used(&cluster, "q", json!({"services": "1", "count/configmaps": "1"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_kind_that_has_just_come_are_counted_when_they_go() {
    let cluster = Cluster::start().await;
    // Whoever looks for kinds has done so for the first time by then.
    let quotas = Api::<ResourceQuota>::namespaced(&cluster.steady, "default");
    let quota: ResourceQuota = object(json!({
        "metadata": {"name": "q"}, "spec": {"hard": {"count/things.example.com": "1"}},
    }));
    quotas.create(&quota).await.expect("create");
    until_used(&cluster, "q", json!({"count/things.example.com": "0"})).await;
    let kind = define_things(&cluster).await;
    let things = Api::partial(&cluster.steady, &kind, Some("default"));
    wait_until_async("the kind to be served", || async {
        things.list_all(&ListOptions::default()).await.map_err(|error| error.to_string())
    })
    .await;
    let apply = PatchOptions { field_manager: Some("test".to_owned()), ..PatchOptions::default() };
    let make = async |name: &str| {
        let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name}});
        things.patch(name, &Patch::Apply(thing), &apply).await
    };
    make("first").await.expect("make it");
    until_used(&cluster, "q", json!({"count/things.example.com": "1"})).await;
    make("second").await.expect_err("there is no more");
    // Most likely before anybody has asked which kinds are new.
    things.delete("first", &DeleteOptions::default()).await.expect("delete");
    until_used(&cluster, "q", json!({"count/things.example.com": "0"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_many_pods_may_go_follows_from_how_many_are_ready() {
    let cluster = Cluster::start().await;
    let set: ReplicaSet = object(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "i"}]},
            },
        },
    }));
    Api::<ReplicaSet>::namespaced(&cluster.steady, "default").create(&set).await.expect("create");
    let budgets = Api::<PodDisruptionBudget>::namespaced(&cluster.steady, "default");
    let budget: PodDisruptionBudget = object(json!({
        "metadata": {"name": "b"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }));
    budgets.create(&budget).await.expect("create");
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    let until = |expected: [i32; 4]| {
        let (budgets, pods) = (&budgets, &pods);
        async move {
            wait_until_async("the budget", || async {
                let status = budgets.get("b").await.expect("get").status.unwrap_or_default();
                let counts = [
                    status.expected_pods,
                    status.current_healthy,
                    status.desired_healthy,
                    status.disruptions_allowed,
                ];
                if counts == expected.map(Some) {
                    return Ok(());
                }
                let pods = pods.list_all(&ListOptions::default()).await.expect("list").items;
                let told: Vec<_> = pods.iter().map(|pod| pod.status.clone()).collect();
                Err(format!("{counts:?} of {told:?}"))
            })
            .await;
        }
    };
    until([3, 0, 2, 0]).await;
    // It is known how many there should be before they are made.
    let all = wait_until_async("the pods", || async {
        let all = pods.list_all(&ListOptions::default()).await.expect("list").items;
        if all.len() == 3 { Ok(all) } else { Err(all.len()) }
    });
    for pod in all.await {
        let ready =
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        pods.patch_status(pod.name(), &Patch::Merge(ready), &PatchOptions::default()).await.expect("patch");
    }
    until([3, 3, 2, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_read_of_the_server_only_before_a_claim_is_let_go_of() {
    const PODS: &str = "/api/v1/namespaces/default/pods";
    let cluster = Cluster::start().await;
    let claims = Api::<PersistentVolumeClaim>::namespaced(&cluster.steady, "default");
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let claim =
        |name: &str| -> PersistentVolumeClaim { object(json!({"metadata": {"name": name}, "spec": spec})) };
    let gone = |name: &'static str| {
        let claims = &claims;
        async move {
            wait_until_async("the claim to go", || async {
                if claims.find(name).await.expect("find").is_none() { Ok(()) } else { Err("it is there") }
            })
            .await;
        }
    };
    claims.create(&claim("used")).await.expect("create");
    let pod: Pod = object(json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "n", "containers": [{"name": "a", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "used"}}],
    }}));
    pods.create(&pod).await.expect("create");
    // Whoever takes part in this one's end has seen the pod by then.
    claims.create(&claim("first")).await.expect("create");
    claims.delete("first", &DeleteOptions::default()).await.expect("delete");
    gone("first").await;
    let before = cluster.times_read(PODS);
    assert!(before > 0, "it is counted where it is read");
    claims.delete("used", &DeleteOptions::default()).await.expect("delete");
    for round in 0..20 {
        let label = Patch::Merge(json!({"metadata": {"labels": {"round": round.to_string()}}}));
        claims.patch("used", &label, &PatchOptions::default()).await.expect("patch");
        let phase = Patch::Merge(json!({"metadata": {"labels": {"round": round.to_string()}}}));
        pods.patch("p", &phase, &PatchOptions::default()).await.expect("patch");
    }
    // It is held without asking; one that goes costs one question.
    claims.create(&claim("last")).await.expect("create");
    claims.delete("last", &DeleteOptions::default()).await.expect("delete");
    gone("last").await;
    assert!(cluster.times_read(PODS) <= before + 2, "{before}: {}", cluster.times_read(PODS));
    pods.delete("p", &DeleteOptions::now()).await.expect("delete");
    gone("used").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_stay_as_long_as_they_are_in_use() {
    let cluster = Cluster::start().await;
    let claims = Api::<PersistentVolumeClaim>::namespaced(&cluster.steady, "default");
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    for name in ["used", "unused"] {
        let claim: PersistentVolumeClaim = object(json!({"metadata": {"name": name}, "spec": spec}));
        claims.create(&claim).await.expect("create");
    }
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    let pod: Pod = object(json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "n", "containers": [{"name": "a", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "used"}}],
    }}));
    pods.create(&pod).await.expect("create");
    for name in ["used", "unused"] {
        claims.delete(name, &DeleteOptions::default()).await.expect("delete");
    }
    let gone = |name: &'static str| {
        let claims = &claims;
        async move {
            wait_until_async("the claim to go", || async {
                if claims.find(name).await.expect("find").is_none() { Ok(()) } else { Err("it is there") }
            })
            .await;
        }
    };
    gone("unused").await;
    let held = claims.get("used").await.expect("get");
    assert_eq!(held.metadata.finalizers, Some(vec!["kubernetes.io/pvc-protection".to_owned()]));
    pods.delete("p", &DeleteOptions::now()).await.expect("delete");
    gone("used").await;
}
