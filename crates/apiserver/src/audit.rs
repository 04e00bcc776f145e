//! The audit log: what is noted of requests, as a policy says, and given to a [`Backend`].
//!
//! A request is noted when it has come and its sender is known, when a long answer begins, and when it is
//! over, in that order. What is noted of it grows meanwhile: as whom it acts, why it may, what was sent and
//! answered. Where there is no policy, nothing of this costs anything.
//! Source: Kubernetes documentation, "Auditing".

mod event;
mod policy;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base::{Clock, Timestamp};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, header};
use model::{Object, Status};
use parking_lot::Mutex;

use crate::authorisation::{Attributes, Decision};
use crate::identity::Identity;
use crate::request::ResourceTarget;
use crate::service::CameFrom;

pub use event::{Event, Stage};
pub use policy::{Level, Policy, PolicyError};

pub(crate) use event::as_sent;
use event::{ObjectReference, Response};
use policy::Ruling;

/// A longer name of a client is cut.
const USER_AGENT: usize = 1024;
const CUT: &str = "...TRUNCATED";

/// What is noted of requests, and who keeps it.
pub struct Audit {
    policy: Policy,
    backend: Arc<dyn Backend>,
}

/// Whoever keeps what is noted.
pub trait Backend: Send + Sync + 'static {
    /// Takes an event, at once: whoever waits for the answer learns when it is kept, and whoever does not loses nothing.
    /// The answer is false where the event is lost and its request must not go on without it.
    fn process(&self, event: Event) -> BoxFuture<'static, bool>;
}

/// What is noted of one request.
pub(crate) struct Record {
    audit: Arc<Audit>,
    ruling: Ruling,
    event: Mutex<Event>,
}

/// The request, as it has come.
pub(crate) struct Arrived<'a, B> {
    pub(crate) id: &'a str,
    pub(crate) request: &'a Request<B>,
    pub(crate) identity: Option<&'a Identity>,
    pub(crate) attributes: Attributes<'a>,
    pub(crate) target: Option<&'a ResourceTarget>,
    pub(crate) now: Timestamp,
}

impl Audit {
    /// What `policy` says is noted, and kept by `backend`.
    pub fn new(policy: Policy, backend: Arc<dyn Backend>) -> Self {
        Self { policy, backend }
    }

    /// What is noted of a request, and how much; no record where that is nothing.
    pub(crate) fn begin<B>(self: &Arc<Self>, arrived: &Arrived<'_, B>) -> (Level, Option<Record>) {
        let ruling = self.policy.rule_on(arrived.identity, arrived.attributes);
        if ruling.level == Level::None {
            return (Level::None, None);
        }
        let headers = arrived.request.headers();
        // Whoever lists by one name asks for that object, which its path does not name.
        let (verb, named) = match arrived.attributes {
            Attributes::Resource(asked) => (asked.verb, asked.name),
            Attributes::Path { verb, .. } => (verb, ""),
        };
        let remote = arrived.request.extensions().get::<CameFrom>().map(|remote| remote.0);
        let uri = arrived.request.uri();
        let event = Event {
            level: ruling.level,
            id: arrived.id.to_owned(),
            stage: Stage::RequestReceived,
            uri: uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string),
            verb: verb.to_owned(),
            user: arrived.identity.cloned(),
            impersonated: None,
            constraint: None,
            source_addresses: source_addresses(headers, remote),
            user_agent: user_agent(headers),
            object: arrived.target.map(|target| ObjectReference {
                resource: target.resource.clone(),
                namespace: target.namespace.clone(),
                name: named.to_owned(),
                api_group: target.group.clone(),
                api_version: target.version.clone(),
                subresource: target.subresource.clone(),
                ..ObjectReference::default()
            }),
            response: None,
            request_object: None,
            response_object: None,
            received: arrived.now,
            at: arrived.now,
            annotations: BTreeMap::new(),
        };
        (ruling.level, Some(Record { audit: self.clone(), ruling, event: Mutex::new(event) }))
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Record {
    /// How much is noted.
    pub(crate) fn level(&self) -> Level {
        self.ruling.level
    }

    /// Notes a stage; the future is the backend's, none where the stage is left out.
    pub(crate) fn stage(&self, stage: Stage, clock: &dyn Clock) -> Option<BoxFuture<'static, bool>> {
        if self.ruling.omit_stages.contain(stage) {
            return None;
        }
        let mut event = self.event.lock();
        event.stage = stage;
        if stage != Stage::RequestReceived {
            event.at = clock.now();
        }
        let event = event.clone();
        Some(self.audit.backend.process(event))
    }

