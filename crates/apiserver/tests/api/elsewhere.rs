//! Servers of a test's own that the API server asks, over TLS, and the way to them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use apiserver::node::Duplex;
use apiserver::outside::{Outside, Peer, PeerError};
use bytes::Bytes;
use client::remote::{AskError, Asker, Config, Credentials};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::JoinHandle;

/// The way over HTTPS, as the binary plugs it in.
pub struct OverHttps;

struct Elsewhere(Asker);

impl Outside for OverHttps {
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'static, std::io::Result<Box<dyn Duplex>>> {
        let host = host.to_owned();
        async move {
            let stream = tokio::net::TcpStream::connect((host.as_str(), port)).await?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        }
        .boxed()
    }

    fn authorities(&self) -> Vec<u8> {
        Vec::new()
    }

    fn vouched_for(&self, authorities: Option<&[u8]>) -> Result<Arc<dyn Peer>, String> {
        peer(authorities.expect("the tests name theirs"), &Credentials::Anonymous)
    }

    fn of_kubeconfig(&self, path: &Path) -> Result<(Uri, Arc<dyn Peer>), String> {
        let config = Config::from_kubeconfig(path).map_err(|error| error.to_string())?;
        let uri = config.server.parse().expect("an address");
        Ok((uri, peer(&config.certificate_authority, &config.credentials)?))
    }
}

fn peer(authorities: &[u8], credentials: &Credentials) -> Result<Arc<dyn Peer>, String> {
    Ok(Arc::new(Elsewhere(Asker::new(authorities, credentials).map_err(|error| error.to_string())?)))
}

impl Peer for Elsewhere {
    fn ask(
        &self,
        request: Request<Bytes>,
        most: usize,
    ) -> BoxFuture<'static, Result<Response<Bytes>, PeerError>> {
        let failed = |error| match error {
            AskError::TooLong { server, most } => PeerError::TooLong { server, most },
            error => PeerError::Reach { server: String::new(), source: Box::new(error) },
        };
        self.0.ask(request, most).map(move |outcome| outcome.map_err(failed)).boxed()
    }
}

/// What is answered to a request: a code and a body; never, where there is none.
pub type Answers = Arc<dyn Fn(&Request<Bytes>) -> Option<Response<Bytes>> + Send + Sync>;

/// A server that answers as a test says; ends when it is dropped.
pub struct Site {
    pub address: SocketAddr,
    /// Its own certificate, which vouches for itself.
    pub authority: String,
    pub asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
    root: tempfile::TempDir,
}

impl Site {
    pub async fn start(answers: Answers) -> Self {
        Self::named("localhost", answers).await
    }

    /// One that its certificate vouches for by this name as well.
    pub async fn named(name: &str, answers: Answers) -> Self {
        let issued = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), name.to_owned()]);
        let issued = issued.expect("a certificate");
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
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answers, count) = (tls.clone(), answers.clone(), count.clone());
                connections.spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
                        let (answers, count) = (answers.clone(), count.clone());
                        async move {
                            let (head, body) = request.into_parts();
                            let body = body.collect().await?.to_bytes();
                            count.fetch_add(1, Ordering::SeqCst);
                            match answers(&Request::from_parts(head, body)) {
                                Some(answer) => Ok::<_, hyper::Error>(answer.map(Full::new)),
                                None => std::future::pending().await,
                            }
                        }
                    });
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        let root = tempfile::tempdir().expect("temporary directory");
        Self { address, authority: issued.cert.pem(), asked, serving, root }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A kubeconfig that names a path of it.
    pub fn kubeconfig(&self, path: &str) -> PathBuf {
        use base64::Engine;
        let authority = base64::engine::general_purpose::STANDARD.encode(&self.authority);
        let text = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {
                "server": format!("{}{path}", self.url()), "certificate-authority-data": authority,
            }}],
            "users": [{"name": "x", "user": {"token": "of-the-server"}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        let file = self.root.path().join("kubeconfig");
        std::fs::write(&file, text.to_string()).expect("write");
        file
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub fn json(code: u16, body: &serde_json::Value) -> Option<Response<Bytes>> {
    Some(Response::builder().status(code).body(Bytes::from(body.to_string())).expect("an answer"))
}

/// What a site answers by path, to be changed while it runs.
#[derive(Clone, Default)]
pub struct Pages(Arc<Mutex<HashMap<String, Option<Page>>>>);

/// A code and a text.
pub type Page = (u16, String);

impl Pages {
    pub fn set(&self, path: &str, body: &serde_json::Value) {
        self.put(path, Some((200, body.to_string())));
    }

    pub fn put(&self, path: &str, answer: Option<(u16, String)>) {
        self.0.lock().expect("no holder panics").insert(path.to_owned(), answer);
    }

    pub fn answers(&self) -> Answers {
        let pages = self.0.clone();
        Arc::new(move |request| {
            let found = pages.lock().expect("no holder panics").get(request.uri().path()).cloned();
            match found {
                None => json(404, &serde_json::json!({})),
                Some(None) => None,
                Some(Some((code, body))) => {
                    // One that sends elsewhere says where.
                    let answer = Response::builder().status(code).header("location", &body);
                    let answer = answer.body(Bytes::from(body.clone()));
                    Some(answer.unwrap_or_else(|_| {
                        Response::builder().status(code).body(Bytes::from(body)).expect("an answer")
                    }))
                }
            }
        })
    }
}
