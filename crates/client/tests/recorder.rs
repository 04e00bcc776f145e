//! Events: what a recorder is given is found by whoever describes the object.
#![forbid(unsafe_code)]

mod support;

use std::sync::Arc;

use client::{Api, EventType, ListOptions, Recorder, Resource};
use k8s_openapi::api::core::v1::{Event, Node};
use model::select::FieldSelector;
use serde_json::json;
use support::{Cluster, config_map, object};
use testkit::wait_until_async;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn an_event_is_written_once_counted_and_found_by_its_object() {
    let cluster = Cluster::start().await;
    let map = cluster.config_maps().create(&config_map("a", "1")).await.expect("create");
    let node: Node = object(json!({ "metadata": { "name": "n1" } }));
    let node = Api::<Node>::all(&cluster.client).create(&node).await.expect("create");
    let clock = Arc::new(base::SystemClock::new());
    let (recorder, writer) = Recorder::new(&cluster.client, "tester", Some("here"), clock);
    let shutdown = CancellationToken::new();
    let writing = tokio::spawn(writer.run(shutdown.clone()));
    for _ in 0..3 {
        recorder.event(&map, EventType::Warning, "BackOff", "does not start");
    }
    recorder.event(&map, EventType::Normal, "Started", "x".repeat(5000));
    recorder.event(&node, EventType::Normal, "Ready", "it is");
    let events = Api::<Event>::namespaced(&cluster.client, "default");
    let of = |uid: &str| ListOptions::default().fields(FieldSelector::equal("involvedObject.uid", uid));
    let show = |events: Vec<Event>| {
        let mut lines: Vec<String> = events
            .iter()
            .map(|event| {
                let text = |field: &Option<String>| field.clone().unwrap_or_default();
                let message = text(&event.message);
                let count = event.count.unwrap_or_default();
                format!("{} {} {count} {}", text(&event.type_), text(&event.reason), message.len())
            })
            .collect();
        lines.sort();
        lines.join(", ")
    };
    wait_until_async("the events", || async {
        let found = show(events.list(&of(map.uid())).await.expect("list").items);
        if found == "Normal Started 1 1024, Warning BackOff 3 14" { Ok(()) } else { Err(found) }
    })
    .await;
    // What is cluster-wide is told of in the default namespace.
    wait_until_async("the node's event", || async {
        let found = events.list(&of(node.uid())).await.expect("list").items;
        if found.len() == 1 { Ok(()) } else { Err(found) }
    })
    .await;
    let told = events.list(&of(map.uid())).await.expect("list").items.remove(0);
    assert_eq!(told.source.and_then(|source| source.component).as_deref(), Some("tester"));
    assert_eq!(told.involved_object.kind.as_deref(), Some("ConfigMap"));
    shutdown.cancel();
    writing.await.expect("the writer ends");
}
