//! Informers: the copy is true whatever happens to the connection.
#![forbid(unsafe_code)]

mod support;

use std::sync::{Arc, Mutex};

use client::{Api, Change, DeleteOptions, Informer, ListOptions, ObjectKey, Resource, Store};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use model::select::LabelSelector;
use support::{Cluster, config_map, pod_of, replica_set, value_of};
use testkit::wait_until_async;

/// The names and values of what a store holds, without what the server made by itself.
fn show(store: &Store<ConfigMap>) -> String {
    let maps = store.list_namespace("default");
    let mine = maps.iter().filter(|map| map.name().starts_with("m-"));
    mine.map(|map| format!("{}={}", map.name(), value_of(map))).collect::<Vec<_>>().join(" ")
}

async fn until(store: &Store<ConfigMap>, expected: &str) {
    wait_until_async(expected, || async { if show(store) == expected { Ok(()) } else { Err(show(store)) } })
        .await;
}

#[tokio::test]
async fn the_copy_follows_what_happens_and_handlers_are_told() {
    let mut cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    maps.create(&config_map("m-before", "1")).await.expect("create");
    let informer = cluster.informers().of::<ConfigMap>();
    let told = Arc::new(Mutex::new(Vec::new()));
    let record = told.clone();
    informer.on_change(move |change| {
        let (object, was) = (change.object(), change.old().map_or("", |old| value_of(old)));
        if object.name().starts_with("m-") {
            let kind = if change.is_deletion() { "-" } else { "+" };
            record.lock().expect("lock").push(format!("{kind}{} {was}>{}", object.name(), value_of(object)));
        }
    });
    informer.store().synced().await;
    assert_eq!(show(&informer.store()), "m-before=1");
    maps.create(&config_map("m-a", "1")).await.expect("create");
    let changed = maps.update(&config_map("m-a", "2")).await.expect("update");
    informer.store().reached(changed.revision()).await;
    assert_eq!(show(&informer.store()), "m-a=2 m-before=1");
    maps.delete("m-before", &DeleteOptions::default()).await.expect("delete");
    until(&informer.store(), "m-a=2").await;
    let told = told.lock().expect("lock").join(", ");
    assert_eq!(told, "+m-before >1, +m-a >1, +m-a 1>2, -m-before >1");
}

#[tokio::test]
async fn a_broken_watch_goes_on_where_it_was_without_a_list() {
    let mut cluster = Cluster::start().await;
    let informer = cluster.informers().of::<ConfigMap>();
    let maps = Api::<ConfigMap>::namespaced(&cluster.steady, "default");
    let store = informer.store();
    store.synced().await;
    maps.create(&config_map("m-a", "1")).await.expect("create");
    until(&store, "m-a=1").await;
    let lists = cluster.faults.lists();
    cluster.faults.stall_watches(Some(""));
    maps.create(&config_map("m-b", "1")).await.expect("create");
    maps.delete("m-a", &DeleteOptions::default()).await.expect("delete");
    cluster.faults.cut_watches();
    cluster.faults.stall_watches(None);
    until(&store, "m-b=1").await;
    assert_eq!(cluster.faults.lists(), lists, "nothing was listed anew");
    assert!(cluster.faults.watches() >= 2);
}

#[tokio::test]
async fn an_expired_watch_lists_anew_and_tells_what_was_missed() {
    let mut cluster = Cluster::start().await;
    let informer = cluster.informers().of::<ConfigMap>();
    let maps = Api::<ConfigMap>::namespaced(&cluster.steady, "default");
    let store = informer.store();
    maps.create(&config_map("m-gone", "1")).await.expect("create");
    maps.create(&config_map("m-kept", "1")).await.expect("create");
    until(&store, "m-gone=1 m-kept=1").await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let record = told.clone();
    informer.on_change(move |change: &Change<ConfigMap>| {
        if change.is_deletion() {
            record.lock().expect("lock").push(change.object().name().to_owned());
        }
    });
    let lists = cluster.faults.lists();
    cluster.faults.stall_watches(Some(""));
    maps.delete("m-gone", &DeleteOptions::default()).await.expect("delete");
    maps.update(&config_map("m-kept", "2")).await.expect("update");
    cluster.faults.expire_next_watch();
    cluster.faults.cut_watches();
    cluster.faults.stall_watches(None);
    until(&store, "m-kept=2").await;
    assert!(cluster.faults.lists() > lists, "it was listed anew");
    assert_eq!(*told.lock().expect("lock"), ["m-gone"]);
}

