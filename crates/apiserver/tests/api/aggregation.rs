//! Group versions that somebody else serves: a small extension server of the test's own, which knows its callers by
//! what this server says of them and by nothing else.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apiserver::Identity;
use apiserver::pki::{Authority, Issued};
use bytes::Bytes;
use client::remote::{Config, RemoteTransport};
use client::transport::{Transport, UpgradeAnswer};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::cluster::Cluster;

const GROUP: &str = "wardle.example.com";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const FLUNDERS: &str = "/apis/wardle.example.com/v1/namespaces/default/flunders";
const NEW_FORM: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

type Pieces = futures::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>;
type Answer = Response<StreamBody<Pieces>>;

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// It answers, and describes itself in version 3.
    Well,
    /// It answers, and knows the old forms of discovery and description only.
    Old,
    /// It takes connections and never answers.
    Silent,
    /// It answers, with what makes no sense and does not end.
    Rubbish,
}

/// A running extension server.
struct Extension {
    address: SocketAddr,
    authority: String,
    mood: Arc<Mutex<Mood>>,
    /// It ends when this is dropped.
    going_on: oneshot::Sender<Infallible>,
    task: tokio::task::JoinHandle<()>,
}

impl Extension {
    /// One behind the service `api` of the namespace `default`, which takes what this cluster says of callers.
    async fn start(cluster: &Cluster) -> Self {
        let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
        let told = cluster.get(path).await.1["data"].clone();
        let text = |name: &str| told[name].as_str().unwrap_or_else(|| panic!("{name} in {told}")).to_owned();
        for (name, expected) in [
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ] {
            assert_eq!(text(name), expected);
        }
        let names: Vec<String> =
            serde_json::from_str(&text("requestheader-allowed-names")).expect("a list of names");
        let directory = tempfile::tempdir().expect("a directory");
        let own = Authority::open(
            directory.path(),
            Arc::new(base::SystemClock::new()),
            Arc::new(base::SystemRandom),
        );
        let own = own.expect("an authority");
        let names_of_service = ["api.default.svc".to_owned()];
        let issued = own.issue_server("api", &names_of_service, &[], Duration::from_secs(3600));
        let tls = acceptor(&issued.expect("a certificate"), &text("requestheader-client-ca-file"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mood = Arc::new(Mutex::new(Mood::Well));
        let (given, names) = (mood.clone(), Arc::new(names));
        let (going_on, mut ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            // They end with this, whatever they do.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = &mut ended => break,
                };
                let (stream, _) = accepted.expect("a connection");
                let (tls, mood, names) = (tls.clone(), given.clone(), names.clone());
                connections.spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let shown =
                        stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(common_name);
                    let is_known = shown.is_some_and(|name| names.contains(&name));
                    let service = service_fn(move |request| {
                        let mood = *mood.lock();
                        async move { Ok::<_, Infallible>(told_by(request, mood, is_known).await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades();
                    let _ = connection.await;
                });
            }
            drop(listener);
            connections.shutdown().await;
        });
        Self { address, authority: own.certificate_pem().to_owned(), mood, going_on, task }
    }

    /// Ends it: nobody listens any more, and its connections are closed.
    async fn end(self) {
        drop(self.going_on);
        self.task.await.expect("it ends");
    }

    fn be(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// The service that it is behind.
    async fn serve(&self, cluster: &Cluster) {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"},
            "spec": {"ports": [{"name": "https", "port": 443}]},
        });
        cluster.ok("POST", "/api/v1/namespaces/default/services", &service).await;
        // Whatever the address, the way to nodes of these tests leads here.
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "api-1", "labels": {"kubernetes.io/service-name": "api"}},
            "endpoints": [{"addresses": ["10.42.0.7"], "nodeName": "n1"}],
            "ports": [{"name": "https", "port": self.address.port()}],
        });
        cluster.ok("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
    }

    fn registration(&self, version: &str) -> Value {
        let bundle = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &self.authority);
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": format!("{version}.{GROUP}")},
            "spec": {
                "group": GROUP, "version": version, "groupPriorityMinimum": 2000, "versionPriority": 200,
                "service": {"namespace": "default", "name": "api"}, "caBundle": bundle,
            },
        })
    }
}

