//! What a webhook is sent, and what it answers: `AdmissionReview`.

use apiserver::callout::told;
use apiserver::{Identity, Operation};
use bytes::Bytes;
use model::field::quote;
use model::lenient::{self, null_is_default};
use model::{GroupVersionKind, Object, Status, names};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::hook::Version;

/// So much of what one says is told on: warnings and annotations together.
const TOLD: usize = 64 << 10;

/// What is asked.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) uid: &'a str,
    /// What the webhook knows the object as.
    pub(super) kind: &'a GroupVersionKind,
    pub(super) resource: (&'a str, &'a str, &'a str),
    /// What was asked of this server.
    pub(super) request_kind: &'a GroupVersionKind,
    pub(super) request_resource: (&'a str, &'a str, &'a str),
    pub(super) subresource: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) operation: Operation,
    pub(super) identity: &'a Identity,
    pub(super) object: Option<&'a Object>,
    pub(super) old: Option<&'a Object>,
    pub(super) dry_run: bool,
    pub(super) options: &'a Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    kind: &'a str,
    api_version: &'a str,
    request: Request<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    uid: &'a str,
    kind: Value,
    resource: Value,
    #[serde(skip_serializing_if = "str::is_empty")]
    sub_resource: &'a str,
    request_kind: Value,
    request_resource: Value,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_sub_resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    operation: &'a str,
    user_info: Value,
    object: Option<&'a Value>,
    old_object: Option<&'a Value>,
    dry_run: bool,
    options: &'a Value,
}

impl Question<'_> {
    /// Its text.
    pub(super) fn text(&self, version: Version) -> Bytes {
        let kind = |kind: &GroupVersionKind| json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let resource = |(group, version, resource): (&str, &str, &str)| json!({"group": group, "version": version, "resource": resource});
        let review = Review {
            kind: "AdmissionReview",
            api_version: version.api_version(),
            request: Request {
                uid: self.uid,
                kind: kind(self.kind),
                resource: resource(self.resource),
                sub_resource: self.subresource,
                request_kind: kind(self.request_kind),
                request_resource: resource(self.request_resource),
                request_sub_resource: self.subresource,
                name: self.name,
                namespace: self.namespace,
                operation: self.operation.as_str(),
                user_info: user(self.identity),
                object: self.object.map(Object::value),
                old_object: self.old.map(Object::value),
                dry_run: self.dry_run,
                options: self.options,
            },
        };
        serde_json::to_vec(&review).expect("names and objects always have a text").into()
    }
}

fn user(identity: &Identity) -> Value {
    let mut user = json!({"username": identity.user, "groups": identity.groups});
    if !identity.uid.is_empty() {
        user["uid"] = json!(identity.uid);
    }
    if !identity.extra.is_empty() {
        user["extra"] = json!(identity.extra);
    }
    user
}

/// What is answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    /// Why it is not.
    pub(super) result: Option<Status>,
    /// The operations of a JSON patch, none where nothing is to be changed.
    pub(super) patch: Option<Value>,
    /// What is noted in the audit log, by keys without the webhook's name.
    pub(super) annotations: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
}

