//! A kind in two versions, of which one is stored, and a conversion that is asked far away, takes its time
//! and may fail: what a custom kind with a webhook is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apiserver::resource::{Conversion, Convert, ConvertError, Converting};
use apiserver::{Identity, Resource};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::Either;
use model::select::Selectable;
use model::{GroupVersionKind, Object};
use parking_lot::Mutex;
use serde_json::{Value, json};
use store::Store;
use tokio::sync::watch;

use crate::cluster::Cluster;

const V1: &str = "/apis/example.org/v1/namespaces/default/gadgets";
const V2: &str = "/apis/example.org/v2/namespaces/default/gadgets";

/// What is done to an answer.
type Change = fn(&mut Vec<Object>);

/// Version 1 has a size as a text, version 2 an amount.
struct Far {
    /// How often what was read was asked for, by name, revision and version.
    asked: Mutex<BTreeMap<(String, String, String), usize>>,
    /// Objects that cannot be converted.
    refused: Mutex<BTreeSet<String>>,
    /// Objects of which nothing is answered.
    held: watch::Sender<BTreeSet<String>>,
    /// How many wait for an answer.
    waiting: watch::Sender<usize>,
    /// What is wrong with the next answer.
    wrong: Mutex<Option<Change>>,
}

/// The same for both versions.
struct Asked(Arc<Far>);

impl Convert for Asked {
    fn name(&self) -> &str {
        "conversion webhook"
    }

    fn convert(&self, mut objects: Vec<Object>, to: &GroupVersionKind) -> Converting<'_> {
        let (far, to) = (self.0.clone(), to.clone());
        Either::Right(
            async move {
                for object in &objects {
                    let key =
                        (object.name().to_owned(), object.resource_version().to_owned(), to.version.clone());
                    *far.asked.lock().entry(key).or_default() += 1;
                }
                let mut held = far.held.subscribe();
                let free =
                    |held: &BTreeSet<String>| !objects.iter().any(|object| held.contains(object.name()));
                if !free(&held.borrow()) {
                    far.waiting.send_modify(|waiting| *waiting += 1);
                    held.wait_for(free).await.expect("it lives as long as the test");
                }
                tokio::task::yield_now().await;
                if objects.iter().any(|object| far.refused.lock().contains(object.name())) {
                    return Err(ConvertError("no way to the webhook".to_owned()));
                }
                for object in &mut objects {
                    turn(object, &to);
                }
                if let Some(wrong) = far.wrong.lock().take() {
                    wrong(&mut objects);
                }
                Ok(objects)
            }
            .boxed(),
        )
    }
}

fn turn(object: &mut Object, to: &GroupVersionKind) {
    object.set(&["apiVersion"], to.api_version());
    if to.version == "v2" {
        let size = object.remove(&["spec", "size"]).unwrap_or_default();
        let amount: i64 = size.as_str().and_then(|size| size.parse().ok()).unwrap_or_default();
        object.set(&["spec", "amount"], amount);
    } else {
        let amount = object.remove(&["spec", "amount"]).unwrap_or_default();
        object.set(&["spec", "size"], amount.as_i64().unwrap_or_default().to_string());
    }
    // Nobody may take anything else of the metadata away.
    object.set(&["metadata", "finalizers"], json!(["example.org/made-up"]));
    object.set_label("turned", &to.version);
}

impl Far {
    /// How often objects of a name were asked for in version 2, by revision.
    fn reads(&self, name: &str) -> Vec<usize> {
        let asked = self.asked.lock();
        let of =
            asked.iter().filter(|((of, revision, to), _)| of == name && !revision.is_empty() && to == "v2");
        of.map(|(_, times)| *times).collect()
    }

    fn refuse(&self, names: &[&str]) {
        *self.refused.lock() = names.iter().map(|name| (*name).to_owned()).collect();
    }

