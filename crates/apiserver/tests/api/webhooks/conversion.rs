//! Kinds whose objects a webhook converts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::{MUTATING, VALIDATING, cluster, decide, register, site, webhook};
use crate::cluster::Cluster;
use crate::definitions::{DEFINITIONS, define, until};
use crate::elsewhere::{Answers, Site, json as answer};

const PEOPLE: &str = "people.stable.example.com";
const V1: &str = "/apis/stable.example.com/v1/namespaces/default/people";
const V2: &str = "/apis/stable.example.com/v2/namespaces/default/people";

/// In `v1` a person has a name, in `v2` two. `lies` makes it give another uid.
async fn converter() -> (Site, Arc<AtomicBool>) {
    let lies = Arc::new(AtomicBool::new(false));
    let told = lies.clone();
    let answers: Answers = Arc::new(move |request: &Request<Bytes>| {
        let review: Value = serde_json::from_slice(request.body()).expect("a review");
        assert_eq!(
            (&review["kind"], &review["apiVersion"]),
            (&json!("ConversionReview"), &json!("apiextensions.k8s.io/v1"))
        );
        let asked = &review["request"];
        let objects = asked["objects"].as_array().expect("objects").iter().map(|object| {
            let mut object = object.clone();
            object["apiVersion"] = asked["desiredAPIVersion"].clone();
            let spec = &object["spec"];
            object["spec"] = match asked["desiredAPIVersion"].as_str() {
                Some("stable.example.com/v2") => {
                    let (first, last) = spec["name"].as_str().and_then(|name| name.split_once(' ')).expect("a name");
                    json!({"first": first, "last": last, "odd": 1})
                }
                _ => json!({"name": format!("{} {}", spec["first"].as_str().expect("one"), spec["last"].as_str().expect("two"))}),
            };
            if told.load(Ordering::SeqCst) {
                object["metadata"]["uid"] = json!("another");
            }
            object
        });
        let objects: Vec<Value> = objects.collect();
        answer(
            200,
            &json!({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": {
                "uid": asked["uid"], "result": {"status": "Success"}, "convertedObjects": objects,
            }}),
        )
    });
    (Site::start(answers).await, lies)
}

fn people(client: Value) -> Value {
    let version = |name: &str, storage: bool, fields: Value| {
        json!({
            "name": name, "served": true, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}},
        })
    };
    let text = json!({"type": "string"});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "people.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "people", "kind": "Person"},
            "versions": [
                version("v1", true, json!({"name": text, "label": text})),
                version("v2", false, json!({"first": text, "last": text, "label": text})),
            ],
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": client, "conversionReviewVersions": ["v1"],
            }},
        },
    })
}

fn person(version: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": format!("stable.example.com/{version}"), "kind": "Person", "metadata": {"name": name},
        "spec": spec,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_converted_by_a_webhook_and_webhooks_of_admission_see_them_so() {
    let cluster = cluster().await;
    let (converter, lies) = converter().await;
    let at = json!({"url": format!("{}/convert", converter.url()), "caBundle": STANDARD.encode(&converter.authority)});
    let mut wrong = people(json!({"url": "http://a/", "caBundle": "AAAA"}));
    let (code, refused) =
        cluster.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &wrong).await;
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(code == 422 && message.contains("'https' is the only allowed URL scheme"), "{refused}");
    assert!(
        message.contains("unable to load root certificates: unable to parse bytes as PEM block"),
        "{refused}"
    );
    wrong["spec"]["conversion"]["webhook"]["clientConfig"] = at;
    define(&cluster, &wrong).await;

    cluster.ok("POST", V1, &person("v1", "a", json!({"name": "Ada Byron"}))).await;
    let seen = cluster.ok("GET", &format!("{V2}/a"), &Value::Null).await;
    // What the schema lacks is dropped of what it says, too.
    assert_eq!(
        (&seen["apiVersion"], &seen["spec"]),
        (&json!("stable.example.com/v2"), &json!({"first": "Ada", "last": "Byron"}))
    );
    cluster.ok("POST", V2, &person("v2", "b", json!({"first": "Max", "last": "Born"}))).await;
    assert_eq!(cluster.get(&format!("{V1}/b")).await.1["spec"], json!({"name": "Max Born"}));
    let list = cluster.ok("GET", V2, &Value::Null).await;
    let lasts: Vec<&str> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|one| one["spec"]["last"].as_str())
        .collect();
    assert_eq!(lasts, ["Byron", "Born"]);

    // Webhooks of admission that know one version are asked of the other as well, in theirs.
    let (site, asked) = site("localhost", |path, request| match (path, request["operation"].as_str()) {
        ("/label", Some("CREATE")) => {
            super::patch(&json!([{"op": "replace", "path": "/spec/name", "value": "Marie Curie"}]))
        }
        _ => decide(path, request),
    })
    .await;
    let of_v1 = |path: &str| {
        webhook(
            &site,
            path,
            &[],
            json!({"rules": [{
                "operations": ["CREATE"], "apiGroups": ["stable.example.com"], "apiVersions": ["v1"], "resources": ["people"],
            }]}),
        )
    };
    register(&cluster, MUTATING, "a", json!([of_v1("/label")])).await;
    register(&cluster, VALIDATING, "a", json!([of_v1("/look")])).await;
    let made = cluster.ok("POST", V2, &person("v2", "c", json!({"first": "X", "last": "Y"}))).await;
    assert_eq!(made["spec"], json!({"first": "Marie", "last": "Curie"}));
    let asked: Vec<String> = asked
        .lock()
        .iter()
        .map(|(path, request)| {
            format!(
                "{path} {} of {}: {}",
                request["kind"]["version"], request["requestKind"]["version"], request["object"]["spec"]
            )
        })
        .collect();
    assert_eq!(
        asked,
        [r#"/label "v1" of "v2": {"name":"X Y"}"#, r#"/look "v1" of "v2": {"name":"Marie Curie"}"#]
    );

    // What it says of an object is of that object, or nothing.
    lies.store(true, Ordering::SeqCst);
    cluster.ok("POST", V1, &person("v1", "d", json!({"name": "Not Yet"}))).await;
    let (code, failed) = cluster.get(&format!("{V2}/d")).await;
    let message = failed["message"].as_str().unwrap_or_default();
    assert!(
        code == 500 && message.starts_with("conversion webhook for stable.example.com/v1, Kind=Person"),
        "{failed}"
    );
    assert!(message.contains("must have the same uid"), "{failed}");
    // One that is gone holds up nothing else.
    drop(converter);
    let (code, failed) = cluster.get(&format!("{V2}/d")).await;
    assert!(
        code == 500 && failed["message"].as_str().is_some_and(|said| said.contains("conversion webhook")),
        "{failed}"
    );
    for path in [V1, "/api/v1/namespaces/default/pods", "/apis/stable.example.com/v2", "/openapi/v3"] {
        cluster.ok("GET", path, &Value::Null).await;
    }
    // Neither does it hold the definition, whichever versions are served.
    let path = format!("{DEFINITIONS}/{PEOPLE}");
    let mut definition = cluster.ok("GET", &path, &Value::Null).await;
    definition["spec"]["versions"][0]["served"] = json!(false);
    cluster.ok("PUT", &path, &definition).await;
    cluster.ok("DELETE", &path, &json!({})).await;
    until(&cluster, PEOPLE, "the definition to be gone", |code, _| code == 404).await;
}