fn acceptor(issued: &Issued, callers: &str) -> TlsAcceptor {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(callers.as_bytes()) {
        roots.add(certificate.expect("a certificate")).expect("a certificate");
    }
    // Whoever shows no certificate is not even spoken to.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider());
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
    let chain: Vec<_> = chain.map(|one| one.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
    let config = tls::server()
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(chain, key)
        .expect("a configuration");
    TlsAcceptor::from(Arc::new(config))
}

fn common_name(certificate: &CertificateDer<'static>) -> String {
    use x509_parser::prelude::FromDer as _;
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate).expect("one");
    let mut names = certificate.subject().iter_common_name();
    names.next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}

fn answer(code: u16, kind: &str, text: impl Into<Bytes>) -> Answer {
    let piece = futures::stream::iter([Ok(Frame::data(text.into()))]);
    let mut answer = Response::new(StreamBody::new(piece.boxed()));
    *answer.status_mut() = StatusCode::from_u16(code).expect("a code");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind.parse().expect("a value"));
    answer
}

fn json_answer(value: &Value) -> Answer {
    answer(200, "application/json", value.to_string())
}

async fn told_by(mut request: Request<Incoming>, mood: Mood, is_known: bool) -> Answer {
    if mood == Mood::Silent {
        std::future::pending::<()>().await;
    }
    if !is_known {
        return answer(401, "text/plain", "who is that?");
    }
    if mood == Mood::Rubbish {
        let pieces = futures::stream::repeat_with(|| Ok(Frame::data(Bytes::from(vec![b'{'; 64 << 10]))));
        let mut answer = Response::new(StreamBody::new(pieces.boxed()));
        answer.headers_mut().insert(header::CONTENT_TYPE, NEW_FORM.parse().expect("a value"));
        return answer;
    }
    let headers = request.headers().clone();
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = json!({"group": GROUP, "version": "v1", "kind": "Flunder"});
    let reference = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
    match request.uri().path() {
        "/apis" if mood == Mood::Well && accepts == NEW_FORM => {
            let resource = json!({
                "resource": "flunders", "responseKind": kind, "scope": "Namespaced", "singularResource": "flunder",
                "verbs": ["create", "get", "list", "watch"], "shortNames": ["fl"],
            });
            let groups = json!({"kind": "APIGroupDiscoveryList", "items": [
                {"metadata": {"name": GROUP}, "versions": [{"version": "v1", "resources": [resource]}]},
                {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [{"resource": "evils"}]}]},
            ]});
            answer(200, NEW_FORM, groups.to_string())
        }
        "/apis" => json_answer(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})),
        "/apis/wardle.example.com/v1" => json_answer(&json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1",
            "resources": [{"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                           "verbs": ["create", "get", "list", "watch"], "shortNames": ["fl"]}],
        })),
        "/openapi/v3" if mood == Mood::Well => json_answer(&json!({"paths": {
            "apis/wardle.example.com/v1": {"serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1?hash=ABC"},
            "apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1?hash=EVIL"},
        }})),
        "/openapi/v3/apis/wardle.example.com/v1" if mood == Mood::Well => {
            json_answer(&json!({"openapi": "3.0.0", "told": "by itself"}))
        }
        "/openapi/v2" => json_answer(&json!({
            "swagger": "2.0",
            "paths": {
                "/apis/wardle.example.com/v1/flunders": {"get": {
                    "responses": {"200": {"description": "OK", "schema": reference("w.Flunder")}},
                    "x-kubernetes-group-version-kind": kind,
                }},
                "/api/v1/pods": {"get": {"description": "evil"}},
            },
            "definitions": {
                "w.Flunder": {"type": "object", "properties": {"spec": {"type": "string", "description": "What it is."}},
                              "x-kubernetes-group-version-kind": [kind]},
                "w.Unused": {},
            },
        })),
        path if path.ends_with("/flunders")
            && request.uri().query().unwrap_or_default().contains("watch") =>
        {
            let events = futures::stream::unfold(0, |number| async move {
                if number > 0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let event = json!({"type": "ADDED", "object": {"metadata": {"name": format!("f{number}")}}});
                Some((Ok(Frame::data(Bytes::from(format!("{event}\n")))), number + 1))
            });
            let mut answer = Response::new(StreamBody::new(events.boxed()));
            answer.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().expect("a value"));
            answer
        }
        path if path.ends_with("/slow") => std::future::pending().await,
        path if path.ends_with("/elsewhere") => {
            let mut answer = answer(302, "text/plain", "over there");
            let there = "https://169.254.169.254/latest/meta-data";
            answer.headers_mut().insert(header::LOCATION, there.parse().expect("a value"));
            answer
        }
        path if path.ends_with("/echo") => {
            let user = headers["x-remote-user"].clone();
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.expect("an upgrade"));
                stream.write_all(user.as_bytes()).await.expect("written");
                let mut buffer = [0; 100];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            });
            let mut answer = answer(101, "text/plain", Bytes::new());
            answer.headers_mut().insert(header::CONNECTION, "Upgrade".parse().expect("a value"));
            answer.headers_mut().insert(header::UPGRADE, "own".parse().expect("a value"));
            answer
        }
        _ => {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let all = |name: &str| -> Vec<String> {
                let values = parts.headers.get_all(name).iter();
                values.map(|value| value.to_str().expect("text").to_owned()).collect()
            };
            let mut answer = json_answer(&json!({
                "method": parts.method.as_str(), "uri": parts.uri.to_string(),
                "body": String::from_utf8_lossy(&body),
                "user": all("x-remote-user"), "groups": all("x-remote-group"), "uid": all("x-remote-uid"),
                "team": all("x-remote-extra-acme.com%2fteam"), "own": all("x-own"),
                "authorization": all("authorization"), "impersonates": all("impersonate-user"),
            }));
            answer.headers_mut().insert(header::WARNING, r#"299 - "from there""#.parse().expect("a value"));
            answer
        }
    }
}

