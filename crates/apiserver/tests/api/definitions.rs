//! Kinds that objects define: served at once, by the path that built-in ones take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apiserver::definitions::{Definitions, Work};
use apiserver::{Config, Resource};
use base::Timestamp;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::cluster::Cluster;

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const TABS: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";
pub const NAME: &str = "crontabs.stable.example.com";

/// The definition of Kubernetes' documentation, with more in it.
pub fn crontabs() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "description": "What is wanted.", "required": ["cronSpec"], "properties": {
                        "cronSpec": {"type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$"},
                        "image": {"type": "string", "default": "app"},
                        "replicas": {"type": "integer", "minimum": 1, "maximum": 10},
                        "ports": {"type": "array", "x-kubernetes-list-type": "map",
                                  "x-kubernetes-list-map-keys": ["name"],
                                  "items": {"type": "object", "required": ["name"], "properties": {
                                      "name": {"type": "string"}, "port": {"x-kubernetes-int-or-string": true}}}},
                    }},
                    "status": {"type": "object", "properties": {
                        "replicas": {"type": "integer"}, "labelSelector": {"type": "string"}}},
                }}},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.labelSelector"}},
                "additionalPrinterColumns": [
                    {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
                "selectableFields": [{"jsonPath": ".spec.image"}],
            }],
        },
    })
}

pub fn tab(name: &str) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name},
           "spec": {"cronSpec": "* * * * */5", "replicas": 3}})
}

/// Has news whenever somebody looks, and counts how often it is read.
#[derive(Default)]
struct Restless {
    looked: AtomicU64,
    read: AtomicU64,
    begun: tokio::sync::Notify,
}

struct Shared(Arc<Restless>);

impl Definitions for Shared {
    fn version(&self) -> u64 {
        self.0.looked.fetch_add(1, Ordering::SeqCst)
    }

    fn entries(&self) -> (Vec<Arc<Resource>>, u64) {
        self.0.read.fetch_add(1, Ordering::SeqCst);
        (Vec::new(), 0)
    }

    fn work(&self, _: &dyn Fn(&str, &str) -> bool, _: Timestamp) -> Work {
        self.0.begun.notify_one();
        Work::default()
    }

    fn changed(&self) -> futures::future::BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn whoever_asks_for_what_is_built_in_does_not_wait_for_definitions() {
    let restless = Arc::new(Restless::default());
    let reads = restless.clone();
    let cluster = Cluster::configured(move |config: &mut Config| {
        let restless = restless.clone();
        config.definitions = Arc::new(move |_| Arc::new(Shared(restless.clone())));
    })
    .await;
    reads.begun.notified().await;
    for (path, waits) in [
        ("/api/v1/namespaces/default/pods", false),
        ("/apis/apps/v1/deployments", false),
        (DEFINITIONS, false),
        (TABS, true),
        ("/apis", true),
    ] {
        let before = reads.read.load(Ordering::SeqCst);
        cluster.get(path).await;
        assert_eq!(reads.read.load(Ordering::SeqCst) > before, waits, "{path}");
    }
}

/// Waits until a definition is as it is to be.
pub async fn until(cluster: &Cluster, name: &str, what: &str, is: impl Fn(u16, &Value) -> bool) -> Value {
    let path = format!("{DEFINITIONS}/{name}");
    testkit::wait_until_async(what, || async {
        let (code, answer) = cluster.get(&path).await;
        if is(code, &answer) { Ok(answer) } else { Err(format!("{code} {answer}")) }
    })
    .await
}

fn condition<'a>(definition: &'a Value, kind: &str) -> &'a Value {
    let all = definition["status"]["conditions"].as_array();
    all.and_then(|all| all.iter().find(|condition| condition["type"] == kind)).unwrap_or(&Value::Null)
}

