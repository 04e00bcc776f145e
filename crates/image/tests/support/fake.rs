//! A registry that does what a test wants, over plain HTTP on loopback.
#![allow(dead_code, unreachable_pub, reason = "shared by path, not by crate")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use oci::{Digest, ImageConfig};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A registry, or whatever else speaks HTTP; ends with the test.
pub struct Fake {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

/// A request's head.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub head: String,
}

/// What is answered.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
    pub manner: Manner,
}

/// How it is answered.
#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    /// At once.
    Whole,
    /// So many bytes of the body, and then nothing more.
    Stall(usize),
    /// A byte of the body at a time, with a rest before each.
    Trickle(Duration),
    /// After a rest, when the request's body has come.
    Late(Duration),
    /// Nothing: not even the request's body is read.
    Deaf,
}

impl Reply {
    pub fn new(status: u16, headers: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: headers.to_owned(), body: body.into(), manner: Manner::Whole }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, "", body)
    }

    pub fn missing() -> Self {
        Self::new(404, "", "{}")
    }

    pub fn how(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }
}

impl Fake {
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("an address");
        let (asked, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move { drop(serve(client, &seen, &*answer).await) });
            }
        });
        Self { address, asked, task }
    }

    /// A registry that has one image, and answers for its blobs as `change` says.
    pub async fn with_image(
        layers: &[Vec<u8>],
        change: impl Fn(&Asked, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let archives: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
        let config = super::support::config_of(&archives).to_bytes();
        let manifest = manifest(&config, &archives);
        let mut blobs: Vec<(String, Vec<u8>)> =
            layers.iter().map(|layer| (Digest::sha256_of(layer).to_string(), layer.clone())).collect();
        blobs.push((Digest::sha256_of(&config).to_string(), config));
        Self::start(move |asked| {
            let blob = blobs.iter().find(|(digest, _)| asked.target.ends_with(digest.as_str()));
            let reply = match blob {
                Some((_, blob)) => Reply::ok(blob.clone()),
                None if asked.target.contains("/manifests/") => Reply::ok(manifest.clone()),
                None if asked.target == "/v2/" => Reply::ok("{}"),
                None => Reply::missing(),
            };
            change(asked, reply)
        })
        .await
    }

    pub fn image(&self, rest: &str) -> oci::Reference {
        oci::Reference::parse(&format!("127.0.0.1:{}/{rest}", self.address.port())).expect("a reference")
    }

    /// The requests so far whose target contains `part`.
    pub fn asked(&self, part: &str) -> Vec<Asked> {
        self.asked.lock().iter().filter(|asked| asked.target.contains(part)).cloned().collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The manifest of an image whose layers are plain archives.
pub fn manifest(config: &[u8], layers: &[&[u8]]) -> Vec<u8> {
    let layers: Vec<String> = layers
        .iter()
        .map(|layer| {
            let (digest, size) = (Digest::sha256_of(layer), layer.len());
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":{size}}}"#
            )
        })
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},
            "layers":[{}]}}"#,
        Digest::sha256_of(config),
        config.len(),
        layers.join(",")
    )
    .into_bytes()
}

/// The configuration of one that claims to have these layers.
pub fn claims(diff_ids: Vec<Digest>) -> ImageConfig {
    let mut config = super::support::config_of(&[]);
    config.rootfs.diff_ids = diff_ids;
    config
}

async fn serve(
    mut client: TcpStream,
    seen: &Mutex<Vec<Asked>>,
    answer: &(impl Fn(&Asked) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let mut buffer = [0; 4096];
        let got = client.read(&mut buffer).await?;
        // 0x16 begins TLS, which this does not speak.
        if got == 0 || bytes.is_empty() && buffer[0] == 0x16 {
            return Ok(());
        }
        bytes.extend_from_slice(&buffer[..got]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let asked = Asked { method: method.to_owned(), target: target.to_owned(), head: head.clone() };
    let reply = answer(&asked);
    seen.lock().push(asked);
    if reply.manner == Manner::Deaf {
        std::future::pending::<()>().await;
    }
    read_body(&mut client, &head, bytes.split_off(end)).await?;
    if let Manner::Late(rest) = reply.manner {
        tokio::time::sleep(rest).await;
    }
    let answer = format!(
        "HTTP/1.1 {} Said\r\n{}Connection: close\r\nContent-Length: {}\r\n\r\n",
        reply.status,
        reply.headers,
        reply.body.len()
    );
    client.write_all(answer.as_bytes()).await?;
    if method == "HEAD" {
        return Ok(());
    }
    match reply.manner {
        Manner::Stall(count) => {
            client.write_all(&reply.body[..count]).await?;
            std::future::pending::<()>().await;
        }
        Manner::Trickle(rest) => {
            for byte in reply.body {
                tokio::time::sleep(rest).await;
                client.write_all(&[byte]).await?;
            }
        }
        _ => client.write_all(&reply.body).await?,
    }
    client.shutdown().await
}

/// Reads what follows a head, which is as long as that says, or comes in chunks.
async fn read_body(client: &mut TcpStream, head: &str, mut body: Vec<u8>) -> std::io::Result<()> {
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let is_chunked = head.contains("transfer-encoding: chunked");
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let is_whole = match length {
            Some(length) => body.len() >= length,
            None => !is_chunked || body.ends_with(b"0\r\n\r\n"),
        };
        if is_whole {
            return Ok(());
        }
        match client.read(&mut buffer).await? {
            0 => return Ok(()),
            got => body.extend_from_slice(&buffer[..got]),
        }
    }
}
