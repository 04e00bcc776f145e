//! Controllers: every change leads to a call, no key is called twice at once, no pod is made twice.
#![forbid(unsafe_code)]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Action, Api, Controller, DeleteOptions, Error, Freshness, ListOptions, ObjectKey, Resource};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use support::{Cluster, config_map, pod_of, replica_set, value_of};
use testkit::wait_until_async;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_change_of_an_object_or_of_what_it_owns_is_a_reason_to_reconcile() {
    let mut cluster = Cluster::start().await;
    let sets = Api::<ReplicaSet>::namespaced(&cluster.client, "default");
    let pods = Api::<Pod>::namespaced(&cluster.client, "default");
    let informers = cluster.informers();
    let calls = Arc::new(Mutex::new(HashMap::<String, u32>::new()));
    let count = calls.clone();
    let controller = Controller::new("test", &informers.of::<ReplicaSet>()).owns(&informers.of::<Pod>());
    let shutdown = CancellationToken::new();
    let reconcile = move |key: ObjectKey| {
        *count.lock().expect("lock").entry(key.to_string()).or_default() += 1;
        async { Ok::<_, Error>(Action::Done) }
    };
    let running = tokio::spawn(controller.run(reconcile, shutdown.clone()));
    let called = |key: &'static str, times: u32| {
        let calls = calls.clone();
        async move {
            wait_until_async("the calls", || async {
                let calls = calls.lock().expect("lock").clone();
                if calls.get(key).copied().unwrap_or_default() >= times { Ok(()) } else { Err(calls) }
            })
            .await;
        }
    };
    let web = sets.create(&replica_set("web", 1)).await.expect("create");
    sets.create(&replica_set("idle", 0)).await.expect("create");
    called("default/web", 1).await;
    called("default/idle", 1).await;
    pods.create(&pod_of(&web, "web-1")).await.expect("create");
    called("default/web", 2).await;
    pods.delete("web-1", &DeleteOptions::now()).await.expect("delete");
    called("default/web", 3).await;
    sets.delete("web", &DeleteOptions::default()).await.expect("delete");
    called("default/web", 4).await;
    assert_eq!(calls.lock().expect("lock").get("default/idle"), Some(&1), "what others own is no reason");
    shutdown.cancel();
    running.await.expect("the controller ends");
}

#[tokio::test]
async fn a_key_is_never_reconciled_twice_at_once_and_failures_are_repeated() {
    let mut cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let informer = cluster.informers().of::<ConfigMap>();
    let (running_now, seen, failures) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
    let controller = Controller::new("test", &informer).workers(8);
    let shutdown = CancellationToken::new();
    let store = informer.store();
    let running = tokio::spawn({
        let (running_now, seen, failures) = (running_now.clone(), seen.clone(), failures.clone());
        let reconcile = move |key: ObjectKey| {
            let (running_now, seen, failures, store) =
                (running_now.clone(), seen.clone(), failures.clone(), store.clone());
            async move {
                if key.name != "m-a" {
                    return Ok(Action::Done);
                }
                assert_eq!(
                    running_now.fetch_add(1, Ordering::SeqCst),
                    0,
                    "the key is being reconciled already"
                );
                tokio::time::sleep(Duration::from_millis(1)).await;
                let value = store.get(&key).map(|map| value_of(&map).to_owned()).unwrap_or_default();
                running_now.fetch_sub(1, Ordering::SeqCst);
                if failures.fetch_add(1, Ordering::SeqCst) % 2 == 0 {
                    return Err(Error::NotFound(model::Status::no_such_resource()));
                }
                *seen.lock().expect("lock") = value;
                Ok(Action::Done)
            }
        };
        controller.run(reconcile, shutdown.clone())
    });
    maps.create(&config_map("m-a", "0")).await.expect("create");
    for value in 1..50 {
        maps.update(&config_map("m-a", &value.to_string())).await.expect("update");
    }
    wait_until_async("the last value to be reconciled", || async {
        let seen = seen.lock().expect("lock").clone();
        if seen == "49" { Ok(()) } else { Err(seen) }
    })
    .await;
    shutdown.cancel();
    running.await.expect("the controller ends");
}

#[tokio::test]
async fn an_action_after_a_time_calls_again_without_a_change() {
    let mut cluster = Cluster::start().await;
    let informer = cluster.informers().of::<ConfigMap>();
    let calls = Arc::new(AtomicUsize::new(0));
    let controller = Controller::new("test", &informer);
    let queue = controller.queue();
    let shutdown = CancellationToken::new();
    let count = calls.clone();
    let reconcile = move |key: ObjectKey| {
        let again = key.name == "again" && count.fetch_add(1, Ordering::SeqCst) < 4;
        async move { Ok::<_, Error>(if again { Action::After(Duration::from_millis(1)) } else { Action::Done }) }
    };
    let running = tokio::spawn(controller.run(reconcile, shutdown.clone()));
    queue.add(ObjectKey::cluster("again"));
    wait_until_async("five calls", || async {
        let calls = calls.load(Ordering::SeqCst);
        if calls == 5 { Ok(()) } else { Err(calls) }
    })
    .await;
    shutdown.cancel();
    running.await.expect("the controller ends");
}

