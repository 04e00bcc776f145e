//! The verbs against an API server: what they send is understood, and its failures are told apart.
#![forbid(unsafe_code)]

mod support;

use client::api::{Preconditions, Propagation};
use client::{
    Api, DeleteOptions, Error, ListOptions, OptionalExt, Patch, PatchOptions, Resource, ResourceKind,
    WatchEvent, WatchOptions, WriteOptions,
};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use model::Object;
use model::select::{FieldSelector, LabelSelector};
use serde_json::json;
use support::{Cluster, config_map, object, replica_set, value_of};

#[tokio::test]
async fn an_object_is_created_read_updated_and_deleted() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let created = maps.create(&config_map("a", "1")).await.expect("create");
    assert!(!created.uid().is_empty() && created.revision() > 0);
    let mut changed = maps.get("a").await.expect("get");
    assert_eq!(changed, created);
    changed.data.get_or_insert_default().insert("key".to_owned(), "2".to_owned());
    let updated = maps.update(&changed).await.expect("update");
    assert_eq!(value_of(&updated), "2");
    assert!(updated.revision() > created.revision());
    maps.delete("a", &DeleteOptions::default()).await.expect("delete");
    assert_eq!(maps.find("a").await.expect("find"), None);
}

#[tokio::test]
async fn each_failure_is_told_apart() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let created = maps.create(&config_map("a", "1")).await.expect("create");
    maps.update(&config_map("a", "2")).await.expect("update without a resource version");
    let check = |result: Result<(), Error>, expected: fn(&Error) -> bool| {
        let error = result.expect_err("it fails");
        assert!(expected(&error), "{error:?}");
        assert!(!error.status().expect("the server's words").message.is_empty());
    };
    check(maps.get("b").await.map(drop), Error::is_not_found);
    check(maps.create(&config_map("a", "1")).await.map(drop), Error::is_already_exists);
    check(maps.update(&created).await.map(drop), Error::is_conflict);
    check(maps.create(&config_map("Not a name", "1")).await.map(drop), |error| {
        matches!(error, Error::Invalid(_))
    });
    let other = DeleteOptions::default().uid("another");
    check(maps.delete("a", &other).await, Error::is_conflict);
    let stale = Preconditions { resource_version: Some("1".to_owned()), ..Preconditions::default() };
    check(
        maps.delete("a", &DeleteOptions { preconditions: stale, ..DeleteOptions::default() }).await,
        Error::is_conflict,
    );
    assert!(maps.get("b").await.optional().expect("absent is no failure").is_none());
    let unknown = ResourceKind::dynamic("example.org", "v1", "Widget", "widgets", true);
    check(
        Api::dynamic(&cluster.client, &unknown, None).list(&ListOptions::default()).await.map(drop),
        Error::is_not_found,
    );
}

#[tokio::test]
async fn a_refused_connection_is_temporary() {
    let cluster = Cluster::start().await;
    cluster.faults.refuse(1);
    let error = cluster.config_maps().get("a").await.expect_err("it fails");
    assert!(error.is_temporary() && error.status().is_none(), "{error:?}");
    assert_eq!(error.to_string(), "GET /api/v1/namespaces/default/configmaps/a");
}

#[tokio::test]
async fn every_kind_of_patch_changes_what_it_says() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    maps.create(&config_map("a", "1")).await.expect("create");
    let apply = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "key": "5" } });
    for (patch, value) in [
        (Patch::Merge(json!({ "data": { "key": "2" } })), "2"),
        (Patch::Strategic(json!({ "data": { "key": "3" } })), "3"),
        (Patch::Json(json!([{ "op": "replace", "path": "/data/key", "value": "4" }])), "4"),
        (Patch::Apply(apply), "5"),
    ] {
        let options = PatchOptions::manager("test");
        let options = if matches!(patch, Patch::Apply(_)) { options.force() } else { options };
        let patched =
            maps.patch("a", &patch, &options).await.unwrap_or_else(|error| panic!("{patch:?}: {error}"));
        assert_eq!(value_of(&patched), value, "{patch:?}");
    }
}

#[tokio::test]
async fn a_dry_run_keeps_nothing() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let options = WriteOptions { dry_run: true, ..WriteOptions::manager("test") };
    assert!(!maps.create_with(&config_map("a", "1"), &options).await.expect("create").uid().is_empty());
    assert_eq!(maps.find("a").await.expect("find"), None);
}

