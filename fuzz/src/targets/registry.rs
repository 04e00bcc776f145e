//! Answers of registries: a registry of our own gives what is fed, one answer a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use image::registry::{Client, Config, Credentials, Limits};
use oci::Reference;
use tokio::runtime::Runtime;

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "registry",
    shape: Shape::Plain,
    examples,
    words: &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 401 x\r\n",
        "HTTP/1.1 307 x\r\n",
        "Content-Length: ",
        "\r\n\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Location: /",
        "Link: </v2/a/tags/list?last=a>; rel=\"next\"\r\n",
        "WWW-Authenticate: Bearer realm=\"http://REGISTRY/token\"\r\n",
        "Content-Type: application/vnd.oci.image.index.v1+json\r\n",
        "Docker-Content-Digest: sha256:",
        "{\"tags\":[\"a\"]}",
        "{\"token\":\"a\"}",
        "{\"errors\":[{\"code\":\"DENIED\"}]}",
        "\"expires_in\":1",
    ],
    read,
    turns: 150,
};

/// Stands for the registry's own address in what is fed.
const PLACE: &str = "REGISTRY";
const START: &[u8] = b"HTTP/1.1 ";
const LIMITS: Limits = Limits {
    silence: Duration::from_secs(2),
    document: Duration::from_secs(2),
    queue: Duration::from_secs(2),
    look: Duration::from_millis(10),
};

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || serve(&listener));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("start a runtime");
    Registry { address, runtime: Mutex::new(runtime) }
});

/// What is still to be answered, last first.
static ANSWERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct Registry {
    address: SocketAddr,
    runtime: Mutex<Runtime>,
}

fn read(answers: &[u8]) -> bool {
    let registry = &*REGISTRY;
    let Some(answers) = answers_of(answers, registry.address) else { return false };
    *ANSWERS.lock().expect("nobody panics with it") = answers;
    let client = Client::new(Config { limits: LIMITS, ..Config::default() }).expect("a client");
    let name = Reference::parse(&format!("{}/a:latest", registry.address)).expect("a name");
    let credentials = Credentials::Password { user: "user".to_owned(), password: "secret".to_owned() };
    let runtime = registry.runtime.lock().expect("nobody panics with it");
    runtime.block_on(async {
        let tags = client.tags(&name, &credentials).await;
        let remote = client.inspect(&name, &credentials).await;
        tags.is_ok() || remote.is_ok()
    })
}

/// The answers, last first; none if they lead elsewhere.
fn answers_of(fed: &[u8], address: SocketAddr) -> Option<Vec<Vec<u8>>> {
    let own = format!("http://{PLACE}");
    let text = String::from_utf8_lossy(fed).replace(&own, "");
    if text.contains("//")
        || text.contains('\\')
        || text.contains("\t/")
        || text.contains(':') && text.contains("http:/")
    {
        return None;
    }
    let mut answers: Vec<Vec<u8>> = Vec::new();
    let mut rest = fed;
    while !rest.is_empty() {
        let next = rest.windows(START.len()).skip(1).position(|window| window == START);
        let (one, after) = rest.split_at(next.map_or(rest.len(), |at| at + 1));
        answers.push(replaced(one, PLACE.as_bytes(), address.to_string().as_bytes()));
        rest = after;
    }
    answers.reverse();
    Some(answers)
}

fn replaced(bytes: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(what) {
            out.extend(by);
            at += what.len();
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

fn serve(listener: &TcpListener) {
    for connection in listener.incoming() {
        let Ok(connection) = connection else { return };
        let _ = answer(connection);
    }
}

/// Gives the next answer to one request, and hangs up.
fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let got = connection.read(&mut piece)?;
        if got == 0 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..got]);
        // A client that would rather speak TLS.
        if !request[0].is_ascii_uppercase() {
            return Ok(());
        }
    }
    let next = ANSWERS.lock().expect("nobody panics with it").pop();
    let next = next.unwrap_or_else(|| b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec());
    connection.write_all(&next)
}

fn examples() -> Vec<Vec<u8>> {
    const FIRST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let tags = "HTTP/1.1 200 OK\r\nLink: </v2/a/tags/list?last=b>; rel=\"next\"\r\nContent-Length: 27\r\n\r\n{\"name\":\"a\",\"tags\":[\"a\",0]}";
    let more = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"tags\":[\"c\"]}";
    let index = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\n\r\n\
                 {\"schemaVersion\":2,\"manifests\":[]}";
    let asks = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://REGISTRY/token\",service=\"s\",scope=\"repository:a:pull\"\r\n\
                Content-Length: 0\r\n\r\n";
    let token = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"token\":\"secret\",\"expires_in\":60}";
    let basic =
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
    let denied = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\",\"detail\":{}}]}";
    let moved =
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: /v2/a/manifests/other\r\nContent-Length: 0\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n{\"tags\":[\"c\"]}\r\n0\r\n\r\n";
    texts(&[
        &[FIRST, more, index].concat(),
        &[FIRST, chunked, moved, index].concat(),
        &[FIRST, asks, token, more, index].concat(),
        &[FIRST, basic, more, denied].concat(),
        &[FIRST, &tags.replace(",0]", "]").replace("27", "25"), more, index].concat(),
    ])
}
