//! A definition that changes while many write and watch what it defines.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::cluster::Cluster;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const NAME: &str = "levels.example.com";
const WRITERS: usize = 6;
const WATCHERS: usize = 3;
const CHANGES: usize = 24;
/// The last object that is made.
const LAST: &str = "last";

fn levels(version: &str) -> String {
    format!("/apis/example.com/{version}/namespaces/default/levels")
}

/// What is asked of levels changes with every round, and every other round they are stored in another version. By its
/// mark, which is filled in, each says what was asked of it when it was written.
fn definition(round: usize) -> Value {
    let size = match sign(round) {
        1 => json!({"type": "integer", "minimum": 1}),
        _ => json!({"type": "integer", "maximum": -1}),
    };
    let stored = if (round / 2).is_multiple_of(2) { "v1" } else { "v2" };
    let mark = json!({"type": "integer", "default": sign(round)});
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"size": size, "mark": mark}},
    }});
    let version = |name: &str| json!({"name": name, "served": true, "storage": name == stored, "schema": {"openAPIV3Schema": schema}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": NAME},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "levels", "kind": "Level"},
            "versions": [version("v1"), version("v2")],
        },
    })
}

fn sign(round: usize) -> i64 {
    if round.is_multiple_of(2) { 1 } else { -1 }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a revision")
}

/// Each is as the definition wanted it that filled in its mark.
#[track_caller]
fn check(object: &Value) {
    let number = |field: &str| object["spec"][field].as_i64();
    assert_eq!(number("size").map(i64::signum), number("mark"), "{object}");
}

/// What all share.
#[derive(Default)]
struct Work {
    next: AtomicI64,
    taken: AtomicUsize,
    refused: AtomicUsize,
    over: AtomicBool,
    /// Objects by name and revision, as they were acknowledged.
    acknowledged: Mutex<HashSet<(String, u64)>>,
}

impl Work {
    /// A size that nothing had before: what has not changed may stay though it is wrong.
    fn size(&self) -> i64 {
        let next = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        if next % 2 == 0 { next } else { -next }
    }

    fn note(&self, code: u16, answer: &Value) {
        match code {
            200 | 201 => {
                check(answer);
                self.taken.fetch_add(1, Ordering::SeqCst);
                let noted = (name(answer).to_owned(), revision(answer));
                self.acknowledged.lock().expect("nobody panics").insert(noted);
            }
            422 => {
                let message = answer["message"].as_str().unwrap_or_default();
                assert!(message.contains("spec.size: Invalid value"), "{message}");
                self.refused.fetch_add(1, Ordering::SeqCst);
            }
            // Nobody has made it yet, somebody was faster, or the definition became another meanwhile.
            404 | 409 | 429 => {}
            _ => panic!("{code} {answer}"),
        }
    }
}

/// Makes objects of its own, and changes those of all.
async fn write(cluster: &Cluster, work: &Work, writer: usize) {
    let mut turn = writer;
    while !work.over.load(Ordering::SeqCst) {
        turn += 1;
        let version = ["v1", "v2"][turn / 4 % 2];
        let (collection, shared) = (levels(version), format!("shared{}", turn % 3));
        let path = format!("{collection}/{shared}");
        let made = |name: &str| {
            json!({"apiVersion": format!("example.com/{version}"), "kind": "Level", "metadata": {"name": name},
                   "spec": {"size": work.size()}})
        };
        let (code, answer) = match turn % 4 {
            0 => cluster.send("POST", &collection, &made(&format!("w{writer}-{turn}"))).await,
            1 => cluster.send("PATCH", &path, &json!({"spec": {"size": work.size(), "mark": null}})).await,
            2 => {
                let apply = "application/apply-patch+yaml";
                let path = format!("{path}?fieldManager=w{writer}&force=true");
                let mut object = made(&shared);
                object["spec"]["mark"] = Value::Null;
                cluster.send_as("PATCH", &path, apply, object.to_string().into()).await
            }
            _ => {
                let (code, mut object) = cluster.get(&path).await;
                if code != 200 {
                    continue;
                }
                check(&object);
                object["spec"] = json!({"size": work.size()});
                cluster.send("PUT", &path, &object).await
            }
        };
        work.note(code, &answer);
    }
}

/// What somebody who watches has seen.
#[derive(Default)]
struct Seen {
    at: u64,
    objects: BTreeMap<String, u64>,
    events: HashSet<(String, u64)>,
    begun: usize,
}

