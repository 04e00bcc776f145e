//! Requests that the server passes on to pods and to what is behind services.

use std::convert::Infallible;
use std::net::SocketAddr;

use apiserver::Identity;
use bytes::Bytes;
use client::remote::{Config, RemoteTransport};
use client::transport::{Transport, UpgradeAnswer};
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::cluster::{Cluster, pod};

type Pieces = futures::stream::BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>;
type Answer = Response<StreamBody<Pieces>>;

/// Something that runs in a pod: it tells what it was asked, has a page, leads elsewhere, breaks off, and
/// echoes over a protocol of its own.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let service = service_fn(|request| async { Ok::<_, Infallible>(told(request).await) });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                let _ = connection.await;
            });
        }
    });
    address
}

fn answer(pieces: Vec<Result<Bytes, std::io::Error>>) -> Answer {
    let pieces = futures::stream::iter(pieces).then(|piece| async {
        tokio::task::yield_now().await;
        piece.map(Frame::data)
    });
    Response::new(StreamBody::new(pieces.boxed()))
}

async fn told(mut request: Request<Incoming>) -> Answer {
    match request.uri().path() {
        "/page" => {
            let page = r#"<a href="/next">next</a>"#;
            let mut answer = answer(vec![Ok(page.into())]);
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_TYPE, "text/html; charset=utf-8".parse().expect("a value"));
            headers.insert("access-control-allow-origin", "*".parse().expect("a value"));
            answer
        }
        "/away" => {
            let mut answer = answer(Vec::new());
            *answer.status_mut() = StatusCode::FOUND;
            answer.headers_mut().insert(header::LOCATION, "/next?a=b".parse().expect("a value"));
            answer
        }
        "/breaks" => answer(vec![Ok("half of it".into()), Err(std::io::Error::other("a fault"))]),
        "/echo" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.expect("an upgrade"));
                let mut buffer = [0; 100];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            });
            let mut answer = answer(Vec::new());
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            answer.headers_mut().insert(header::CONNECTION, "Upgrade".parse().expect("a value"));
            answer.headers_mut().insert(header::UPGRADE, "own".parse().expect("a value"));
            answer
        }
        _ => {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let text =
                |name: &str| parts.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
            let told = json!({
                "method": parts.method.as_str(), "uri": parts.uri.to_string(),
                "body": String::from_utf8_lossy(&body), "authorization": text("authorization"),
                "own": text("x-own"), "user": text("impersonate-user"), "hop": text("keep-alive"),
                "forwarded": text("x-forwarded-uri"), "host": text("host"),
            });
            answer(vec![Ok(told.to_string().into())])
        }
    }
}

/// A server with a pod and a service that lead to `address`.
async fn cluster(address: SocketAddr) -> Cluster {
    let cluster = Cluster::start().await;
    let mut object = pod("p");
    object["spec"]["nodeName"] = json!("n1");
    object["spec"]["containers"][0]["ports"] = json!([{"containerPort": address.port()}]);
    cluster.ok("POST", "/api/v1/namespaces/default/pods", &object).await;
    let status =
        json!({"status": {"phase": "Running", "podIP": "10.42.0.7", "podIPs": [{"ip": "10.42.0.7"}]}});
    cluster.ok("PATCH", "/api/v1/namespaces/default/pods/p/status", &status).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"ports": [{"name": "web", "port": 80}]},
    });
    cluster.ok("POST", "/api/v1/namespaces/default/services", &service).await;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "endpoints": [
            {"addresses": ["10.42.0.7"], "targetRef": {"kind": "Pod", "name": "p"}, "nodeName": "n1"},
            {"addresses": ["10.42.0.8"], "targetRef": {"kind": "Pod", "name": "p"}},
            {"addresses": ["192.0.2.1"]},
            {"addresses": ["10.42.0.7"], "targetRef": {"kind": "Pod", "name": "q"}},
        ],
        "ports": [{"name": "web", "port": address.port()}],
    });
    cluster.ok("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
    cluster
}

const POD: &str = "/api/v1/namespaces/default/pods/p/proxy";
const SERVICE: &str = "/api/v1/namespaces/default/services/s:web/proxy";

