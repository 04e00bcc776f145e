//! What is noted of one request at one stage, and its text: `audit.k8s.io/v1` `Event`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base::Timestamp;
use bytes::Bytes;
use model::Status;
use model::field::quote;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::policy::Level;
use crate::identity::Identity;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has come.
    RequestReceived,
    /// Its answer has begun, and goes on for long.
    ResponseStarted,
    /// It is over.
    ResponseComplete,
    /// It has met a fault of the server.
    Panic,
}

/// What is noted of one request at one stage.
#[derive(Clone, Debug)]
pub struct Event {
    pub(crate) level: Level,
    pub(crate) id: String,
    pub(crate) stage: Stage,
    pub(crate) uri: String,
    pub(crate) verb: String,
    pub(crate) user: Option<Identity>,
    pub(crate) impersonated: Option<Identity>,
    /// By which constrained form of it.
    pub(crate) constraint: Option<String>,
    pub(crate) source_addresses: Vec<String>,
    pub(crate) user_agent: String,
    pub(crate) object: Option<ObjectReference>,
    pub(crate) response: Option<Response>,
    /// JSON without line breaks.
    pub(crate) request_object: Option<Bytes>,
    /// The same.
    pub(crate) response_object: Option<Bytes>,
    pub(crate) received: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) annotations: BTreeMap<Cow<'static, str>, String>,
}

/// What the request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObjectReference {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) subresource: String,
}

/// How it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) code: u16,
    /// What the answer says of itself, where it is a `Status`.
    pub(crate) status: Option<Box<Status>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    kind: &'a str,
    api_version: &'a str,
    level: &'a str,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    stage: &'a str,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'a str,
    user: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_metadata: Option<Value>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "<[_]>::is_empty")]
    source_ips: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<&'a ObjectReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<&'a RawValue>,
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<Cow<'static, str>, String>,
}

