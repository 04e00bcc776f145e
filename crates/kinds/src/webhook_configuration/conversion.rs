//! Conversion by webhook: a program outside says what objects are in other versions.

use std::sync::Arc;
use std::time::Duration;

use apiserver::callout::{Callee, cut, told};
use apiserver::{Objects, Reach};
use bytes::Bytes;
use model::field::quote;
use model::lenient::null_is_default;
use model::validate::list;
use model::{Object, Status, depth};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
const KIND: &str = "ConversionReview";

/// Has objects converted by a webhook. Whoever reads or writes other kinds never waits for it.
pub(crate) struct ConversionWebhook {
    objects: Arc<dyn Objects>,
    /// Where it is, or why it cannot be asked.
    callee: Result<Callee, String>,
    version: Version,
}

/// The version of the reviews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V1Beta1,
}

impl Version {
    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "apiextensions.k8s.io/v1",
            Self::V1Beta1 => "apiextensions.k8s.io/v1beta1",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    kind: &'a str,
    api_version: &'a str,
    request: Request<'a>,
}

#[derive(Serialize)]
struct Request<'a> {
    uid: &'a str,
    #[serde(rename = "desiredAPIVersion")]
    desired: &'a str,
    objects: Vec<&'a Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reviewed {
    #[serde(deserialize_with = "null_is_default")]
    kind: String,
    #[serde(deserialize_with = "null_is_default")]
    api_version: String,
    response: Option<Response>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    #[serde(deserialize_with = "null_is_default")]
    uid: String,
    converted_objects: Option<Vec<Value>>,
    #[serde(deserialize_with = "null_is_default")]
    result: Status,
}

impl ConversionWebhook {
    /// The one that `spec.conversion.webhook` of a definition names.
    pub(crate) fn of(webhook: &Value, objects: Arc<dyn Objects>) -> Self {
        let nothing = Value::Null;
        let versions = list(webhook, "conversionReviewVersions").iter().filter_map(Value::as_str);
        let known = versions.filter_map(|version| match version {
            "v1" => Some(Version::V1),
            "v1beta1" => Some(Version::V1Beta1),
            _ => None,
        });
        Self {
            objects,
            callee: client::callee(webhook.get("clientConfig").unwrap_or(&nothing)),
            version: known.into_iter().next().unwrap_or(Version::V1),
        }
    }

    /// What it makes of objects in the version `to`.
    pub(crate) async fn ask(&self, objects: Vec<Object>, to: &str) -> Result<Vec<Object>, String> {
        let callee = self.callee.as_ref().map_err(Clone::clone)?;
        let reach: Reach = self.objects.reach().ok_or("the server has not begun, or has stopped")?;
        let uid = reach.new_uid();
        let question = question(self.version, &uid, to, &objects);
        drop(objects);
        let answer = reach.ask(callee, question, PATIENCE).await.map_err(|error| error.to_string())?;
        let (text, version) = (answer.text, self.version);
        // Whoever has a long one has the right to it until it is read.
        let read = reach.digest(answer.long.is_some(), move || read(&text, version, &uid)).await;
        drop(answer.long);
        read
    }
}

fn question(version: Version, uid: &str, to: &str, objects: &[Object]) -> Bytes {
    let objects = objects.iter().map(Object::value).collect();
    let review = Review {
        kind: KIND,
        api_version: version.api_version(),
        request: Request { uid, desired: to, objects },
    };
    serde_json::to_vec(&review).expect("names and objects always have a text").into()
}

fn read(text: &[u8], version: Version, uid: &str) -> Result<Vec<Object>, String> {
    converted(text, version, uid).map_err(cut)
}

fn converted(text: &[u8], version: Version, uid: &str) -> Result<Vec<Object>, String> {
    let reviewed: Reviewed =
        serde_json::from_slice(text).map_err(|error| format!("the answer is no review: {error}"))?;
    if version == Version::V1 {
        let wanted = gvk(version.api_version(), KIND);
        let given = gvk(&reviewed.api_version, &reviewed.kind);
        if given != wanted {
            return Err(format!("expected webhook response of {wanted}, got {given}"));
        }
    }
    let response = reviewed.response.ok_or("no response provided")?;
    if version == Version::V1 && response.uid != uid {
        return Err(format!("expected response.uid={}, got {}", quote(uid), quote(&response.uid)));
    }
    let Status { status, message, .. } = told(response.result);
    match (status.as_str(), message.as_str()) {
        ("Success", _) => {}
        (_, "") => return Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, message) => return Err(message.to_owned()),
    }
    let converted = response.converted_objects.unwrap_or_default().into_iter();
    let read = |value: Value| {
        depth::check(&value).map_err(|error| error.to_string())?;
        Object::from_value(value).map_err(|error| error.to_string())
    };
    converted.map(read).collect()
}