    /// Notes more about it. What was said first of something stays.
    pub(crate) fn annotate(&self, key: impl Into<Cow<'static, str>>, value: &str) {
        self.event.lock().annotations.entry(key.into()).or_insert_with(|| value.to_owned());
    }

    /// Notes what was decided about it.
    pub(crate) fn decided(&self, decision: &Decision) {
        let word = if decision.is_allowed() { "allow" } else { "forbid" };
        let mut event = self.event.lock();
        event.annotations.insert("authorization.k8s.io/decision".into(), word.to_owned());
        event.annotations.insert("authorization.k8s.io/reason".into(), decision.reason().to_owned());
    }

    /// Notes as whom it acts.
    pub(crate) fn impersonates(&self, identity: &Identity, constraint: Option<String>) {
        let mut event = self.event.lock();
        event.impersonated = Some(identity.clone());
        event.constraint = constraint;
    }

    /// Notes which object was sent, where the path does not say so.
    pub(crate) fn names(&self, object: &Object) {
        let mut event = self.event.lock();
        let Some(reference) = &mut event.object else { return };
        let fill = |place: &mut String, text: &str| {
            if place.is_empty() {
                text.clone_into(place);
            }
        };
        fill(&mut reference.namespace, object.namespace().unwrap_or_default());
        fill(&mut reference.name, object.name());
        fill(&mut reference.uid, object.get_str(&["metadata", "uid"]).unwrap_or_default());
        fill(&mut reference.resource_version, object.resource_version());
    }

    /// Notes what was sent: JSON, or nothing where there was something that could not be read.
    pub(crate) fn sent(&self, body: Option<Bytes>) {
        if self.ruling.level >= Level::Request {
            let kept = body.and_then(|body| self.kept(body));
            let mut event = self.event.lock();
            event.request_object = kept;
            if event.request_object.is_none() {
                event.truncate();
            }
        }
    }

    /// What was sent and answered is noted no more.
    pub(crate) fn forget_objects(&self) {
        let mut event = self.event.lock();
        (event.request_object, event.response_object) = (None, None);
    }

    /// Notes what is answered.
    pub(crate) fn answered(&self, code: u16, status: Option<Status>) {
        let mut event = self.event.lock();
        let response = event.response.get_or_insert(Response { code, status: None });
        response.code = code;
        if let Some(status) = status {
            response.status = Some(Box::new(status));
        }
    }

    /// Whether the request is to a resource.
    pub(crate) fn is_of_object(&self) -> bool {
        self.event.lock().object.is_some()
    }

    /// Notes the object that is answered: JSON.
    pub(crate) fn answers_with(&self, body: Bytes) {
        if self.ruling.level >= Level::RequestResponse {
            let kept = self.kept(body);
            let mut event = self.event.lock();
            event.response_object = kept;
            if event.response_object.is_none() {
                event.truncate();
            }
        }
    }

    /// Notes that something was too much to be noted.
    pub(crate) fn truncated(&self) {
        self.event.lock().truncate();
    }

    fn kept(&self, body: Bytes) -> Option<Bytes> {
        if self.ruling.omit_managed_fields { event::without_managed_fields(&body) } else { Some(body) }
    }
}