/// Waits for a condition, and for the server to have seen it itself: the message of it.
async fn until_condition(cluster: &Cluster, name: &str, status: &str, reason: &str) -> String {
    let message = testkit::wait_until_async("a condition", || async {
        let found = cluster.get(&format!("{SERVICES}/{name}")).await.1;
        let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let condition = conditions.iter().find(|condition| condition["type"] == "Available").cloned();
        let condition = condition.unwrap_or_default();
        if (&condition["status"], &condition["reason"]) == (&json!(status), &json!(reason)) {
            Ok(condition["message"].as_str().unwrap_or_default().to_owned())
        } else {
            Err(found["status"].clone())
        }
    });
    let message = message.await;
    let absent = u8::from(status != "True");
    let line = format!("aggregator_unavailable_apiservice{{name=\"{name}\"}} {absent}\n");
    testkit::wait_until_async("it to be seen", || async {
        let numbers = cluster.text("/metrics").await.1;
        if numbers.contains(&line) { Ok(()) } else { Err(line.clone()) }
    })
    .await;
    message
}

async fn ask(
    cluster: &Cluster,
    who: &Identity,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, HeaderMap, String) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Bytes::from(body.to_owned())).expect("a well-formed request");
    let answer = cluster.handle.call(request, who.clone()).await;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&body).into_owned())
}