/// Why an answer is none, and whether it is this server that cannot go on with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rubbish {
    /// It is no answer.
    Invalid(String),
    /// It is one, with a patch that is none.
    Patch(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Reviewed {
    #[serde(deserialize_with = "null_is_default")]
    kind: String,
    #[serde(deserialize_with = "null_is_default")]
    api_version: String,
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Response {
    #[serde(deserialize_with = "null_is_default")]
    uid: String,
    #[serde(deserialize_with = "null_is_default")]
    allowed: bool,
    #[serde(deserialize_with = "result")]
    status: Option<Status>,
    /// Kube-rs writes a list of numbers.
    #[serde(deserialize_with = "lenient::bytes")]
    patch: Vec<u8>,
    patch_type: Option<String>,
    audit_annotations: Option<std::collections::BTreeMap<String, Option<String>>>,
    warnings: Option<Vec<Option<String>>>,
}

/// Reads how it went. A refusal is one, whatever kind it says it is and however odd its code.
fn result<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Status>, D::Error> {
    let Some(mut said) = Option::<Value>::deserialize(deserializer)? else { return Ok(None) };
    if let Some(fields) = said.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
        if fields.get("code").is_some_and(|code| code.is_i64() && u16::deserialize(code).is_err()) {
            fields.remove("code");
        }
    }
    let causes = said.pointer_mut("/details/causes").and_then(Value::as_array_mut);
    for cause in causes.into_iter().flatten().filter(|cause| cause.is_null()) {
        *cause = json!({});
    }
    serde_json::from_value(said).map(Some).map_err(D::Error::custom)
}

/// Reads an answer to the question `uid`.
pub(super) fn read(text: &[u8], version: Version, uid: &str, mutating: bool) -> Result<Answer, Rubbish> {
    let invalid = |why: String| Rubbish::Invalid(format!("received invalid webhook response: {why}"));
    // Of a field that is there twice the last holds.
    let reviewed = serde_json::from_slice::<Value>(text).and_then(serde_json::from_value::<Reviewed>);
    let reviewed = reviewed.map_err(|error| {
        Rubbish::Invalid(format!("failed to call webhook: the answer is no review: {error}"))
    })?;
    let response = reviewed.response.ok_or_else(|| invalid("webhook response was absent".to_owned()))?;
    let mut patch = Some(response.patch.as_slice()).filter(|patch| !patch.is_empty());
    match version {
        Version::V1 => {
            if response.uid != uid {
                let (wanted, given) = (quote(uid), quote(&response.uid));
                return Err(invalid(format!("expected response.uid={wanted}, got {given}")));
            }
            let (given, wanted) =
                (gvk(&reviewed.api_version, &reviewed.kind), gvk("admission.k8s.io/v1", "AdmissionReview"));
            if given != wanted {
                return Err(invalid(format!("expected webhook response of {wanted}, got {given}")));
            }
            check_patch(mutating, patch, response.patch_type.as_deref()).map_err(invalid)?;
        }
        // Of that version nothing of this was ever asked.
        Version::V1Beta1 if !mutating => patch = None,
        Version::V1Beta1 => {}
    }
    let patch =
        patch.map(operations).transpose()?.filter(|patch| patch.as_array().is_none_or(|all| !all.is_empty()));
    if let (Some(kind), Some(_)) = (response.patch_type.as_deref().filter(|_| version == Version::V1), &patch)
        && kind != "JSONPatch"
    {
        return Err(Rubbish::Invalid(format!("unsupported patch type {}", quote(kind))));
    }
    let mut room = TOLD;
    let mut fits = |length: usize| {
        let fits = length <= room;
        room = room.saturating_sub(length);
        fits
    };
    let annotations = response.audit_annotations.unwrap_or_default().into_iter();
    let annotations = annotations.map(|(key, value)| (key, value.unwrap_or_default()));
    let annotations = annotations.filter(|(key, value)| fits(key.len() + value.len())).collect();
    let warnings = response.warnings.unwrap_or_default().into_iter().map(Option::unwrap_or_default);
    let warnings = warnings.filter(|warning| fits(warning.len())).collect();
    Ok(Answer { allowed: response.allowed, result: response.status, patch, annotations, warnings })
}

fn check_patch(mutating: bool, patch: Option<&[u8]>, kind: Option<&str>) -> Result<(), String> {
    match (mutating, patch, kind) {
        (false, Some(_), _) => Err("validating webhook may not return response.patch".to_owned()),
        (false, None, Some(_)) => Err("validating webhook may not return response.patchType".to_owned()),
        (true, Some(_), None) => Err("webhook returned response.patch but not response.patchType".to_owned()),
        (true, None, Some(_)) => Err("webhook returned response.patchType but not response.patch".to_owned()),
        (true, Some(_), Some("")) => Err("webhook returned invalid response.patchType of \"\"".to_owned()),
        _ => Ok(()),
    }
}

fn operations(text: &[u8]) -> Result<Value, Rubbish> {
    serde_json::from_slice(text).map_err(|error| Rubbish::Patch(error.to_string()))
}

/// As Go prints it.
fn gvk(api_version: &str, kind: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    format!("{group}/{version}, Kind={kind}")
}

/// The refusal of a webhook, as its client is told.
pub(super) fn refusal(webhook: &str, result: Option<Status>) -> Status {
    let mut status = told(result.unwrap_or_default());
    if !(400..1000).contains(&status.code) {
        status.code = 400;
    }
    if matches!(status.status.as_str(), "" | "Success") {
        "Failure".clone_into(&mut status.status);
    }
    let denied = format!("admission webhook {} denied the request", quote(webhook));
    status.message = match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("{denied} without explanation"),
        ("", why) | (why, _) => format!("{denied}: {why}"),
    };
    status
}