/// From where a request came: what others in between say, then the one who is connected.
fn source_addresses(headers: &HeaderMap, remote: Option<IpAddr>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    for part in text("x-forwarded-for").into_iter().flat_map(|value| value.split(',')) {
        if let Ok(address) = part.trim().parse::<IpAddr>() {
            found.push(address.to_string());
        }
    }
    if let Some(address) = text("x-real-ip").and_then(|value| value.trim().parse::<IpAddr>().ok()) {
        let address = address.to_string();
        if !found.contains(&address) {
            found.push(address);
        }
    }
    if let Some(remote) = remote.map(|remote| remote.to_canonical().to_string())
        && found.last() != Some(&remote)
    {
        found.push(remote);
    }
    found
}

fn user_agent(headers: &HeaderMap) -> String {
    let bytes = headers.get(header::USER_AGENT).map(|value| value.as_bytes()).unwrap_or_default();
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(USER_AGENT)]).into_owned();
    if bytes.len() > USER_AGENT {
        text.push_str(CUT);
    }
    text
}

/// By what a client has tried to show who it is, where it could not.
pub(crate) fn attempted(headers: &HeaderMap, certificate: bool, query: &str) -> String {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let scheme = value.trim().split_once(' ').map(|(scheme, _)| scheme.to_ascii_lowercase());
    let token = form_urlencoded::parse(query.as_bytes())
        .any(|(key, value)| key == "access_token" && !value.trim().is_empty());
    let methods = [
        ("basic", scheme.as_deref() == Some("basic")),
        ("bearer", scheme.as_deref() == Some("bearer")),
        ("access_token", token),
        ("x509", certificate),
    ];
    let tried: Vec<&str> = methods.into_iter().filter(|(_, tried)| *tried).map(|(name, _)| name).collect();
    if tried.is_empty() {
        return "Authentication failed, no credentials provided".to_owned();
    }
    format!("Authentication failed, attempted: {}", tried.join(", "))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = all.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        });
        pairs.collect()
    }

    #[test]
    fn a_request_comes_from_where_those_in_between_say_and_from_whom_is_connected() {
        let check = |all: &[(&'static str, &str)], remote: Option<&str>, expected: &[&str]| {
            let remote = remote.map(|remote| remote.parse().expect("an address"));
            assert_eq!(source_addresses(&headers(all), remote), expected);
        };
        check(&[], Some("10.0.0.1"), &["10.0.0.1"]);
        check(&[], None, &[]);
        check(&[], Some("::ffff:10.0.0.1"), &["10.0.0.1"]);
        let passed = [("x-forwarded-for", "1.1.1.1, nonsense, 2.2.2.2"), ("x-real-ip", "1.1.1.1")];
        check(&passed, Some("2.2.2.2"), &["1.1.1.1", "2.2.2.2"]);
        check(&[("x-real-ip", "3.3.3.3")], Some("2.2.2.2"), &["3.3.3.3", "2.2.2.2"]);
    }

    #[test]
    fn a_long_name_of_a_client_is_cut() {
        assert_eq!(user_agent(&headers(&[("user-agent", "curl/8")])), "curl/8");
        let long = "x".repeat(90 << 10);
        let cut = user_agent(&headers(&[("user-agent", &long)]));
        assert_eq!(cut, format!("{}{CUT}", "x".repeat(1024)));
    }

    #[test]
    fn what_was_tried_is_said() {
        let check = |all: &[(&'static str, &str)], certificate, query, expected: &str| {
            assert_eq!(attempted(&headers(all), certificate, query), expected);
        };
        check(&[], false, "", "Authentication failed, no credentials provided");
        check(&[("authorization", "Bearer x")], true, "", "Authentication failed, attempted: bearer, x509");
        check(
            &[("authorization", "Basic x")],
            false,
            "access_token=a",
            "Authentication failed, attempted: basic, access_token",
        );
    }
}
