//! Nothing is collected, and nothing made, on what a late copy shows.
#![forbid(unsafe_code)]

mod support;

use client::api::{Patch, PatchOptions, Propagation};
use client::{Api, DeleteOptions, ListOptions, Resource as _};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Secret};
use serde_json::{Value, json};
use support::{Cluster, define_things, object};
use testkit::wait_until_async;

fn replica_set(name: &str, replicas: i32) -> ReplicaSet {
    object(json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": "app" }] },
            },
        },
    }))
}

async fn pods_of(cluster: &Cluster, app: &str) -> Vec<Pod> {
    let selector = format!("app={app}").parse().expect("a selector");
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    pods.list_all(&ListOptions::default().labels(selector)).await.expect("list").items
}

async fn until_there_are(cluster: &Cluster, app: &str, count: usize) -> Vec<Pod> {
    wait_until_async("the pods", || async {
        let found = pods_of(cluster, app).await;
        if found.len() == count { Ok(()) } else { Err(format!("{app} has {} pods", found.len())) }
    })
    .await;
    pods_of(cluster, app).await
}

/// Makes something that is to be collected, and waits until it is: whatever was queued before has been
/// looked at by then.
async fn until_collected(cluster: &Cluster, name: &str) {
    let maps = Api::<ConfigMap>::namespaced(&cluster.steady, "default");
    let owner: ConfigMap = object(json!({"metadata": {"name": name}}));
    let owner = maps.create(&owner).await.expect("create");
    let owned: ConfigMap = object(json!({
        "metadata": {"name": format!("{name}-owned"), "ownerReferences": [owner.as_controller_reference()]},
    }));
    maps.create(&owned).await.expect("create");
    maps.delete(name, &DeleteOptions::default()).await.expect("delete");
    wait_until_async("the collector", || async {
        let left = maps.find(&format!("{name}-owned")).await.expect("find");
        if left.is_none() { Ok(()) } else { Err("it is still there") }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_orphaned_is_not_collected_because_a_copy_is_late() {
    let cluster = Cluster::start().await;
    let maps = Api::<ConfigMap>::namespaced(&cluster.steady, "default");
    let secrets = Api::<Secret>::namespaced(&cluster.steady, "default");
    let owner: ConfigMap = object(json!({"metadata": {"name": "owner"}}));
    let owner = maps.create(&owner).await.expect("create");
    for name in ["orphaned", "owned"] {
        let secret: Secret = object(json!({
            "metadata": {"name": name, "ownerReferences": [owner.as_controller_reference()]},
        }));
        secrets.create(&secret).await.expect("create");
    }
    // The collector knows both by now.
    until_collected(&cluster, "before").await;
    cluster.stall_watches("secrets");
    let orphan = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
    secrets.patch("orphaned", &orphan, &PatchOptions::default()).await.expect("orphan it");
    maps.delete("owner", &DeleteOptions::default()).await.expect("delete");
    wait_until_async("what is owned to go", || async {
        if secrets.find("owned").await.expect("find").is_none() { Ok(()) } else { Err("it is there") }
    })
    .await;
    until_collected(&cluster, "after").await;
    assert!(secrets.find("orphaned").await.expect("find").is_some(), "it had no owner any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cluster_wide_outlives_an_owner_in_a_namespace_and_it_is_told() {
    let cluster = Cluster::start().await;
    let maps = Api::<ConfigMap>::namespaced(&cluster.steady, "default");
    let namespaces = Api::<Namespace>::all(&cluster.steady);
    let owner: ConfigMap = object(json!({"metadata": {"name": "owner"}}));
    let owner = maps.create(&owner).await.expect("create");
    let gone = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "9f2c2a52-3a0e-4f57-a3a5-1b3a0e7d0c11"});
    for (name, reference) in [("of-one-there", json!(owner.as_controller_reference())), ("of-one-gone", gone)]
    {
        let owned: Namespace = object(json!({"metadata": {"name": name, "ownerReferences": [reference]}}));
        namespaces.create(&owned).await.expect("create");
    }
    let events = Api::<Event>::namespaced(&cluster.steady, "default");
    let mut told = wait_until_async("both to be told", || async {
        let found = events.list_all(&ListOptions::default()).await.expect("list").items;
        let told: Vec<String> = found
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some("OwnerRefInvalidNamespace"))
            .map(|event| {
                let object = event.involved_object;
                format!("{} {}", object.kind.unwrap_or_default(), event.message.unwrap_or_default())
            })
            .collect();
        if told.len() == 2 { Ok(told) } else { Err(told) }
    })
    .await;
    told.sort();
    let message = |name: &str, uid: &str| {
        format!(
            "Namespace ownerRef [v1/ConfigMap, namespace: , name: {name}, uid: {uid}] does not exist in namespace \"\""
        )
    };
    assert_eq!(
        told,
        [message("gone", "9f2c2a52-3a0e-4f57-a3a5-1b3a0e7d0c11"), message("owner", owner.uid())]
    );
    until_collected(&cluster, "after").await;
    for name in ["of-one-there", "of-one-gone"] {
        let kept = namespaces.find(name).await.expect("find").expect("it is kept");
        assert!(!kept.is_being_deleted(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_goes_makes_no_more_pods() {
    let cluster = Cluster::start().await;
    let sets = Api::<ReplicaSet>::namespaced(&cluster.steady, "default");
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    for name in ["going", "staying"] {
        sets.create(&replica_set(name, 2)).await.expect("create");
        until_there_are(&cluster, name, 2).await;
    }
    cluster.stall_watches("replicasets");
    let orphan = DeleteOptions::default().propagation(Propagation::Orphan);
    sets.delete("going", &orphan).await.expect("delete");
    for name in ["going", "staying"] {
        let one = pods_of(&cluster, name).await.remove(0);
        pods.delete(one.name(), &DeleteOptions::now()).await.expect("delete");
    }
    // The one that stays gets its pod back, and so the other one has been looked at.
    until_there_are(&cluster, "staying", 2).await;
    until_collected(&cluster, "after").await;
    assert_eq!(pods_of(&cluster, "going").await.len(), 1, "no pod is made for a set that goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_outlive_sets_that_are_deleted_without_them_however_many_at_once() {
    const SETS: usize = 12;
    let cluster = Cluster::start().await;
    let sets = Api::<ReplicaSet>::namespaced(&cluster.steady, "default");
    let names: Vec<String> = (0..SETS).map(|index| format!("set{index}")).collect();
    for round in 0..3 {
        for name in &names {
            sets.create(&replica_set(name, 3)).await.expect("create");
        }
        let mut before = Vec::new();
        for name in &names {
            before.extend(until_there_are(&cluster, name, 3).await);
        }
        let orphan = DeleteOptions::default().propagation(Propagation::Orphan);
        let deleting = names.iter().map(|name| sets.delete(name, &orphan));
        futures::future::try_join_all(deleting).await.expect("delete");
        for name in &names {
            wait_until_async("the set to go", || async {
                if sets.find(name).await.expect("find").is_none() { Ok(()) } else { Err("it is there") }
            })
            .await;
        }
        until_collected(&cluster, &format!("round{round}")).await;
        let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
        for pod in before {
            let now = pods.find(pod.name()).await.expect("find");
            let now = now.unwrap_or_else(|| panic!("{} was collected in round {round}", pod.name()));
            assert_eq!(now.uid(), pod.uid());
            assert!(now.metadata.owner_references.is_none(), "{} still names an owner", pod.name());
            pods.delete(pod.name(), &DeleteOptions::now()).await.expect("delete");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_tell_what_there_is_of_his_kind_keeps_nothing_else_from_going() {
    let mut cluster = Cluster::start().await;
    let kind = define_things(&cluster).await;
    let things = Api::partial(&cluster.steady, &kind, Some("default"));
    wait_until_async("the kind to be served, and told of", || async {
        things.list_all(&ListOptions::default()).await.map_err(|error| error.to_string())?;
        let form = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let told: Value = cluster.steady.get_as("/apis", form).await.map_err(|error| error.to_string())?;
        if told.to_string().contains(r#""things""#) { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    // Controllers that begin find the kind, and have a copy of it as soon as they collect one of it.
    cluster.stop_controllers().await;
    cluster.start_controllers();
    let maps = Api::<ConfigMap>::namespaced(&cluster.steady, "default");
    let secrets = Api::<Secret>::namespaced(&cluster.steady, "default");
    let make = async |name: &str| {
        let owner: ConfigMap = object(json!({"metadata": {"name": name}}));
        maps.create(&owner).await.expect("create").as_controller_reference()
    };
    let owner = make("before").await;
    let apply = PatchOptions { field_manager: Some("test".to_owned()), ..PatchOptions::default() };
    let thing = json!({
        "apiVersion": "example.com/v1", "kind": "Thing",
        "metadata": {"name": "owned", "ownerReferences": [owner]},
    });
    things.patch("owned", &Patch::Apply(thing), &apply).await.expect("make it");
    maps.delete("before", &DeleteOptions::default()).await.expect("delete");
    wait_until_async("it to be collected", || async {
        let listed = cluster.times_read("/apis/example.com/");
        match things.find("owned").await.expect("find") {
            None => Ok(()),
            Some(thing) => Err(format!("it is there: {:?}; listed {listed} times", thing.metadata)),
        }
    })
    .await;
    cluster.end_lists("things");
    for (name, propagation) in [("foreground", Propagation::Foreground), ("orphan", Propagation::Orphan)] {
        let owner = make(name).await;
        let secret: Secret = object(json!({"metadata": {"name": name, "ownerReferences": [owner]}}));
        secrets.create(&secret).await.expect("create");
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        maps.delete(name, &options).await.expect("delete");
        wait_until_async("the owner to go", || async {
            if maps.find(name).await.expect("find").is_none() { Ok(()) } else { Err("it is still there") }
        })
        .await;
    }
    assert!(secrets.find("foreground").await.expect("find").is_none());
    let orphan = secrets.find("orphan").await.expect("find").expect("it stays");
    assert!(orphan.owners().is_empty());
}
