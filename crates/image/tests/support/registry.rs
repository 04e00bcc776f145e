//! Debian's `docker-registry` on loopback, and a front that cuts connections or wants a token.
#![allow(dead_code, unreachable_pub, reason = "shared by path, not by crate; each target uses its own part")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// `user:secret`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A registry of its own; ends with the test.
pub struct Registry {
    process: Child,
    pub address: SocketAddr,
    dir: TempDir,
}

/// How a registry is set up.
#[derive(Default)]
pub struct Setup {
    pub basic_auth: bool,
    pub tls: bool,
}

impl Registry {
    pub fn start(setup: &Setup) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: 127.0.0.1:0\n",
            path("data")
        );
        if setup.tls {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("certificate");
            std::fs::write(path("cert.pem"), made.cert.pem()).expect("write");
            std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).expect("write");
            config += &format!("  tls: {{certificate: {}, key: {}}}\n", path("cert.pem"), path("key.pem"));
        }
        if setup.basic_auth {
            std::fs::write(path("htpasswd"), HTPASSWD).expect("write");
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path("htpasswd"));
        }
        std::fs::write(path("config.yml"), config).expect("write");
        let mut process = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("start docker-registry (Debian's package docker-registry)");
        let mut log = BufReader::new(process.stderr.take().expect("piped"));
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).expect("read the log") > 0, "docker-registry ended");
            if let Some((_, rest)) = line.split_once("listening on ") {
                let address: String = rest.chars().take_while(|c| !matches!(c, '"' | ',' | ' ')).collect();
                break address.parse().expect("an address");
            }
        };
        // Somebody has to go on reading, or the registry blocks on its log.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { process, address, dir }
    }

    /// The certificate of a registry with TLS.
    pub fn certificate(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("cert.pem")).expect("certificate")
    }

    /// A name of an image in this registry.
    pub fn image(&self, rest: &str) -> oci::Reference {
        oci::Reference::parse(&format!("localhost:{}/{rest}", self.address.port())).expect("a reference")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Passes connections on to a registry, but cuts the first that brings this many bytes.
pub async fn cutting_front(upstream: SocketAddr, cut_after: i64) -> SocketAddr {
    front(upstream, Arc::new(AtomicI64::new(cut_after))).await
}

/// Passes connections on to a registry, and counts down from 0 the bytes that it answers.
pub async fn counting_front(upstream: SocketAddr) -> (SocketAddr, Arc<AtomicI64>) {
    let left = Arc::new(AtomicI64::new(0));
    (front(upstream, left.clone()).await, left)
}

async fn front(upstream: SocketAddr, left: Arc<AtomicI64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let left = left.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(upstream).await.expect("reach the registry");
                let (mut from_client, mut to_client) = client.split();
                let (mut from_server, mut to_server) = server.split();
                let back = async {
                    let mut buffer = vec![0; 16 * 1024];
                    loop {
                        let got = from_server.read(&mut buffer).await.unwrap_or(0);
                        let before = left.fetch_sub(got as i64, Ordering::SeqCst);
                        let cut = before > 0 && before <= got as i64;
                        if got == 0 || cut || to_client.write_all(&buffer[..got]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = back => {}
                    _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                }
            });
        }
    });
    address
}

/// All that a client sends until its request's head has ended; `None` of one that goes, or speaks TLS.
async fn request_head(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut buffer = [0; 4096];
        match client.read(&mut buffer).await {
            // 0x16 begins TLS, which this does not speak.
            Ok(got) if got > 0 && buffer[0] != 0x16 => head.extend_from_slice(&buffer[..got]),
            _ => return None,
        }
    }
    Some(head)
}

/// Answers every request but the first look (`GET /v2/`) with this.
pub async fn status_front(status: &'static str, header: String, body: &'static str) -> SocketAddr {
    front_of(move |line| match line.starts_with("GET /v2/ ") {
        true => ("200 OK".to_owned(), String::new(), "{}".to_owned()),
        false => (status.to_owned(), header.clone(), body.to_owned()),
    })
    .await
}

/// Answers every request itself: header lines and body, by the request's first line.
pub async fn answering_front(
    answer: impl Fn(&str) -> (String, String) + Send + Sync + 'static,
) -> SocketAddr {
    front_of(move |line| {
        let (header, body) = answer(line);
        ("200 OK".to_owned(), header, body)
    })
    .await
}

async fn front_of(answer: impl Fn(&str) -> (String, String, String) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let address = listener.local_addr().expect("address");
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let Some(head) = request_head(&mut client).await else { return };
                let head = String::from_utf8_lossy(&head);
                let (status, header, body) = answer(head.lines().next().unwrap_or_default());
                let head = format!(
                    "HTTP/1.1 {status}\r\n{header}Connection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let _ = client.write_all(head.as_bytes()).await;
                let _ = client.write_all(body.as_bytes()).await;
            });
        }
    });
    address
}

/// Wants a bearer token, which it gives to `user:secret`; counts how many it gave.
pub async fn token_front(upstream: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let address = listener.local_addr().expect("address");
    let given = Arc::new(AtomicUsize::new(0));
    let counter = given.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(token_connection(client, upstream, address, counter.clone()));
        }
    });
    (address, given)
}

async fn token_connection(
    mut client: TcpStream,
    upstream: SocketAddr,
    me: SocketAddr,
    given: Arc<AtomicUsize>,
) {
    let Some(head) = request_head(&mut client).await else { return };
    let text = String::from_utf8_lossy(&head).into_owned();
    if text.to_lowercase().contains("authorization: bearer ") && text.contains("Bearer good") {
        let mut server = TcpStream::connect(upstream).await.expect("reach the registry");
        server.write_all(&head).await.expect("pass on");
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        return;
    }
    // dXNlcjpzZWNyZXQ= is user:secret.
    let (status, header, body) = if text.starts_with("GET /token?") && text.contains("Basic dXNlcjpzZWNyZXQ=")
    {
        given.fetch_add(1, Ordering::SeqCst);
        ("200 OK", String::new(), r#"{"token":"good","expires_in":300}"#)
    } else if text.starts_with("GET /token?") {
        (
            "401 Unauthorized",
            String::new(),
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"wrong password"}]}"#,
        )
    } else {
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{me}/token\",service=\"test\"\r\n");
        ("401 Unauthorized", challenge, "{}")
    };
    let len = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\n{header}Connection: close\r\nContent-Length: {len}\r\n\r\n{body}");
    let _ = client.write_all(answer.as_bytes()).await;
}
