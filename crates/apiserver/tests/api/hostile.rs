//! Clients that mean harm: what they send is refused, costs little, and hurts nobody else.

use std::time::Duration;

use apiserver::Identity;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::access::{ask, connect, exchange};
use crate::cluster::{Cluster, named, pod};
use crate::roles::grant;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const REVIEW: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const JSON_PATCH: &str = "application/json-patch+json";

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acts_as_another() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", "/api/v1/namespaces/default/pods", &pod("p")).await;
    // She may delete it herself.
    let jane = Identity::new("jane", ["developers"]);
    grant(
        &cluster,
        "jane",
        json!([{"apiGroups": ["*"], "resources": ["pods", "pods/exec"], "verbs": ["*"]}]),
    )
    .await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n";
    let requests = [
        ("GET /api/v1/pods", "Connection: close\r\n"),
        ("GET /healthz", "Connection: close\r\n"),
        ("DELETE /api/v1/namespaces/default/pods/p", "Connection: close\r\n"),
        (
            "POST /apis/authentication.k8s.io/v1/selfsubjectreviews",
            "Connection: close\r\nContent-Length: 0\r\n",
        ),
        ("GET /api/v1/namespaces/default/pods/p/exec?command=ls&stdout=1", upgrade),
    ];
    for (request, headers) in requests {
        for name in ["Impersonate-User", "impersonate-group", "Impersonate-Uid", "Impersonate-Extra-Scopes"] {
            let code = if name == "Impersonate-User" { 403 } else { 400 };
            let mut stream = connect(&cluster, Some(&jane), "http/1.1").await;
            let text = format!("{request} HTTP/1.1\r\nHost: x\r\n{headers}{name}: nobody\r\n\r\n");
            // Where the connection stays open, the head is enough.
            stream.write_all(text.as_bytes()).await.expect("write");
            let mut answer = [0; 4096];
            let count = stream.read(&mut answer).await.expect("an answer");
            let answer = String::from_utf8_lossy(&answer[..count]);
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{request} with {name}: {answer}");
        }
    }
    assert_eq!(cluster.get("/api/v1/namespaces/default/pods/p").await.0, 200, "it was not deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_not_waited_for_before_its_sender_is_known_and_allowed() {
    let cluster = Cluster::start().await;
    let half = |length: usize| {
        format!(
            "POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(1024)
        )
    };
    // None of them ever sends the rest: whoever gets an answer got it without.
    for (client, code) in [(None, 403), (Some(Identity::new("jane", ["developers"])), 403)] {
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut stream = connect(&cluster, client.as_ref(), "http/1.1").await;
            stream.write_all(half(3 << 20).as_bytes()).await.expect("write");
            clients.push(stream);
        }
        for stream in &mut clients {
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {code}"));
        }
    }
    // Nor does a body that is too long have to arrive to be refused.
    let mut stream = connect(&cluster, Some(&Identity::administrator()), "http/1.1").await;
    let (code, _) = exchange(&mut stream, &half(4 << 20)).await;
    assert_eq!(code, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_strangers_shuts_nobody_out() {
    let cluster = Cluster::start().await;
    let mut crowd = Vec::new();
    // Some say nothing at all, some finish the handshake and begin a request.
    for index in 0..400 {
        if index % 20 == 0 {
            let mut stream = connect(&cluster, None, "http/1.1").await;
            stream.write_all(b"GET /api/v1/pods HTTP/1.1\r\nX: ").await.expect("write");
            crowd.push((None, Some(stream)));
        } else {
            let stream = tokio::net::TcpStream::connect(cluster.address).await.expect("connect");
            crowd.push((Some(stream), None));
        }
    }
    for _ in 0..20 {
        assert_eq!(ask(&cluster, Some(&Identity::administrator()), None, "/api/v1/pods").await.0, 200);
        assert_eq!(ask(&cluster, None, None, "/readyz").await.0, 200);
    }
    // Those who were there first have been sent away.
    let (first, _) = &mut crowd[1];
    let first = first.as_mut().expect("it said nothing");
    assert_eq!(first.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_for_later_but_not_for_half_a_request() {
    const QUESTION: &str = "GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
    let cluster = Cluster::start().await;
    let jane = Identity::new("jane", ["developers"]);
    let mut kept = connect(&cluster, Some(&jane), "http/1.1").await;
    let mut half = connect(&cluster, None, "http/1.1").await;
    half.write_all(&QUESTION.as_bytes()[..20]).await.expect("write");
    for pause in [0, 12] {
        // As long as clients are that look at something now and then.
        tokio::time::sleep(Duration::from_secs(pause)).await;
        kept.write_all(QUESTION.as_bytes()).await.expect("write");
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains("gitVersion") {
            let mut some = [0; 4096];
            let count = kept.read(&mut some).await.expect("an answer");
            assert!(count > 0, "the connection has ended after {pause} s");
            answer.extend_from_slice(&some[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }
    let mut rest = Vec::new();
    let ends = tokio::time::timeout(Duration::from_secs(60), half.read_to_end(&mut rest)).await;
    assert!(ends.is_ok() && rest.is_empty(), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_opened_and_reset_at_once_end_their_connection() {
    let cluster = Cluster::start().await;
    let mut stream = connect(&cluster, Some(&Identity::administrator()), "h2").await;
    let frame = |kind: u8, flags: u8, id: u32, payload: &[u8]| {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(id.to_be_bytes());
        frame.extend(payload);
        frame
    };
    // :method GET, :scheme https, :path /, :authority x
    let head = [0x82, 0x87, 0x84, 0x41, 0x01, b'x'];
    let mut attack = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    attack.extend(frame(4, 0, 0, &[]));
    for id in (1..100_000).step_by(2) {
        attack.extend(frame(1, 5, id, &head));
        attack.extend(frame(3, 0, id, &8u32.to_be_bytes()));
    }
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let sending = async { writer.write_all(&attack).await.is_err() };
    let mut answer = Vec::new();
    let reading = async { drop(reader.read_to_end(&mut answer).await) };
    // The server hangs up long before it has taken all of it: with GOAWAY, ENHANCE_YOUR_CALM.
    let (_, ()) = tokio::join!(sending, reading);
    let goaway = answer.windows(9).any(|w| w[3] == 7 && w[5..9] == [0; 4]);
    assert!(goaway, "no GOAWAY in {} bytes", answer.len());
    assert_eq!(ask(&cluster, Some(&Identity::administrator()), None, "/api/v1/pods").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_costs_no_more_than_it_may() {
    let cluster = Cluster::start().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}});
    cluster.ok("POST", MAPS, &map).await;
    let path = format!("{MAPS}/m");
    let patch = async |operations: Value| {
        let (code, answer) = cluster.send_as("PATCH", &path, JSON_PATCH, operations.to_string().into()).await;
        (code, answer["message"].as_str().unwrap_or_default().to_owned())
    };

    // 33 kB that double the depth at each step.
    let mut operations = vec![json!({"op": "add", "path": "/x", "value": {}})];
    let mut deepest = "/x".to_owned();
    for _ in 0..14 {
        operations.push(json!({"op": "copy", "from": "/x", "path": format!("{deepest}/x")}));
        deepest = format!("{deepest}{deepest}");
    }
    let (code, why) = patch(operations.into()).await;
    assert_eq!(code, 400, "{why}");
    assert!(why.contains("deeper than 96 levels"), "{why}");

    // 19 doublings by copy.
    let mut operations = vec![json!({"op": "add", "path": "/data", "value": {"a": "x".repeat(1000)}})];
    operations.push(json!({"op": "add", "path": "/l", "value": ["x".repeat(1000)]}));
    operations.extend((0..19).map(|_| json!({"op": "copy", "from": "/l", "path": "/l/-"})));
    let (code, why) = patch(operations.into()).await;
    assert_eq!(code, 413, "{why}");

    let test = json!({"op": "test", "path": "/data/a", "value": "b"});
    let (code, why) = patch(vec![test.clone(); 10_001].into()).await;
    assert_eq!((code, why.contains("10000")), (413, true), "{why}");
    assert_eq!(patch(vec![test; 10_000].into()).await.0, 200);

    // Bodies that are deep by themselves, of every kind.
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let merge = format!("{{\"x\":{}}}", deep(100_000));
    for kind in ["application/merge-patch+json", "application/strategic-merge-patch+json", JSON_PATCH] {
        let (code, _) = cluster.send_as("PATCH", &path, kind, merge.clone().into()).await;
        assert_eq!(code, 400, "{kind}");
    }
    let apply = format!("{path}?fieldManager=x&force=true");
    let configuration =
        |extra: String| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\nx: {extra}\n");
    let (code, _) = cluster
        .send_as("PATCH", &apply, "application/apply-patch+yaml", configuration(deep(50_000)).into())
        .await;
    assert_eq!(code, 400);
    assert_eq!(cluster.get(&path).await.1["data"]["a"], "b", "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_as_deep_as_every_reader_of_it_can_follow() {
    let cluster = Cluster::start().await;
    let nested = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({"f:a": inner}));
    let with = |fields: Value| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "m", "managedFields": [{
                "manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields,
            }]},
        })
    };
    assert_eq!(cluster.send("POST", MAPS, &with(nested(110))).await.0, 400);
    cluster.ok("POST", MAPS, &with(nested(90))).await;
    // As deep as it is allowed to be, every form of answer can still be read.
    let mut watch = cluster.watch(&format!("{MAPS}?watch=1")).await;
    assert_eq!(watch.next().await, "ADDED m");
    let (code, list) = cluster.get(MAPS).await;
    assert_eq!((code, list["items"][0]["metadata"]["name"].as_str()), (200, Some("m")));
    let patched = cluster.ok("PATCH", &format!("{MAPS}/m"), &json!({"data": {"k": "v"}})).await;
    assert_eq!(patched["data"]["k"], "v");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_in_other_forms_are_bounded_too() {
    let cluster = Cluster::start().await;
    let send = async |kind: &str, body: Vec<u8>| cluster.send_as("POST", MAPS, kind, body.into()).await.0;
    let yaml =
        |rest: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\n{rest}").into_bytes();
    // Anchors within anchors, each naming the one before ten times.
    let mut laughs = "data:\n  a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let names = vec![format!("*a{}", level - 1); 10].join(",");
        laughs.push_str(&format!("  a{level}: &a{level} [{names}]\n"));
    }
    assert_eq!(send("application/yaml", yaml(&laughs)).await, 400);
    // One long text, named again and again.
    let mut copies = format!("x: &t {}\ny:\n", "z".repeat(1 << 20));
    copies.push_str(&"- *t\n".repeat(90));
    assert_eq!(send("application/yaml", yaml(&copies)).await, 400);
    let deep: String = (0..2000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert_eq!(send("application/yaml", yaml(&deep)).await, 400);

    // Protobuf: an unknown envelope within itself, and lengths that lie.
    let mut message = Vec::new();
    for _ in 0..1000 {
        let mut outer = vec![0x0a];
        let mut length = message.len();
        while length >= 0x80 {
            outer.push(length as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(message);
        message = outer;
    }
    let mut body = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12".to_vec();
    let mut length = message.len();
    while length >= 0x80 {
        body.push(length as u8 | 0x80);
        length >>= 7;
    }
    body.push(length as u8);
    body.extend(message);
    assert_eq!(send("application/vnd.kubernetes.protobuf", body).await, 400);
    let lie = b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec();
    assert_eq!(send("application/vnd.kubernetes.protobuf", lie).await, 400);
    assert_eq!(cluster.get("/api/v1/namespaces/default").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_complaints_fit_into_an_answer() {
    let cluster = Cluster::start().await;
    let mut map = named("ConfigMap", "m");
    for index in 0..100_000 {
        map[format!("unknown{index}")] = json!(1);
    }
    let path = format!("{MAPS}?fieldValidation=Warn");
    let (code, answer) = cluster.send("POST", &path, &map).await;
    assert_eq!(code, 201, "{answer}");
    let (code, answer) = cluster.send("POST", &format!("{MAPS}?fieldValidation=Strict"), &map).await;
    assert_eq!(code, 400, "{}", answer["message"].as_str().map_or(0, str::len));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_server_ends_the_one_request_that_met_it() {
    let cluster = Cluster::start().await;
    for name in ["panics", "breaks", "good"] {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = json!("n");
        cluster.ok("POST", "/api/v1/namespaces/default/pods", &pod).await;
    }
    let administrator = Identity::administrator();
    for _ in 0..3 {
        let path = |name: &str| format!("/api/v1/namespaces/default/pods/{name}/log");
        let (code, body) = ask(&cluster, Some(&administrator), None, &path("panics")).await;
        assert_eq!(code, 500);
        let status: Value = serde_json::from_str(&body).expect("a status");
        assert_eq!((&status["kind"], &status["reason"]), (&json!("Status"), &json!("InternalError")));
        assert!(
            status["message"].as_str().is_some_and(|why| why.contains("a fault of the server")),
            "{body}"
        );
        // What was sent already cannot be taken back, but it does not look whole: its last chunk is missing.
        let (code, body) = ask(&cluster, Some(&administrator), None, &path("breaks")).await;
        assert_eq!(
            (code, body.contains("default/breaks"), body.ends_with("0\r\n\r\n")),
            (200, true, false),
            "{body}"
        );
        let (code, body) = ask(&cluster, Some(&administrator), None, &path("good")).await;
        assert_eq!((code, body.ends_with("0\r\n\r\n")), (200, true), "{body}");
    }
}

/// A user that may do nothing but ask about itself, as a pod's account.
fn nobody() -> Identity {
    Identity::new("system:serviceaccount:default:default", ["system:serviceaccounts"])
}

/// Sends a request from inside the process while nobody computes but the runtime's only worker, and gives the answer
/// that it has after all: none that the worker could have given by itself.
async fn answered_beside(cluster: &Cluster, who: Identity, request: http::Request<Bytes>) -> u16 {
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    let busy = tokio::task::spawn_blocking(move || is_over.recv().is_err());
    let what = format!("{} {}", request.method(), request.uri());
    let mut answer = std::pin::pin!(cluster.handle.call(request, who));
    let by_itself = tokio::time::timeout(Duration::from_millis(100), &mut answer).await;
    assert!(by_itself.is_err(), "{what}: answered on the thread that answers everybody");
    let small = http::Request::post(REVIEW).header("content-type", "application/json");
    let small = small.body(Bytes::from_static(b"[]")).expect("a request");
    assert_eq!(
        cluster.handle.call(small, nobody()).await.status(),
        400,
        "{what}: what is small waits for nobody"
    );
    drop(over);
    assert!(busy.await.expect("it ends"));
    answer.await.status().as_u16()
}

#[test]
fn bodies_are_taken_apart_beside_the_threads_that_answer_everybody() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // One beside the worker, so that it can be taken away.
    let runtime = runtime.enable_all().max_blocking_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let cluster = Cluster::start().await;
        let administrator = Identity::administrator;
        let apply = format!("{MAPS}/m?fieldManager=x");
        let json = "application/json";
        // Each breaks off at its end: nothing of what follows reading takes any time.
        let yaml = |count: usize| format!("spec: [{}\n  oops: ]]", "1, ".repeat(count));
        let long = |count: usize| format!("{{\"spec\": [{}]", "[[]],".repeat(count));
        for (who, method, path, kind, body) in [
            (nobody(), "POST", REVIEW, "application/yaml", yaml(10_000)),
            (administrator(), "POST", MAPS, "application/yaml", yaml(10_000)),
            (administrator(), "PATCH", &apply, "application/apply-patch+yaml", yaml(10_000)),
            (administrator(), "POST", MAPS, json, long(40_000)),
            (administrator(), "PUT", &format!("{MAPS}/m"), json, long(40_000)),
            (administrator(), "DELETE", &format!("{MAPS}/kube-root-ca.crt"), json, long(40_000)),
        ] {
            let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
            let request = request.body(body.into()).expect("a request");
            assert_eq!(answered_beside(&cluster, who, request).await, 400, "{method} {path}");
        }
        let request = http::Request::post(REVIEW).body(vec![b' '; 65 << 10].into()).expect("a request");
        assert_eq!(cluster.handle.call(request, nobody()).await.status(), 413);
    });
}

#[tokio::test]
async fn whoever_does_not_read_documents_gets_so_many_and_keeps_nobody_away() {
    let cluster = Cluster::start().await;
    let ask = async |who: Identity, path: &str| {
        let request = http::Request::get(path).body(Bytes::new()).expect("a request");
        cluster.handle.call(request, who).await
    };
    let mut unread = Vec::new();
    // Until all seats are taken.
    while let Ok(answer) = tokio::time::timeout(Duration::from_millis(500), ask(nobody(), "/apis")).await {
        assert_eq!(answer.status(), 200);
        unread.push(answer);
        assert!(unread.len() < 500);
    }
    // Who asks how the server fares is answered at once, and others soon: who reads nothing keeps nobody away.
    assert_eq!(ask(nobody(), "/readyz").await.status(), 200);
    assert_eq!(ask(Identity::new("jane", ["developers"]), "/apis").await.status(), 200);
    drop(unread);
    assert_eq!(ask(nobody(), "/openapi/v2").await.status(), 200);
}
