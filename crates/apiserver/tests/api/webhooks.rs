//! Webhooks that are asked of writes: what they are told, what they may do, and what hostile ones cannot.

#[path = "webhooks/conversion.rs"]
mod conversion;
#[path = "webhooks/hostile.rs"]
mod hostile;
#[path = "webhooks/reviews.rs"]
mod reviews;

use std::sync::Arc;

use apiserver::Config;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment, named, pod};
use crate::elsewhere::{Answers, OverHttps, Site, json as answer};
use crate::warnings::warned;

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A cluster whose server has a way to others.
async fn cluster() -> Cluster {
    Cluster::configured(|config: &mut Config| config.outside = Arc::new(OverHttps)).await
}

/// What was asked, in order: paths with the requests of the reviews.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// A site that answers reviews by what `decide` makes of the path and the request, and notes them.
async fn site(name: &str, decide: fn(&str, &Value) -> Value) -> (Site, Asked) {
    let asked = Asked::default();
    let notes = asked.clone();
    let answers: Answers = Arc::new(move |request: &Request<Bytes>| {
        let review: Value = serde_json::from_slice(request.body()).expect("a review");
        let path = request.uri().path().to_owned();
        let mut response = decide(&path, &review["request"]);
        if response.get("uid").is_none() {
            response["uid"] = review["request"]["uid"].clone();
        }
        notes.lock().push((path, review["request"].clone()));
        answer(
            200,
            &json!({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}),
        )
    });
    (Site::named(name, answers).await, asked)
}

fn patch(operations: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())})
}

/// A webhook at a path of a site, with something of it changed.
fn webhook(site: &Site, path: &str, resources: &[&str], change: Value) -> Value {
    let mut webhook = json!({
        "name": format!("{}.example.org", path.trim_start_matches('/')),
        "clientConfig": {"url": format!("{}{path}", site.url()), "caBundle": STANDARD.encode(&site.authority)},
        "rules": [{
            "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources,
        }],
        "sideEffects": "None", "admissionReviewVersions": ["v1", "v1beta1"],
    });
    for (name, value) in change.as_object().into_iter().flatten() {
        webhook[name] = value.clone();
    }
    webhook
}

async fn register(cluster: &Cluster, path: &str, name: &str, webhooks: Value) {
    let kind =
        if path == MUTATING { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" };
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "webhooks": webhooks,
    });
    cluster.ok("POST", path, &configuration).await;
}