#[tokio::test]
async fn a_server_that_is_away_is_tried_again() {
    let mut cluster = Cluster::start().await;
    cluster.faults.refuse(3);
    let informer = cluster.informers().of::<ConfigMap>();
    cluster.config_maps();
    informer.store().synced().await;
    assert!(informer.store().revision() > 0);
}

#[tokio::test]
async fn a_handler_that_comes_late_is_told_what_is_there() {
    let mut cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let created = maps.create(&config_map("m-a", "1")).await.expect("create");
    let informer = cluster.informers().of::<ConfigMap>();
    informer.store().reached(created.revision()).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let record = told.clone();
    informer.on_change(move |change| record.lock().expect("lock").push(change.object().name().to_owned()));
    assert!(told.lock().expect("lock").contains(&"m-a".to_owned()));
}

#[tokio::test]
async fn objects_are_found_by_owner_by_index_and_by_label() {
    let mut cluster = Cluster::start().await;
    let sets = Api::<ReplicaSet>::namespaced(&cluster.client, "default");
    let pods = Api::<Pod>::namespaced(&cluster.client, "default");
    let web = sets.create(&replica_set("web", 2)).await.expect("create");
    let api = sets.create(&replica_set("api", 1)).await.expect("create");
    let informer = cluster.informers().of::<Pod>();
    informer.index("image", |pod: &Pod| {
        pod.spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .filter_map(|container| container.image.clone())
            .collect()
    });
    let mut last = 0;
    for (owner, name) in [(&web, "web-1"), (&web, "web-2"), (&api, "api-1")] {
        last = pods.create(&pod_of(owner, name)).await.expect("create").revision();
    }
    let store = informer.store();
    store.reached(last).await;
    let names =
        |pods: Vec<Arc<Pod>>| pods.iter().map(|pod| pod.name().to_owned()).collect::<Vec<_>>().join(" ");
    assert_eq!(names(store.by_controller("default", web.uid())), "web-1 web-2");
    assert_eq!(names(store.by_index("image", "app")), "api-1 web-1 web-2");
    assert_eq!(names(store.by_index_within("default", "image", "app")), "api-1 web-1 web-2");
    // Whoever names an owner of another namespace has none.
    assert_eq!(names(store.by_controller("defaul", web.uid())), "");
    assert_eq!(names(store.by_index_within("default2", "image", "app")), "");
    let selector: LabelSelector = "app=api".parse().expect("a selector");
    assert_eq!(names(store.select("default", &selector)), "api-1");
    assert_eq!(names(store.select("", &LabelSelector::everything())), "api-1 web-1 web-2");
    assert_eq!(names(store.select("", &LabelSelector::nothing())), "");
    pods.delete("web-1", &DeleteOptions::now()).await.expect("delete");
    store.until(|store| store.get(&ObjectKey::new("default", "web-1")).is_none()).await;
    assert_eq!(names(store.by_controller("default", web.uid())), "web-2");
}

#[tokio::test]
async fn an_informer_with_a_selector_sees_only_what_is_selected() {
    let mut cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let selector: LabelSelector = "wanted=yes".parse().expect("a selector");
    let informer = Informer::new(maps.clone(), ListOptions::default().labels(selector));
    cluster.informers().add(&informer);
    let mut map = config_map("m-a", "1");
    maps.create(&map).await.expect("create");
    map.metadata.labels = Some([("wanted".to_owned(), "yes".to_owned())].into());
    maps.update(&map).await.expect("update");
    until(&informer.store(), "m-a=1").await;
    map.metadata.labels = None;
    maps.update(&map).await.expect("update");
    until(&informer.store(), "").await;
}
