//! An API server at an address: HTTP/2 over TLS, one connection for all requests.

mod ask;
mod config;
mod connect;
mod kubeconfig;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

pub use self::ask::{AskError, Asker};
pub use self::config::{Config, ConfigError, Credentials};
use self::connect::Connector;
pub use self::kubeconfig::KubeconfigError;
use crate::transport::{Body, Transport, TransportError, UpgradeAnswer, body};

/// Reaches an API server over HTTP and TLS.
///
/// Requests share HTTP/2 connections that are made when needed and made anew when they break.
/// Streams that leave HTTP get a connection each.
pub struct RemoteTransport {
    pool: Pool<Connector, Full<Bytes>>,
    streams: Connector,
    server: Arc<Server>,
}

/// Whom to talk to, and as whom.
struct Server {
    scheme: Scheme,
    authority: Authority,
    authorization: Option<HeaderValue>,
}

impl RemoteTransport {
    /// Prepares to talk to the server of `config`; does not connect yet.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let (scheme, authority) = config.address()?;
        let connector = Connector::new(config, scheme == Scheme::HTTPS)?;
        let pool = Pool::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(std::time::Duration::from_secs(30))
            .http2_keep_alive_while_idle(true)
            .http2_adaptive_window(true)
            .build(connector.clone());
        let authorization = config.authorization()?;
        let server = Arc::new(Server { scheme, authority, authorization });
        Ok(Self { pool, streams: connector.without_http2(), server })
    }
}

impl Transport for RemoteTransport {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let request = self.server.address(request.map(Full::new))?;
            let response = self.pool.request(request).await.map_err(|source| {
                let server = self.server.authority.to_string();
                if source.is_connect() {
                    TransportError::Connect { server, source: source.into() }
                } else {
                    TransportError::Broken { server, source: source.into() }
                }
            })?;
            Ok(response.map(|incoming| self.server.body(incoming)))
        })
    }

    fn upgrade(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<UpgradeAnswer, TransportError>> {
        Box::pin(async move {
            let server = &self.server;
            let mut request = server.address(request.map(Full::new))?;
            let host =
                HeaderValue::from_str(server.authority.as_str()).map_err(|source| server.broken(source))?;
            // On a connection of its own the request line has the path only.
            let path = request.uri().path_and_query().cloned().map_or_else(Uri::default, Uri::from);
            *request.uri_mut() = path;
            request.headers_mut().insert(HOST, host);
            request.headers_mut().entry(CONNECTION).or_insert(HeaderValue::from_static("Upgrade"));
            let stream = self.streams.connect(&server.authority).await?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
                .await
                .map_err(|source| server.broken(source))?;
            let exchange = async {
                let mut response =
                    sender.send_request(request).await.map_err(|source| server.broken(source))?;
                if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    return Ok::<_, TransportError>((response, None));
                }
                let upgraded =
                    hyper::upgrade::on(&mut response).await.map_err(|source| server.broken(source))?;
                Ok((response, Some(upgraded)))
            };
            // The connection is driven here, by no task of its own, until the server has decided.
            let mut connection = Box::pin(connection.with_upgrades());
            tokio::pin!(exchange);
            let mut open = true;
            let (response, upgraded) = loop {
                tokio::select! {
                    result = &mut exchange => break result?,
                    _ = &mut connection, if open => open = false,
                }
            };
            let (head, incoming) = response.into_parts();
            match upgraded {
                Some(upgraded) => {
                    let head = Response::from_parts(head, ());
                    Ok(UpgradeAnswer::Upgraded(head, Box::new(TokioIo::new(upgraded))))
                }
                None => {
                    // A refusal is short: read whole while the connection is driven.
                    let collect = http_body_util::BodyExt::collect(incoming);
                    tokio::pin!(collect);
                    let collected = loop {
                        tokio::select! {
                            result = &mut collect => break result.map_err(|source| server.broken(source))?,
                            _ = &mut connection, if open => open = false,
                        }
                    };
                    Ok(UpgradeAnswer::Refused(Response::from_parts(
                        head,
                        body(Full::new(collected.to_bytes())),
                    )))
                }
            }
        })
    }
}

impl Server {
    /// Completes a request that has path and query only.
    fn address<B>(&self, mut request: Request<B>) -> Result<Request<B>, TransportError> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        *request.uri_mut() = Uri::from_parts(parts).map_err(|source| self.broken(source))?;
        let headers = request.headers_mut();
        if let Some(authorization) = &self.authorization {
            headers.entry(AUTHORIZATION).or_insert_with(|| authorization.clone());
        }
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("gantry/", env!("CARGO_PKG_VERSION"))));
        Ok(request)
    }

    fn body(&self, incoming: hyper::body::Incoming) -> Body {
        let server = self.authority.to_string();
        http_body_util::BodyExt::boxed_unsync(http_body_util::BodyExt::map_err(incoming, move |source| {
            TransportError::Broken { server: server.clone(), source: source.into() }
        }))
    }

    fn broken(&self, source: impl std::error::Error + Send + Sync + 'static) -> TransportError {
        TransportError::Broken { server: self.authority.to_string(), source: Box::new(source) }
    }
}
