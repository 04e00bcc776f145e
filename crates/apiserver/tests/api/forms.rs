//! The revision of an object is said wherever the object is, though it is in no text that is stored.

use apiserver::Identity;
use bytes::Bytes;
use futures::StreamExt as _;
use http::Request;
use http_body_util::BodyExt as _;
use model::shared::{Objects, Share, Told};
use serde_json::{Value, json};

use crate::cluster::{Cluster, named};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

async fn get(cluster: &Cluster, path: &str, accept: &str) -> Value {
    let request = Request::builder().uri(path).header(http::header::ACCEPT, accept).body(Bytes::new());
    let response = cluster.handle.call(request.expect("a request"), Identity::administrator()).await;
    let bytes = response.into_body().collect().await.expect("bodies never fail").to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

fn revision(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{object} has a revision"))
}

#[tokio::test]
async fn every_form_of_an_object_says_its_revision() {
    let cluster = Cluster::start().await;
    let made = cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    let path = format!("{MAPS}/a");
    let changed = cluster.ok("PATCH", &path, &json!({"metadata": {"labels": {"k": "v"}}})).await;
    let now = revision(&changed);
    assert!(now > revision(&made));
    assert_eq!(cluster.get(&path).await.1, changed);
    assert_eq!(revision(&get(&cluster, &path, PARTIAL).await), now);
    assert_eq!(revision(&get(&cluster, &path, TABLE).await["rows"][0]["object"]), now);
    for selector in ["", "?labelSelector=k%3Dv", "?fieldSelector=metadata.name%3Da"] {
        let path = format!("{MAPS}{selector}");
        let find = |list: &Value, of: fn(&Value) -> &Value| {
            let named =
                list.as_array().into_iter().flatten().find(|item| of(item)["metadata"]["name"] == "a");
            named.map(|item| revision(of(item)))
        };
        assert_eq!(find(&cluster.get(&path).await.1["items"], |item| item), Some(now), "{selector}");
        assert_eq!(find(&get(&cluster, &path, PARTIAL).await["items"], |item| item), Some(now), "{selector}");
        assert_eq!(
            find(&get(&cluster, &path, TABLE).await["rows"], |row| &row["object"]),
            Some(now),
            "{selector}"
        );
    }
    // As it was, too.
    let exact =
        format!("{MAPS}?resourceVersionMatch=Exact&resourceVersion={}&labelSelector=!k", revision(&made));
    let then = cluster.get(&exact).await.1;
    assert!(then["items"].as_array().is_some_and(|items| items.contains(&made)), "{then}");
    let mut watch = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={}", revision(&made))).await;
    assert_eq!(watch.next_event().await.expect("an event")["object"], changed);
    let unchanged = cluster.ok("PUT", &path, &changed).await;
    assert_eq!(unchanged, changed);
    let stale = cluster.send("PUT", &path, &made).await;
    assert_eq!(stale.0, 409, "{}", stale.1);
    cluster.ok("DELETE", &path, &json!({"preconditions": {"resourceVersion": now.to_string()}})).await;
    let gone = watch.next_event().await.expect("an event");
    assert_eq!(gone["type"], "DELETED");
    assert!(revision(&gone["object"]) > now);
}

#[tokio::test]
async fn callers_in_the_process_are_given_the_buffers_themselves() {
    let cluster = Cluster::start().await;
    let made = cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
    let told = async |query: &str, many: usize| {
        let request = Request::builder().uri(format!("{MAPS}?{query}")).extension(Share).body(Bytes::new());
        let request = request.expect("a request");
        let mut answer = cluster.handle.call(request, Identity::administrator()).await;
        let objects = answer.extensions_mut().remove::<Objects>().expect("they are shared");
        let objects = objects.take().expect("nobody has taken them");
        let told: Vec<Told> = objects.flat_map(futures::stream::iter).take(many).collect().await;
        told
    };
    let object = |told: &Told| match told {
        Told::Object { event, object } => (*event, object.clone()),
        Told::Text(text) => panic!("{text:?} is no object"),
    };
    let list = told("fieldSelector=metadata.name%3Da&limit=1", 2).await;
    let Told::Text(head) = &list[0] else { panic!("{list:?}") };
    let head: Value = serde_json::from_slice(head).expect("JSON");
    assert_eq!((head["kind"].as_str(), &head["items"]), (Some("ConfigMapList"), &json!([])));
    let listed = object(&list[1]).1;
    assert_eq!(serde_json::from_slice::<Value>(&listed.to_bytes()).expect("JSON"), made);
    let watched = told("watch=1&fieldSelector=metadata.name%3Da&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 2).await;
    let (event, initial) = object(&watched[0]);
    assert_eq!((event, initial.text().as_ptr()), ("ADDED", listed.text().as_ptr()), "there is one buffer");
    assert!(matches!(&watched[1], Told::Text(line) if line.starts_with(b"{\"type\":\"BOOKMARK\"")));
    // Text is what anything else is told as.
    let request =
        Request::builder().uri(MAPS).header(http::header::ACCEPT, TABLE).extension(Share).body(Bytes::new());
    let mut answer = cluster.handle.call(request.expect("a request"), Identity::administrator()).await;
    assert!(answer.extensions_mut().remove::<Objects>().is_none());
}