/// Says that a write goes on once it is told to.
struct Gate {
    asked: tokio::sync::mpsc::UnboundedReceiver<()>,
    go: std::sync::mpsc::Sender<()>,
}

impl Gate {
    async fn site() -> (Self, Site) {
        let (tell, asked) = tokio::sync::mpsc::unbounded_channel();
        let (go, wait) = std::sync::mpsc::channel();
        let wait = parking_lot::Mutex::new(wait);
        let answers: Answers = Arc::new(move |request: &Request<Bytes>| {
            let review: Value = serde_json::from_slice(request.body()).expect("a review");
            tell.send(()).expect("the test is there");
            wait.lock().recv_timeout(std::time::Duration::from_secs(20)).expect("the test goes on");
            let response = json!({"uid": review["request"]["uid"], "allowed": true});
            answer(
                200,
                &json!({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}),
            )
        });
        (Self { asked, go }, Site::named("localhost", answers).await)
    }

    /// Sends a write, and does something else while it is under way.
    async fn meanwhile(
        &mut self,
        cluster: &Cluster,
        body: &Value,
        other: impl AsyncFnOnce(),
    ) -> (u16, Value) {
        let write = cluster.send("POST", V1, body);
        let change = async {
            self.asked.recv().await.expect("it is asked");
            other().await;
            // Where it is tried again it is asked again.
            for _ in 0..4 {
                self.go.send(()).expect("the site is there");
            }
        };
        tokio::join!(write, change).0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_stored_by_a_definition_that_has_become_another() {
    let cluster = cluster().await;
    let mut definition = people(Value::Null);
    definition["spec"]["conversion"] = json!({"strategy": "None"});
    define(&cluster, &definition).await;
    let path = format!("{DEFINITIONS}/{PEOPLE}");
    let person = |name: &str| person("v1", name, json!({"name": "Ada Byron", "label": "x"}));
    for (name, change, code) in [
        // It means the same.
        ("same", json!({"metadata": {"labels": {"a": "b"}}}), 201),
        ("scope", json!({"spec": {"names": {"shortNames": ["pp"]}}}), 429),
        ("gone", Value::Null, 404),
    ] {
        let (mut gate, site) = Gate::site().await;
        let look = webhook(&site, "/look", &["people"], json!({}));
        register(&cluster, VALIDATING, name, json!([look])).await;
        let (found, answer) = gate
            .meanwhile(&cluster, &person(name), async || {
                if change.is_null() {
                    cluster.ok("DELETE", &format!("{VALIDATING}/{name}"), &json!({})).await;
                    cluster.ok("DELETE", &path, &json!({})).await;
                    until(&cluster, PEOPLE, "the definition to be gone", |code, _| code == 404).await;
                } else {
                    cluster.ok("PATCH", &path, &change).await;
                }
            })
            .await;
        assert_eq!(found, code, "{name}: {answer}");
        if !change.is_null() {
            cluster.ok("DELETE", &format!("{VALIDATING}/{name}"), &json!({})).await;
            let there = cluster.get(&format!("{V1}/{name}")).await.0;
            assert_eq!(there == 200, code == 201, "{name}");
        }
    }
    define(&cluster, &definition).await;
    let left = cluster.ok("GET", V1, &Value::Null).await;
    assert_eq!(left["items"], json!([]), "nobody finds what was of the definition before");
}
