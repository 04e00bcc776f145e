//! Streams over WebSockets, as clients that are not kubectl open them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::remote::{Config, RemoteTransport};
use client::transport::{Transport, TransportError, UpgradeAnswer, Upgraded};
use futures::{SinkExt, StreamExt};
use http::{Request, header};
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::cluster::{Cluster, pod};

const POD: &str = "/api/v1/namespaces/default/pods/p";

/// A server with a pod on a node.
async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.ok("POST", "/api/v1/namespaces/default/pods", &on_a_node()).await;
    cluster
}

fn on_a_node() -> serde_json::Value {
    let mut object = pod("p");
    object["spec"]["nodeName"] = json!("n1");
    object
}

/// Opens a WebSocket; gives the protocol that the server chose.
async fn open(
    cluster: &Cluster,
    path: &str,
    protocol: Option<&str>,
) -> (Option<String>, WebSocketStream<Upgraded>) {
    match ask(cluster, path, protocol).await.expect("the server answers") {
        UpgradeAnswer::Upgraded(head, connection) => {
            let chosen = head.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
            let chosen = chosen.map(|value| value.to_str().expect("text").to_owned());
            (chosen, WebSocketStream::from_raw_socket(connection, Role::Client, None).await)
        }
        UpgradeAnswer::Refused(answer) => panic!("{path} {protocol:?}: {}", answer.status()),
    }
}

