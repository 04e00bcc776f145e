//! Kinds whose objects a webhook converts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::{MUTATING, VALIDATING, cluster, decide, register, site, webhook};
use crate::definitions::define;
use crate::elsewhere::{Answers, Site, json as answer};

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
    cluster
        .ok(
            "DELETE",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/people.stable.example.com",
            &json!({}),
        )
        .await;
}