async fn ask(cluster: &Cluster, method: &str, path: &str, body: &str) -> (u16, HeaderMap, Option<String>) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("x-own", "kept")
        .header(header::AUTHORIZATION, "Bearer secret")
        .header("keep-alive", "timeout=5")
        .header(header::HOST, "server.example")
        .body(Bytes::from(body.to_owned()))
        .expect("a well-formed request");
    let answer = cluster.handle.call(request, Identity::administrator()).await;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.ok().map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    (parts.status.as_u16(), parts.headers, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_a_pod_or_a_service_is_asked_there() {
    let address = upstream().await;
    let cluster = cluster(address).await;
    let port = address.port();
    for prefix in [
        POD.to_owned(),
        format!("/api/v1/namespaces/default/pods/p:{port}/proxy"),
        format!("/api/v1/namespaces/default/pods/http:p:{port}/proxy"),
        SERVICE.to_owned(),
        "/api/v1/namespaces/default/services/http:s:80/proxy".to_owned(),
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let path = format!("{prefix}/a%20b//c/?x=1&y=%2F");
            let (code, _, body) = ask(&cluster, method, &path, "sent").await;
            let told: Value = serde_json::from_str(&body.expect("whole")).expect("JSON");
            let expected = json!({
                "method": method, "uri": "/a%20b//c/?x=1&y=%2F", "body": "sent", "authorization": null,
                "own": "kept", "user": null, "hop": null, "forwarded": format!("{prefix}/a%20b//c/"),
                "host": "server.example",
            });
            assert_eq!((code, told), (200, expected), "{method} {prefix}");
        }
    }
    let (code, _, body) = ask(&cluster, "HEAD", &format!("{POD}/x"), "").await;
    assert_eq!((code, body.as_deref()), (200, Some("")));
    // Its links would lead elsewhere.
    let (code, headers, _) = ask(&cluster, "GET", &format!("{POD}?x=1"), "").await;
    assert_eq!((code, headers[header::LOCATION].to_str().ok()), (301, Some(&*format!("{POD}/?x=1"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_lead_through_the_server() {
    let cluster = cluster(upstream().await).await;
    let (code, headers, body) = ask(&cluster, "GET", &format!("{POD}/page"), "").await;
    assert_eq!((code, body), (200, Some(format!(r#"<a href="{POD}/next">next</a>"#))));
    assert!(!headers.contains_key("access-control-allow-origin"));
    let (code, headers, _) = ask(&cluster, "GET", &format!("{SERVICE}/away"), "").await;
    assert_eq!((code, headers[header::LOCATION].to_str().ok()), (302, Some(&*format!("{SERVICE}/next?a=b"))));
    // What breaks off does not look whole.
    let (code, _, body) = ask(&cluster, "GET", &format!("{POD}/breaks"), "").await;
    assert_eq!((code, body), (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_switches_protocols_becomes_a_pipe() {
    let cluster = cluster(upstream().await).await;
    let config = Config::from_kubeconfig(&cluster.kubeconfig).expect("the server wrote a kubeconfig");
    let server = RemoteTransport::new(&config).expect("it can be used");
    for prefix in [POD, SERVICE] {
        let request = Request::get(format!("{prefix}/echo")).header(header::UPGRADE, "own");
        let request = request.body(Bytes::new()).expect("a well-formed request");
        let UpgradeAnswer::Upgraded(head, mut connection) = server.upgrade(request).await.expect("an answer")
        else {
            panic!("it was refused");
        };
        assert_eq!(head.headers()[header::UPGRADE], "own");
        for word in ["hello", "there"] {
            connection.write_all(word.as_bytes()).await.expect("it is open");
            let mut echoed = vec![0; word.len()];
            connection.read_exact(&mut echoed).await.expect("it is echoed");
            assert_eq!(echoed, word.as_bytes());
        }
    }
    // Who is asked so and does not switch answers as always.
    let request = Request::get(format!("{POD}/plain")).header(header::UPGRADE, "own");
    let answered = server.upgrade(request.body(Bytes::new()).expect("well-formed")).await.expect("an answer");
    let UpgradeAnswer::Refused(answer) = answered else { panic!("nothing was switched") };
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_reached_is_told_as_such() {
    let address = upstream().await;
    let cluster = cluster(address).await;
    let refused = async |path: &str| {
        let (code, _, body) = ask(&cluster, "GET", path, "").await;
        let status: Value = serde_json::from_str(&body.expect("whole")).expect("a status");
        (code, status["message"].as_str().unwrap_or_default().to_owned())
    };
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("one").port();
    let (code, message) = refused(&format!("/api/v1/namespaces/default/pods/p:{closed}/proxy/")).await;
    assert_eq!(code, 503);
    assert!(
        message.starts_with(&format!("error trying to reach service: dial tcp 10.42.0.7:{closed}: ")),
        "{message}"
    );
    let ns = "/api/v1/namespaces/default";
    assert_eq!(refused(&format!("{ns}/pods/none/proxy/")).await, (404, "pods \"none\" not found".to_owned()));
    assert_eq!(
        refused(&format!("{ns}/pods/ftp:p:1/proxy/")).await,
        (400, "invalid pod request \"ftp:p:1\"".to_owned())
    );
    assert_eq!(
        refused(&format!("{ns}/services/s:81/proxy/")).await,
        (503, "no service port 81 found for service \"s\"".to_owned())
    );
    assert_eq!(
        refused(&format!("{ns}/services/s:other/proxy/")).await,
        (503, "no endpoints available for service \"s\"".to_owned())
    );
    // Plain HTTP where TLS is expected, and an address that is the node's own.
    let (code, message) = refused(&format!("{ns}/pods/https:p:{}/proxy/", address.port())).await;
    assert!(code == 503 && message.starts_with("error trying to reach service: "), "{message}");
    let status = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    cluster.ok("PATCH", &format!("{ns}/pods/p/status"), &status).await;
    assert_eq!(refused(&format!("{POD}/")).await, (400, "address not allowed".to_owned()));
    assert_eq!(
        refused(&format!("{SERVICE}/")).await,
        (503, "no endpoints available for service \"s\"".to_owned())
    );
}

const NODE: &str = "/api/v1/nodes/n1/proxy";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_a_node_is_asked_of_its_agent_or_of_another_port() {
    let address = upstream().await;
    let cluster = cluster(address).await;
    let node = json!({
        "metadata": {"name": "n1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]},
    });
    cluster.ok("POST", "/api/v1/nodes", &node).await;
    let port = address.port();
    for prefix in [NODE, "/api/v1/nodes/n1:10250/proxy", "/api/v1/nodes/https:n1:10250/proxy"] {
        for method in ["GET", "POST", "DELETE"] {
            let (code, _, body) = ask(&cluster, method, &format!("{prefix}/stats/summary?a=b%2F"), "").await;
            assert_eq!((code, body.unwrap_or_default()), (418, format!("n1 {method} /stats/summary a=b%2F")));
        }
    }
    // The path goes on as it was written: what of it leads elsewhere is for the agent to say.
    let (_, _, body) = ask(&cluster, "GET", &format!("{NODE}/logs/%2e%2e/..%2fetc//x"), "").await;
    assert_eq!(body.as_deref(), Some("n1 GET /logs/%2e%2e/..%2fetc//x "));
    let (code, headers, _) = ask(&cluster, "GET", &format!("{NODE}?x=1"), "").await;
    assert_eq!((code, headers[header::LOCATION].to_str().ok()), (301, Some(&*format!("{NODE}/?x=1"))));
    let (code, _, body) = ask(&cluster, "GET", &format!("/api/v1/nodes/n1:{port}/proxy/x"), "").await;
    assert!(code == 200 && body.unwrap_or_default().contains("\"uri\":\"/x\""));

    let refused = async |path: &str, expected: u16, message: &str| {
        let (code, _, body) = ask(&cluster, "GET", path, "").await;
        let body = body.unwrap_or_default();
        assert!(code == expected && body.contains(message), "{path}: {code} {body}");
    };
    refused("/api/v1/nodes/n2/proxy/healthz", 404, r#"nodes \"n2\" not found"#).await;
    refused("/api/v1/nodes/ftp:n1:80/proxy/x", 400, r#"invalid node request \"ftp:n1:80\""#).await;
    refused("/api/v1/nodes/n1:web/proxy/x", 400, "invalid port").await;
    // Conversations are of pods of that node, and over a connection that can be had.
    refused(&format!("{NODE}/exec/default/none/c?command=ls&output=1"), 404, "pod does not exist").await;
    refused(&format!("{NODE}/exec/default/p/none?command=ls&output=1"), 404, "container not found").await;
    refused(&format!("{NODE}/portForward/default/p/another"), 404, "pod not found").await;
    refused(&format!("{NODE}/exec/default/p/main?command=ls&output=1"), 400, "Upgrade request required")
        .await;
    let near = json!({
        "metadata": {"name": "near"},
        "status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]},
    });
    cluster.ok("POST", "/api/v1/nodes", &near).await;
    refused(&format!("/api/v1/nodes/near:{port}/proxy/x"), 400, "address not allowed").await;
    refused("/api/v1/nodes/near/proxy/exec/default/p/main?output=1", 404, "pod does not exist").await;
}

#[tokio::test]
async fn an_agent_takes_the_time_that_it_needs_and_is_not_looked_for_for_ever() {
    if crate::ON_ETCD {
        // Its connection does not bear a clock that jumps.
        return;
    }
    let cluster = Cluster::start().await;
    cluster.ok("POST", "/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await;
    tokio::time::pause();
    assert_eq!(cluster.text(&format!("{NODE}/slow")).await, (418, "n1 GET /slow ".to_owned()));
    assert_eq!(cluster.get(&format!("{NODE}/silence")).await.0, 503);
}
