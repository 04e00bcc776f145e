//! What is noted of requests in the audit log, whatever becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apiserver::Identity;
use apiserver::audit::{Audit, Backend, Event, Policy, Stage};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::access::{ask, connect, exchange};
use crate::cluster::{Cluster, named, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const HEAD: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: None, users: ['system:apiserver']}\n";

/// Keeps the text of events, or loses them.
#[derive(Default)]
struct Kept {
    lines: Mutex<Vec<String>>,
    /// Loses that requests have come.
    loses: AtomicBool,
}

impl Backend for Kept {
    fn process(&self, event: Event) -> BoxFuture<'static, bool> {
        if self.loses.load(Ordering::SeqCst) && event.stage() == Stage::RequestReceived {
            return ready(false).boxed();
        }
        self.lines.lock().push(String::from_utf8(event.json()).expect("UTF-8"));
        ready(true).boxed()
    }
}

impl Kept {
    /// The events of requests whose address begins so.
    fn of(&self, start: &str) -> Vec<Value> {
        let all = self
            .lines
            .lock()
            .iter()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect::<Vec<Value>>();
        all.into_iter()
            .filter(|event| event["requestURI"].as_str().is_some_and(|uri| uri.starts_with(start)))
            .collect()
    }

    /// Stages and codes of requests whose address begins so.
    fn stages(&self, start: &str) -> Vec<String> {
        let of = |event: &Value| {
            let code = event["responseStatus"]["code"].as_u64().unwrap_or_default();
            format!("{} {code}", event["stage"].as_str().expect("a stage"))
        };
        self.of(start).iter().map(of).collect()
    }

    async fn becomes(&self, start: &str, expected: &[&str]) {
        testkit::wait_until_async("the events", || async {
            let found = self.stages(start);
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
}

async fn audited(rules: &str) -> (Cluster, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    let (policy, odd) = Policy::parse(&format!("{HEAD}{rules}")).expect("a policy");
    assert!(odd.is_empty());
    let audit = Arc::new(Audit::new(policy, kept.clone()));
    let cluster = Cluster::configured(|config| config.audit = Some(audit.clone())).await;
    kept.lines.lock().clear();
    (cluster, kept)
}

async fn call(
    cluster: &Cluster,
    who: &Identity,
    request: http::request::Builder,
    body: &str,
) -> Response<Bytes> {
    let request = request.body(Bytes::from(body.to_owned())).expect("a well-formed request");
    let response = cluster.handle.call(request, who.clone()).await;
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Response::from_parts(parts, bytes)
}

#[tokio::test]
async fn a_request_is_noted_when_it_comes_and_when_it_is_over() {
    let (cluster, kept) = audited("- {level: RequestResponse}").await;
    let body = "{\n  \"apiVersion\": \"v1\", \"kind\": \"ConfigMap\",\r\n \"metadata\": {\"name\": \"a\", \"uid\": \"\"}, \"data\": {\"k\": \"a\\nb\"}}\n";
    let request = Request::post(format!("{MAPS}?fieldManager=m"))
        .header("audit-id", "of-the-client")
        .header(header::USER_AGENT, "curl/8")
        .header("x-forwarded-for", "1.2.3.4");
    let answer = call(&cluster, &Identity::administrator(), request, body).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["audit-id"]),
        (201, &"of-the-client".parse().expect("a value"))
    );
    let events = kept.of(MAPS);
    let [received, complete] = events.as_slice() else { panic!("{events:?}") };
    let sent = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": ""}, "data": {"k": "a\nb"},
    });
    let expected = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "of-the-client",
        "stage": "RequestReceived", "requestURI": format!("{MAPS}?fieldManager=m"), "verb": "create",
        "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": ["1.2.3.4"], "userAgent": "curl/8",
        "objectRef": {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"},
        "requestReceivedTimestamp": received["requestReceivedTimestamp"],
        "stageTimestamp": received["requestReceivedTimestamp"],
    });
    assert_eq!(*received, expected);
    assert_eq!(complete["stage"], "ResponseComplete");
    assert_eq!(complete["objectRef"]["name"], "a");
    assert_eq!(complete["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(complete["requestObject"], sent);
    assert_eq!(complete["responseObject"], serde_json::from_slice::<Value>(answer.body()).expect("JSON"));
    assert_eq!(complete["annotations"]["authorization.k8s.io/decision"], "allow");
    assert!(complete["stageTimestamp"].as_str() > complete["requestReceivedTimestamp"].as_str());
}

#[tokio::test]
async fn what_is_asked_in_another_form_is_noted_as_json() {
    let (cluster, kept) =
        audited("- {level: RequestResponse, omitStages: [RequestReceived], omitManagedFields: true}").await;
    let admin = Identity::administrator();
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n";
    let request = Request::post(MAPS).header(header::CONTENT_TYPE, "application/yaml");
    assert_eq!(call(&cluster, &admin, request, yaml).await.status(), 201);
    let created = &kept.of(MAPS)[0];
    assert_eq!(
        created["requestObject"],
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}})
    );
    assert_eq!(created["responseObject"]["metadata"]["name"], "b");
    assert!(created["responseObject"]["metadata"].get("managedFields").is_none(), "{created}");
    kept.lines.lock().clear();
    for accept in [
        "application/json",
        "application/vnd.kubernetes.protobuf",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
    ] {
        call(&cluster, &admin, Request::get(MAPS).header(header::ACCEPT, accept), "").await;
        testkit::wait_until_async("the event", || async { kept.of(MAPS).last().cloned().ok_or("none yet") })
            .await;
        let listed = kept.of(MAPS).remove(0);
        let object = &listed["responseObject"];
        let first =
            if object["kind"] == "Table" { &object["rows"][0]["object"] } else { &object["items"][0] };
        assert_eq!(first["metadata"]["name"], "b", "{accept}: {listed}");
        assert!(first["metadata"].get("managedFields").is_none(), "{accept}: {listed}");
        assert_eq!(listed["verb"], "list");
        kept.lines.lock().clear();
    }
}