    fn hold(&self, names: &[&str]) {
        self.held.send_replace(names.iter().map(|name| (*name).to_owned()).collect());
    }

    async fn until_waited_for(&self) {
        self.waiting
            .subscribe()
            .wait_for(|waiting| *waiting > 0)
            .await
            .expect("it lives as long as the test");
    }
}

fn gadgets(far: &Arc<Far>) -> Vec<Resource> {
    let kind = |version: &str| GroupVersionKind::new("example.org", version, "Gadget");
    let conversion = Conversion::new(kind("v1"), Asked(far.clone()));
    let entry = |version: &str, field: &'static str| {
        Resource::new(&kind(version), "gadgets")
            .status()
            .selectable([Selectable::by(field, move |object: &Object| {
                let spec = object.get(&["spec"]).cloned().unwrap_or_default();
                spec["amount"].as_i64().map_or_else(String::new, |amount| amount.to_string()).into()
            })])
            .stored_as(conversion.clone())
    };
    vec![entry("v1", "spec.size"), entry("v2", "spec.amount")]
}

async fn cluster() -> (Arc<Cluster>, Arc<Far>) {
    let far = Arc::new(Far {
        asked: Mutex::default(),
        refused: Mutex::default(),
        held: watch::Sender::default(),
        waiting: watch::Sender::new(0),
        wrong: Mutex::new(None),
    });
    let mut all = kinds::all();
    all.extend(gadgets(&far));
    (Arc::new(Cluster::of(all).await), far)
}

fn v1(name: &str, size: &str) -> Value {
    json!({"apiVersion": "example.org/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": {"size": size}})
}

fn v2(name: &str, amount: i64) -> Value {
    json!({"apiVersion": "example.org/v2", "kind": "Gadget", "metadata": {"name": name}, "spec": {"amount": amount}})
}

const FAILED: &str = "conversion webhook for example.org/v1, Kind=Gadget failed: no way to the webhook";