/// The key under which something is noted that a webhook says, if it can be one.
pub(super) fn annotation_key(webhook: &str, key: &str) -> Option<String> {
    let key = format!("{webhook}/{key}");
    names::qualified(&key).is_empty().then_some(key)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn answer(response: Value) -> Value {
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
    }

    fn check(answer: &Value, version: Version, mutating: bool, expected: Result<bool, &str>) {
        let found = read(answer.to_string().as_bytes(), version, "u", mutating);
        let found = found.map(|answer| answer.allowed).map_err(|rubbish| match rubbish {
            Rubbish::Invalid(why) | Rubbish::Patch(why) => why,
        });
        assert_eq!(found.as_ref().map_err(String::as_str).copied(), expected, "{answer}");
    }

    #[test]
    fn an_answer_is_one_to_the_question() {
        use Version::{V1, V1Beta1};
        let invalid = |why: &str| format!("received invalid webhook response: {why}");
        let patch = STANDARD.encode("[]");
        check(&answer(json!({"uid": "u", "allowed": true})), V1, true, Ok(true));
        check(&answer(json!({"uid": "u"})), V1, false, Ok(false));
        check(&json!({}), V1, true, Err(&invalid("webhook response was absent")));
        check(
            &answer(json!({"uid": "v", "allowed": true})),
            V1,
            true,
            Err(&invalid("expected response.uid=\"u\", got \"v\"")),
        );
        let mut other = answer(json!({"uid": "u", "allowed": true}));
        other["apiVersion"] = json!("admission.k8s.io/v1beta1");
        let why = "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=AdmissionReview";
        check(&other, V1, true, Err(&invalid(why)));
        // Of the version before nothing was asked of it.
        check(&json!({"response": {"allowed": true}}), V1Beta1, true, Ok(true));
        for (mutating, patch, kind, why) in [
            (true, Some(&patch), None, "webhook returned response.patch but not response.patchType"),
            (true, None, Some("JSONPatch"), "webhook returned response.patchType but not response.patch"),
            (true, Some(&patch), Some(""), "webhook returned invalid response.patchType of \"\""),
            (false, Some(&patch), Some("JSONPatch"), "validating webhook may not return response.patch"),
            (false, None, Some("JSONPatch"), "validating webhook may not return response.patchType"),
        ] {
            let response = answer(json!({"uid": "u", "allowed": true, "patch": patch, "patchType": kind}));
            check(&response, V1, mutating, Err(&invalid(why)));
        }
        let merge = STANDARD.encode("[{\"op\":\"remove\",\"path\":\"/a\"}]");
        let response = answer(json!({"uid": "u", "allowed": true, "patch": merge, "patchType": "Merge"}));
        check(&response, V1, true, Err("unsupported patch type \"Merge\""));
        let twice = br#"{"response": {"uid": "u", "allowed": true, "allowed": false}, "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#;
        assert!(!read(twice, V1, "u", true).expect("an answer").allowed, "the last of the two holds");
        for rubbish in
            ["", "null", "[]", "{\"response\":7}", "<html>", "{\"response\":{\"allowed\":\"yes\"}}"]
        {
            assert!(read(rubbish.as_bytes(), V1, "u", true).is_err(), "{rubbish}");
        }
    }

    #[test]
    fn an_answer_is_read_as_others_write_it() {
        let check = |response: Value, patch: Option<Value>| {
            let mut said = json!({"uid": "u", "allowed": true, "patchType": "JSONPatch"});
            for (name, value) in response.as_object().into_iter().flatten() {
                said[name] = value.clone();
            }
            let read = read(answer(said).to_string().as_bytes(), Version::V1, "u", true).expect("an answer");
            assert_eq!((read.patch, read.allowed), (patch, true), "{response}");
        };
        let operations = json!([{"op": "remove", "path": "/a"}]);
        let text = operations.to_string();
        // kube-rs, what Go writes, and what `base64` writes.
        check(json!({ "patch": text.as_bytes() }), Some(operations.clone()));
        check(json!({ "patch": STANDARD.encode(&text) }), Some(operations.clone()));
        let (first, second) = (STANDARD.encode(&text[..12]), STANDARD.encode(&text[12..]));
        check(json!({ "patch": format!("{first}\n{second}\n") }), Some(operations));
        let status =
            json!({"metadata": null, "code": null, "message": null, "reason": null, "details": null});
        let nulls = json!({"patch": null, "patchType": null, "status": status, "warnings": null, "auditAnnotations": {"a": null}});
        check(nulls, None);
        check(json!({"patch": "", "patchType": null, "warnings": [null], "status": null}), None);
    }

    #[test]
    fn a_refusal_says_whose_it_is() {
        let check = |result: Value, code: u16, message: &str| {
            let said = answer(json!({"uid": "u", "allowed": false, "status": result}));
            let read = read(said.to_string().as_bytes(), Version::V1, "u", false).expect("an answer");
            let status = refusal("a.b.c", read.result);
            let denied = format!("admission webhook \"a.b.c\" denied the request{message}");
            assert_eq!((status.code, status.status.as_str(), status.message), (code, "Failure", denied));
        };
        check(Value::Null, 400, " without explanation");
        check(json!({"message": "no"}), 400, ": no");
        check(json!({"reason": "Never", "code": 403}), 403, ": Never");
        check(json!({"message": "no", "reason": "Never", "code": 200, "status": "Success"}), 400, ": no");
        check(json!({"code": 65000}), 400, " without explanation");
        for code in [-1_i64, 70_000, i64::MAX] {
            check(json!({"code": code, "message": "no"}), 400, ": no");
        }
        let odd =
            json!({"kind": "Refusal", "apiVersion": "v7", "message": "no", "details": {"causes": [null]}});
        check(odd, 400, ": no");
    }

    #[test]
    fn what_is_told_is_bounded() {
        let many: Vec<String> = (0..1000).map(|number| format!("{number}{}", "x".repeat(1000))).collect();
        let response = answer(json!({"uid": "u", "allowed": true, "warnings": many}));
        let read = read(response.to_string().as_bytes(), Version::V1, "u", true).expect("an answer");
        assert!(!read.warnings.is_empty() && read.warnings.iter().map(String::len).sum::<usize>() <= TOLD);
        let long = Status { message: "x".repeat(1 << 20), ..Status::default() };
        assert!(refusal("a.b.c", Some(long)).message.len() < 16 << 10);
        assert_eq!(annotation_key("a.b.c", "why").as_deref(), Some("a.b.c/why"));
        for bad in ["", "a/b", "ü", &"x".repeat(64)] {
            assert_eq!(annotation_key("a.b.c", bad), None, "{bad}");
        }
    }
}
