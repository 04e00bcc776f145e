//! Those who are asked over TLS what is to become of something: webhooks, of admission and of conversion.
//!
//! Whoever is asked may hang, break off, answer rubbish or without an end: it costs whoever asked the time that it
//! gives, and nobody else anything. Each has a room of its own: so many questions are with it at once, so many wait,
//! few of its answers may be long at a time. Connections are kept for a while. One that is behind a service of the
//! cluster is found in memory and reached from its node, not by the service's address.

mod known;
mod line;
mod told;
mod verifier;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use model::Status;
use model::field::quote;
use tokio::sync::OwnedSemaphorePermit;

use crate::admission::Operation;
use crate::payload::BODY_LIMIT;
use crate::proxy::Upstream;
use crate::reach::Reach;
use crate::state::State;

pub(crate) use known::Callouts;
pub use told::{cut, told};

/// How much may be answered.
pub const LONGEST_ANSWER: usize = 4 << 20;
/// How long what somebody makes of an object may be: no longer than what clients may send.
pub const LONGEST_OBJECT: usize = BODY_LIMIT;

/// Somebody who is asked over TLS. Who is the same is asked over the same connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Callee {
    /// What is asked, in errors: an address of `https://`.
    pub url: String,
    /// By what name its certificate has to vouch for it: a name or an address.
    pub host: String,
    /// Its port; of a service, that of the service.
    pub port: u16,
    /// The path that is asked, from its slash on.
    pub path: String,
    /// The authorities (PEM) that vouch for it; those of the system where there are none.
    pub authorities: Option<Bytes>,
    /// The service that it is behind, where it is in the cluster.
    pub service: Option<Service>,
}

/// A service of the cluster.
#[derive(Clone)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Finds one of those behind it, at this port of its, or says why there is none.
    pub find: fn(&Reach, &Self, u16) -> Result<Found, String>,
}

/// Where somebody is who is behind a service.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// At an address that is reached from a node.
    At(Upstream),
    /// At a port of a name outside of the cluster.
    Named(String, u16),
}

/// An answer.
#[derive(Debug)]
pub struct Answered {
    /// Its text.
    pub text: Bytes,
    /// The right to have a long one: whoever asked has it until nothing of the answer is left to be done.
    pub long: Option<OwnedSemaphorePermit>,
}

/// How somebody was asked, to be counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// What it is called.
    pub name: &'a str,
    /// `admit` where it may change what is written, `validating` where not.
    pub kind: &'static str,
    /// What was to be done.
    pub operation: Operation,
    /// How long it took.
    pub took: Duration,
    /// 200, or the code of the refusal or the failure; 0 for one of this server's own.
    pub code: u16,
    /// Why the write is refused, where it is: `no_error`, `calling_webhook_error`, `apiserver_internal_error`.
    pub rejected: Option<&'static str>,
    /// It could not be asked, and the write passes.
    pub passes: bool,
    /// Why it could not be asked; empty where it was.
    pub why: &'a str,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AskError {
    /// Nobody could vouch for it: there is no usable authority.
    #[error("unable to load root certificates: {0}")]
    Authorities(String),
    /// It was not reached, or did not answer.
    #[error("Post {}: {why}", quote(url))]
    Reach {
        /// What was asked.
        url: String,
        /// What failed.
        why: String,
    },
    /// It answered that it does not answer.
    #[error("{0}")]
    Refused(Box<Status>),
}

impl AskError {
    /// Whether nothing was asked, since what is known of it is no good.
    pub fn is_unusable(&self) -> bool {
        matches!(self, Self::Authorities(_))
    }

    /// The code that the failure is counted by.
    pub fn code(&self) -> u16 {
        match self {
            Self::Authorities(_) => 500,
            Self::Reach { .. } => 503,
            Self::Refused(status) => status.code,
        }
    }
}

impl Callee {
    /// The one at an address of `https://`, without a query.
    pub fn at(url: &str, authorities: Option<Bytes>) -> Option<Self> {
        let parsed: http::Uri = url.parse().ok()?;
        let host = parsed.host()?.trim_matches(['[', ']']).to_owned();
        let is_https = parsed.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        if !is_https || host.is_empty() || parsed.query().is_some() {
            return None;
        }
        let (port, path) = (parsed.port_u16().unwrap_or(443), parsed.path().to_owned());
        Some(Self { url: url.to_owned(), host, port, path, authorities, service: None })
    }

    /// The one behind a service of the cluster.
    pub fn behind(service: Service, port: u16, path: &str, authorities: Option<Bytes>) -> Self {
        let host = format!("{}.{}.svc", service.name, service.namespace);
        let path = format!("/{}", path.trim_start_matches('/'));
        let url = format!("https://{host}:{port}{path}");
        Self { url, host, port, path, authorities, service: Some(service) }
    }
}

impl PartialEq for Service {
    fn eq(&self, other: &Self) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

impl Eq for Service {}

impl std::hash::Hash for Service {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.namespace, &self.name).hash(state);
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({}/{})", self.namespace, self.name)
    }
}

/// Whether there is an authority in this text.
pub fn is_authority(text: &[u8]) -> bool {
    verifier::client(text).is_ok()
}

