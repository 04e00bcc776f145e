//! Watches: from where, of what, and how they end.

use serde_json::json;

use crate::cluster::{Cluster, named, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_watch_goes_on_from_the_revision_of_a_list() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "before")).await;
    let list = cluster.get(MAPS).await.1;
    let revision = list["metadata"]["resourceVersion"].as_str().expect("a revision");
    let mut watch = cluster.watch(&format!("{MAPS}?watch=true&resourceVersion={revision}")).await;
    let made = cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    cluster.ok("PATCH", &format!("{MAPS}/a"), &json!({"data": {"k": "v"}})).await;
    cluster.ok("DELETE", &format!("{MAPS}/a"), &json!({})).await;
    let added = watch.next_event().await.expect("an event");
    assert_eq!((added["type"].as_str(), &added["object"]), (Some("ADDED"), &made));
    assert_eq!(watch.next().await, "MODIFIED a");
    let deleted = watch.next_event().await.expect("an event");
    assert_eq!(deleted["object"]["data"]["k"], "v");
    let revision = |event: &serde_json::Value| {
        event["object"]["metadata"]["resourceVersion"].as_str().and_then(|r| r.parse::<u64>().ok())
    };
    assert!(revision(&deleted) > revision(&added));
}

#[tokio::test]
async fn a_watch_without_a_revision_begins_with_what_there_is() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    let mut watch = cluster.watch(&format!("{MAPS}?watch=1")).await;
    assert_eq!(watch.next().await, "ADDED a");
    cluster.ok("POST", MAPS, &named("ConfigMap", "b")).await;
    assert_eq!(watch.next().await, "ADDED b");
}

