//! One connection to somebody who is asked, and one question over it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::known::Known;
use super::{Answered, Callee, Found, LONGEST_ANSWER};
use crate::names;
use crate::proxy::words;
use crate::reach::Reach;
use crate::state::State;

/// An answer that is longer is a long one.
const SHORT: usize = 64 << 10;
/// How long the head of an answer may be.
const HEAD: usize = 64 << 10;

/// A connection. It is closed when it is dropped.
pub(super) struct Line {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

/// Why a question has no answer.
pub(super) struct Broken {
    pub(super) why: String,
    /// Nothing has come back: a connection that was kept may have been closed long ago.
    pub(super) early: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Makes a connection.
pub(super) async fn connect(
    state: &Arc<State>,
    callee: &Callee,
    tls: &Arc<ClientConfig>,
) -> Result<Line, String> {
    let plain = match &callee.service {
        Some(service) => match (service.find)(&Reach::of(state), service, callee.port)? {
            Found::At(to) => {
                let dialled = state.nodes.dial(to.node, to.address).await;
                dialled.map_err(|error| format!("dial tcp {}: {}", to.address, words(&error)))?
            }
            Found::Named(name, port) => {
                let dialled = names::dial_for_service(state, &name, port).await;
                dialled.map_err(|error| format!("dial tcp {name}:{port}: {}", words(&error)))?
            }
        },
        None => {
            let dialled = names::dial(state, &callee.host, callee.port).await;
            dialled.map_err(|error| format!("dial tcp {}:{}: {}", callee.host, callee.port, words(&error)))?
        }
    };
    let name = ServerName::try_from(callee.host.clone()).map_err(|error| error.to_string())?;
    let secure = TlsConnector::from(tls.clone()).connect(name, plain).await;
    let secure = secure.map_err(|error| why_not_secure(&error, &callee.host))?;
    let shaking = http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(secure)).await;
    let (sender, connection) = shaking.map_err(|error| base::error::chain(&error).to_string())?;
    let stop = state.stop.clone();
    let driver = state.tasks.spawn(async move {
        tokio::select! {
            _ = connection => {}
            () = stop.cancelled_owned() => {}
        }
    });
    Ok(Line { sender, driver: driver.abort_handle() })
}

/// Why there is no trust, in the words of Kubernetes' own client.
fn why_not_secure(error: &std::io::Error, host: &str) -> String {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(wrong)) = of_tls else { return error.to_string() };
    let why = match wrong {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("certificate is not valid for {host}")
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

impl Line {
    /// Whether a question may go over it.
    pub(super) fn is_open(&self) -> bool {
        self.sender.is_ready()
    }

    /// Asks, and keeps the connection if it is good for more.
    pub(super) async fn exchange(
        mut self,
        known: &Known,
        callee: &Callee,
        path: &str,
        question: Bytes,
    ) -> Result<(StatusCode, Answered), Broken> {
        let request = question_of(callee, path, question).map_err(|error| late(error.to_string()))?;
        let answer = self.sender.send_request(request).await;
        let answer =
            answer.map_err(|error| Broken { why: base::error::chain(&error).to_string(), early: true })?;
        let code = answer.status();
        let mut body = answer.into_body();
        let mut text = BytesMut::new();
        let mut long = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| late(base::error::chain(&error).to_string()))?;
            let Ok(piece) = frame.into_data() else { continue };
            let length = text.len() + piece.len();
            if length > LONGEST_ANSWER {
                return Err(late(format!("the answer has more than {LONGEST_ANSWER} bytes")));
            }
            if length > SHORT && long.is_none() {
                let permit = known.long.clone().acquire_owned().await;
                long = Some(permit.map_err(|error| late(error.to_string()))?);
            }
            text.extend_from_slice(&piece);
        }
        drop(body);
        // Whether it is good for another question is seen when there is one.
        if !self.sender.is_closed() {
            known.keep(self);
        }
        Ok((code, Answered { text: text.freeze(), long }))
    }
}

fn late(why: String) -> Broken {
    Broken { why, early: false }
}

fn question_of(callee: &Callee, path: &str, question: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
    let host = match callee.host.contains(':') {
        true => format!("[{}]:{}", callee.host, callee.port),
        false => format!("{}:{}", callee.host, callee.port),
    };
    Request::post(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(header::ACCEPT, HeaderValue::from_static("application/json, */*"))
        .header(header::USER_AGENT, HeaderValue::from_static(concat!("gantry/", env!("CARGO_PKG_VERSION"))))
        .body(Full::new(question))
}
