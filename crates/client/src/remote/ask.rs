//! Asks servers that are no API servers, at the addresses that requests name.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::config::{Config, ConfigError, Credentials};
use super::connect::Connector;

/// How many connections to one server are kept though nobody is asking, and for how long.
const IDLE: usize = 4;
const IDLE_FOR: Duration = Duration::from_secs(60);
/// How often a silent server is asked whether it is there: of one whose machine is gone nobody would hear.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Asks servers over HTTPS. Answers are given as they are: one that sends elsewhere is not followed.
#[derive(Clone)]
pub struct Asker {
    pool: Pool<Connector, Full<Bytes>>,
    authorization: Option<HeaderValue>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The address is none of `https://`.
    #[error("`{0}` is no address of https://")]
    Address(String),
    /// Nobody was reached, or the connection broke.
    #[error("talk to {server}")]
    Broken {
        /// The server.
        server: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is longer than it may be.
    #[error("the answer of {server} is longer than {most} bytes")]
    TooLong {
        /// The server.
        server: String,
        /// How long it may be.
        most: usize,
    },
}

impl Asker {
    /// Asks servers that these authorities (PEM) vouch for, as whom `credentials` say.
    pub fn new(authorities: &[u8], credentials: &Credentials) -> Result<Self, ConfigError> {
        let config = Config {
            server: String::new(),
            certificate_authority: authorities.to_vec(),
            credentials: credentials.clone(),
        };
        let pool = Pool::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_while_idle(true)
            .build(Connector::new(&config, true)?);
        Ok(Self { pool, authorization: config.authorization()? })
    }

    /// Sends a request with an absolute address, and reads the answer, of which the body may have `most` bytes.
    /// How long it waits is whoever drops the future to say.
    pub fn ask(
        &self,
        mut request: Request<Bytes>,
        most: usize,
    ) -> BoxFuture<'static, Result<Response<Bytes>, AskError>> {
        let pool = self.pool.clone();
        let headers = request.headers_mut();
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("gantry/", env!("CARGO_PKG_VERSION"))));
        Box::pin(async move {
            let server = match request.uri().authority() {
                Some(authority) if request.uri().scheme() == Some(&Scheme::HTTPS) => authority.to_string(),
                _ => return Err(AskError::Address(request.uri().to_string())),
            };
            let broken = |source| AskError::Broken { server: server.clone(), source };
            let answer = pool.request(request.map(Full::new)).await.map_err(|error| broken(error.into()))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, most).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    AskError::TooLong { server: server.clone(), most }
                } else {
                    broken(error)
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        })
    }
}