#[tokio::test]
async fn a_watch_list_marks_the_end_of_what_there_is_by_a_bookmark() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    let mut watch = cluster
        .watch(&format!(
            "{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        ))
        .await;
    assert_eq!(watch.next().await, "ADDED a");
    let mark = watch.next_event().await.expect("an event");
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let revision = mark["object"]["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned();
    cluster.ok("POST", MAPS, &named("ConfigMap", "b")).await;
    assert_eq!(watch.next().await, "ADDED b");
    let mut again = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={revision}")).await;
    assert_eq!(again.next().await, "ADDED b");
}

#[tokio::test]
async fn objects_that_enter_or_leave_a_selection_are_added_or_deleted() {
    let cluster = Cluster::start().await;
    let mut watch = cluster.watch(&format!("{MAPS}?watch=1&labelSelector=app%3Dweb")).await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    let label = |value: serde_json::Value| json!({"metadata": {"labels": {"app": value}}});
    cluster.ok("PATCH", &format!("{MAPS}/a"), &label(json!("web"))).await;
    assert_eq!(watch.next().await, "ADDED a");
    cluster.ok("PATCH", &format!("{MAPS}/a"), &json!({"data": {"k": "v"}})).await;
    assert_eq!(watch.next().await, "MODIFIED a");
    let away = cluster.ok("PATCH", &format!("{MAPS}/a"), &label(json!("db"))).await;
    let event = watch.next_event().await.expect("an event");
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["metadata"]["labels"]["app"], "web");
    assert_eq!(event["object"]["metadata"]["resourceVersion"], away["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn one_object_can_be_watched_by_its_name() {
    let cluster = Cluster::start().await;
    let mut watch = cluster.watch(&format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Db")).await;
    for name in ["a", "b"] {
        cluster.ok("POST", MAPS, &named("ConfigMap", name)).await;
    }
    assert_eq!(watch.next().await, "ADDED b");
}

#[tokio::test]
async fn a_pod_comes_to_its_node_and_leaves_those_without_one() {
    let cluster = Cluster::start().await;
    let open = async |path: &str, node: &str| {
        cluster.watch(&format!("{path}?watch=1&fieldSelector=spec.nodeName%3D{node}")).await
    };
    let pods = "/api/v1/namespaces/default/pods";
    let mut here = open("/api/v1/pods", "n1").await;
    let mut inside = open(pods, "n1").await;
    let mut elsewhere = open("/api/v1/namespaces/kube-system/pods", "n1").await;
    let mut there = open("/api/v1/pods", "n2").await;
    let mut waiting = open("/api/v1/pods", "").await;
    cluster.ok("POST", pods, &pod("a")).await;
    assert_eq!(waiting.next().await, "ADDED a");
    let bind = |node: &str| json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": node}});
    cluster.ok("POST", &format!("{pods}/a/binding"), &bind("n1")).await;
    let now = cluster.get(&format!("{pods}/a")).await.1;
    let left = waiting.next_event().await.expect("an event");
    assert_eq!((left["type"].as_str(), left["object"]["spec"]["nodeName"].as_str()), (Some("DELETED"), None));
    assert_eq!(left["object"]["metadata"]["resourceVersion"], now["metadata"]["resourceVersion"]);
    for watch in [&mut here, &mut inside] {
        let came = watch.next_event().await.expect("an event");
        assert_eq!((came["type"].as_str(), &came["object"]), (Some("ADDED"), &now));
    }
    cluster.ok("PATCH", &format!("{pods}/a"), &json!({"metadata": {"labels": {"k": "v"}}})).await;
    cluster.ok("DELETE", &format!("{pods}/a"), &json!({"gracePeriodSeconds": 0})).await;
    for watch in [&mut here, &mut inside] {
        assert_eq!(watch.next().await, "MODIFIED a");
        assert_eq!(watch.next().await, "DELETED a");
    }
    // Those whom nothing concerned are told of the next that does.
    let mut last = pod("b");
    last["spec"]["nodeName"] = json!("n2");
    cluster.ok("POST", pods, &last).await;
    assert_eq!(there.next().await, "ADDED b");
    cluster
        .ok("POST", "/api/v1/namespaces/kube-system/serviceaccounts", &named("ServiceAccount", "default"))
        .await;
    last["spec"]["nodeName"] = json!("n1");
    cluster.ok("POST", "/api/v1/namespaces/kube-system/pods", &last).await;
    assert_eq!(elsewhere.next().await, "ADDED b");
    assert_eq!(here.next().await, "ADDED b");
}

#[tokio::test]
async fn a_watch_goes_on_over_a_restart_as_long_as_the_store_remembers() {
    let cluster = Cluster::start().await;
    let first = cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    let first = first["metadata"]["resourceVersion"].as_str().expect("a revision");
    let label = |value: &str| json!({"metadata": {"labels": {"app": value}}});
    cluster.ok("PATCH", &format!("{MAPS}/a"), &label("web")).await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "b")).await;
    cluster.ok("PATCH", &format!("{MAPS}/a"), &label("db")).await;
    cluster.ok("DELETE", &format!("{MAPS}/a"), &json!({})).await;
    let cluster = cluster.restart().await;
    let mut all = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={first}")).await;
    let mut web =
        cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={first}&labelSelector=app=web")).await;
    let mut one =
        cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={first}&fieldSelector=metadata.name=b")).await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "c")).await;
    for expected in ["MODIFIED a", "ADDED b", "MODIFIED a"] {
        assert_eq!(all.next().await, expected);
    }
    let gone = all.next_event().await.expect("an event");
    assert_eq!(
        (gone["type"].as_str(), &gone["object"]["metadata"]["labels"]["app"]),
        (Some("DELETED"), &json!("db"))
    );
    // From there on it is told what memory has.
    assert_eq!(all.next().await, "ADDED c");
    assert_eq!(web.next().await, "ADDED a");
    let left = web.next_event().await.expect("an event");
    assert_eq!(
        (left["type"].as_str(), &left["object"]["metadata"]["labels"]["app"]),
        (Some("DELETED"), &json!("web"))
    );
    assert_eq!(one.next().await, "ADDED b");
}

#[tokio::test]
async fn who_is_behind_what_memory_holds_is_told_by_the_store() {
    let root = tempfile::tempdir().expect("temporary directory");
    // However long this takes.
    let options = store::Options { history_age: None, ..store::Options::default() };
    let clock = std::sync::Arc::new(base::SystemClock::new());
    let store = store::Embedded::open(&root.path().join("store"), options, clock).expect("open the store");
    let cluster = Cluster::over(root, std::sync::Arc::new(store)).await;
    let first = cluster.ok("POST", MAPS, &named("ConfigMap", "first")).await;
    let revision = first["metadata"]["resourceVersion"].as_str().expect("a revision");
    // More than memory holds of changes.
    for index in 0..20 {
        let mut map = named("ConfigMap", &format!("m{index:02}"));
        map["data"] = json!({"text": "x".repeat(512 << 10)});
        cluster.ok("POST", MAPS, &map).await;
        cluster
            .ok(
                "POST",
                "/api/v1/namespaces/kube-system/configmaps",
                &named("ConfigMap", &format!("o{index}")),
            )
            .await;
    }
    let mut all = cluster.watch(&format!("/api/v1/configmaps?watch=1&resourceVersion={revision}")).await;
    let mut inside = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={revision}")).await;
    cluster.ok("PATCH", &format!("{MAPS}/first"), &json!({"data": {"k": "v"}})).await;
    for index in 0..20 {
        assert_eq!(all.next().await, format!("ADDED m{index:02}"));
        assert_eq!(all.next().await, format!("ADDED o{index}"));
        assert_eq!(inside.next().await, format!("ADDED m{index:02}"));
    }
    assert_eq!(all.next().await, "MODIFIED first");
    assert_eq!(inside.next().await, "MODIFIED first");
}

#[tokio::test]
async fn a_revision_that_is_no_longer_known_has_expired() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    let compacted = async |store: &dyn store::Store| {
        let revision = store.status().await.expect("a status").revision;
        store.compact(revision).await.expect("compact");
    };
    let cluster = cluster.restart_after(compacted).await;
    let mut watch = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion=1")).await;
    let event = watch.next_event().await.expect("an event");
    assert_eq!(event["type"], "ERROR");
    assert_eq!(
        (event["object"]["code"].as_i64(), event["object"]["reason"].as_str()),
        (Some(410), Some("Expired"))
    );
    assert_eq!(watch.next().await, "end");
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over_with_a_bookmark_if_wanted() {
    let cluster = Cluster::start().await;
    let mut watch = cluster.watch(&format!("{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true")).await;
    assert_eq!(watch.next().await, "BOOKMARK");
    assert_eq!(watch.next().await, "end");
}

#[tokio::test]
async fn events_are_the_same_objects_in_both_of_their_groups() {
    let cluster = Cluster::start().await;
    let mut watch = cluster.watch("/apis/events.k8s.io/v1/namespaces/default/events?watch=1").await;
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Started", "message": "hello", "type": "Normal",
    });
    cluster.ok("POST", "/api/v1/namespaces/default/events", &event).await;
    let seen = watch.next_event().await.expect("an event");
    assert_eq!(seen["object"]["apiVersion"], "events.k8s.io/v1");
    assert_eq!(
        (seen["object"]["note"].as_str(), seen["object"]["regarding"]["name"].as_str()),
        (Some("hello"), Some("p"))
    );
    let path = "/apis/events.k8s.io/v1/namespaces/default/events/e";
    assert_eq!(cluster.get(path).await.1["note"], "hello");
}