/// Asks, and gives what is answered within `patience`.
pub(crate) async fn ask(
    state: &Arc<State>,
    callee: &Callee,
    question: Bytes,
    patience: Duration,
) -> Result<Answered, AskError> {
    let known = state.callouts.of(state, callee);
    let tls = known.tls.as_ref().map_err(|why| AskError::Authorities(why.clone()))?;
    let seconds = patience.as_secs() + u64::from(patience.subsec_nanos() > 0);
    let query = format!("?timeout={seconds}s");
    let failed = |why: String| AskError::Reach { url: format!("{}{query}", callee.url), why };
    let Some(_entered) = known.enter() else {
        return Err(failed("too many requests wait for it".to_owned()));
    };
    let asking = async {
        let _place = known.room.acquire().await.map_err(|error| failed(error.to_string()))?;
        let path = format!("{}{query}", callee.path);
        if let Some(line) = known.idle() {
            match line.exchange(&known, callee, &path, question.clone()).await {
                // It was closed while nobody was asking.
                Err(line::Broken { early: true, .. }) => {}
                outcome => return outcome.map_err(|broken| failed(broken.why)),
            }
        }
        let line = line::connect(state, callee, tls).await.map_err(failed)?;
        line.exchange(&known, callee, &path, question).await.map_err(|broken| failed(broken.why))
    };
    let answered = tokio::time::timeout(patience, asking).await;
    let (code, answer) = answered.unwrap_or_else(|_| Err(failed("context deadline exceeded".to_owned())))?;
    if (200..=206).contains(&code.as_u16()) { Ok(answer) } else { Err(refused(code, &answer.text)) }
}

/// What an answer that is none says, in the words that clients of Kubernetes have for it.
fn refused(code: StatusCode, text: &[u8]) -> AskError {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        kind: String,
        api_version: String,
    }
    let is_status = serde_json::from_slice::<Named>(text)
        .is_ok_and(|named| (named.kind.as_str(), named.api_version.as_str()) == ("Status", "v1"));
    if is_status && let Ok(status) = serde_json::from_slice::<Status>(text) {
        return AskError::Refused(Box::new(told(Status { code: code.as_u16(), ..status })));
    }
    let said = String::from_utf8_lossy(&text[..text.len().min(1024)]);
    let (reason, message) = match code.as_u16() {
        400 => ("BadRequest", "the server rejected our request for an unknown reason".to_owned()),
        401 => ("Unauthorized", "the server has asked for the client to provide credentials".to_owned()),
        403 => ("Forbidden", said.into_owned()),
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        405 => {
            ("MethodNotAllowed", "the server does not allow this method on the requested resource".to_owned())
        }
        409 => ("AlreadyExists", "the server reported a conflict".to_owned()),
        422 => ("Invalid", "the server rejected our request due to an error in our request".to_owned()),
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later".to_owned(),
        ),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request".to_owned()),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be processing the \
             request"
                .to_owned(),
        ),
        500.. => (
            "InternalError",
            format!("an error on the server ({}) has prevented the request from succeeding", quote(&said)),
        ),
        code => (
            "Unknown",
            format!("the server responded with the status code {code} but did not return more information"),
        ),
    };
    AskError::Refused(Box::new(Status::failure(code.as_u16(), reason, message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let at = |url: &str| {
            Callee::at(url, None).map(|callee| format!("{} {} {}", callee.host, callee.port, callee.path))
        };
        assert_eq!(at("https://example.org").as_deref(), Some("example.org 443 /"));
        assert_eq!(at("https://example.org:8443/a/b").as_deref(), Some("example.org 8443 /a/b"));
        assert_eq!(at("https://[::1]:1/").as_deref(), Some("::1 1 /"));
        for bad in ["http://example.org", "https://", "example.org", "https://example.org/?a=b", ""] {
            assert_eq!(at(bad), None, "{bad}");
        }
        let find: fn(&Reach, &Service, u16) -> Result<Found, String> = |_, _, _| Err(String::new());
        let service = Service { namespace: "n".into(), name: "s".into(), find };
        for path in ["", "/", "/check", "check"] {
            let callee = Callee::behind(service.clone(), 443, path, None);
            let expected = format!("https://s.n.svc:443/{}", path.trim_start_matches('/'));
            assert_eq!((callee.url, callee.host.as_str()), (expected, "s.n.svc"));
        }
    }

    #[test]
    fn what_is_no_answer_is_told_as_clients_tell_it() {
        let check = |code: u16, text: &str, expected: &str| {
            let error = refused(StatusCode::from_u16(code).expect("a code"), text.as_bytes());
            assert_eq!((error.to_string().as_str(), error.code()), (expected, code));
        };
        check(404, "x", "the server could not find the requested resource");
        check(500, "oh", "an error on the server (\"oh\") has prevented the request from succeeding");
        check(302, "", "the server responded with the status code 302 but did not return more information");
        let status = r#"{"kind":"Status","apiVersion":"v1","message":"not today","code":418}"#;
        check(503, status, "not today");
        check(503, r#"{"kind":"Pod"}"#, "the server is currently unable to handle the request");
    }
}
