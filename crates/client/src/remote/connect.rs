//! Makes the connections: TCP, and TLS over it where the address says so.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use http::uri::Authority;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::{Config, ConfigError};
use crate::transport::TransportError;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Makes connections to one server.
#[derive(Clone)]
pub(super) struct Connector {
    tls: Option<Arc<ClientConfig>>,
}

/// A connection, encrypted or not.
pub(super) enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connector {
    pub(super) fn new(config: &Config, encrypted: bool) -> Result<Self, ConfigError> {
        if !encrypted {
            return Ok(Self { tls: None });
        }
        let mut tls = config.tls()?;
        tls.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        Ok(Self { tls: Some(Arc::new(tls)) })
    }

    /// The same, but never offers HTTP/2, which cannot be left for a stream.
    pub(super) fn without_http2(&self) -> Self {
        let tls = self.tls.as_ref().map(|tls| {
            let mut tls = ClientConfig::clone(tls);
            tls.alpn_protocols = vec![HTTP1.to_vec()];
            Arc::new(tls)
        });
        Self { tls }
    }

    pub(super) async fn connect(&self, server: &Authority) -> Result<Stream, TransportError> {
        let limited = tokio::time::timeout(CONNECT_LIMIT, self.open(server)).await;
        let opened = limited.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
        opened.map_err(|source| TransportError::Connect { server: server.to_string(), source: source.into() })
    }

    async fn open(&self, server: &Authority) -> io::Result<Stream> {
        let host = server.host().trim_matches(['[', ']']);
        let port = server.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(TokioIo::new(tcp))) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls.clone()).connect(name, tcp).await?;
        Ok(Stream::Tls(Box::new(TokioIo::new(stream))))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = TransportError;
    type Future = BoxFuture<'static, Result<Stream, TransportError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let authority = uri.authority().expect("the transport completes every address").clone();
            connector.connect(&authority).await
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Plain(_) => Connected::new(),
            Self::Tls(stream) if stream.inner().get_ref().1.alpn_protocol() == Some(HTTP2) => {
                Connected::new().negotiated_h2()
            }
            Self::Tls(_) => Connected::new(),
        }
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