#[tokio::test]
async fn what_is_secret_is_noted_where_the_policy_asks_for_it_and_nowhere_else() {
    let (cluster, kept) =
        audited("- {level: Metadata, resources: [{resources: [secrets]}]}\n- {level: RequestResponse}").await;
    let mut secret = named("Secret", "s");
    secret["stringData"] = json!({"password": "correct-horse"});
    cluster.ok("POST", "/api/v1/namespaces/default/secrets", &secret).await;
    cluster
        .ok(
            "PATCH",
            "/api/v1/namespaces/default/secrets/s",
            &json!({"stringData": {"password": "correct-horse-2"}}),
        )
        .await;
    cluster.get("/api/v1/namespaces/default/secrets").await;
    cluster.get("/api/v1/namespaces/default/secrets/s").await;
    let text = kept.lines.lock().join("\n");
    let packed = "Y29ycmVjdC1ob3Jz";
    assert!(!text.contains("correct-horse") && !text.contains(packed), "{text}");
    assert_eq!(kept.of("/api/v1/namespaces/default/secrets")[1]["objectRef"]["name"], "s");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_noted_with_the_reason() {
    let (cluster, kept) = audited("- {level: RequestResponse}").await;
    let jane = Identity::new("jane", ["developers"]);
    assert_eq!(ask(&cluster, None, Some("nonsense"), &format!("{MAPS}?a=401")).await.0, 401);
    let refused = &kept.of(&format!("{MAPS}?a=401"));
    let [refused] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!(refused["stage"], "ResponseStarted");
    assert_eq!(refused["user"], json!({}));
    assert_eq!(refused["sourceIPs"], json!(["127.0.0.1"]));
    let status = &refused["responseStatus"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(401), &json!("Unauthorized")));
    assert_eq!(status["message"], "Authentication failed, attempted: bearer");

    assert_eq!(ask(&cluster, Some(&jane), None, &format!("{MAPS}?a=403")).await.0, 403);
    let events = kept.of(&format!("{MAPS}?a=403"));
    assert_eq!(events[1]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(events[1]["responseStatus"]["reason"], "Forbidden");
    assert_eq!(events[1]["user"]["username"], "jane");

    let admin = Identity::administrator();
    assert_eq!(ask(&cluster, Some(&admin), None, &format!("{MAPS}/none")).await.0, 404);
    assert_eq!(kept.stages(&format!("{MAPS}/none")), ["RequestReceived 0", "ResponseComplete 404"]);
    assert_eq!(kept.of(&format!("{MAPS}/none"))[1]["responseStatus"]["details"]["name"], "none");
    assert_eq!(ask(&cluster, Some(&admin), None, "/apis/none.example/v1/things").await.0, 404);
    assert_eq!(kept.stages("/apis/none.example"), ["RequestReceived 0", "ResponseComplete 404"]);

    let mut stream = connect(&cluster, Some(&admin), "http/1.1").await;
    let large = format!(
        "POST {MAPS}?a=413 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9000000\r\n\r\n"
    );
    assert_eq!(exchange(&mut stream, &large).await.0, 413);
    assert_eq!(kept.stages(&format!("{MAPS}?a=413")), ["RequestReceived 0", "ResponseComplete 413"]);

    let deleted = "/api/v1/namespaces/default/configmaps/d";
    cluster.ok("POST", MAPS, &named("ConfigMap", "d")).await;
    cluster.ok("DELETE", deleted, &json!({"kind": "DeleteOptions", "apiVersion": "v1"})).await;
    let events = kept.of(deleted);
    assert_eq!(events[1]["requestObject"]["kind"], "DeleteOptions");
    assert_eq!(events[1]["responseStatus"]["status"], "Success");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_for_long_is_noted_when_it_begins_and_when_it_ends() {
    let (cluster, kept) = audited("- {level: RequestResponse}").await;
    let watch = cluster.watch(&format!("{MAPS}?watch=1")).await;
    kept.becomes(&format!("{MAPS}?watch=1"), &["RequestReceived 0", "ResponseStarted 200"]).await;
    drop(watch);
    let over = ["RequestReceived 0", "ResponseStarted 200", "ResponseComplete 200"];
    kept.becomes(&format!("{MAPS}?watch=1"), &over).await;

    let mut object = pod("p");
    object["spec"]["nodeName"] = json!("n1");
    cluster.ok("POST", "/api/v1/namespaces/default/pods", &object).await;
    let path = "/api/v1/namespaces/default/pods/p/exec";
    let mut stream = connect(&cluster, Some(&Identity::administrator()), "http/1.1").await;
    let request = format!(
        "GET {path}?command=cat&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 101");
    kept.becomes(path, &["RequestReceived 0", "ResponseStarted 101"]).await;
    drop(stream);
    kept.becomes(path, &["RequestReceived 0", "ResponseStarted 101", "ResponseComplete 101"]).await;
    assert_eq!(kept.of(path)[0]["objectRef"]["subresource"], "exec");
    let log = "/api/v1/namespaces/default/pods/p/log";
    cluster.text(log).await;
    kept.becomes(log, &over).await;
    assert!(kept.of(log)[2].get("responseObject").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_server_is_noted() {
    let (cluster, kept) = audited("- {level: Metadata}").await;
    for name in ["panics", "breaks"] {
        let mut object = pod(name);
        object["spec"]["nodeName"] = json!("n1");
        cluster.ok("POST", "/api/v1/namespaces/default/pods", &object).await;
    }
    let panics = "/api/v1/namespaces/default/pods/panics/log";
    let admin = Identity::administrator();
    assert_eq!(call(&cluster, &admin, Request::get(panics), "").await.status(), 500);
    kept.becomes(panics, &["RequestReceived 0", "Panic 500"]).await;
    assert_eq!(kept.of(panics)[1]["responseStatus"]["message"], "APIServer panic'd: a fault of the node");
    let breaks = "/api/v1/namespaces/default/pods/breaks/log";
    assert_eq!(call(&cluster, &admin, Request::get(breaks), "").await.status(), 200);
    kept.becomes(breaks, &["RequestReceived 0", "ResponseStarted 200", "Panic 500"]).await;
}

#[tokio::test]
async fn whoever_leaves_before_the_answer_is_noted_too() {
    let (cluster, kept) = audited("- {level: Metadata}").await;
    let request =
        Request::post(format!("{MAPS}?left=1")).body(Bytes::from(named("ConfigMap", "left").to_string()));
    let mut asking = Box::pin(cluster.handle.call(request.expect("a request"), Identity::administrator()));
    assert!((&mut asking).now_or_never().is_none(), "it waits for the disk");
    drop(asking);
    kept.becomes(&format!("{MAPS}?left=1"), &["RequestReceived 0", "ResponseComplete 200"]).await;
    let status = &kept.of(&format!("{MAPS}?left=1"))[1]["responseStatus"];
    assert_eq!(status["message"], "Connection closed early");
}

#[tokio::test]
async fn as_whom_a_request_acts_is_noted_beside_who_makes_it() {
    let (cluster, kept) = audited("- {level: Metadata, omitStages: [RequestReceived]}").await;
    let request = Request::get("/api?i=1")
        .header("impersonate-user", "jane")
        .header("impersonate-group", "developers")
        .header("impersonate-extra-scopes", "x");
    assert_eq!(call(&cluster, &Identity::administrator(), request, "").await.status(), 200);
    let event = &kept.of("/api?i=1")[0];
    assert_eq!(event["user"]["username"], "admin");
    let expected = json!({"username": "jane", "groups": ["developers", "system:authenticated"], "extra": {"scopes": ["x"]}});
    assert_eq!(event["impersonatedUser"], expected);
    assert!(event.get("objectRef").is_none());
}

#[tokio::test]
async fn what_must_be_noted_and_cannot_be_is_not_done() {
    let (cluster, kept) = audited("- {level: None, verbs: [get]}\n- {level: Metadata}").await;
    kept.loses.store(true, Ordering::SeqCst);
    let body = named("ConfigMap", "a").to_string();
    let answer = call(&cluster, &Identity::administrator(), Request::post(MAPS), &body).await;
    assert_eq!(answer.status(), 500);
    let text = String::from_utf8_lossy(answer.body());
    assert_eq!(text, format!("Internal Server Error: \"{MAPS}\": failed to store audit event\n"));
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.0, 404, "nothing is noted of this one");
    kept.becomes(MAPS, &[]).await;
    kept.loses.store(false, Ordering::SeqCst);
    cluster.ok("POST", MAPS, &named("ConfigMap", "a")).await;
}

#[tokio::test]
async fn of_what_is_turned_back_since_it_cannot_be_noted_nothing_is_noted_later() {
    let (cluster, kept) = audited("- {level: Metadata}").await;
    kept.loses.store(true, Ordering::SeqCst);
    let watch = format!("{MAPS}?watch=1");
    assert_eq!(call(&cluster, &Identity::administrator(), Request::get(&watch), "").await.status(), 500);
    // The answer is over by now.
    assert_eq!(kept.stages(&watch), [""; 0]);
}

#[tokio::test]
async fn who_asks_for_several_by_one_name_asks_for_that_one() {
    let rule = "- {level: Metadata, omitStages: [RequestReceived], resources: [{resources: [configmaps], resourceNames: [one]}]}\n- {level: None}";
    let (cluster, kept) = audited(rule).await;
    let by = |name: &str| format!("{MAPS}?fieldSelector=metadata.name%3D{name}");
    for path in [by("one"), by("another"), MAPS.to_owned()] {
        assert_eq!(cluster.get(&path).await.0, 200);
    }
    kept.becomes(MAPS, &["ResponseComplete 200"]).await;
    let event = kept.of(MAPS).remove(0);
    assert_eq!((&event["verb"], &event["objectRef"]["name"]), (&json!("list"), &json!("one")));
}

#[tokio::test]
async fn what_was_sent_is_noted_however_its_type_is_written() {
    let (cluster, kept) = audited("- {level: Request, omitStages: [RequestReceived]}").await;
    let admin = Identity::administrator();
    let post = async |path: &str, kind: &str, body: &str| {
        kept.lines.lock().clear();
        let request = Request::post(path).header(header::CONTENT_TYPE, kind);
        let code = call(&cluster, &admin, request, body).await.status().as_u16();
        testkit::wait_until_async("the event", || async { kept.of(path).pop().ok_or("none yet") }).await;
        (code, kept.of(path).remove(0))
    };
    let long = "x".repeat(100 << 10);
    for (number, kind) in
        ["Application/YAML", "text/Yaml; charset=utf-8", "APPLICATION/X-YAML"].into_iter().enumerate()
    {
        let yaml =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: y{number}}}\ndata:\n  k: {long}\n");
        let (code, event) = post(MAPS, kind, &yaml).await;
        assert_eq!(code, 201, "{kind}");
        assert_eq!(event["requestObject"]["data"]["k"].as_str().map(str::len), Some(long.len()), "{kind}");
    }
    // A question is read as any other object is.
    let question = "kind: SelfSubjectReview\napiVersion: authentication.k8s.io/v1\n";
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (code, event) = post(path, "application/yaml", question).await;
    assert_eq!((code, &event["requestObject"]["kind"]), (201, &json!("SelfSubjectReview")), "{event}");
    // What cannot be read is said to be missing.
    for (kind, body) in [("application/json", "kind: ConfigMap"), ("application/yaml", "a: [")] {
        let (code, event) = post(MAPS, kind, body).await;
        assert!(code == 400 && event.get("requestObject").is_none(), "{code} {event}");
        assert_eq!(event["annotations"]["audit.k8s.io/truncated"], "true");
    }
}

#[tokio::test]
async fn who_takes_no_answer_keeps_no_other_from_being_noted() {
    let (cluster, kept) = audited("- {level: RequestResponse, omitStages: [RequestReceived]}").await;
    let mut map = named("ConfigMap", "large");
    map["data"] = json!({"k": "x".repeat(1_000_000)});
    cluster.ok("POST", MAPS, &map).await;
    let mut held = Vec::new();
    for _ in 0..70 {
        kept.lines.lock().clear();
        let request = Request::get(format!("{MAPS}/large")).body(Bytes::new()).expect("a request");
        held.push(cluster.handle.call(request, Identity::administrator()).await);
        let lines = kept.lines.lock();
        assert!(lines.last().is_some_and(|line| line.contains("\"responseObject\"")), "{}", held.len());
    }
}

#[tokio::test]
async fn an_answer_that_is_too_much_is_left_out() {
    let (cluster, kept) = audited("- {level: RequestResponse, verbs: [list]}").await;
    for number in 0..18 {
        let mut map = named("ConfigMap", &format!("large-{number}"));
        map["data"] = json!({"k": "x".repeat(1_000_000)});
        cluster.ok("POST", MAPS, &map).await;
        if number == 7 {
            cluster.get(&format!("{MAPS}?some")).await;
        }
    }
    cluster.get(&format!("{MAPS}?all")).await;
    let (some, all) = (format!("{MAPS}?some"), format!("{MAPS}?all"));
    kept.becomes(&some, &["RequestReceived 0", "ResponseComplete 200"]).await;
    kept.becomes(&all, &["RequestReceived 0", "ResponseComplete 200"]).await;
    assert_eq!(kept.of(&some)[1]["responseObject"]["items"].as_array().map(Vec::len), Some(8));
    let all = &kept.of(&all)[1];
    assert!(all.get("responseObject").is_none());
    assert_eq!(all["annotations"]["audit.k8s.io/truncated"], "true");
}