/// Asks for a WebSocket on a connection of its own.
async fn ask(cluster: &Cluster, path: &str, protocol: Option<&str>) -> Result<UpgradeAnswer, TransportError> {
    let config = Config::from_kubeconfig(&cluster.kubeconfig).expect("the server wrote a kubeconfig");
    let server = RemoteTransport::new(&config).expect("it can be used");
    let path = if path.starts_with("/api/") { path.to_owned() } else { format!("{POD}{path}") };
    let mut request = Request::get(path)
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==");
    if let Some(protocol) = protocol {
        request = request.header(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let request = request.body(bytes::Bytes::new()).expect("a well-formed request");
    server.upgrade(request).await
}

/// All messages until the end, as text.
async fn messages(mut socket: WebSocketStream<Upgraded>) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => all.push(text.to_string()),
            Message::Binary(bytes) => all.push(String::from_utf8(bytes.to_vec()).expect("text")),
            Message::Close(_) => break,
            _ => {}
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_comes_as_messages_in_the_protocol_that_is_asked_for() {
    let cluster = cluster().await;
    let plain = "default/p main follow=true\n";
    for (protocol, expected) in [
        (None, plain),
        (Some("binary.k8s.io"), plain),
        (Some("base64.binary.k8s.io"), "ZGVmYXVsdC9wIG1haW4gZm9sbG93PXRydWUK"),
    ] {
        let (chosen, socket) = open(&cluster, "/log?follow=true", protocol).await;
        assert_eq!(chosen.as_deref(), protocol);
        assert_eq!(messages(socket).await, [expected], "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_protocol_of_commands_tells_failures_as_text() {
    let cluster = cluster().await;
    let run = async |command: &str| {
        let path = format!("/exec?stdout=1&stderr=1&{command}");
        let (chosen, socket) = open(&cluster, &path, Some("channel.k8s.io")).await;
        assert_eq!(chosen.as_deref(), Some("channel.k8s.io"));
        messages(socket).await.into_iter().filter(|message| message.len() > 1).collect::<Vec<_>>()
    };
    assert_eq!(run("command=hello&command=there").await, ["\u{1}hello there\n"]);
    let failed = run("command=fail&command=3").await;
    assert_eq!(failed.first().map(String::as_str), Some("\u{2}failing\n"), "{failed:?}");
    assert!(
        failed.last().is_some_and(|last| last.starts_with('\u{3}') && last.contains("exit code 3")),
        "{failed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_may_come_as_text_or_bytes_or_base64() {
    let cluster = cluster().await;
    let bytes = |channel: u8, text: &str| Message::Binary([&[channel], text.as_bytes()].concat().into());
    let letters = |channel: u8, text: &str| Message::Text(format!("{}{text}", char::from(channel)).into());
    let base64 = |channel: u8, text: &str| said(Some("v4.base64.channel.k8s.io"), channel, text.as_bytes());
    type Says<'a> = &'a dyn Fn(u8, &str) -> Message;
    let cases: [(Option<&str>, Says<'_>); 8] = [
        (None, &bytes),
        (Some("channel.k8s.io"), &letters),
        (Some("base64.channel.k8s.io"), &base64),
        (Some("v4.channel.k8s.io"), &bytes),
        (Some("v4.channel.k8s.io"), &letters),
        (Some("v4.base64.channel.k8s.io"), &base64),
        (Some("v5.channel.k8s.io"), &bytes),
        (Some("v5.channel.k8s.io"), &letters),
    ];
    for (protocol, say) in cases {
        let path = "/exec?stdin=1&stdout=1&stderr=1&command=cat";
        let (chosen, mut socket) = open(&cluster, path, protocol).await;
        assert_eq!(chosen.as_deref(), protocol);
        socket.send(say(0, "typed\n")).await.expect("it is sent");
        let answer = loop {
            match socket.next().await.expect("a message").expect("it is well-formed") {
                message @ (Message::Text(_) | Message::Binary(_)) if message.len() > 1 => break message,
                _ => {}
            }
        };
        let as_text = protocol.is_some_and(|name| name.contains("base64"));
        let expected = if as_text { base64(1, "typed\n") } else { bytes(1, "typed\n") };
        assert_eq!(answer, expected, "{protocol:?}");
    }
    // What is no base64 ends it.
    let path = "/exec?stdin=1&stdout=1&command=cat";
    let (_, mut socket) = open(&cluster, path, Some("v4.base64.channel.k8s.io")).await;
    socket.send(Message::Text("0typed!".into())).await.expect("it is sent");
    messages(socket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_run_by_its_node_s_path_too() {
    let cluster = cluster().await;
    cluster.ok("POST", "/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await;
    let uid = cluster.ok("GET", POD, &serde_json::Value::Null).await["metadata"]["uid"].clone();
    let uid = uid.as_str().expect("a uid");
    for place in ["default/p/main".to_owned(), format!("default/p/{uid}/main")] {
        let path =
            format!("/api/v1/nodes/n1/proxy/exec/{place}?output=1&error=1&command=hello&command=there");
        let (_, socket) = open(&cluster, &path, Some("channel.k8s.io")).await;
        let said: Vec<String> = messages(socket).await.into_iter().filter(|said| said.len() > 1).collect();
        assert_eq!(said, ["\u{1}hello there\n"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_asked_whether_it_reads_before_anything_is_told() {
    let cluster = cluster().await;
    let path = "/exec?stdout=1&stderr=1&command=hello";
    let (_, mut socket) = open(&cluster, path, Some("v5.channel.k8s.io")).await;
    let first = socket.next().await.expect("a message").expect("it is well-formed");
    assert!(matches!(first, Message::Ping(_)), "{first:?}");
    let rest = messages(socket).await;
    assert_eq!(rest[..2], ["\u{1}", "\u{1}hello\n"]);
}

/// A message of one channel, as the protocol has it.
fn said(protocol: Option<&str>, channel: u8, bytes: &[u8]) -> Message {
    if protocol == Some("v4.base64.channel.k8s.io") {
        return Message::Text(format!("{channel}{}", STANDARD.encode(bytes)).into());
    }
    Message::Binary([&[channel], bytes].concat().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_forwarded_as_channels_to_those_who_speak_no_spdy() {
    let cluster = cluster().await;
    for protocol in [Some("v4.channel.k8s.io"), Some("v4.base64.channel.k8s.io"), None] {
        let (chosen, mut socket) = open(&cluster, "/portforward?ports=80,443&ports=2", protocol).await;
        assert_eq!(chosen.as_deref(), protocol);
        let mut next = async || socket.next().await.expect("a message").expect("no failure");
        let mut begun = Vec::new();
        let mut ended = None;
        // Which port each channel is for, and what the third says before it closes.
        while begun.len() < 6 || ended.is_none() {
            let message = next().await;
            if message == said(protocol, 4, b"that is all\n") {
                ended = Some(message);
            } else {
                begun.push(message);
            }
        }
        for (index, port) in [80u16, 443, 2].into_iter().enumerate() {
            for channel in [2 * index, 2 * index + 1] {
                let channel = u8::try_from(channel).expect("few");
                assert!(begun.contains(&said(protocol, channel, &port.to_le_bytes())), "{begun:?}");
            }
        }
        for (channel, text) in [(2, "hello"), (0, "there")] {
            socket.send(said(protocol, channel, text.as_bytes())).await.expect("send");
            let answer = socket.next().await.expect("a message").expect("no failure");
            assert_eq!(answer, said(protocol, channel, text.as_bytes()), "{protocol:?}");
        }
    }
    // What went wrong is told, and when all is over the server hangs up.
    let (_, socket) = open(&cluster, "/portforward?ports=1&ports=2", Some("v4.channel.k8s.io")).await;
    let told = messages(socket).await;
    let wrong =
        told.iter().find(|message| message.starts_with("\u{1}error forwarding port 1 to pod p, uid "));
    assert!(wrong.is_some_and(|text| text.ends_with("nobody listens on port 1")), "{told:?}");
    assert!(told.contains(&"\u{2}that is all\n".to_owned()), "{told:?}");
    for odd in ["", "?ports=0", "?ports=x", "?ports=70000"] {
        let answer = ask(&cluster, &format!("/portforward{odd}"), Some("v4.channel.k8s.io")).await;
        assert!(matches!(answer, Ok(UpgradeAnswer::Refused(answer)) if answer.status() == 400), "{odd}");
    }
}

#[tokio::test]
async fn an_answer_to_a_question_is_no_row_of_a_table() {
    let cluster = Cluster::start().await;
    let request = Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json;as=Table;g=meta.k8s.io;v=v1")
        .body(json!({"spec": {}}).to_string().into())
        .expect("a well-formed request");
    let answer = cluster.handle.call(request, apiserver::Identity::administrator()).await;
    assert_eq!(answer.status(), 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_one_of_the_connections_that_its_user_may_have() {
    const MOST: usize = 4;
    let cluster = Cluster::configured(|config| config.connections_of_user = MOST).await;
    cluster.ok("POST", "/api/v1/namespaces/default/pods", &on_a_node()).await;
    let path = "/exec?stdin=1&stdout=1&command=cat";
    let mut streams = Vec::new();
    for _ in 0..MOST {
        streams.push(open(&cluster, path, Some("v5.channel.k8s.io")).await.1);
    }
    let is_open = async || {
        matches!(ask(&cluster, path, Some("v5.channel.k8s.io")).await, Ok(UpgradeAnswer::Upgraded(..)))
    };
    for _ in 0..3 {
        assert!(!is_open().await, "one more than a user may have");
    }
    // Whoever is killed says no goodbye.
    drop(streams.pop());
    testkit::wait_until_async("a place to be free again", || async {
        if is_open().await { Ok(()) } else { Err("refused") }
    })
    .await;
}
