//! Who is let in, and to what: over TLS, as clients come.

use std::sync::Arc;
use std::time::Duration;

use apiserver::Identity;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::{Cluster, named, pod};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

pub type Connection = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

/// A connection of its own, for a client with such a certificate, or none.
pub async fn connect(cluster: &Cluster, client: Option<&Identity>, protocol: &str) -> Connection {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cluster.authority.certificate().clone()).expect("a certificate");
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match client {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let issued = cluster.authority.issue_client(identity, Duration::from_secs(3600)).expect("issue");
            let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
            config.with_client_auth_cert(chain, key).expect("a client certificate")
        }
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = tokio::net::TcpStream::connect(cluster.address).await.expect("connect");
    let name = ServerName::try_from("kubernetes.default.svc").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.expect("the certificate has that name")
}

/// Sends a request's text and gives the answer's code and body, once the server ends the connection.
pub async fn exchange(stream: &mut Connection, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut answer = Vec::new();
    // A server that has not read everything may cut the connection after its answer.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("text");
    let code = answer.split(' ').nth(1).and_then(|c| c.parse().ok());
    let code = code.unwrap_or_else(|| panic!("no status line: {answer}"));
    (code, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// Makes a request over a connection of its own; gives code and body.
pub async fn ask(
    cluster: &Cluster,
    client: Option<&Identity>,
    token: Option<&str>,
    path: &str,
) -> (u16, String) {
    let mut stream = connect(cluster, client, "http/1.1").await;
    let authorization = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{authorization}Connection: close\r\n\r\n");
    exchange(&mut stream, &request).await
}

pub fn message(body: &str) -> String {
    let status: Value = serde_json::from_str(body).unwrap_or_default();
    status["message"].as_str().unwrap_or_default().to_owned()
}

async fn token(cluster: &Cluster, account: &str, request: Value) -> (u16, Value) {
    cluster.send("POST", &format!("{ACCOUNTS}/{account}/token"), &request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unknown_may_ask_for_health_and_version_and_nothing_else() {
    let cluster = Cluster::start().await;
    for path in ["/livez", "/readyz", "/healthz", "/version"] {
        assert_eq!(ask(&cluster, None, None, path).await.0, 200, "{path}");
    }
    for path in ["/api/v1/pods", "/apis", "/openapi/v3"] {
        let (code, body) = ask(&cluster, None, None, path).await;
        assert_eq!(code, 403, "{path}");
        assert!(message(&body).contains("User \"system:anonymous\" cannot "), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_says_who_one_is() {
    let cluster = Cluster::start().await;
    let administrator = Identity::administrator();
    assert_eq!(ask(&cluster, Some(&administrator), None, "/api/v1/pods").await.0, 200);
    let stranger = Identity::new("jane", ["developers"]);
    let (code, body) = ask(&cluster, Some(&stranger), None, "/api/v1/namespaces/default/pods").await;
    assert_eq!(code, 403);
    assert_eq!(
        message(&body),
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_while_its_account_lives() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", ACCOUNTS, &named("ServiceAccount", "builder")).await;
    let (code, answer) = token(&cluster, "builder", json!({})).await;
    assert_eq!(code, 201, "{answer}");
    let token = answer["status"]["token"].as_str().expect("a token").to_owned();
    // Known, and so refused by name.
    let (code, body) = ask(&cluster, None, Some(&token), "/api/v1/namespaces/default/pods").await;
    assert_eq!(code, 403);
    assert!(message(&body).contains("User \"system:serviceaccount:default:builder\""), "{body}");

    cluster.ok("DELETE", &format!("{ACCOUNTS}/builder"), &json!({})).await;
    assert_eq!(ask(&cluster, None, Some(&token), "/api/v1/namespaces/default/pods").await.0, 401);
    assert_eq!(ask(&cluster, None, Some("nonsense"), "/livez").await.0, 401);
}

#[tokio::test]
async fn a_token_for_another_audience_or_a_short_time_is_not_given_out_as_ours() {
    let cluster = Cluster::start().await;
    let spec = json!({"spec": {"audiences": ["vault"], "expirationSeconds": 600}});
    let (_, answer) = token(&cluster, "default", spec).await;
    let foreign = answer["status"]["token"].as_str().expect("a token").to_owned();
    let review = async |audiences: Value| {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": foreign, "audiences": audiences},
        });
        cluster.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &body).await["status"].clone()
    };
    assert_eq!(review(json!([])).await["authenticated"], Value::Null);
    let found = review(json!(["vault", "other"])).await;
    assert_eq!((&found["authenticated"], &found["audiences"]), (&json!(true), &json!(["vault"])));
    assert_eq!(found["user"]["username"], "system:serviceaccount:default:default");

    let (code, status) = token(&cluster, "default", json!({"spec": {"expirationSeconds": 1}})).await;
    assert_eq!(
        (code, status["details"]["causes"][0]["field"].as_str()),
        (422, Some("spec.expirationSeconds"))
    );
}

#[tokio::test]
async fn a_token_bound_to_a_pod_dies_with_it() {
    let cluster = Cluster::start().await;
    let made = cluster.ok("POST", "/api/v1/namespaces/default/pods", &pod("p")).await;
    let bound = json!({"spec": {"boundObjectRef": {
        "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made["metadata"]["uid"],
    }}});
    let (code, answer) = token(&cluster, "default", bound.clone()).await;
    assert_eq!(code, 201, "{answer}");
    let review = async || {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": answer["status"]["token"]},
        });
        cluster.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &body).await["status"].clone()
    };
    let alive = review().await;
    assert_eq!(alive["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    cluster.ok("DELETE", "/api/v1/namespaces/default/pods/p", &json!({})).await;
    assert_eq!(review().await["authenticated"], Value::Null);
    assert_eq!(token(&cluster, "default", bound).await.0, 404);
}

#[tokio::test]
async fn callers_can_ask_who_they_are_and_what_they_may() {
    let cluster = Cluster::start().await;
    let call = async |who: Identity, path: &str, body: Value| {
        let request = http::Request::post(path).body(body.to_string().into()).expect("a request");
        let response = cluster.handle.call(request, who).await;
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body").to_bytes();
        serde_json::from_slice::<Value>(&bytes).expect("JSON")
    };
    let jane = || Identity::new("jane", ["developers"]);
    let me = call(jane(), "/apis/authentication.k8s.io/v1/selfsubjectreviews", json!({})).await;
    assert_eq!(me["status"]["userInfo"]["username"], "jane");
    let may = async |who: Identity| {
        let spec =
            json!({"spec": {"resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": "a"}}});
        call(who, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", spec).await["status"]["allowed"]
            .clone()
    };
    assert_eq!(may(jane()).await, false);
    assert_eq!(may(Identity::administrator()).await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_machine_introduces_itself_by_a_token_that_a_secret_has() {
    use base64::Engine as _;
    let cluster = Cluster::start().await;
    let data = |key: &str, value: &str| {
        (key.to_owned(), json!(base64::engine::general_purpose::STANDARD.encode(value)))
    };
    let fields: serde_json::Map<String, Value> = [
        data("token-id", "abcdef"),
        data("token-secret", "0123456789abcdef"),
        data("usage-bootstrap-authentication", "true"),
        data("auth-extra-groups", "system:bootstrappers:workers"),
    ]
    .into_iter()
    .collect();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token", "data": fields,
    });
    let token = Some("abcdef.0123456789abcdef");
    let path = "/api/v1/namespaces/default/pods";
    assert_eq!(ask(&cluster, None, token, path).await.0, 401);
    cluster.ok("POST", "/api/v1/namespaces/kube-system/secrets", &secret).await;
    let (code, body) = ask(&cluster, None, token, path).await;
    assert_eq!(code, 403, "{body}");
    assert!(message(&body).contains("User \"system:bootstrap:abcdef\""), "{body}");
    // Not for others, nor by another secret, nor from elsewhere.
    assert_eq!(ask(&cluster, None, Some("abcdef.0123456789abcdeg"), path).await.0, 401);
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": "abcdef.0123456789abcdef"},
    });
    let path_of_reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let told = cluster.ok("POST", path_of_reviews, &review).await["status"].clone();
    assert_eq!(
        told["user"]["groups"],
        json!(["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"])
    );
    let mut foreign = review.clone();
    foreign["spec"]["audiences"] = json!(["vault"]);
    let told = cluster.ok("POST", path_of_reviews, &foreign).await["status"].clone();
    assert_eq!(told["authenticated"], Value::Null);
    let secret_path = "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef";
    cluster.ok("DELETE", secret_path, &json!({})).await;
    assert_eq!(ask(&cluster, None, token, path).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_token_is_whose_the_list_says() {
    let cluster = Cluster::configured(|config| {
        config.fixed_tokens = apiserver::FixedTokens::parse("secret,jane,7,developers").expect("a list");
    })
    .await;
    let (code, body) = ask(&cluster, None, Some("secret"), "/api/v1/namespaces/default/pods").await;
    assert_eq!(code, 403);
    assert!(message(&body).contains("User \"jane\""), "{body}");
    assert_eq!(ask(&cluster, None, Some("secre"), "/api/v1/namespaces/default/pods").await.0, 401);
}

#[tokio::test]
async fn a_token_of_a_pod_says_where_the_pod_is() {
    let cluster = Cluster::start().await;
    cluster.ok("POST", "/api/v1/nodes", &named("Node", "n1")).await;
    let mut on_node = pod("p");
    on_node["spec"]["nodeName"] = json!("n1");
    let made = cluster.ok("POST", "/api/v1/namespaces/default/pods", &on_node).await;
    let node = cluster.get("/api/v1/nodes/n1").await.1;
    let review = async |reference: Value| {
        let (code, answer) = token(&cluster, "default", json!({"spec": {"boundObjectRef": reference}})).await;
        assert_eq!(code, 201, "{answer}");
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": answer["status"]["token"]},
        });
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        (body.clone(), cluster.ok("POST", path, &body).await["status"]["user"]["extra"].clone())
    };
    let uid = &made["metadata"]["uid"];
    let (_, extra) = review(json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid})).await;
    let prefix = "authentication.kubernetes.io";
    assert_eq!(extra[format!("{prefix}/node-name")], json!(["n1"]));
    assert_eq!(extra[format!("{prefix}/node-uid")], json!([node["metadata"]["uid"]]));
    let id = extra[format!("{prefix}/credential-id")][0].as_str().expect("an id");
    assert!(id.starts_with("JTI="), "{id}");
    // One of a node ends with the node.
    let reference = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": node["metadata"]["uid"]});
    let (body, extra) = review(reference).await;
    assert_eq!(extra[format!("{prefix}/node-name")], json!(["n1"]));
    cluster.ok("DELETE", "/api/v1/nodes/n1", &json!({})).await;
    let told = cluster.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &body).await;
    assert_eq!(told["status"]["authenticated"], Value::Null);
}