#[tokio::test]
async fn a_list_is_gathered_page_by_page_and_selected() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    for number in 0..7 {
        let mut map = config_map(&format!("map-{number}"), "1");
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        map.metadata.labels = Some([("parity".to_owned(), parity.to_owned())].into());
        maps.create(&map).await.expect("create");
    }
    let all = maps.list_all(&ListOptions::default().limit(3)).await.expect("list");
    let names: Vec<&str> =
        all.items.iter().map(|map| map.name()).filter(|name| name.starts_with("map-")).collect();
    assert_eq!(names, ["map-0", "map-1", "map-2", "map-3", "map-4", "map-5", "map-6"]);
    assert!(all.metadata.continue_token.is_empty());
    let odd: LabelSelector = "parity in (odd)".parse().expect("a selector");
    assert_eq!(maps.list(&ListOptions::default().labels(odd)).await.expect("list").items.len(), 3);
    let one = FieldSelector::equal("metadata.name", "map-4");
    assert_eq!(maps.list(&ListOptions::default().fields(one)).await.expect("list").items.len(), 1);
    let everywhere =
        Api::<ConfigMap>::all(&cluster.client).list(&ListOptions::default()).await.expect("list");
    assert!(everywhere.items.len() >= 7);
}

#[tokio::test]
async fn an_api_of_all_namespaces_writes_where_the_object_says() {
    let cluster = Cluster::start().await;
    let namespace: Namespace = object(json!({ "metadata": { "name": "other" } }));
    Api::<Namespace>::all(&cluster.client).create(&namespace).await.expect("create the namespace");
    let mut map = config_map("a", "1");
    map.metadata.namespace = Some("other".to_owned());
    let everywhere = Api::<ConfigMap>::all(&cluster.client);
    let created = everywhere.create(&map).await.expect("create");
    assert_eq!(created.key().to_string(), "other/a");
    assert_eq!(everywhere.within("other").get("a").await.expect("get"), created);
}

#[tokio::test]
async fn untyped_objects_go_the_same_ways() {
    let cluster = Cluster::start().await;
    let kind = ResourceKind::dynamic("", "v1", "ConfigMap", "configmaps", true);
    let maps = Api::dynamic(&cluster.client, &kind, Some("default"));
    let map =
        Object::from_value(serde_json::to_value(config_map("a", "1")).expect("encodes")).expect("an object");
    let created = maps.create(&map).await.expect("create");
    assert_eq!(created.get_str(&["data", "key"]), Some("1"));
    assert_eq!(maps.get("a").await.expect("get").uid(), created.uid());
    maps.delete("a", &DeleteOptions::now().propagation(Propagation::Background)).await.expect("delete");
    assert_eq!(maps.find("a").await.expect("find"), None);
}

#[tokio::test]
async fn status_and_scale_are_written_apart_from_the_rest() {
    let cluster = Cluster::start().await;
    let sets = Api::<ReplicaSet>::namespaced(&cluster.client, "default");
    let mut set = sets.create(&replica_set("web", 2)).await.expect("create");
    set.status.get_or_insert_default().replicas = 2;
    set.spec.get_or_insert_default().replicas = Some(9);
    let updated = sets.update_status(&set).await.expect("update the status");
    assert_eq!(updated.status.map(|status| status.replicas), Some(2));
    assert_eq!(updated.spec.and_then(|spec| spec.replicas), Some(2), "only the status is taken");
    let patch = Patch::Merge(json!({ "status": { "replicas": 1 } }));
    let patched = sets.patch_status("web", &patch, &PatchOptions::default()).await.expect("patch the status");
    assert_eq!(patched.status.map(|status| status.replicas), Some(1));
    let mut scale = sets.get_scale("web").await.expect("get the scale");
    scale.spec.get_or_insert_default().replicas = Some(5);
    sets.update_scale("web", &scale).await.expect("update the scale");
    assert_eq!(sets.get("web").await.expect("get").spec.and_then(|spec| spec.replicas), Some(5));
}

#[tokio::test]
async fn a_watch_tells_changes_and_ends_with_the_failure() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let start = maps.list(&ListOptions::default()).await.expect("list").metadata.resource_version;
    let watch = maps.watch(&WatchOptions::after(start.clone())).await.expect("watch");
    pin_mut!(watch);
    maps.create(&config_map("a", "1")).await.expect("create");
    maps.update(&config_map("a", "2")).await.expect("update");
    maps.delete("a", &DeleteOptions::default()).await.expect("delete");
    let mut told = Vec::new();
    while told.len() < 3 {
        told.push(match watch.next().await.expect("the watch goes on").expect("no failure") {
            WatchEvent::Added(map) => format!("added {}", value_of(&map)),
            WatchEvent::Modified(map) => format!("modified {}", value_of(&map)),
            WatchEvent::Deleted(map) => format!("deleted {}", value_of(&map)),
            WatchEvent::Bookmark { .. } => continue,
        });
    }
    assert_eq!(told, ["added 1", "modified 2", "deleted 2"]);
    cluster.faults.cut_watches();
    assert!(matches!(watch.next().await, Some(Err(Error::Transport { .. }))));
    assert!(watch.next().await.is_none());
    cluster.faults.expire_next_watch();
    let expired = maps.watch(&WatchOptions::after(start)).await.map(drop);
    assert!(matches!(expired, Err(Error::Expired(_))), "{expired:?}");
}