impl Stage {
    pub(crate) const ALL: [Self; 4] =
        [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

impl Event {
    /// How far the request had come.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Its text as JSON, without a line break.
    pub fn json(&self) -> Vec<u8> {
        let line = Line {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: self.level.as_str(),
            audit_id: &self.id,
            stage: self.stage.as_str(),
            request_uri: &self.uri,
            verb: &self.verb,
            user: self.user.as_ref().map_or_else(|| json!({}), user),
            impersonated_user: self.impersonated.as_ref().map(user),
            authentication_metadata: self
                .constraint
                .as_ref()
                .map(|constraint| json!({"impersonationConstraint": constraint})),
            source_ips: &self.source_addresses,
            user_agent: &self.user_agent,
            object_ref: self.object.as_ref(),
            response_status: self.response.as_ref().map(Response::value),
            request_object: raw(&self.request_object),
            response_object: raw(&self.response_object),
            request_received_timestamp: model::time::format_micro(self.received),
            stage_timestamp: model::time::format_micro(self.at),
            annotations: &self.annotations,
        };
        let text = serde_json::to_vec(&line).expect("names and texts always have a text");
        one_line(text)
    }

    /// Its text in the form of before JSON, which says less. One line as well.
    pub fn legacy(&self) -> String {
        let none = || "<none>".to_owned();
        let groups =
            |groups: &[String]| groups.iter().map(|group| quote(group)).collect::<Vec<_>>().join(",");
        let known = self.user.as_ref().filter(|user| !user.user.is_empty());
        let user = known.map_or_else(none, |user| user.user.clone());
        let of = known.filter(|user| !user.groups.is_empty()).map_or_else(none, |user| groups(&user.groups));
        let (as_user, as_groups) = match &self.impersonated {
            None => ("<self>".to_owned(), "<lookup>".to_owned()),
            Some(user) => (user.user.clone(), groups(&user.groups)),
        };
        let named = self.object.as_ref().map(|object| &object.namespace).filter(|name| !name.is_empty());
        let namespace = named.cloned().unwrap_or_else(none);
        let response =
            self.response.as_ref().map_or_else(|| "<deferred>".to_owned(), |answer| answer.code.to_string());
        let address = self.source_addresses.first().map_or("<unknown>", String::as_str);
        format!(
            "{} AUDIT: id={} stage={} ip={} method={} user={} groups={} as={} asgroups={} user-agent={} \
             namespace={} uri={} response=\"{response}\"",
            self.received,
            quote(&self.id),
            quote(self.stage.as_str()),
            quote(address),
            quote(&self.verb),
            quote(&user),
            quote(&of),
            quote(&as_user),
            quote(&as_groups),
            quote(&self.user_agent),
            quote(&namespace),
            quote(&self.uri),
        )
    }

    /// Without what was sent and answered, which is too much.
    pub(crate) fn truncate(&mut self) {
        self.annotations.insert("audit.k8s.io/truncated".into(), "true".to_owned());
    }
}

/// Text of an object; nothing that is no JSON has been kept.
fn raw(text: &Option<Bytes>) -> Option<&RawValue> {
    serde_json::from_slice(text.as_ref()?).ok()
}

fn user(identity: &Identity) -> Value {
    let mut user = json!({"username": identity.user});
    if !identity.uid.is_empty() {
        user["uid"] = json!(identity.uid);
    }
    if !identity.groups.is_empty() {
        user["groups"] = json!(identity.groups);
    }
    if !identity.extra.is_empty() {
        user["extra"] = json!(identity.extra);
    }
    user
}

impl Response {
    fn value(&self) -> Value {
        let mut value = json!({"metadata": {}});
        if let Some(status) = &self.status {
            for (key, text) in
                [("status", &status.status), ("message", &status.message), ("reason", &status.reason)]
            {
                if !text.is_empty() {
                    value[key] = json!(text);
                }
            }
            if let Some(details) = &status.details {
                value["details"] = json!(details);
            }
        }
        value["code"] = json!(self.code);
        value
    }
}

/// What nests deeper is refused anyway, and is too much for many who read the log.
const DEPTH: usize = 128;

/// JSON as it was sent, if it is some, without the line breaks between its parts.
pub(crate) fn as_sent(text: &[u8]) -> Option<Bytes> {
    let _: &RawValue = serde_json::from_slice(text).ok().filter(|_| depth(text) <= DEPTH)?;
    if !text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Some(Bytes::copy_from_slice(text));
    }
    // None stands in a text, where it has to be escaped.
    Some(text.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect())
}

/// How deep JSON nests.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut most, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                most = most.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Escapes what some readers take for the end of a line: U+0085, U+2028, U+2029. They stand in texts only.
fn one_line(text: Vec<u8>) -> Vec<u8> {
    const BREAKS: [(&[u8], &[u8]); 3] =
        [(b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029")];
    let found = |at: usize| BREAKS.iter().find(|(is, _)| text[at..].starts_with(is));
    if !(0..text.len()).any(|at| matches!(text[at], 0xc2 | 0xe2) && found(at).is_some()) {
        return text;
    }
    let (mut out, mut at) = (Vec::with_capacity(text.len() + 64), 0);
    while at < text.len() {
        match found(at) {
            Some((is, escaped)) => {
                out.extend_from_slice(escaped);
                at += is.len();
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

/// The same without what is noted of managers of fields.
pub(crate) fn without_managed_fields(text: &[u8]) -> Option<Bytes> {
    let mut value: Value = serde_json::from_slice(text).ok()?;
    let strip = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove("managedFields");
        }
    };
    strip(&mut value);
    for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        strip(item);
    }
    for row in value.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(object) = row.get_mut("object") {
            strip(object);
        }
    }
    Some(value.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            level: Level::Request,
            id: "7\" x=\"\n".to_owned(),
            stage: Stage::ResponseComplete,
            uri: "/api/v1/namespaces/a/pods?x=%0a".to_owned(),
            verb: "create".to_owned(),
            user: Some(Identity::new("jane\nkind: Event", ["x"])),
            impersonated: None,
            constraint: None,
            source_addresses: vec!["10.0.0.1".to_owned()],
            user_agent: "curl\u{2028}\u{85}\r\n{\"kind\":\"Event\"}".to_owned(),
            object: Some(ObjectReference { resource: "pods".to_owned(), ..ObjectReference::default() }),
            response: Some(Response { code: 201, status: None }),
            request_object: as_sent(b"{\n \"a\": \"b\\n\",\r\n \"c\": 1}\n"),
            response_object: None,
            received: "2026-01-02T03:04:05.6Z".parse().expect("a time"),
            at: "2026-01-02T03:04:06Z".parse().expect("a time"),
            annotations: BTreeMap::from([("a".into(), "b\nc".to_owned())]),
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let text = String::from_utf8(event().json()).expect("UTF-8");
        assert!(!text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']), "{text}");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["user"]["username"], "jane\nkind: Event");
        assert_eq!(value["userAgent"], event().user_agent);
        assert_eq!(value["requestObject"], json!({"a": "b\n", "c": 1}));
        assert_eq!(value["requestReceivedTimestamp"], "2026-01-02T03:04:05.600000Z");
        assert_eq!(value["responseStatus"], json!({"metadata": {}, "code": 201}));
        let text = event().legacy();
        assert!(!text.contains(['\n', '\r', '\u{85}', '\u{2028}']), "{text}");
        assert!(text.starts_with("2026-01-02T03:04:05.6Z AUDIT: id=\"7\\\" x=\\\"\\n\" stage=\"ResponseComplete\" ip=\"10.0.0.1\" method=\"create\" user=\"jane\\nkind: Event\" groups=\"\\\"x\\\",\\\"system:authenticated\\\"\" as=\"<self>\" asgroups=\"<lookup>\""), "{text}");
        assert!(
            text.ends_with("namespace=\"<none>\" uri=\"/api/v1/namespaces/a/pods?x=%0a\" response=\"201\""),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_json_is_not_kept() {
        for text in ["", "{", "{\"a\": \"b\nc\"}", "a: b", "{} {}"] {
            assert_eq!(as_sent(text.as_bytes()), None, "{text}");
        }
        assert_eq!(as_sent(b"\"\xff\""), None);
        let nested = |depth: usize| format!("{}\"]\\\"]\"{}", "[".repeat(depth), "]".repeat(depth));
        assert!(as_sent(nested(DEPTH).as_bytes()).is_some());
        assert_eq!(as_sent(nested(DEPTH + 1).as_bytes()), None);
        assert_eq!(as_sent(nested(200_000).as_bytes()), None);
    }

    #[test]
    fn managed_fields_are_left_out_wherever_they_are() {
        let text = br#"{"metadata":{"name":"a","managedFields":[1]},"items":[{"metadata":{"managedFields":[2]}}],"rows":[{"object":{"metadata":{"managedFields":[3]}}}]}"#;
        let left = without_managed_fields(text).expect("JSON");
        assert_eq!(
            left,
            r#"{"metadata":{"name":"a"},"items":[{"metadata":{}}],"rows":[{"object":{"metadata":{}}}]}"#
        );
    }
}