/// The heart of a ReplicaSet controller, on a cache that is made to lag behind.
#[tokio::test]
async fn a_reconciler_with_a_stale_cache_never_creates_too_many() {
    let mut cluster = Cluster::start().await;
    let sets = Api::<ReplicaSet>::namespaced(&cluster.steady, "default");
    let pods = Api::<Pod>::namespaced(&cluster.steady, "default");
    let informers = cluster.informers();
    let (set_informer, pod_informer) = (informers.of::<ReplicaSet>(), informers.of::<Pod>());
    let (set_store, pod_store) = (set_informer.store(), pod_informer.store());
    let controller = Controller::new("test", &set_informer).owns(&pod_informer);
    let queue = controller.queue();
    let fresh = Arc::new(Freshness::new(pod_store.clone()));
    let (calls, created) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (calls, created, pods) = (calls.clone(), created.clone(), pods.clone());
        let reconcile = move |key: ObjectKey| {
            let (calls, created, pods, fresh) = (calls.clone(), created.clone(), pods.clone(), fresh.clone());
            let (set_store, pod_store) = (set_store.clone(), pod_store.clone());
            async move {
                calls.fetch_add(1, Ordering::SeqCst);
                if !fresh.ready(&key).await {
                    return Ok(Action::After(Duration::from_millis(10)));
                }
                let Some(set) = set_store.get(&key) else { return Ok(Action::Done) };
                let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1) as usize;
                for _ in pod_store.by_controller("default", set.uid()).len()..wanted {
                    let name = format!("web-{}", created.fetch_add(1, Ordering::SeqCst));
                    fresh.created(&key, &pods.create(&pod_of(&*set, &name)).await?);
                }
                Ok::<_, Error>(Action::Done)
            }
        };
        controller.run(reconcile, shutdown.clone())
    });
    sets.create(&replica_set("web", 5)).await.expect("create");
    wait_until_async("five pods", || async {
        let pods = pods.list(&ListOptions::default()).await.expect("list").items.len();
        if pods == 5 { Ok(()) } else { Err(pods) }
    })
    .await;
    // From here on the cache shows nothing of what is created, and the reconciler is called again.
    cluster.faults.stall_watches(Some("pods"));
    sets.update(&replica_set("web", 7)).await.expect("update");
    wait_until_async("two more pods", || async {
        let created = created.load(Ordering::SeqCst);
        if created >= 7 { Ok(()) } else { Err(created) }
    })
    .await;
    let before = calls.load(Ordering::SeqCst);
    queue.add(ObjectKey::new("default", "web"));
    wait_until_async("another call", || async {
        let calls = calls.load(Ordering::SeqCst);
        if calls > before { Ok(()) } else { Err(calls) }
    })
    .await;
    assert_eq!(pod_informer.store().list_namespace("default").len(), 5, "the cache lags behind");
    cluster.faults.stall_watches(None);
    wait_until_async("the cache to show seven pods and the calls to end", || async {
        let (shown, waiting) = (pod_informer.store().list_namespace("default").len(), queue.len());
        if shown >= 7 && waiting == 0 { Ok(()) } else { Err((shown, waiting)) }
    })
    .await;
    shutdown.cancel();
    running.await.expect("the controller ends");
    assert_eq!(created.load(Ordering::SeqCst), 7, "each pod was created once");
}

#[tokio::test]
async fn a_panic_ends_one_call_and_is_tried_again_like_a_failure() {
    let mut cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let informers = cluster.informers();
    let informer = informers.of::<ConfigMap>();
    // A handler that always panics keeps nothing from those that come after it.
    informer.on_change(|_| panic!("a handler"));
    let calls = Arc::new(Mutex::new(HashMap::<String, u32>::new()));
    let count = calls.clone();
    let controller = Controller::new("test", &informer).workers(1);
    let shutdown = CancellationToken::new();
    let reconcile = move |key: ObjectKey| {
        let turn = {
            let mut calls = count.lock().expect("lock");
            let turn = calls.entry(key.name.clone()).or_default();
            *turn += 1;
            *turn
        };
        // Before there is a future, and within it.
        assert!(key.name != "bad" || turn != 1, "before");
        async move {
            tokio::task::yield_now().await;
            assert!(key.name != "bad" || turn != 2, "within");
            Ok::<_, Error>(Action::Done)
        }
    };
    let running = tokio::spawn(controller.run(reconcile, shutdown.clone()));
    for name in ["bad", "good"] {
        maps.create(&config_map(name, "1")).await.expect("create");
    }
    wait_until_async("the calls", || async {
        let calls = calls.lock().expect("lock").clone();
        let of = |name: &str| calls.get(name).copied().unwrap_or_default();
        if of("bad") == 3 && of("good") == 1 { Ok(()) } else { Err(calls) }
    })
    .await;
    shutdown.cancel();
    running.await.expect("the controller ends by itself");
}
