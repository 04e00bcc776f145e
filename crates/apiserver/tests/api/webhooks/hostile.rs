//! Webhooks that mean ill: each costs whoever asks it its own time at most, and nobody else anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

use super::{MAPS, MUTATING, VALIDATING, cluster, register, webhook};
use crate::cluster::named;
use crate::elsewhere::Site;

/// A server that answers as it likes; ends when it is dropped.
struct Hostile {
    address: SocketAddr,
    authority: String,
    serving: JoinHandle<()>,
}

type Secure = tokio_rustls::server::TlsStream<TcpStream>;

impl Hostile {
    async fn start() -> Self {
        let issued = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        let chain = vec![CertificateDer::from_pem_slice(issued.cert.pem().as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(issued.signing_key.serialize_pem().as_bytes()).expect("PEM");
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .expect("a certificate");
        let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let tls = tls.clone();
                connections.spawn(async move {
                    let Ok(mut stream) = tls.accept(stream).await else { return };
                    // However it ends.
                    let _ = serve(&mut stream).await;
                });
            }
        });
        Self { address, authority: issued.cert.pem(), serving }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: &mut Secure) -> std::io::Result<()> {
    let mut text = Vec::new();
    // The whole of what is asked: head and body.
    let (path, body) = loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        text.extend_from_slice(&piece[..read]);
        let all = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = all.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            let path = head.split(['?', ' ']).nth(1).unwrap_or_default().to_owned();
            break (path, body.to_owned());
        }
    };
    let review: Value = serde_json::from_str(&body).unwrap_or_default();
    let ok = |length: usize| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
    };
    let said = |text: &str| format!("{}{text}", ok(text.len()));
    let text = match path.as_str() {
        "/hang" => return std::future::pending().await,
        "/rubbish" => said("<html>no</html>"),
        "/huge" => {
            stream.write_all(ok(10 << 20).as_bytes()).await?;
            for _ in 0..160 {
                stream.write_all(&[b' '; 64 << 10]).await?;
            }
            return Ok(());
        }
        "/trickle" => {
            stream.write_all(ok(1000).as_bytes()).await?;
            loop {
                stream.write_all(b" ").await?;
                stream.flush().await?;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        "/endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(b"1\r\n \r\n").await?;
                tokio::task::yield_now().await;
            }
        }
        "/head" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                stream.write_all(b"x-more: and more and more and more\r\n").await?;
            }
        }
        "/short" => {
            stream.write_all(ok(1000).as_bytes()).await?;
            stream.write_all(b"{").await?;
            return stream.shutdown().await;
        }
        "/elsewhere" => {
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: https://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
                .to_owned()
        }
        "/other-uid" => said(&response(&json!({"uid": "another", "allowed": true}))),
        "/deep" => {
            let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
            said(&format!(r#"{{"kind":"AdmissionReview","response":{deep}}}"#))
        }
        "/many" => {
            let operation = json!({"op": "add", "path": "/data/x", "value": "y"});
            let all = vec![operation; 20_000];
            let patch = STANDARD.encode(json!(all).to_string());
            said(&response(&json!({
                "uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch", "patch": patch,
            })))
        }
        _ => return Ok(()),
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

fn response(response: &Value) -> String {
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_webhooks_are_bounded_and_nobody_else_waits_for_them() {
    let cluster = Arc::new(cluster().await);
    let hostile = Hostile::start().await;
    let webhook = |path: &str, policy: &str, seconds: u8| {
        json!({
            "name": format!("{}-{}.example.org", path.trim_start_matches('/'), policy.to_lowercase()),
            "clientConfig": {
                "url": format!("https://{}{path}", hostile.address), "caBundle": STANDARD.encode(&hostile.authority),
            },
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "objectSelector": {"matchLabels": {"ask": format!("{}-{}", path.trim_start_matches('/'), policy.to_lowercase())}},
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": policy, "timeoutSeconds": seconds,
        })
    };
    let cases = [
        ("/hang", "context deadline exceeded"),
        ("/rubbish", "the answer is no review"),
        ("/huge", "the answer has more than 4194304 bytes"),
        ("/trickle", "context deadline exceeded"),
        ("/endless", ""),
        ("/head", ""),
        ("/short", ""),
        ("/elsewhere", "the server responded with the status code 307"),
        ("/other-uid", "expected response.uid="),
        ("/deep", "the answer is no review"),
        ("/many", "The allowed maximum operations in a JSON patch is 10000, got 20000"),
    ];
    for policy in ["Fail", "Ignore"] {
        // Those who never end are waited for as short as can be, all others for as long as it takes.
        let seconds = |path: &str| if matches!(path, "/hang" | "/trickle" | "/endless") { 1 } else { 20 };
        let all: Vec<Value> = cases.iter().map(|(path, _)| webhook(path, policy, seconds(path))).collect();
        register(&cluster, MUTATING, &policy.to_lowercase(), json!(all)).await;
    }
    let mut slow = webhook("/hang", "slow", 30);
    slow["failurePolicy"] = json!("Fail");
    register(&cluster, VALIDATING, "slow", json!([slow])).await;
    let make = async |ask: String| {
        let mut map = named("ConfigMap", &ask);
        map["metadata"]["labels"] = json!({"ask": ask});
        cluster.send("POST", MAPS, &map).await
    };
    // Many hang, for longer than all of this takes.
    let mut hanging = JoinSet::new();
    for number in 0..200 {
        let cluster = cluster.clone();
        hanging.spawn(async move {
            let mut map = named("ConfigMap", &format!("slow-{number}"));
            map["metadata"]["labels"] = json!({"ask": "hang-slow"});
            cluster.send("POST", MAPS, &map).await
        });
    }
    let outcomes = futures::future::join_all(cases.iter().flat_map(|(path, why)| {
        ["fail", "ignore"].map(|policy| {
            let (ask, make) = (format!("{}-{policy}", path.trim_start_matches('/')), &make);
            async move { (policy, *why, make(ask).await) }
        })
    }))
    .await;
    for (policy, why, (code, answer)) in outcomes {
        let message = answer["message"].as_str().unwrap_or_default();
        // A patch that cannot be applied is no failure to ask.
        let expected = if policy == "fail" || why.contains("JSON patch") { 500 } else { 201 };
        assert_eq!(code, expected, "{policy} {why}: {answer}");
        if expected == 500 {
            assert!(message.contains(why), "{message:?} lacks {why:?}");
        }
    }
    // Who is not asked about is written at once, whoever waits.
    for number in 0..50 {
        cluster.ok("POST", MAPS, &named("ConfigMap", &format!("plain-{number}"))).await;
    }
    assert!(hanging.try_join_next().is_none(), "they hang still");
    let (_, metrics) = cluster.text("/metrics").await;
    let open =
        "apiserver_admission_webhook_fail_open_count{name=\"hang-ignore.example.org\",type=\"admit\"} 1";
    assert!(metrics.contains(open), "{metrics}");
    hanging.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_asked_of_a_quota_that_is_counted_holds_up_nobody_in_its_namespace() {
    let cluster = cluster().await;
    let site = Site::start(Arc::new(|_| None)).await;
    let hook = webhook(&site, "/hangs", &["resourcequotas/status"], json!({"timeoutSeconds": 30}));
    register(&cluster, MUTATING, "a", json!([hook])).await;
    let mut quota = named("ResourceQuota", "q");
    quota["spec"] = json!({"hard": {"configmaps": "5"}});
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    cluster.ok("POST", quotas, &quota).await;
    let path = format!("{quotas}/q/status");
    let status = json!({"status": {"hard": {"configmaps": "5"}}});
    let asked = site.asked.clone();
    let counting = cluster.send("PATCH", &path, &status);
    let made = async {
        testkit::wait_until_async("the webhook to be asked", || async {
            if asked.load(Ordering::SeqCst) > 0 { Ok(()) } else { Err("nobody asked it") }
        })
        .await;
        cluster.send("POST", MAPS, &named("ConfigMap", "m")).await
    };
    let (code, refused) = tokio::select! {
        (code, told) = counting => panic!("it is counted: {code} {told}"),
        made = made => made,
    };
    assert_eq!(code, 201, "{refused}");
}