/// For the fuzzer: how many objects an answer gives.
pub(crate) fn answer(text: &[u8], uid: &str) -> Option<usize> {
    read(text, Version::V1, uid).ok().map(|all| all.len())
}

/// As Go prints it.
fn gvk(api_version: &str, kind: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    format!("{group}/{version}, Kind={kind}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(answer: &Value, version: Version, expected: Result<&[&str], &str>) {
        let found = read(answer.to_string().as_bytes(), version, "u");
        let found = found.map(|all| all.iter().map(|one| one.name().to_owned()).collect::<Vec<_>>());
        let expected = expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect());
        assert_eq!(found, expected.map_err(str::to_owned), "{answer}");
    }

    #[test]
    fn an_answer_is_one_to_the_question_and_says_that_it_is_done() {
        let review = |response: Value| json!({"kind": KIND, "apiVersion": "apiextensions.k8s.io/v1", "response": response});
        let done = json!({"status": "Success"});
        let object = |name: &str| json!({"apiVersion": "a.b/v1", "kind": "C", "metadata": {"name": name}});
        let both = json!([object("x"), object("y")]);
        let good = review(json!({"uid": "u", "result": done, "convertedObjects": both}));
        check(&good, Version::V1, Ok(&["x", "y"]));
        check(&review(json!({"uid": "u", "result": done})), Version::V1, Ok(&[]));
        // As kube-rs writes it, and whoever says null of what he does not know.
        let said = json!({"status": "Success", "kind": "", "apiVersion": null, "metadata": null, "message": null, "code": 0});
        check(&review(json!({"uid": "u", "result": said, "convertedObjects": null})), Version::V1, Ok(&[]));
        let why = "response.result.status was '', not 'Success'";
        check(&review(json!({"uid": "u", "result": null})), Version::V1, Err(why));
        check(&review(Value::Null), Version::V1, Err("no response provided"));
        let other = review(json!({"uid": "v", "result": done}));
        check(&other, Version::V1, Err("expected response.uid=\"u\", got \"v\""));
        let why = "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind=";
        check(&json!({"response": {"uid": "u", "result": done}}), Version::V1, Err(why));
        check(&json!({"response": {"result": done}}), Version::V1Beta1, Ok(&[]));
        let failed = |result: Value| review(json!({"uid": "u", "result": result}));
        check(&failed(json!({"status": "Failure", "message": "no"})), Version::V1, Err("no"));
        check(&failed(json!({})), Version::V1, Err("response.result.status was '', not 'Success'"));
        let long = failed(json!({"status": "Failure", "message": "x".repeat(1 << 20)}));
        let why = read(long.to_string().as_bytes(), Version::V1, "u").expect_err("it failed");
        assert!(why.len() <= 2 << 10, "{} bytes are told", why.len());
        let rubbish = review(json!({"uid": "u", "result": done, "convertedObjects": [7]}));
        assert!(read(rubbish.to_string().as_bytes(), Version::V1, "u").is_err());
        let nested = |levels: usize| {
            let inner = (0..levels).fold(json!(1), |inner, _| json!([inner]));
            let mut object = object("x");
            object["spec"] = inner;
            review(json!({"uid": "u", "result": done, "convertedObjects": [object]}))
        };
        check(&nested(depth::MAX_DEPTH - 1), Version::V1, Ok(&["x"]));
        check(&nested(depth::MAX_DEPTH), Version::V1, Err("it nests deeper than 96 levels"));
    }

    #[test]
    fn a_question_names_the_version_that_is_wanted() {
        let object =
            Object::from_value(json!({"apiVersion": "a.b/v1", "kind": "C", "metadata": {"name": "x"}}));
        let text = question(Version::V1Beta1, "u", "a.b/v2", &[object.expect("an object")]);
        let asked: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(
            asked,
            json!({"kind": KIND, "apiVersion": "apiextensions.k8s.io/v1beta1", "request": {
                "uid": "u", "desiredAPIVersion": "a.b/v2",
                "objects": [{"apiVersion": "a.b/v1", "kind": "C", "metadata": {"name": "x"}}],
            }})
        );
    }
}