fn decide(path: &str, request: &Value) -> Value {
    let label = |name: &str| json!({"op": "add", "path": format!("/metadata/labels/{name}"), "value": "yes"});
    let has = |name: &str| request["object"]["metadata"]["labels"].get(name).is_some();
    match path {
        "/first" | "/second" if request["object"].is_null() => json!({"allowed": true}),
        // Wants what the second one does, and is asked again since that came after.
        "/first" if has("second") => patch(&json!([label("both")])),
        "/first" => patch(&json!([label("first")])),
        "/second" if has("first") => patch(&json!([label("second")])),
        "/scale" => patch(&json!([{"op": "replace", "path": "/spec/replicas", "value": 7}])),
        "/break" => patch(&json!([{"op": "replace", "path": "/data", "value": "no map"}])),
        "/unknown" => patch(
            &json!([{"op": "add", "path": "/madeUp", "value": 1}, {"op": "add", "path": "/metadata/uid", "value": "x"}]),
        ),
        "/refuse" if has("bad") => json!({"allowed": false, "status": {"message": "not here", "code": 403}}),
        "/warn" => json!({"allowed": true, "warnings": ["mind the gap"], "auditAnnotations": {"why": "so"}}),
        _ => json!({"allowed": true}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_changed_one_after_the_other_and_judged_by_all() {
    let cluster = cluster().await;
    let (site, asked) = site("localhost", decide).await;
    let maps = ["configmaps"];
    let again = json!({"reinvocationPolicy": "IfNeeded", "sideEffects": "NoneOnDryRun"});
    register(&cluster, MUTATING, "b", json!([webhook(&site, "/second", &maps, json!({}))])).await;
    register(&cluster, MUTATING, "a", json!([webhook(&site, "/first", &maps, again)])).await;
    let judges =
        json!([webhook(&site, "/refuse", &maps, json!({})), webhook(&site, "/warn", &maps, json!({}))]);
    register(&cluster, VALIDATING, "a", judges).await;
    let shown = cluster.get(&format!("{MUTATING}/a")).await.1;
    assert_eq!(shown["metadata"]["generation"], 1);
    let of = &shown["webhooks"][0];
    assert_eq!(
        (&of["failurePolicy"], &of["matchPolicy"], &of["timeoutSeconds"], &of["rules"][0]["scope"]),
        (&json!("Fail"), &json!("Equivalent"), &json!(10), &json!("*"))
    );

    let mut map = named("ConfigMap", "m");
    map["metadata"]["labels"] = json!({"own": "yes"});
    let made = cluster.ok("POST", MAPS, &map).await;
    assert_eq!(
        made["metadata"]["labels"],
        json!({"own": "yes", "first": "yes", "second": "yes", "both": "yes"})
    );
    let paths = |asked: &Asked| asked.lock().drain(..).map(|(path, _)| path).collect::<Vec<_>>();
    let mut order = paths(&asked);
    order[3..].sort();
    assert_eq!(order, ["/first", "/second", "/first", "/refuse", "/warn"]);
    // What they put in is nobody's.
    let managed = made["metadata"]["managedFields"].to_string();
    assert!(managed.contains("f:own") && !managed.contains("f:second"), "{managed}");

    // Those who judge are asked before it is said that there is such an object already.
    let mut same = map.clone();
    same["metadata"]["labels"] = json!({"bad": "x"});
    assert_eq!(cluster.send("POST", MAPS, &same).await.0, 403);
    assert_eq!(cluster.send("POST", MAPS, &map).await.0, 409);
    paths(&asked);
    let (code, refused) = cluster
        .send("PATCH", &format!("{MAPS}/m?dryRun=All"), &json!({"metadata": {"labels": {"bad": "x"}}}))
        .await;
    assert_eq!(code, 403);
    assert_eq!(refused["message"], "admission webhook \"refuse.example.org\" denied the request: not here");
    let (_, request) = asked.lock().first().cloned().expect("it was asked");
    assert_eq!(
        (
            &request["operation"],
            &request["dryRun"],
            &request["options"]["kind"],
            &request["options"]["dryRun"]
        ),
        (&json!("UPDATE"), &json!(true), &json!("UpdateOptions"), &json!(["All"]))
    );
    assert_eq!(request["oldObject"]["metadata"]["labels"].get("bad"), None);
    assert_eq!(request["object"]["metadata"]["labels"]["bad"], "x");
    assert_eq!(request["userInfo"]["username"], "admin");

    asked.lock().clear();
    let told = warned(&cluster, "DELETE", &format!("{MAPS}/m"), &json!({})).await;
    assert_eq!(told, ["mind the gap"]);
    let (_, request) = asked.lock().first().cloned().expect("it was asked");
    assert_eq!(
        (&request["operation"], &request["object"], &request["name"], &request["namespace"]),
        (&json!("DELETE"), &json!(null), &json!("m"), &json!("default"))
    );
    assert_eq!(request["oldObject"]["metadata"]["name"], "m");

    let (_, metrics) = cluster.text("/metrics").await;
    let refusals = "apiserver_admission_webhook_rejection_count{error_type=\"no_error\",name=\"refuse.example.org\",\
                    operation=\"UPDATE\",rejection_code=\"403\",type=\"validating\"} 1";
    assert!(metrics.contains(refusals), "{metrics}");
    assert!(
        metrics.contains("apiserver_admission_webhook_request_total{code=\"200\",name=\"first.example.org\"")
    );
    // Conditions say of which of them one is asked.
    let mut choosy = webhook(&site, "/refuse", &maps, json!({"name": "choosy.example.org"}));
    choosy["matchConditions"] =
        json!([{"name": "not-mine", "expression": "request.userInfo.username != 'admin'"}]);
    register(&cluster, VALIDATING, "choosy", json!([choosy])).await;
    let mut unsure = webhook(&site, "/look", &["secrets"], json!({}));
    unsure["matchConditions"] = json!([{"name": "odd", "expression": "object.spec.odd == 1"}]);
    register(&cluster, VALIDATING, "unsure", json!([unsure])).await;
    asked.lock().clear();
    let (code, refused) =
        cluster.send("POST", "/api/v1/namespaces/default/secrets", &named("Secret", "s")).await;
    let why = "expression 'object.spec.odd == 1' resulted in error: no such key: spec";
    assert!(code == 403 && refused["message"].as_str().is_some_and(|said| said.ends_with(why)), "{refused}");
    assert!(asked.lock().is_empty());
    // Whoever refuses everything can be got rid of.
    let nothing =
        json!([webhook(&site, "/refuse", &["*/*"], json!({"clientConfig": {"url": "https://127.0.0.1:1"}}))]);
    register(&cluster, VALIDATING, "never", nothing).await;
    map["metadata"]["name"] = json!("n");
    assert_eq!(cluster.send("POST", MAPS, &map).await.0, 500);
    cluster.ok("DELETE", &format!("{VALIDATING}/never"), &json!({})).await;
    cluster.ok("POST", MAPS, &map).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_is_what_was_sent_in_the_version_that_the_webhook_knows() {
    let cluster = cluster().await;
    let (site, asked) = site("localhost", decide).await;
    let exactly = |group: &str, version: &str, resources: &[&str], policy: &str| {
        json!({"matchPolicy": policy, "rules": [{
            "operations": ["*"], "apiGroups": [group], "apiVersions": [version], "resources": resources,
        }]})
    };
    register(
        &cluster,
        MUTATING,
        "a",
        json!([webhook(&site, "/scale", &[], exactly("apps", "v1", &["deployments/scale"], "Equivalent"))]),
    )
    .await;
    register(
        &cluster,
        VALIDATING,
        "a",
        json!([
            webhook(&site, "/event", &[], exactly("events.k8s.io", "v1", &["events"], "Equivalent")),
            webhook(&site, "/exact", &[], exactly("events.k8s.io", "v1", &["events"], "Exact")),
            webhook(
                &site,
                "/parts",
                &[],
                exactly("", "v1", &["pods/binding", "pods/eviction", "pods/exec", "pods/status"], "Exact")
            ),
        ]),
    )
    .await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    cluster.ok("POST", deployments, &deployment("web", 1)).await;
    let scaled =
        cluster.ok("PATCH", &format!("{deployments}/web/scale"), &json!({"spec": {"replicas": 2}})).await;
    assert_eq!(scaled["spec"]["replicas"], 7);
    assert_eq!(cluster.get(&format!("{deployments}/web")).await.1["spec"]["replicas"], 7);
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"namespace": "default", "name": "x", "kind": "Pod"}, "reason": "Tested", "type": "Normal",
        "message": "said",
    });
    cluster.ok("POST", "/api/v1/namespaces/default/events", &event).await;
    let mut one = pod("p");
    one["spec"]["nodeName"] = Value::Null;
    cluster.ok("POST", PODS, &one).await;
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"},
    });
    cluster.ok("POST", &format!("{PODS}/p/binding"), &binding).await;
    cluster.ok("PATCH", &format!("{PODS}/p/status"), &json!({"status": {"phase": "Running"}})).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let exec = cluster.get(&format!("{PODS}/p/exec?command=cat&container=main&stdin=true")).await;
    assert_eq!(exec.0, 400, "no upgrade was asked for: {}", exec.1);
    cluster.ok("POST", &format!("{PODS}/p/eviction"), &eviction).await;

    let asked: Vec<String> = asked
        .lock()
        .iter()
        .map(|(path, request)| {
            let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let (kind, own) = (&request["kind"], &request["requestKind"]);
            format!(
                "{path} {} {}/{} of {}/{} {} {} {}",
                word(&request["operation"]),
                word(&kind["group"]),
                word(&kind["kind"]),
                word(&own["group"]),
                word(&request["requestResource"]["resource"]),
                word(&request["subResource"]),
                word(&request["object"]["kind"]),
                word(&request["oldObject"]["kind"]),
            )
        })
        .collect();
    assert_eq!(
        asked,
        [
            "/scale UPDATE autoscaling/Scale of autoscaling/deployments scale Scale Scale",
            "/event CREATE events.k8s.io/Event of /events - Event -",
            "/parts CREATE /Binding of /pods binding Binding -",
            "/parts UPDATE /Pod of /pods status Pod Pod",
            "/parts CONNECT /PodExecOptions of /pods exec PodExecOptions -",
            "/parts CREATE policy/Eviction of policy/pods eviction Eviction -",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_found_behind_a_service_and_asked_of_what_its_selectors_select() {
    let cluster = cluster().await;
    let (site, asked) = site("hook.default.svc", decide).await;
    let behind = |name: &str| {
        json!({"clientConfig": {
            "service": {"namespace": "default", "name": name, "path": "/refuse", "port": 8443},
            "caBundle": STANDARD.encode(&site.authority),
        }})
    };
    let mut selecting = webhook(&site, "/refuse", &["configmaps"], behind("hook"));
    selecting["objectSelector"] = json!({"matchLabels": {"look": "yes"}});
    selecting["namespaceSelector"] = json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}]});
    register(&cluster, VALIDATING, "a", json!([selecting])).await;
    let map = |name: &str, labels: Value| {
        let mut map = named("ConfigMap", name);
        map["metadata"]["labels"] = labels;
        map
    };
    let looked = json!({"look": "yes"});
    let service = "Internal error occurred: failed calling webhook \"refuse.example.org\": failed to call webhook: \
                   Post \"https://hook.default.svc:8443/refuse?timeout=10s\": ";
    let fails = async |why: &str| {
        let (code, refused) = cluster.send("POST", MAPS, &map("m", looked.clone())).await;
        assert_eq!((code, refused["message"].as_str()), (500, Some(format!("{service}{why}").as_str())));
    };
    fails("service \"hook\" not found").await;
    let ports = json!([{"name": "https", "port": 8443, "targetPort": 1}]);
    let mut made = named("Service", "hook");
    made["spec"] = json!({"ports": ports});
    cluster.ok("POST", "/api/v1/namespaces/default/services", &made).await;
    fails("no endpoints available for service \"hook\"").await;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "ports": [{"name": "https", "port": site.address.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.42.0.9"], "conditions": {"ready": true}}],
    });
    cluster.ok("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
    cluster.ok("POST", MAPS, &map("m", looked.clone())).await;
    let (code, _) = cluster.send("POST", MAPS, &map("n", json!({"look": "yes", "bad": "x"}))).await;
    assert_eq!((code, asked.lock().len()), (403, 2));
    // What is not selected is not asked about.
    cluster.ok("POST", MAPS, &map("o", json!({"bad": "x"}))).await;
    let there = "/api/v1/namespaces/kube-system/configmaps";
    cluster.ok("POST", there, &map("o", json!({"look": "yes", "bad": "x"}))).await;
    assert_eq!(asked.lock().len(), 2);
    // Whose certificate is another's is not asked, whoever listens there.
    let mut made = named("Service", "other");
    made["spec"] = json!({"ports": ports});
    cluster.ok("POST", "/api/v1/namespaces/default/services", &made).await;
    let mut slice = slice;
    slice["metadata"] = json!({"name": "other-1", "labels": {"kubernetes.io/service-name": "other"}});
    cluster.ok("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
    register(&cluster, VALIDATING, "b", json!([webhook(&site, "/refuse", &["secrets"], behind("other"))]))
        .await;
    let (code, refused) =
        cluster.send("POST", "/api/v1/namespaces/default/secrets", &named("Secret", "s")).await;
    let why = "tls: failed to verify certificate: x509: certificate is not valid for other.default.svc";
    assert!(code == 500 && refused["message"].as_str().is_some_and(|said| said.ends_with(why)), "{refused}");
    assert_eq!(asked.lock().len(), 2);
    // A service may stand for a name elsewhere, whose ports are its own; not for one that leads to what is near.
    cluster.ok("DELETE", "/api/v1/namespaces/default/services/hook", &json!({})).await;
    let mut made = named("Service", "hook");
    made["spec"] = json!({"type": "ExternalName", "externalName": "192.0.2.7"});
    cluster.ok("POST", "/api/v1/namespaces/default/services", &made).await;
    let mut outside = behind("hook");
    outside["clientConfig"]["service"]["port"] = json!(site.address.port());
    register(&cluster, VALIDATING, "c", json!([webhook(&site, "/refuse", &["endpoints"], outside)])).await;
    let endpoints = "/api/v1/namespaces/default/endpoints";
    cluster.ok("POST", endpoints, &named("Endpoints", "e")).await;
    assert_eq!(asked.lock().len(), 3);
    let near = json!({"spec": {"externalName": "127.0.0.1"}});
    cluster.ok("PATCH", "/api/v1/namespaces/default/services/hook", &near).await;
    let mut inside = behind("hook");
    inside["clientConfig"]["service"]["path"] = json!("/near");
    register(&cluster, VALIDATING, "d", json!([webhook(&site, "/near", &["serviceaccounts"], inside)])).await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let (code, refused) = cluster.send("POST", accounts, &named("ServiceAccount", "a")).await;
    let why = "dial tcp 127.0.0.1:8443: the name leads to no address that is allowed";
    assert!(code == 500 && refused["message"].as_str().is_some_and(|said| said.ends_with(why)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_makes_of_an_object_is_an_object_of_its_kind() {
    let cluster = cluster().await;
    let (site, _) = site("localhost", decide).await;
    register(
        &cluster,
        MUTATING,
        "a",
        json!([
            webhook(&site, "/break", &["configmaps"], json!({})),
            webhook(&site, "/unknown", &["secrets"], json!({})),
        ]),
    )
    .await;
    let mut map = named("ConfigMap", "m");
    map["data"] = json!({"a": "b"});
    let (code, refused) = cluster.send("POST", MAPS, &map).await;
    assert_eq!((code, &refused["reason"]), (500, &json!("InternalError")), "{refused}");
    let secrets = "/api/v1/namespaces/default/secrets";
    let made = cluster.ok("POST", secrets, &named("Secret", "s")).await;
    assert_eq!(made.get("madeUp"), None);
    assert_ne!(made["metadata"]["uid"], "x");
}