impl Seen {
    fn take(&mut self, event: &Value) {
        let object = &event["object"];
        check(object);
        let (name, revision) = (name(object).to_owned(), revision(object));
        assert!(revision > self.at, "{name} at {revision} comes after {}", self.at);
        self.at = revision;
        let before = self.objects.insert(name.clone(), revision);
        let expected = if before.is_some() { "MODIFIED" } else { "ADDED" };
        assert_eq!(event["type"], expected, "{event}");
        self.events.insert((name, revision));
    }
}

/// Watches, and goes on where a watch has ended, until the last object has come.
async fn watch(cluster: &Cluster, version: &str, begins: tokio::sync::oneshot::Sender<()>) -> Seen {
    let collection = levels(version);
    let mut seen = Seen::default();
    let (code, list) = cluster.get(&collection).await;
    assert_eq!(code, 200, "{list}");
    seen.at = revision(&list);
    assert_eq!(list["items"], json!([]), "it is the first");
    begins.send(()).expect("it is waited for");
    while !seen.objects.contains_key(LAST) {
        seen.begun += 1;
        let mut watch = cluster.watch(&format!("{collection}?watch=true&resourceVersion={}", seen.at)).await;
        while let Some(event) = watch.next_event().await {
            seen.take(&event);
            if name(&event["object"]) == LAST {
                break;
            }
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_is_as_the_definition_wanted_it_and_who_watches_misses_nothing() {
    let cluster = Arc::new(Cluster::start().await);
    cluster.ok("POST", DEFINITIONS, &definition(0)).await;
    let path = format!("{DEFINITIONS}/{NAME}");
    testkit::wait_until_async("the kind to be served", || async {
        let (code, answer) = cluster.get(&levels("v2")).await;
        if code == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    let mut watching = Vec::new();
    for watcher in 0..WATCHERS {
        let (begins, begun) = tokio::sync::oneshot::channel();
        let cluster = cluster.clone();
        watching.push(tokio::spawn(async move { watch(&cluster, ["v1", "v2"][watcher % 2], begins).await }));
        begun.await.expect("a watcher begins with nothing");
    }
    let work = Arc::new(Work::default());
    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (cluster, work) = (cluster.clone(), work.clone());
            tokio::spawn(async move { write(&cluster, &work, writer).await })
        })
        .collect();
    for round in 1..=CHANGES {
        let enough = work.taken.load(Ordering::SeqCst) + 10;
        testkit::wait_until_async("writes to be taken", || async {
            let taken = work.taken.load(Ordering::SeqCst);
            if taken >= enough { Ok(()) } else { Err(taken) }
        })
        .await;
        testkit::wait_until_async("the definition to be changed", || async {
            let mut now = cluster.get(&path).await.1;
            now["spec"] = definition(round)["spec"].clone();
            match cluster.send("PUT", &path, &now).await {
                (200, _) => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
    work.over.store(true, Ordering::SeqCst);
    for writer in writing {
        writer.await.expect("a writer ends well");
    }
    let size = sign(CHANGES) * 1_000_000;
    let last = json!({"apiVersion": "example.com/v1", "kind": "Level", "metadata": {"name": LAST}, "spec": {"size": size}});
    let last = cluster.ok("POST", &levels("v1"), &last).await;
    work.note(201, &last);
    let acknowledged = work.acknowledged.lock().expect("nobody panics").clone();
    let mut ends = 0;
    for watcher in watching {
        let seen = watcher.await.expect("a watcher ends well");
        let missed: Vec<_> = acknowledged.difference(&seen.events).collect();
        assert!(missed.is_empty(), "of {} were missed: {missed:?}", acknowledged.len());
        ends += seen.begun - 1;
    }
    assert!(ends > 0 && work.refused.load(Ordering::SeqCst) > 0, "{ends} watches ended");

    // Nothing of it was in memory only.
    let cluster = Arc::into_inner(cluster).expect("nobody else has it").restart().await;
    let (code, list) = cluster.get(&levels("v2")).await;
    assert_eq!(code, 200, "{list}");
    let items = list["items"].as_array().expect("items");
    items.iter().for_each(check);
    let newest = acknowledged.iter().fold(BTreeMap::new(), |mut newest, (name, revision)| {
        let known = newest.entry(name.as_str()).or_insert(*revision);
        *known = (*known).max(*revision);
        newest
    });
    let found: BTreeMap<&str, u64> = items.iter().map(|item| (name(item), revision(item))).collect();
    assert_eq!(found, newest);
}