pub async fn define(cluster: &Cluster, definition: &Value) -> Value {
    let made = cluster.ok("POST", DEFINITIONS, definition).await;
    let name = made["metadata"]["name"].as_str().expect("a name").to_owned();
    until(cluster, &name, "a definition to be established", |_, now| {
        condition(now, "Established")["status"] == "True"
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_is_served_like_any_kind() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.get(TABS).await.0, 404);
    let made = define(&cluster, &crontabs()).await;
    assert_eq!(made["status"]["acceptedNames"]["listKind"], "CronTabList");
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(condition(&made, "NamesAccepted")["reason"], "NoConflicts");

    // Discovery and documents.
    let (_, listed) = cluster.get("/apis/stable.example.com/v1").await;
    let names: Vec<&str> = listed["resources"]
        .as_array()
        .expect("resources")
        .iter()
        .filter_map(|r| r["name"].as_str())
        .collect();
    assert_eq!(names, ["crontabs", "crontabs/scale", "crontabs/status"]);
    assert_eq!(listed["resources"][0]["shortNames"], json!(["ct"]));
    assert_eq!(
        listed["resources"][0]["verbs"],
        json!(["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"])
    );
    let (_, document) = cluster.get("/openapi/v3/apis/stable.example.com/v1").await;
    let schema = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(schema["properties"]["spec"]["description"], "What is wanted.");
    assert!(schema["properties"]["metadata"]["allOf"][0]["$ref"].is_string());
    assert!(document["components"]["schemas"]["com.example.stable.v1.CronTabList"].is_object());
    let patches = &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"]
        ["requestBody"]["content"];
    assert!(patches["application/strategic-merge-patch+json"].is_null() && patches.is_object());

    // Made, with what is left out; read, listed, watched.
    let mut watch = cluster.watch(&format!("{TABS}?watch=true")).await;
    let mut given = tab("a");
    given["status"] = json!({"replicas": 9});
    given["spec"]["odd"] = json!(1);
    let made = cluster.ok("POST", TABS, &given).await;
    assert_eq!(made["spec"], json!({"cronSpec": "* * * * */5", "replicas": 3, "image": "app"}));
    assert_eq!((&made["metadata"]["generation"], &made["status"]), (&json!(1), &Value::Null));
    assert_eq!(watch.next().await, "ADDED a");
    assert_eq!(cluster.get(&format!("{TABS}/a")).await.1, made);
    let (_, list) = cluster.get(TABS).await;
    assert_eq!(
        (list["kind"].as_str(), list["items"].as_array().map(Vec::len)),
        (Some("CronTabList"), Some(1))
    );
    for (selector, count) in [("spec.image=app", 1), ("spec.image!=app", 0)] {
        let (_, list) = cluster.get(&format!("{TABS}?fieldSelector={selector}")).await;
        assert_eq!(list["items"].as_array().map(Vec::len), Some(count), "{selector}");
    }
    let (code, refused) = cluster.get(&format!("{TABS}?fieldSelector=spec.cronSpec=x")).await;
    assert_eq!((code, refused["message"].as_str()), (400, Some("field label not supported: spec.cronSpec")));

    // Refused in Kubernetes' words.
    let mut wrong = tab("b");
    wrong["spec"] = json!({"cronSpec": "* * * *", "replicas": 11, "image": 5});
    let (code, refused) = cluster.send("POST", TABS, &wrong).await;
    assert_eq!(
        (code, refused["message"].as_str()),
        (
            422,
            Some(
                "CronTab.stable.example.com \"b\" is invalid: [spec.cronSpec: Invalid value: \"* * * *\": spec.cronSpec in \
         body should match '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$', spec.replicas: Invalid value: 11: \
         spec.replicas in body should be less than or equal to 10, spec.image: Invalid value: \"integer\": spec.image \
         in body must be of type string: \"integer\"]"
            )
        )
    );
    let (code, refused) = cluster.send("POST", &format!("{TABS}?fieldValidation=Strict"), &given).await;
    assert_eq!(
        (code, refused["message"].as_str()),
        (
            400,
            Some(
                "CronTab in version \"v1\" cannot be handled as a CronTab: strict decoding error: unknown field \"spec.odd\""
            )
        )
    );
    let put = cluster.send("PUT", &format!("{TABS}/a"), &tab("a")).await;
    assert_eq!(
        (put.0, put.1["details"]["causes"][0]["field"].as_str()),
        (422, Some("metadata.resourceVersion"))
    );
    let strategic = "application/strategic-merge-patch+json";
    let (code, _) = cluster.send_as("PATCH", &format!("{TABS}/a"), strategic, Bytes::from("{}")).await;
    assert_eq!(code, 415);

    // Patched, applied, scaled, its status.
    let patched = cluster.ok("PATCH", &format!("{TABS}/a"), &json!({"spec": {"replicas": 4}})).await;
    assert_eq!(patched["metadata"]["generation"], 2);
    let apply = async |manager: &str, spec: Value| {
        let body = json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "a"}, "spec": spec});
        let path = format!("{TABS}/a?fieldManager={manager}");
        cluster.send_as("PATCH", &path, "application/apply-patch+yaml", body.to_string().into()).await
    };
    assert_eq!(apply("one", json!({"ports": [{"name": "x", "port": 1}]})).await.0, 200);
    let (_, merged) = apply("two", json!({"ports": [{"name": "y", "port": "http"}]})).await;
    assert_eq!(merged["spec"]["ports"], json!([{"name": "x", "port": 1}, {"name": "y", "port": "http"}]));
    assert_eq!(apply("two", json!({"ports": [{"name": "x", "port": 2}]})).await.0, 409);
    let scaled = cluster.ok("PATCH", &format!("{TABS}/a/scale"), &json!({"spec": {"replicas": 7}})).await;
    assert_eq!((scaled["kind"].as_str(), &scaled["spec"]["replicas"]), (Some("Scale"), &json!(7)));
    let status = json!({"metadata": {"labels": {"no": "label"}}, "spec": {"replicas": 1},
                        "status": {"replicas": 7, "labelSelector": "a=b"}});
    let told = cluster.ok("PATCH", &format!("{TABS}/a/status"), &status).await;
    assert_eq!((&told["spec"]["replicas"], &told["metadata"]["labels"]), (&json!(7), &Value::Null));
    let (_, scale) = cluster.get(&format!("{TABS}/a/scale")).await;
    assert_eq!(scale["status"], json!({"replicas": 7, "selector": "a=b"}));
    let wrong = json!({"status": {"replicas": "many"}});
    let (code, refused) = cluster.send("PATCH", &format!("{TABS}/a/status"), &wrong).await;
    assert_eq!((code, refused["details"]["causes"][0]["field"].as_str()), (422, Some("status.replicas")));
    for _ in 0..4 {
        assert_eq!(watch.next().await, "MODIFIED a");
    }

    // As a table.
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let request = http::Request::builder().uri(TABS).header(http::header::ACCEPT, table);
    let request = request.body(Bytes::new()).expect("a request");
    let answer = cluster.handle.call(request, apiserver::Identity::administrator()).await;
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body").to_bytes();
    let table: Value = serde_json::from_slice(&body).expect("JSON");
    let heads: Vec<&Value> = table["columnDefinitions"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|column| &column["name"])
        .collect();
    assert_eq!(heads, ["Name", "Spec", "Replicas", "Age"]);
    assert_eq!(
        table["rows"][0]["cells"].as_array().map(|cells| &cells[..3]),
        Some(&[json!("a"), json!("* * * * */5"), json!(7)][..])
    );

    cluster.ok("DELETE", &format!("{TABS}/a"), &json!({})).await;
    while watch.next().await != "DELETED a" {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_definition_means_may_change_under_watchers_and_is_served_after_a_restart() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    cluster.ok("POST", TABS, &tab("old")).await;
    let mut watch = cluster.watch(&format!("{TABS}?watch=true")).await;
    assert_eq!(watch.next().await, "ADDED old");
    cluster.ok("POST", TABS, &tab("same")).await;
    assert_eq!(watch.next().await, "ADDED same");

    // Another version is stored, a field is gone, another is new and has a default.
    let path = format!("{DEFINITIONS}/{NAME}");
    let mut definition = cluster.get(&path).await.1;
    let mut second = definition["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    let properties = &mut second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    properties["replicas"] = Value::Null;
    properties["zone"] = json!({"type": "string", "default": "here"});
    properties.as_object_mut().expect("properties").shift_remove("replicas");
    second["subresources"] = json!({"status": {}});
    second["additionalPrinterColumns"] = json!([]);
    second["selectableFields"] = json!([{"jsonPath": ".spec.zone"}]);
    definition["spec"]["versions"][0]["storage"] = json!(false);
    definition["spec"]["versions"][0]["deprecated"] = json!(true);
    definition["spec"]["versions"].as_array_mut().expect("versions").push(second);
    let changed = cluster.ok("PUT", &path, &definition).await;
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v2"]));
    assert_eq!(watch.next().await, "end", "who watches begins anew");

    let v2 = "/apis/stable.example.com/v2/namespaces/default/crontabs";
    let check = async |cluster: &Cluster| {
        let (code, old) = cluster.get(&format!("{v2}/old")).await;
        assert_eq!((code, old["apiVersion"].as_str()), (200, Some("stable.example.com/v2")));
        // What was stored is of version 1, whose defaults are those that are filled in.
        assert_eq!(old["spec"], json!({"cronSpec": "* * * * */5", "image": "app"}));
        assert_eq!(cluster.get(&format!("{TABS}/old")).await.1["spec"]["replicas"], 3);
    };
    check(&cluster).await;
    // Whoever writes it without a change has it stored in the new version, once.
    let revision = |object: &Value| object["metadata"]["resourceVersion"].as_str().expect("one").to_owned();
    let seen = cluster.get(&format!("{v2}/same")).await.1;
    let stored = cluster.ok("PUT", &format!("{v2}/same"), &seen).await;
    assert_ne!(revision(&stored), revision(&seen));
    for kind in ["application/merge-patch+json", "application/json-patch+json"] {
        let nothing = if kind.contains("json-patch") { "[]" } else { "{}" };
        let (code, again) = cluster.send_as("PATCH", &format!("{v2}/same"), kind, nothing.into()).await;
        assert_eq!((code, revision(&again)), (200, revision(&stored)), "{kind}");
    }
    let mut new = tab("new");
    new["apiVersion"] = json!("stable.example.com/v2");
    let made = cluster.ok("POST", v2, &new).await;
    assert_eq!(made["spec"], json!({"cronSpec": "* * * * */5", "image": "app", "zone": "here"}));
    let seen = cluster.get(&format!("{TABS}/new")).await.1;
    assert_eq!(seen["spec"], json!({"cronSpec": "* * * * */5", "image": "app"}));
    let (_, group) = cluster.get("/apis/stable.example.com").await;
    assert_eq!(group["preferredVersion"]["version"], "v2");

    // What was stored before a field had a default has it when it is read.
    let mut definition = cluster.get(&path).await.1;
    let properties =
        &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    properties["properties"]["suspend"] = json!({"type": "boolean", "default": false});
    cluster.ok("PUT", &path, &definition).await;
    assert_eq!(cluster.get(&format!("{TABS}/old")).await.1["spec"]["suspend"], false);

    drop(watch);
    let cluster = cluster.restart().await;
    assert_eq!(cluster.get(&format!("{TABS}/old")).await.1["spec"]["suspend"], false);
    check(&cluster).await;
    let (_, list) = cluster.get(v2).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3));
    // A version in which something may be stored stays.
    let mut definition = cluster.get(&path).await.1;
    definition["spec"]["versions"].as_array_mut().expect("versions").remove(0);
    let (code, refused) = cluster.send("PUT", &path, &definition).await;
    assert_eq!(
        (code, refused["details"]["causes"][0]["field"].as_str()),
        (422, Some("status.storedVersions[0]"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_goes_with_all_objects_of_its_kind() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    for name in ["a", "b"] {
        cluster.ok("POST", TABS, &tab(name)).await;
    }
    let mut held = tab("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.ok("POST", TABS, &held).await;
    let path = format!("{DEFINITIONS}/{NAME}");
    let going = cluster.ok("DELETE", &path, &json!({})).await;
    assert_eq!(going["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert_eq!(condition(&going, "Terminating")["reason"], "InstanceDeletionPending");
    let (code, refused) = cluster.send("POST", TABS, &tab("late")).await;
    assert_eq!(
        (code, refused["reason"].as_str(), refused["message"].as_str()),
        (
            405,
            Some("MethodNotAllowed"),
            Some("create not allowed while custom resource definition is terminating")
        )
    );
    until(&cluster, NAME, "its objects to go", |_, now| {
        condition(now, "Terminating")["reason"] == "InstanceDeletionInProgress"
    })
    .await;
    testkit::wait_until_async("all but the held one to be gone", || async {
        let (_, list) = cluster.get(TABS).await;
        let names: Vec<&Value> =
            list["items"].as_array().into_iter().flatten().map(|item| &item["metadata"]["name"]).collect();
        if names == ["held"] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    let verbs = cluster.get("/apis/stable.example.com/v1").await.1["resources"][0]["verbs"].clone();
    assert_eq!(verbs, json!(["delete", "deletecollection", "get", "list", "watch"]));
    cluster.ok("PATCH", &format!("{TABS}/held"), &json!({"metadata": {"finalizers": null}})).await;
    until(&cluster, NAME, "the definition to be gone", |code, _| code == 404).await;
    assert_eq!(cluster.get(TABS).await.0, 404);
    assert_eq!(cluster.get("/apis/stable.example.com").await.0, 404);
    // Who defines it anew finds nothing.
    define(&cluster, &crontabs()).await;
    assert_eq!(cluster.get(TABS).await.1["items"], json!([]));
    let (code, missing) = cluster.send("PUT", &format!("{TABS}/missing"), &tab("missing")).await;
    assert_eq!((code, missing["reason"].as_str()), (404, Some("NotFound")));
    cluster.ok("POST", TABS, &tab("a")).await;
    let patch = "application/strategic-merge-patch+json";
    for kind in [patch, "text/plain"] {
        let (code, refused) = cluster.send_as("PATCH", &format!("{TABS}/a"), kind, Bytes::from("{}")).await;
        let message = refused["message"].as_str().unwrap_or_default();
        assert!(code == 415 && !message.contains(patch), "{refused}");
    }
    // One that is served in no version goes with its objects, too.
    let mut definition = cluster.get(&path).await.1;
    definition["spec"]["versions"][0]["served"] = json!(false);
    cluster.ok("PUT", &path, &definition).await;
    assert_eq!(cluster.get(TABS).await.0, 404);
    cluster.ok("DELETE", &path, &json!({})).await;
    until(&cluster, NAME, "the definition to be gone again", |code, _| code == 404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_built_in_is_nobodys_to_define() {
    let cluster = Cluster::start().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}});
    cluster.ok("POST", roles, &role).await;
    let version = |name: &str, storage: bool| {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
    };
    let name = "clusterroles.rbac.authorization.k8s.io";
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": name, "annotations": {"api-approved.kubernetes.io": "https://a.io"}},
        "spec": {"group": "rbac.authorization.k8s.io", "scope": "Cluster",
                 "names": {"plural": "clusterroles", "kind": "Rule"},
                 "versions": [version("v1", true), version("v9", false)]},
    });
    cluster.ok("POST", DEFINITIONS, &definition).await;
    let refused =
        until(&cluster, name, "a refusal", |_, now| condition(now, "NamesAccepted")["status"] == "False")
            .await;
    assert_eq!(condition(&refused, "Established")["status"], "False");
    let v9 = roles.replace("v1", "v9");
    assert_eq!(cluster.get(&v9).await.0, 404);
    // Even where somebody says otherwise.
    let mut lie = refused.clone();
    lie["status"]["acceptedNames"] = lie["spec"]["names"].clone();
    for condition in lie["status"]["conditions"].as_array_mut().expect("conditions") {
        condition["status"] = json!("True");
    }
    cluster.ok("PUT", &format!("{DEFINITIONS}/{name}/status"), &lie).await;
    assert_eq!(cluster.get(&v9).await.0, 404);
    cluster.ok("DELETE", &format!("{DEFINITIONS}/{name}"), &json!({})).await;
    until(&cluster, name, "the definition to be gone", |code, _| code == 404).await;
    assert_eq!(cluster.get(&format!("{roles}/r")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_one_definitions_at_a_time() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    let mut other = crontabs();
    other["metadata"]["name"] = json!("others.stable.example.com");
    other["spec"]["names"] = json!({"plural": "others", "kind": "Other", "shortNames": ["ct"]});
    cluster.ok("POST", DEFINITIONS, &other).await;
    let name = "others.stable.example.com";
    let refused =
        until(&cluster, name, "a refusal", |_, now| condition(now, "NamesAccepted")["status"] == "False")
            .await;
    assert_eq!(condition(&refused, "NamesAccepted")["message"], "\"ct\" is already in use");
    assert_eq!(condition(&refused, "Established")["reason"], "NotAccepted");
    assert_eq!(cluster.get("/apis/stable.example.com/v1/namespaces/default/others").await.0, 404);
    // Given up, it is free.
    cluster
        .ok("PATCH", &format!("{DEFINITIONS}/{NAME}"), &json!({"spec": {"names": {"shortNames": null}}}))
        .await;
    until(&cluster, name, "it to be established", |_, now| condition(now, "Established")["status"] == "True")
        .await;
    assert_eq!(cluster.get("/apis/stable.example.com/v1/namespaces/default/others").await.0, 200);
}
