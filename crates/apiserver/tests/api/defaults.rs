//! What a later version fills in, over what an earlier one has stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use apiserver::Resource;
use model::default::{inside, missing};
use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// The kinds of a version in which deployments have two more defaults. Counts what they are asked of.
fn later(asked: &Arc<AtomicUsize>) -> Vec<Resource> {
    let mut all = kinds::all();
    let deployments = all.iter_mut().find(|resource| resource.kind == "Deployment").expect("it is a kind");
    let earlier = deployments.defaults.clone().expect("it has defaults");
    let asked = asked.clone();
    deployments.defaults = Some(Arc::new(move |fields| {
        asked.fetch_add(1, Ordering::Relaxed);
        earlier(fields)?;
        let spec = inside(fields, "spec");
        missing(spec, "minReadySeconds", 7);
        missing(inside(inside(spec, "template"), "spec"), "setHostnameAsFQDN", false);
        Ok(())
    }));
    deployments.defaults_version = "later".into();
    all
}

#[track_caller]
fn check_filled(deployment: &Value) {
    let spec = &deployment["spec"];
    assert_eq!(spec["minReadySeconds"], 7, "{deployment}");
    assert_eq!(spec["template"]["spec"]["setHostnameAsFQDN"], false, "{deployment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_versions_default_is_seen_at_once_and_changes_no_generation() {
    let asked = Arc::new(AtomicUsize::new(0));
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        cluster.ok("POST", DEPLOYMENTS, &deployment(name, 1)).await;
    }
    let before = cluster.ok("GET", &format!("{DEPLOYMENTS}/a"), &Value::Null).await;
    assert!(before["spec"].get("minReadySeconds").is_none());

    let (root, store) = cluster.stop().await;
    let cluster = Cluster::serving(root, Arc::new(store), later(&asked)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 3, "all that is stored may lack something");

    // Read one by one, listed from memory and from the store's history, and watched.
    let after = cluster.ok("GET", &format!("{DEPLOYMENTS}/a"), &Value::Null).await;
    check_filled(&after);
    assert_eq!(after["metadata"], before["metadata"], "nothing was written");
    let mut page = format!("{DEPLOYMENTS}?limit=1");
    for name in ["a", "b", "c"] {
        let list = cluster.ok("GET", &page, &Value::Null).await;
        check_filled(&list["items"][0]);
        assert_eq!(list["items"][0]["metadata"]["name"], name);
        let token = list["metadata"]["continue"].as_str().unwrap_or_default();
        page = format!("{DEPLOYMENTS}?limit=1&continue={token}");
    }
    let mut watch = cluster.watch(&format!("{DEPLOYMENTS}?watch=true")).await;
    check_filled(&watch.next_event().await.expect("an event")["object"]);
    drop(watch);

    // A change of something else is that change alone.
    let annotate = json!({"metadata": {"annotations": {"a": "b"}}});
    let patched = cluster.ok("PATCH", &format!("{DEPLOYMENTS}/a"), &annotate).await;
    check_filled(&patched);
    assert_eq!(patched["metadata"]["generation"], before["metadata"]["generation"]);
    let status = json!({"status": {"replicas": 1, "observedGeneration": 1}});
    let patched = cluster.ok("PATCH", &format!("{DEPLOYMENTS}/b/status"), &status).await;
    assert_eq!(patched["metadata"]["generation"], 1);

    // What this version has written is not looked at again.
    let (root, store) = cluster.stop().await;
    asked.store(0, Ordering::Relaxed);
    let cluster = Cluster::serving(root, Arc::new(store), later(&asked)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1, "only c is of the earlier version");
    for name in ["a", "b", "c"] {
        let found = cluster.ok("GET", &format!("{DEPLOYMENTS}/{name}"), &Value::Null).await;
        check_filled(&found);
        assert_eq!(found["metadata"]["generation"], 1);
    }
}
