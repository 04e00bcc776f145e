//! The remote transport against a server's real address: TLS, certificates, HTTP/2, failures.
#![forbid(unsafe_code)]

mod support;

use bytes::Bytes;
use client::remote::{Config, Credentials, RemoteTransport};
use client::transport::{TransportError, UpgradeAnswer};
use client::{Api, Client, Error, ListOptions, WatchEvent, WatchOptions};
use futures::{StreamExt, pin_mut};
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use support::{Cluster, config_map, value_of};

fn config(cluster: &Cluster) -> Config {
    Config {
        server: format!("https://{}", cluster.address),
        certificate_authority: cluster.authority.clone().into_bytes(),
        credentials: Credentials::Certificate {
            certificate: cluster.administrator.certificate.clone().into_bytes(),
            key: cluster.administrator.key.clone().into_bytes(),
        },
    }
}

fn connect(config: &Config) -> Client {
    Client::new(RemoteTransport::new(config).expect("a usable configuration"))
}

#[tokio::test]
async fn a_certificate_opens_the_server_and_watches_share_its_connection() {
    let cluster = Cluster::start().await;
    let maps = Api::<ConfigMap>::namespaced(&connect(&config(&cluster)), "default");
    let start = maps.list(&ListOptions::default()).await.expect("list").metadata.resource_version;
    let watch = maps.watch(&WatchOptions::after(start)).await.expect("watch");
    pin_mut!(watch);
    maps.create(&config_map("a", "1")).await.expect("create");
    let event = watch.next().await.expect("the watch goes on").expect("no failure");
    assert!(matches!(&event, WatchEvent::Added(map) if value_of(map) == "1"), "{event:?}");
    let version: serde_json::Value = maps.client().get("/version").await.expect("the version");
    assert_eq!(version["major"], "1");
}

#[tokio::test]
async fn whoever_shows_nothing_or_a_wrong_token_is_not_let_in() {
    let cluster = Cluster::start().await;
    for credentials in [Credentials::Anonymous, Credentials::Token("wrong".to_owned())] {
        let maps =
            Api::<ConfigMap>::namespaced(&connect(&Config { credentials, ..config(&cluster) }), "default");
        let error = maps.get("a").await.expect_err("refused");
        assert!(matches!(error, Error::Unauthorized(_) | Error::Forbidden(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_talked_to() {
    let (cluster, other) = (Cluster::start().await, Cluster::start().await);
    let wrong = Config { certificate_authority: other.authority.clone().into_bytes(), ..config(&cluster) };
    let error =
        Api::<ConfigMap>::namespaced(&connect(&wrong), "default").get("a").await.expect_err("refused");
    let Error::Transport { source: TransportError::Connect { server, .. }, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*server, cluster.address.to_string());
    assert!(base::error::chain(&error).to_string().contains("certificate"), "{}", base::error::chain(&error));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let cluster = Cluster::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("an address");
    let nowhere = Config { server: format!("https://{free}"), ..config(&cluster) };
    let error =
        Api::<ConfigMap>::namespaced(&connect(&nowhere), "default").get("a").await.expect_err("refused");
    assert!(error.is_temporary());
    assert!(base::error::chain(&error).to_string().contains(&format!("connect to {free}")));
}

#[tokio::test]
async fn a_refusal_to_leave_http_is_the_servers_answer() {
    let cluster = Cluster::start().await;
    let request = Request::builder()
        .uri("/api/v1/namespaces/default/pods/none/exec?command=true&stdout=true")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Protocol", "v5.channel.k8s.io")
        .body(Bytes::new())
        .expect("a request");
    match connect(&config(&cluster)).upgrade(request).await.expect("an answer") {
        UpgradeAnswer::Refused(response) => assert_eq!(response.status(), 404),
        UpgradeAnswer::Upgraded(head, _) => panic!("upgraded: {head:?}"),
    }
}
