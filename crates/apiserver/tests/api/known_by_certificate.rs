//! Users of whom a certificate says who they are, and those of whom a proxy in front of the server does.

use std::sync::Arc;
use std::time::Duration;

use apiserver::pki::{Authority, Issued};
use apiserver::{Config, FrontProxy, Identity};
use base::Clock;
use base::clock::ManualClock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::access::{Connection, exchange};
use crate::cluster::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A connection of a client with this certificate.
async fn connect_with(cluster: &Cluster, issued: &Issued) -> Connection {
    connect_as(cluster, &client_with(cluster, issued)).await
}

/// What a client with this certificate knows, sessions of before included.
fn client_with(cluster: &Cluster, issued: &Issued) -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cluster.authority.certificate().clone()).expect("a certificate");
    let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("a client certificate");
    Arc::new(config)
}

async fn connect_as(cluster: &Cluster, config: &Arc<rustls::ClientConfig>) -> Connection {
    let stream = tokio::net::TcpStream::connect(cluster.address).await.expect("connect");
    let name = ServerName::try_from("kubernetes.default.svc").expect("a name");
    tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await.expect("a connection")
}

/// The code of a whole answer, after which the connection goes on if the server wants.
async fn next_code(stream: &mut Connection) -> u16 {
    let request = format!("GET {PODS} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut answer = Vec::new();
    let end = loop {
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = head {
            break end + 4;
        }
        assert_ne!(stream.read_buf(&mut answer).await.expect("read"), 0);
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let whole = end + length.parse::<usize>().expect("a number");
    while answer.len() < whole {
        assert_ne!(stream.read_buf(&mut answer).await.expect("read"), 0);
    }
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_good_until_it_ends_however_long_its_connection_lasts() {
    let clock = Arc::new(ManualClock::new(base::SystemClock::new().now()));
    let own = clock.clone();
    let cluster = Cluster::configured(move |config| config.clock = own.clone()).await;
    let hour = Duration::from_secs(3600);
    let issued = cluster.authority.issue_client(&Identity::administrator(), hour).expect("issue");
    let client = client_with(&cluster, &issued);
    let mut stream = connect_as(&cluster, &client).await;
    assert_eq!(next_code(&mut stream).await, 200);
    clock.advance(hour / 2);
    assert_eq!(next_code(&mut stream).await, 200);
    // Each connection has its certificate looked at: none goes on with the session of another.
    let mut again = connect_as(&cluster, &client).await;
    assert_eq!(next_code(&mut again).await, 200);
    assert_eq!(again.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    clock.advance(hour);
    assert_eq!(next_code(&mut stream).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_says_by_what_it_is_known() {
    let cluster = Cluster::start().await;
    let hour = Duration::from_secs(3600);
    let jane = cluster.authority.issue_client(&Identity::new("jane", ["g"]), hour).expect("issue");
    let der = CertificateDer::from_pem_slice(jane.certificate.as_bytes()).expect("PEM");
    let told = who(&cluster, Some(connect_with(&cluster, &jane).await), "").await.expect("somebody");
    let digest = ring::digest::digest(&ring::digest::SHA256, &der);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let id = json!({"authentication.kubernetes.io/credential-id": [format!("X509SHA256={hex}")]});
    assert_eq!(told["extra"], id);
}

/// Who the server takes a client to be that sends these headers; the code alone where it is nobody.
async fn who(cluster: &Cluster, stream: Option<Connection>, headers: &str) -> Result<Value, u16> {
    let body = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
    let request = format!(
        "POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    );
    let mut stream = match stream {
        Some(stream) => stream,
        None => crate::access::connect(cluster, None, "http/1.1").await,
    };
    let (code, body) = exchange(&mut stream, &request).await;
    if code != 201 {
        return Err(code);
    }
    let body: Value = serde_json::from_str(&body).expect("JSON");
    Ok(body["status"]["userInfo"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_in_front_says_who_its_callers_are_and_nobody_else_does() {
    let root = tempfile::tempdir().expect("temporary directory");
    let clock: Arc<dyn Clock> = Arc::new(base::SystemClock::new());
    let theirs = Authority::open(root.path(), clock, Arc::new(base::SystemRandom)).expect("an authority");
    let list = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let proxy = FrontProxy {
        authorities: theirs.certificate_pem().as_bytes().to_vec(),
        allowed_names: list(&["front"]),
        username_headers: list(&["X-Remote-User"]),
        group_headers: list(&["X-Remote-Group"]),
        uid_headers: list(&["X-Remote-Uid"]),
        extra_prefixes: list(&["X-Remote-Extra-"]),
    };
    let cluster = Cluster::configured(|config| config.front_proxy = Some(Arc::new(proxy.clone()))).await;
    let hour = Duration::from_secs(3600);
    let issue = |authority: &Authority, name: &str| {
        authority.issue_client(&Identity::new(name, ["g"]), hour).expect("issue")
    };
    let (front, other) = (issue(&theirs, "front"), issue(&theirs, "other"));
    let (jane, own_front) = (issue(&cluster.authority, "jane"), issue(&cluster.authority, "front"));
    let headers = "X-Remote-User: bob\r\nX-Remote-Group: a\r\nX-Remote-Group: b\r\nX-Remote-Uid: 7\r\n\
                   X-Remote-Extra-Acme.com%2Fteam: x\r\n";
    let said = json!({
        "username": "bob", "uid": "7", "groups": ["a", "b", "system:authenticated"],
        "extra": {"acme.com/team": ["x"]},
    });
    let with = async |issued: &Issued, headers: &str| {
        who(&cluster, Some(connect_with(&cluster, issued).await), headers).await
    };
    assert_eq!(with(&front, headers).await, Ok(said));
    // Servers behind this one are told by whom to know it.
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let (_, told) = cluster.get(path).await;
    assert_eq!(told["data"]["client-ca-file"], cluster.authority.certificate_pem());
    let known = told["data"]["requestheader-client-ca-file"].as_str().expect("authorities");
    assert!(known.starts_with(theirs.certificate_pem()), "{known}");
    assert_eq!(known.matches("BEGIN CERTIFICATE").count(), 2, "its own for itself, too");
    assert_eq!(told["data"]["requestheader-allowed-names"], r#"["front","front-proxy-client"]"#);
    assert_eq!(told["data"]["requestheader-extra-headers-prefix"], r#"["X-Remote-Extra-"]"#);
    // It is nobody itself, has to have one of the names, and may not be of the server's own authority.
    assert_eq!(with(&front, "").await, Err(401));
    assert_eq!(with(&front, "X-Remote-Group: system:masters\r\n").await, Err(401));
    assert_eq!(with(&other, headers).await, Err(401));
    let name = |who: Result<Value, u16>| who.map(|who| who["username"].clone());
    assert_eq!(name(with(&own_front, headers).await), Ok(json!("front")));
    assert_eq!(name(with(&jane, headers).await), Ok(json!("jane")));
    assert_eq!(
        name(with(&jane, "X-Remote-User: admin\r\nX-Remote-Group: system:masters\r\n").await),
        Ok(json!("jane"))
    );
    // Whoever shows nothing stays nobody.
    let masters = "X-Remote-User: admin\r\nX-Remote-Group: system:masters\r\n";
    assert_eq!(who(&cluster, None, masters).await, Err(403));
    // Through the proxy others can be impersonated as far as rights go, and no further.
    assert_eq!(with(&front, "X-Remote-User: bob\r\nImpersonate-User: admin\r\n").await, Err(403));
    // Each request of its connection is somebody else's.
    let mut stream = connect_with(&cluster, &front).await;
    let first = format!(
        "GET {PODS} HTTP/1.1\r\nHost: x\r\nX-Remote-User: admin\r\nX-Remote-Group: system:masters\r\n\r\n"
    );
    let second = format!("GET {PODS} HTTP/1.1\r\nHost: x\r\nX-Remote-User: bob\r\nConnection: close\r\n\r\n");
    let (code, rest) = exchange(&mut stream, &format!("{first}{second}")).await;
    assert_eq!(code, 200);
    assert!(rest.contains("HTTP/1.1 403") && rest.contains("User \\\"bob\\\""), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_certificate_is_no_proxy_in_front() {
    let root = tempfile::tempdir().expect("temporary directory");
    let clock: Arc<dyn Clock> = Arc::new(base::SystemClock::new());
    let directory = root.path().join("pki");
    let own = Authority::open(&directory, clock, Arc::new(base::SystemRandom)).expect("an authority");
    let store: Arc<dyn store::Store> = Arc::new(crate::cluster::open_store(&root).await);
    let start = async |names: &[&str]| {
        let mut config = Config::new(directory.clone(), Arc::new(crate::nodes::Echo));
        config.address = "127.0.0.1:0".parse().expect("an address");
        config.front_proxy = Some(Arc::new(FrontProxy {
            authorities: own.certificate_pem().as_bytes().to_vec(),
            allowed_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..FrontProxy::default()
        }));
        let started = apiserver::Server::start(config, store.clone(), kinds::all()).await;
        started.map(drop).map_err(|error| base::error::chain(&error).to_string())
    };
    let error = start(&[]).await.expect_err("anybody would be one");
    assert!(error.contains("--requestheader-allowed-names must be specified"), "{error}");
    start(&["front"]).await.expect("a name tells them apart");
}
