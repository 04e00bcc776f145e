//! Questions that callers ask, about themselves and about others: who is that, and may they.
//!
//! They are made like objects, and others are asked of them as of any, but none is stored. Policies are never asked
//! of them (`admission::policies`), webhooks are.

pub(crate) mod access;

use apiserver::request::Verb;
use apiserver::resource::Handler;
use apiserver::{Body, Call, Error, Identity, Resource, Result};
use http::{Response, StatusCode};
use k8s_openapi::schemars::JsonSchema;
use model::Object;
use serde_json::{Value, json};

/// A question is no longer than this; the longest part of any is a token. Who may nothing else may ask some.
const LONGEST: usize = 64 << 10;

/// What a question's metadata cannot say, and is not asked about.
const OF_SYSTEM: [&str; 5] =
    ["creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "selfLink", "uid"];

/// A question that has been asked.
pub(crate) struct Asked {
    pub(crate) question: Object,
    warnings: Vec<String>,
}

/// The entry of a kind of questions.
pub(crate) fn resource<K>(handler: impl Handler) -> Resource
where
    K: k8s_openapi::Resource + JsonSchema,
    K::Scope: 'static,
{
    Resource::of::<K>().longest_body(LONGEST).unstored(&[Verb::Create], handler)
}

impl Asked {
    /// Reads a question and asks others of it. `holds` says what must be true of one, when those have been asked who
    /// may change it.
    pub(crate) async fn read(call: &Call, holds: impl Fn(&Object) -> Result<()>) -> Result<Self> {
        let options = call.write_options()?;
        let (mut question, mut warnings) = call.decode(&options)?;
        begin(call, &mut question)?;
        let (question, told) = call.admit_if(&options, question, holds).await?;
        warnings.extend(told);
        Ok(Self { question, warnings })
    }

    /// The question with its answer.
    pub(crate) fn answer(mut self, call: &Call, status: Value) -> Response<Body> {
        let question = &mut self.question;
        if question.get(&["metadata", "creationTimestamp"]).is_none() {
            question.metadata_mut().insert("creationTimestamp".to_owned(), Value::Null);
        }
        question.set(&["status"], status);
        call.answer_other(StatusCode::CREATED, question, &self.warnings)
    }
}

/// What is said of the question's place must be true, and of it as an object nothing is taken.
fn begin(call: &Call, question: &mut Object) -> Result<()> {
    let (named, place) = (question.namespace().unwrap_or_default(), call.namespace());
    if !named.is_empty() && !place.is_empty() && named != place {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Error::bad_request(why));
    }
    question.set_namespace(Some(place).filter(|place| !place.is_empty()));
    let metadata = question.metadata_mut();
    OF_SYSTEM.iter().for_each(|field| drop(metadata.shift_remove(*field)));
    Ok(())
}

/// Somebody, as it is told who that is.
pub(crate) fn user_info(identity: &Identity) -> Value {
    let mut user = json!({"username": identity.user});
    if !identity.uid.is_empty() {
        user["uid"] = json!(identity.uid);
    }
    user["groups"] = json!(identity.groups);
    if !identity.extra.is_empty() {
        user["extra"] = json!(identity.extra);
    }
    user
}