#[tokio::test]
async fn few_events_share_a_lease_since_they_go_together() {
    let cluster = Cluster::start().await;
    let make = |index: usize| {
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("e{index}"), "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
            "reason": "Started", "message": "hello", "type": "Normal",
        });
        let cluster = &cluster;
        async move { cluster.ok("POST", "/api/v1/namespaces/default/events", &event).await }
    };
    for batch in (0..350).collect::<Vec<_>>().chunks(50) {
        futures::future::join_all(batch.iter().map(|index| make(*index))).await;
    }
    let mut of_lease = std::collections::HashMap::new();
    let look = async |store: &dyn store::Store| {
        let range = store::Range::new(store::KeyRange::prefix("/registry/core/events/default/e"));
        for event in store.range(range).await.expect("a range").items {
            *of_lease.entry(event.lease.expect("it goes by itself")).or_insert(0) += 1;
        }
    };
    cluster.restart_after(look).await;
    assert_eq!(of_lease.values().sum::<usize>(), 350);
    assert!(of_lease.values().all(|many| *many <= 100), "{of_lease:?}");
    // As many as there were at once may each have begun one.
    assert!(of_lease.len() <= 4 * 50, "{of_lease:?}");
}

#[tokio::test]
async fn a_watch_may_be_asked_to_last_longer_than_any_clock_does() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    for seconds in [i64::MAX, i64::MAX / 2, 1 << 40] {
        let mut watch = cluster.watch(&format!("{MAPS}?watch=1&timeoutSeconds={seconds}")).await;
        assert_eq!(watch.next().await, "ADDED a");
    }
}

#[tokio::test]
async fn a_watch_ends_in_time_though_there_is_more_to_tell() {
    let cluster = Cluster::start().await;
    let first = cluster.ok("POST", MAPS, &named("ConfigMap", "first")).await;
    let revision = first["metadata"]["resourceVersion"].as_str().expect("a revision");
    for index in 0..300 {
        let mut map = named("ConfigMap", &format!("m{index}"));
        map["data"] = json!({"text": "x".repeat(10_000)});
        cluster.ok("POST", MAPS, &map).await;
    }
    let path = format!("{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion={revision}");
    let began = std::time::Instant::now();
    let mut watch = cluster.watch(&path).await;
    let mut told = 1;
    assert_eq!(watch.next().await, "ADDED m0");
    while began.elapsed() < std::time::Duration::from_millis(1100) {
        tokio::task::yield_now().await;
    }
    // What is on its way already still comes, and then how far the client has come.
    let mut last = String::new();
    while let Some(event) = watch.next_event().await {
        let text = |field: &str| event["object"]["metadata"][field].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str() {
            Some("BOOKMARK") => assert_eq!(text("resourceVersion"), last),
            _ => (last, told) = (text("resourceVersion"), told + 1),
        }
    }
    assert!(told < 100, "{told} events were told");
}