/// What discovery tells of the group, and in which place.
async fn discovered(cluster: &Cluster) -> (usize, Value) {
    let headers = [("accept", NEW_FORM)];
    let (code, _, text) = ask(cluster, &Identity::administrator(), "GET", "/apis", &headers, "").await;
    assert_eq!(code, 200);
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let items = list["items"].as_array().expect("a list");
    let place = items.iter().position(|item| item["metadata"]["name"] == GROUP);
    let place = place.unwrap_or_else(|| panic!("no {GROUP} in {list}"));
    (place, items[place]["versions"][0].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_asked_and_told_whose_the_request_is() {
    let cluster = Cluster::start().await;
    let extension = Extension::start(&cluster).await;
    // Before it can be reached it is said why not, and asked for it nobody waits.
    let made = cluster.ok("POST", SERVICES, &extension.registration("v1")).await;
    assert_eq!(made["spec"]["service"]["port"], 443);
    let message = until_condition(&cluster, "v1.wardle.example.com", "False", "ServiceNotFound").await;
    assert_eq!(message, r#"service/api in "default" is not present"#);
    let admin = Identity::administrator();
    let (code, headers, text) = ask(&cluster, &admin, "GET", FLUNDERS, &[], "").await;
    assert_eq!((code, text.as_str()), (503, "service unavailable\n"));
    assert_eq!(headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(discovered(&cluster).await.1, json!({"version": "v1", "resources": [], "freshness": "Stale"}));
    extension.serve(&cluster).await;
    let message = until_condition(&cluster, "v1.wardle.example.com", "True", "Passed").await;
    assert_eq!(message, "all checks passed");

    // Who asks is told as this server knows him; what he says of himself is not.
    let mut jane = Identity::new("jane", ["team"]);
    jane.uid = "7".to_owned();
    jane.extra.insert("acme.com/team".to_owned(), vec!["x".to_owned(), "y".to_owned()]);
    let path = format!("{FLUNDERS}/one?pretty=true&a=%2F");
    let headers = [
        ("x-own", "kept"),
        ("authorization", "Bearer secret"),
        ("x-remote-user", "admin"),
        ("x-remote-group", "system:masters"),
        ("content-type", "application/json"),
    ];
    let (code, _, text) = ask(&cluster, &jane, "PUT", &path, &headers, "the body").await;
    assert_eq!(code, 403, "{text}");
    let rules =
        json!([{"apiGroups": [GROUP], "resources": ["*"], "verbs": ["get", "update", "watch", "create"]}]);
    let role = json!({"metadata": {"name": "flunders"}, "rules": rules});
    cluster.ok("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await;
    let binding = json!({
        "metadata": {"name": "flunders"}, "subjects": [{"kind": "User", "name": "jane"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flunders"},
    });
    cluster.ok("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    let (code, answered, text) = ask(&cluster, &jane, "PUT", &path, &headers, "the body").await;
    assert_eq!(code, 200, "{text}");
    assert_eq!(answered[header::WARNING], r#"299 - "from there""#);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        told,
        json!({
            "method": "PUT", "uri": path, "body": "the body", "user": ["jane"],
            "groups": ["team", "system:authenticated"], "uid": ["7"], "team": ["x", "y"], "own": ["kept"],
            "authorization": [], "impersonates": [],
        })
    );
    // Whoever may act as somebody else is told as that one.
    let impersonating = [("impersonate-user", "bob"), ("impersonate-group", "staff")];
    let (_, _, text) = ask(&cluster, &admin, "GET", &format!("{FLUNDERS}/one"), &impersonating, "").await;
    assert_eq!(serde_json::from_str::<Value>(&text).map_or(403, |_| 200), 200, "{text}");
    assert!(text.contains("forbidden") && text.contains("bob"), "bob may not: {text}");
    let impersonating = [("impersonate-user", "jane")];
    let (_, _, text) = ask(&cluster, &admin, "GET", &format!("{FLUNDERS}/one"), &impersonating, "").await;
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&told["user"], &told["impersonates"]), (&json!(["jane"]), &json!([])));

    // A watch is passed on as it comes, and ends when whoever watches goes.
    let mut watch = cluster.watch(&format!("{FLUNDERS}?watch=1")).await;
    for number in 0..3 {
        assert_eq!(watch.next().await, format!("ADDED f{number}"));
    }
    drop(watch);
    // So is what is no HTTP any more.
    let config = Config::from_kubeconfig(&cluster.kubeconfig).expect("the kubeconfig");
    let transport = RemoteTransport::new(&config).expect("a transport");
    let request =
        Request::builder().method("POST").uri(format!("{FLUNDERS}/one/echo")).header("upgrade", "own");
    let upgraded =
        transport.upgrade(request.body(Bytes::new()).expect("a request")).await.expect("an answer");
    let UpgradeAnswer::Upgraded(_, mut stream) = upgraded else { panic!("not upgraded") };
    let mut said = [0; 5];
    stream.read_exact(&mut said).await.expect("it says who that is");
    assert_eq!(&said, b"admin");
    stream.write_all(b"there").await.expect("written");
    stream.read_exact(&mut said).await.expect("it says it again");
    assert_eq!(&said, b"there");
}

/// A server that is registered and answers.
async fn registered(cluster: &Cluster) -> Extension {
    let extension = Extension::start(cluster).await;
    extension.serve(cluster).await;
    cluster.ok("POST", SERVICES, &extension.registration("v1")).await;
    until_condition(cluster, "v1.wardle.example.com", "True", "Passed").await;
    extension
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2022_3172_nobody_is_sent_elsewhere_by_a_server_behind_this_one() {
    let cluster = Cluster::start().await;
    let _extension = registered(&cluster).await;
    let admin = Identity::administrator();
    let refusal = "the backend attempted to redirect this request, which is not permitted";
    for method in ["GET", "POST", "PUT"] {
        let path = format!("{FLUNDERS}/one/elsewhere");
        let (code, headers, text) = ask(&cluster, &admin, method, &path, &[], "").await;
        assert_eq!((code, text.as_str()), (502, refusal), "{method}");
        assert_eq!(headers.get(header::LOCATION), None);
    }
    let config = Config::from_kubeconfig(&cluster.kubeconfig).expect("the kubeconfig");
    let transport = RemoteTransport::new(&config).expect("a transport");
    let request =
        Request::builder().method("POST").uri(format!("{FLUNDERS}/one/elsewhere")).header("upgrade", "own");
    let answer = transport.upgrade(request.body(Bytes::new()).expect("a request")).await.expect("an answer");
    let UpgradeAnswer::Refused(answer) = answer else { panic!("upgraded") };
    assert_eq!((answer.status().as_u16(), answer.headers().get(header::LOCATION)), (502, None));
    // What may be read in two ways is not passed on.
    for path in ["one%2Fstatus", "..%2F..%2Fdefault%2Fflunders", "%2e%2e/flunders", "/one"] {
        let (code, _, text) = ask(&cluster, &admin, "GET", &format!("{FLUNDERS}/{path}"), &[], "").await;
        assert!(code == 400 && text.contains("more than one way"), "{path}: {code} {text}");
    }
    // Nor is a name followed that leads to what is near.
    cluster
        .ok(
            "POST",
            "/api/v1/namespaces/default/services",
            &json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "near"},
                "spec": {"type": "ExternalName", "externalName": "169.254.169.254"},
            }),
        )
        .await;
    let change = json!({"spec": {"service": {"name": "near"}}});
    cluster.ok("PATCH", &format!("{SERVICES}/v1.wardle.example.com"), &change).await;
    let message = until_condition(&cluster, "v1.wardle.example.com", "False", "FailedDiscoveryCheck").await;
    assert!(message.ends_with("the name leads to no address that is allowed"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_does_not_take_an_api_from_all_others() {
    let cluster = Cluster::start().await;
    let _extension = registered(&cluster).await;
    let admin = Identity::administrator();
    // Requests that ask to become conversations are requests until that is granted.
    let config = Config::from_kubeconfig(&cluster.kubeconfig).expect("the kubeconfig");
    let transport = RemoteTransport::new(&config).expect("a transport");
    let slow = format!("{FLUNDERS}/one/slow");
    let mut waiting = FuturesUnordered::new();
    for _ in 0..10 {
        let request = Request::builder().method("POST").uri(slow.as_str()).header("upgrade", "own");
        let upgrading = transport.upgrade(request.body(Bytes::new()).expect("a request"));
        let code = upgrading.map(|answer| match answer.expect("an answer") {
            UpgradeAnswer::Upgraded(..) => 101,
            UpgradeAnswer::Refused(answer) => answer.status().as_u16(),
        });
        waiting.push(code.boxed());
    }
    for _ in 0..60 {
        let asking = ask(&cluster, &admin, "GET", &slow, &[], "").map(|(code, ..)| code);
        waiting.push(asking.boxed());
    }
    // Of seventy six are too many.
    for _ in 0..6 {
        let first = tokio::time::timeout(Duration::from_secs(20), waiting.next()).await;
        assert_eq!(first.expect("one user may hold any number of requests"), Some(429));
    }
    let another = Identity::new("another", [apiserver::ADMINISTRATORS]);
    assert_eq!(ask(&cluster, &another, "GET", &format!("{FLUNDERS}/one"), &[], "").await.0, 200);
    drop(waiting);
    testkit::wait_until_async("room", || async {
        let (code, ..) = ask(&cluster, &admin, "GET", &format!("{FLUNDERS}/one"), &[], "").await;
        if code == 200 { Ok(()) } else { Err(code) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_offer_is_told_with_the_rest_in_every_form() {
    let cluster = Cluster::start().await;
    let extension = Extension::start(&cluster).await;
    let apps = cluster.get("/apis/apps/v1").await.1;
    let paths = async |path: &str| cluster.get(path).await.1["paths"].clone();
    let own = paths("/openapi/v2").await.as_object().expect("paths").len();
    extension.serve(&cluster).await;
    cluster.ok("POST", SERVICES, &extension.registration("v1")).await;
    until_condition(&cluster, "v1.wardle.example.com", "True", "Passed").await;
    let (place, version) = discovered(&cluster).await;
    assert_eq!(
        (&version["freshness"], &version["resources"][0]["resource"]),
        (&json!("Current"), &json!("flunders"))
    );
    let groups = cluster.get("/apis").await.1["groups"].clone();
    let names: Vec<&str> =
        groups.as_array().into_iter().flatten().filter_map(|g| g["name"].as_str()).collect();
    assert_eq!(names[0], "apiregistration.k8s.io");
    assert_eq!(names[place], GROUP, "in both forms at the same place");
    assert_eq!(
        names[place - 1],
        "flowcontrol.apiserver.k8s.io",
        "after Kubernetes' own, before all others: {names:?}"
    );
    let group = cluster.get("/apis/wardle.example.com").await.1;
    assert_eq!(group["preferredVersion"]["groupVersion"], "wardle.example.com/v1");
    assert_eq!(
        cluster.get("/apis/wardle.example.com/v1").await.1["resources"][0]["shortNames"],
        json!(["fl"])
    );
    assert_eq!(cluster.get("/apis/apps/v1").await.1, apps, "it says nothing of what is not its own");

    // Of its description, what is its own: of version 3 as it tells it, of version 2 among the others.
    let url = testkit::wait_until_async("the description", || async {
        let known = paths("/openapi/v3").await;
        match known["apis/wardle.example.com/v1"]["serverRelativeURL"].as_str() {
            Some(url) => Ok((url.to_owned(), known["apis/apps/v1"].clone())),
            None => Err(known),
        }
    });
    let (url, of_apps) = url.await;
    assert_eq!(url, "/openapi/v3/apis/wardle.example.com/v1?hash=ABC");
    assert!(!of_apps.to_string().contains("EVIL"));
    assert_eq!(cluster.get(&url).await.1["told"], "by itself");
    let all = cluster.get("/openapi/v2").await.1;
    let pods = &all["paths"]["/api/v1/pods"]["get"];
    assert!(pods.is_object() && pods["description"] != "evil", "{pods}");
    assert_eq!(all["paths"].as_object().map(serde_json::Map::len), Some(own + 1));
    assert_eq!(all["definitions"]["w.Flunder"]["properties"]["spec"]["description"], "What it is.");
    assert_eq!(all["definitions"].get("w.Unused"), None);
    let protobuf = [("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")];
    let (code, _, text) =
        ask(&cluster, &Identity::administrator(), "GET", "/openapi/v2", &protobuf, "").await;
    assert!(code == 200 && text.contains("w.Flunder"));

    // One that knows the old forms only is told in the new ones all the same.
    extension.be(Mood::Old);
    cluster.ok("DELETE", &format!("{SERVICES}/v1.wardle.example.com"), &json!({})).await;
    testkit::wait_until_async("it to be forgotten", || async {
        let names = cluster.get("/apis").await.1.to_string();
        if names.contains(GROUP) { Err(names) } else { Ok(()) }
    })
    .await;
    assert_eq!(cluster.get("/apis/wardle.example.com/v1").await.0, 404);
    assert_eq!(cluster.get("/openapi/v3/apis/wardle.example.com/v1").await.0, 404);
    cluster.ok("POST", SERVICES, &extension.registration("v1")).await;
    until_condition(&cluster, "v1.wardle.example.com", "True", "Passed").await;
    assert_eq!(discovered(&cluster).await.1, version);
    let told = testkit::wait_until_async("the description", || async {
        let (code, told) = cluster.get("/openapi/v3/apis/wardle.example.com/v1").await;
        if code == 200 { Ok(told) } else { Err(code) }
    });
    let told = told.await;
    let flunder = &told["components"]["schemas"]["w.Flunder"];
    assert_eq!(flunder["properties"]["spec"]["description"], "What it is.", "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_dead_or_hangs_or_lies_holds_up_nobody() {
    let cluster = Cluster::start().await;
    let extension = Extension::start(&cluster).await;
    extension.serve(&cluster).await;
    cluster.ok("POST", SERVICES, &extension.registration("v1")).await;
    until_condition(&cluster, "v1.wardle.example.com", "True", "Passed").await;
    let (_, version) = discovered(&cluster).await;
    let admin = Identity::administrator();
    let quick = async || {
        for path in
            ["/apis", "/apis/wardle.example.com", "/openapi/v3", "/openapi/v2", "/api/v1/pods", "/readyz"]
        {
            let asked =
                tokio::time::timeout(Duration::from_secs(10), ask(&cluster, &admin, "GET", path, &[], ""));
            let (code, ..) = asked.await.unwrap_or_else(|_| panic!("{path} waits for somebody else"));
            assert_eq!(code, 200, "{path}");
        }
    };
    // It hangs: whoever asks for it waits, in vain; everybody else is answered.
    extension.be(Mood::Silent);
    let slow = format!("{FLUNDERS}/slow");
    let waiting: Vec<_> = (0..300).map(|_| Box::pin(ask(&cluster, &admin, "GET", &slow, &[], ""))).collect();
    let mut waiting = futures::future::join_all(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
    quick().await;
    // It is looked at again now and then, and at once where it is reached elsewhere.
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/api-1";
    let more = json!({"endpoints": [{"addresses": ["10.42.0.7"]}, {"addresses": ["10.42.0.8"]}]});
    cluster.ok("PATCH", slice, &more).await;
    let message = until_condition(&cluster, "v1.wardle.example.com", "False", "FailedDiscoveryCheck").await;
    assert!(message.starts_with("timed out waiting for https://10.42.0."), "{message}");
    let mut stale = version.clone();
    stale["freshness"] = json!("Stale");
    assert_eq!(discovered(&cluster).await.1, stale, "what it said last is told, and that it was long ago");
    drop(waiting);
    // It answers with what does not end.
    extension.be(Mood::Rubbish);
    cluster.ok("PATCH", slice, &json!({"endpoints": [{"addresses": ["10.42.0.9"]}]})).await;
    testkit::wait_until_async("it to say too much", || async {
        let found = cluster.get(&format!("{SERVICES}/v1.wardle.example.com")).await.1.to_string();
        if found.contains("the answer has more than") { Ok(()) } else { Err(found) }
    })
    .await;
    quick().await;
    // It is well again, and is asked again.
    extension.be(Mood::Well);
    until_condition(&cluster, "v1.wardle.example.com", "True", "Passed").await;
    testkit::wait_until_async("it to say what it offers", || async {
        let now = discovered(&cluster).await.1;
        if now == version { Ok(()) } else { Err(now) }
    })
    .await;
    // It shows a certificate that nobody vouches for, and is not asked.
    let other = Extension::start(&cluster).await;
    let mut change = json!({"spec": {"caBundle": other.registration("v1")["spec"]["caBundle"]}});
    cluster.ok("PATCH", &format!("{SERVICES}/v1.wardle.example.com"), &change).await;
    let message = until_condition(&cluster, "v1.wardle.example.com", "False", "FailedDiscoveryCheck").await;
    assert!(message.contains("tls:") && message.contains("nvalid peer certificate"), "{message}");
    assert_eq!(ask(&cluster, &admin, "GET", FLUNDERS, &[], "").await.0, 503);
    change = json!({"spec": {"caBundle": null, "insecureSkipTLSVerify": true}});
    cluster.ok("PATCH", &format!("{SERVICES}/v1.wardle.example.com"), &change).await;
    until_condition(&cluster, "v1.wardle.example.com", "True", "Passed").await;
    // It is gone, which who asks for it finds first.
    extension.end().await;
    let (code, _, text) = ask(&cluster, &admin, "GET", FLUNDERS, &[], "").await;
    assert!(code == 503 && text.starts_with("error trying to reach service: "), "{code} {text}");
    let message = until_condition(&cluster, "v1.wardle.example.com", "False", "FailedDiscoveryCheck").await;
    assert!(message.ends_with("connect: connection refused"), "{message}");
    quick().await;
    testkit::wait_until_async("it to be counted", || async {
        let numbers = cluster.text("/metrics").await.1;
        let told = [
            r#"aggregator_unavailable_apiservice{name="v1."} 0"#,
            r#"aggregator_unavailable_apiservice_total{name="v1.wardle.example.com",reason="FailedDiscoveryCheck"} "#,
        ];
        if told.iter().all(|line| numbers.contains(line)) { Ok(()) } else { Err(numbers) }
    })
    .await;
    cluster.ok("PATCH", slice, &json!({"endpoints": []})).await;
    let message = until_condition(&cluster, "v1.wardle.example.com", "False", "MissingEndpoints").await;
    assert!(message.ends_with(r#"have no addresses with port name "https""#), "{message}");
    quick().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_here_is_registered_and_whoever_registers_it_elsewhere_has_it() {
    let cluster = Cluster::start().await;
    let list = cluster.get(SERVICES).await.1;
    let shown: BTreeMap<&str, &Value> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| (item["metadata"]["name"].as_str().unwrap_or_default(), item))
        .collect();
    for name in ["v1.", "v1.apps", "v2.autoscaling", "v1.rbac.authorization.k8s.io"] {
        let item = shown[name];
        assert_eq!(item["spec"]["service"], Value::Null, "{item}");
        assert_eq!(item["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
        let condition = &item["status"]["conditions"][0];
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("Local")));
    }
    // What in Kubernetes comes with programs of others is theirs to register, and theirs as soon as it is.
    assert!(!shown.contains_key("v1beta1.metrics.k8s.io"), "{:?}", shown.keys());
    assert_eq!(cluster.get("/apis/metrics.k8s.io/v1beta1").await.0, 200);
    let extension = Extension::start(&cluster).await;
    extension.serve(&cluster).await;
    let mut registration = extension.registration("v1beta1");
    registration["metadata"]["name"] = json!("v1beta1.metrics.k8s.io");
    registration["spec"]["group"] = json!("metrics.k8s.io");
    cluster.ok("POST", SERVICES, &registration).await;
    until_condition(&cluster, "v1beta1.metrics.k8s.io", "True", "Passed").await;
    let told = cluster.get("/apis/metrics.k8s.io/v1beta1/nodes").await.1;
    assert_eq!(told["user"], json!(["admin"]), "{told}");
    cluster.ok("DELETE", &format!("{SERVICES}/v1beta1.metrics.k8s.io"), &json!({})).await;
    assert_eq!(cluster.get("/apis/metrics.k8s.io/v1beta1").await.1["kind"], "APIResourceList");
    // What an object defines is registered as long as it is served.
    let defined = json!({
        "metadata": {"name": "tabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "tabs", "kind": "Tab"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
            }],
        },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    cluster.ok("POST", definitions, &defined).await;
    until_condition(&cluster, "v1.stable.example.com", "True", "Local").await;
    let made = cluster.get(&format!("{SERVICES}/v1.stable.example.com")).await.1;
    assert_eq!(made["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    assert_eq!(made["spec"]["groupPriorityMinimum"], 1000);
    cluster.ok("DELETE", &format!("{definitions}/tabs.stable.example.com"), &json!({})).await;
    testkit::wait_until_async("it to be registered no more", || async {
        let (code, found) = cluster.get(&format!("{SERVICES}/v1.stable.example.com")).await;
        if code == 404 { Ok(()) } else { Err(found) }
    })
    .await;
    let wrong = json!({"metadata": {"name": "v2.apps"}, "spec": {"group": "apps", "version": "v1"}});
    let (code, refused) = cluster.send("POST", SERVICES, &wrong).await;
    assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")), "{refused}");
}