#[tokio::test(flavor = "multi_thread")]
async fn each_version_shows_what_the_other_has_written() {
    let (cluster, _) = cluster().await;
    let first = cluster.ok("POST", V1, &v1("first", "3")).await;
    assert_eq!((&first["spec"], &first["apiVersion"]), (&json!({"size": "3"}), &json!("example.org/v1")));
    let shown = cluster.ok("GET", &format!("{V2}/first"), &Value::Null).await;
    assert_eq!((&shown["spec"], &shown["apiVersion"]), (&json!({"amount": 3}), &json!("example.org/v2")));
    // Of the metadata, labels may be others.
    let mut metadata = first["metadata"].clone();
    metadata["labels"] = json!({"turned": "v2"});
    assert_eq!(shown["metadata"], metadata);

    let second = cluster.ok("POST", V2, &v2("second", 5)).await;
    assert_eq!(second["spec"], json!({"amount": 5}));
    let changed = cluster.ok("PATCH", &format!("{V2}/first"), &json!({"spec": {"amount": 4}})).await;
    assert_eq!(changed["spec"], json!({"amount": 4}));
    assert_eq!(changed["metadata"]["uid"], first["metadata"]["uid"]);
    let mut replaced = changed.clone();
    replaced["spec"]["amount"] = json!(6);
    cluster.ok("PUT", &format!("{V2}/first"), &replaced).await;
    cluster.ok("PATCH", &format!("{V2}/first/status"), &json!({"status": {"ready": true}})).await;
    let (list, other) = (cluster.get(V1).await.1, cluster.get(V2).await.1);
    let items = |list: &Value, field: &str| -> Vec<Value> {
        let items = list["items"].as_array().expect("items").iter();
        items.map(|item| json!([item["apiVersion"], item["metadata"]["name"], item["spec"][field]])).collect()
    };
    assert_eq!(
        items(&list, "size"),
        [json!(["example.org/v1", "first", "6"]), json!(["example.org/v1", "second", "5"])]
    );
    assert_eq!(
        items(&other, "amount"),
        [json!(["example.org/v2", "first", 6]), json!(["example.org/v2", "second", 5])]
    );
    assert_eq!(
        (&list["apiVersion"], &other["apiVersion"]),
        (&json!("example.org/v1"), &json!("example.org/v2"))
    );
    assert_eq!(list["items"][0]["status"], json!({"ready": true}));
    // What changes nothing writes nothing, in either version.
    let before = cluster.ok("GET", &format!("{V2}/first"), &Value::Null).await;
    let same = cluster.ok("PUT", &format!("{V2}/first"), &before).await;
    assert_eq!(same["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    cluster.ok("DELETE", &format!("{V2}/first"), &json!({})).await;
    assert_eq!(cluster.get(&format!("{V1}/first")).await.0, 404);

    let cluster = Arc::into_inner(cluster).expect("nobody else has it");
    let (_root, store) = cluster.stop().await;
    let key = store::KeyRange::key("/registry/example.org/gadgets/default/second");
    let stored = store.range(store::Range::new(key)).await.expect("the store answers");
    let stored: Value = serde_json::from_slice(&stored.items[0].value).expect("JSON");
    assert_eq!((&stored["apiVersion"], &stored["spec"]), (&json!("example.org/v1"), &json!({"size": "5"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_converted_once_for_a_version_and_revision_however_many_read_it() {
    let (cluster, far) = cluster().await;
    let mut watches = Vec::new();
    for _ in 0..100 {
        watches.push(cluster.watch(&format!("{V2}?watch=true")).await);
    }
    let following = watches.into_iter().map(|mut watch| {
        tokio::spawn(async move {
            let mut told = Vec::new();
            while told.len() < 4 {
                let event = watch.next_event().await.expect("an event");
                let object = &event["object"];
                assert_eq!(object["apiVersion"], "example.org/v2", "{event}");
                told.push(format!(
                    "{} {}",
                    event["type"].as_str().expect("a type"),
                    object["spec"]["amount"]
                ));
            }
            told
        })
    });
    let following: Vec<_> = following.collect();
    cluster.ok("POST", V1, &v1("a", "1")).await;
    cluster.ok("PATCH", &format!("{V1}/a"), &json!({"spec": {"size": "2"}})).await;
    let last = cluster.ok("PATCH", &format!("{V1}/a"), &json!({"spec": {"size": "3"}})).await;
    for _ in 0..3 {
        assert_eq!(cluster.get(&format!("{V2}/a")).await.1["spec"]["amount"], 3);
        assert_eq!(cluster.get(V2).await.1["items"][0]["spec"]["amount"], 3);
        let selected =
            cluster.get(&format!("{V2}?labelSelector=turned%3Dv2&fieldSelector=spec.amount%3D3")).await;
        assert_eq!(selected.1["items"][0]["spec"]["amount"], 3);
        // As it was at a revision, which is read from the store.
        let revision = last["metadata"]["resourceVersion"].as_str().expect("a revision");
        let past = cluster.get(&format!("{V2}?resourceVersion={revision}&resourceVersionMatch=Exact")).await;
        assert_eq!(past.1["items"][0]["spec"]["amount"], 3, "{}", past.1);
    }
    cluster.ok("DELETE", &format!("{V1}/a"), &json!({})).await;
    for told in following {
        assert_eq!(told.await.expect("no panic"), ["ADDED 1", "MODIFIED 2", "MODIFIED 3", "DELETED 3"]);
    }
    assert_eq!(far.reads("a"), [1, 1, 1], "{:?}", far.asked.lock());
    let v1_asked = far.asked.lock().keys().filter(|(_, _, to)| to == "v1").count();
    assert_eq!(v1_asked, 0, "what is stored as it is served is not converted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_converted_fails_who_asks_for_it_and_nothing_is_lost() {
    let (cluster, far) = cluster().await;
    for (name, size) in [("a", "1"), ("b", "2"), ("c", "3")] {
        cluster.ok("POST", V1, &v1(name, size)).await;
    }
    far.refuse(&["b"]);
    // One object, a list, a part of it, and a table: with the webhook's reason.
    for path in [format!("{V2}/b"), V2.to_owned(), format!("{V2}?labelSelector=x"), format!("{V2}?limit=2")] {
        let (code, status) = cluster.get(&path).await;
        assert_eq!((code, &status["message"]), (500, &json!(FAILED)), "{path}: {status}");
        assert_eq!(status.get("reason").filter(|reason| **reason != ""), None, "{status}");
    }
    // A page without it, others, and the stored version are as ever.
    assert_eq!(cluster.get(&format!("{V2}/a")).await.1["spec"]["amount"], 1);
    assert_eq!(cluster.get(&format!("{V2}?limit=1")).await.1["items"][0]["spec"]["amount"], 1);
    assert_eq!(cluster.get(V1).await.1["items"].as_array().map(Vec::len), Some(3));

    // A watch that begins with what there is ends with the error.
    let mut watch = cluster.watch(&format!("{V2}?watch=true")).await;
    let event = watch.next_event().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]["message"]), (&json!("ERROR"), &json!(FAILED)), "{event}");
    assert_eq!(event["object"]["code"], 500);
    assert_eq!(watch.next().await, "end");

    // One that follows is told of all before it, then of the error; from there on nothing is missing.
    let list = cluster.get(V1).await.1;
    let begin = list["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned();
    cluster.ok("PATCH", &format!("{V1}/a"), &json!({"spec": {"size": "10"}})).await;
    cluster.ok("PATCH", &format!("{V1}/b"), &json!({"spec": {"size": "20"}})).await;
    cluster.ok("PATCH", &format!("{V1}/c"), &json!({"spec": {"size": "30"}})).await;
    let mut watch = cluster.watch(&format!("{V2}?watch=true&resourceVersion={begin}")).await;
    let event = watch.next_event().await.expect("an event");
    assert_eq!(
        (&event["type"], &event["object"]["spec"]["amount"]),
        (&json!("MODIFIED"), &json!(10)),
        "{event}"
    );
    let last = event["object"]["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned();
    assert_eq!(watch.next_event().await.expect("an event")["object"]["message"], FAILED);
    assert_eq!(watch.next().await, "end");
    far.refuse(&[]);
    let mut watch = cluster.watch(&format!("{V2}?watch=true&resourceVersion={last}")).await;
    assert_eq!(watch.next_event().await.expect("an event")["object"]["spec"]["amount"], 20);
    assert_eq!(watch.next_event().await.expect("an event")["object"]["spec"]["amount"], 30);
    assert_eq!(cluster.get(V2).await.1["items"].as_array().map(Vec::len), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_cannot_be_converted_is_refused_and_changes_nothing() {
    let (cluster, far) = cluster().await;
    cluster.ok("POST", V1, &v1("old", "1")).await;
    let before = cluster.get(V1).await.1;
    far.refuse(&["new", "old"]);
    let (code, status) = cluster.send("POST", V2, &v2("new", 1)).await;
    let failed = "conversion webhook for example.org/v2, Kind=Gadget failed: no way to the webhook";
    assert_eq!((code, &status["message"]), (500, &json!(failed)), "{status}");
    for (method, body) in
        [("PATCH", json!({"spec": {"amount": 2}})), ("PUT", v2("old", 2)), ("DELETE", json!({}))]
    {
        let (code, status) = cluster.send(method, &format!("{V2}/old"), &body).await;
        assert_eq!((code, &status["message"]), (500, &json!(FAILED)), "{method} {status}");
    }
    let (code, _) = cluster.send("DELETE", V2, &json!({})).await;
    assert_eq!(code, 500);
    assert_eq!(cluster.get(V1).await.1["items"], before["items"]);
    // What is written in the stored version needs nobody.
    cluster.ok("PATCH", &format!("{V1}/old"), &json!({"spec": {"size": "2"}})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_conversion_answers_is_checked() {
    let (cluster, far) = cluster().await;
    cluster.ok("POST", V1, &v1("a", "1")).await;
    let wrong: [(Change, &str); 4] = [
        (|objects| objects.clear(), "returned 0 objects, expected 1"),
        (
            |objects| objects[0].set(&["kind"], "Other"),
            "returned invalid converted object at index 0: it is of example.org/v2, Kind=Other, \
             expected example.org/v2, Kind=Gadget",
        ),
        (
            |objects| objects[0].set(&["metadata", "uid"], "forged"),
            "returned invalid converted object at index 0: must have the same uid",
        ),
        (|_| panic!("a fault"), "failed: it met a fault of the server"),
    ];
    for (wrong, expected) in wrong {
        *far.wrong.lock() = Some(wrong);
        let (code, status) = cluster.get(&format!("{V2}/a")).await;
        let message = status["message"].as_str().unwrap_or_default();
        let expected = format!("conversion webhook for example.org/v1, Kind=Gadget {expected}");
        assert!(code == 500 && message.starts_with(&expected), "{status}");
    }
    assert_eq!(cluster.get(&format!("{V2}/a")).await.1["spec"]["amount"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_that_takes_long_holds_up_nobody_else_and_is_waited_for_together() {
    let (cluster, far) = cluster().await;
    cluster.ok("POST", V1, &v1("a", "1")).await;
    let mut following = cluster.watch(&format!("{V1}?watch=true")).await;
    assert_eq!(following.next().await, "ADDED a");
    far.hold(&["a", "b"]);
    let read = || {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.get(&format!("{V2}/a")).await.1["spec"]["amount"].clone() })
    };
    let first = read();
    far.until_waited_for().await;
    let others: Vec<_> = (0..20).map(|_| read()).collect();
    let mut watch = cluster.watch(&format!("{V2}?watch=true&timeoutSeconds=3600")).await;
    // Who asked first goes away; the others' wait is not in vain.
    first.abort();
    assert!(first.await.is_err_and(|error| error.is_cancelled()));
    // The stored version is read, written and followed meanwhile, and so are other kinds.
    assert_eq!(cluster.get(&format!("{V1}/a")).await.1["spec"]["size"], "1");
    cluster.ok("POST", V1, &v1("b", "2")).await;
    assert_eq!(following.next().await, "ADDED b");
    assert_eq!(cluster.get("/api/v1/namespaces").await.0, 200);
    far.hold(&[]);
    for other in others {
        assert_eq!(other.await.expect("no panic"), 1);
    }
    assert_eq!(watch.next().await, "ADDED a");
    assert_eq!(watch.next().await, "ADDED b");
    assert_eq!((far.reads("a"), far.reads("b")), (vec![1], vec![1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_watch_knows_is_told_before_it_waits_for_more() {
    let (cluster, far) = cluster().await;
    let begin = cluster.ok("POST", V1, &v1("a", "1")).await["metadata"]["resourceVersion"].clone();
    far.hold(&["b"]);
    for (name, size) in [("a", "2"), ("a", "3")] {
        cluster.ok("PATCH", &format!("{V1}/{name}"), &json!({"spec": {"size": size}})).await;
    }
    cluster.ok("POST", V1, &v1("b", "1")).await;
    let begin = begin.as_str().expect("a revision");
    let mut watch = cluster.watch(&format!("{V2}?watch=true&resourceVersion={begin}")).await;
    assert_eq!([watch.next().await, watch.next().await], ["MODIFIED a", "MODIFIED a"]);
    far.hold(&[]);
    assert_eq!(watch.next().await, "ADDED b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_does_not_wait_for_what_watches_wait_for() {
    let (cluster, far) = cluster().await;
    cluster.ok("POST", V1, &v1("a", "1")).await;
    far.hold(&["a", "b"]);
    let mut watch = cluster.watch(&format!("{V2}?watch=true")).await;
    let told = tokio::spawn(async move { watch.next().await });
    far.until_waited_for().await;
    let cluster = Arc::into_inner(cluster).expect("nobody else has it");
    let _left = cluster.stop().await;
    assert_eq!(told.await.expect("no panic"), "end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_sees_objects_as_the_selectors_of_its_version_do() {
    let (cluster, _) = cluster().await;
    let mut watch = cluster.watch(&format!("{V2}?watch=true&fieldSelector=spec.amount%3D2")).await;
    cluster.ok("POST", V1, &v1("a", "1")).await;
    cluster.ok("PATCH", &format!("{V1}/a"), &json!({"spec": {"size": "2"}})).await;
    let event = watch.next_event().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]["spec"]["amount"]), (&json!("ADDED"), &json!(2)));
    cluster.ok("PATCH", &format!("{V1}/a"), &json!({"spec": {"size": "3"}})).await;
    let event = watch.next_event().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]["spec"]["amount"]), (&json!("DELETED"), &json!(2)));
    cluster.ok("PATCH", &format!("{V1}/a"), &json!({"spec": {"size": "2"}})).await;
    assert_eq!(watch.next().await, "ADDED a");
    cluster.ok("DELETE", &format!("{V1}/a"), &json!({})).await;
    let event = watch.next_event().await.expect("an event");
    assert_eq!(
        (&event["type"], &event["object"]["apiVersion"]),
        (&json!("DELETED"), &json!("example.org/v2"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_selected_by_the_names_of_either_form() {
    let (cluster, _) = cluster().await;
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "message": "hello",
        "reason": "Started", "source": {"component": "node"}, "reportingComponent": "agent", "type": "Normal",
    });
    cluster.ok("POST", "/api/v1/namespaces/default/events", &event).await;
    for path in ["/api/v1", "/apis/events.k8s.io/v1"] {
        for selector in [
            "regarding.name=p",
            "involvedObject.name=p",
            "reportingController=agent",
            "reportingComponent=agent",
            "source=node",
            "reason=Started,type=Normal",
        ] {
            for (selector, count) in [(selector.to_owned(), 1), (selector.replacen('=', "!=", 1), 0)] {
                let query: String = form_urlencoded::byte_serialize(selector.as_bytes()).collect();
                let path = format!("{path}/namespaces/default/events?fieldSelector={query}");
                let list = cluster.get(&path).await.1;
                assert_eq!(list["items"].as_array().map(Vec::len), Some(count), "{path}: {list}");
            }
        }
    }
    let shown = cluster.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await.1;
    assert_eq!((&shown["note"], &shown["regarding"]["name"]), (&json!("hello"), &json!("p")));
}

/// In this process objects are passed in the version that is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn callers_in_the_process_are_told_objects_in_their_version() {
    use futures::StreamExt;
    use model::shared::{Objects, Share, Told};

    let (cluster, _) = cluster().await;
    cluster.ok("POST", V1, &v1("a", "1")).await;
    let mut request = http::Request::builder().uri(V2).body(Bytes::new()).expect("a well-formed request");
    request.extensions_mut().insert(Share);
    let mut response = cluster.handle.call(request, Identity::administrator()).await;
    let objects = response.extensions_mut().remove::<Objects>().expect("objects, not text");
    let told: Vec<Told> = objects.take().expect("once").flat_map(futures::stream::iter).collect().await;
    let found = told.iter().find_map(|told| match told {
        Told::Object { object, .. } => Some(object.object().expect("an object")),
        Told::Text(_) => None,
    });
    assert_eq!(found.expect("an object").get_i64(&["spec", "amount"]), Some(1));
}
