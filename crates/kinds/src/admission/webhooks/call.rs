//! Asking one webhook.

use apiserver::callout::{Answered, AskError, Counted, cut};
use apiserver::{Error, Resource, Write};
use bytes::Bytes;
use model::field::quote;
use model::{GroupVersionKind, Object, Status};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::hook::Hook;
use super::matching::As;
use super::review::{self, Answer, Question, Rubbish};

/// Why a write does not go on, or could not be looked at.
#[derive(Debug)]
pub(super) enum Failure {
    /// The webhook could not be asked, or said nothing that can be understood.
    Calling { why: String, code: u16 },
    /// It refuses.
    Rejected(Status),
    /// This server cannot do what it says.
    Own(String),
    /// This server cannot ask it of such a write.
    Unasked(Status),
}

/// The right to have a long answer, kept until what it says is done.
pub(super) struct Long(#[allow(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// A write, as it is put to webhooks.
pub(super) struct Asking<'a> {
    pub(super) write: &'a Write<'a>,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// The kind of what was sent.
    pub(super) kind: &'a GroupVersionKind,
    pub(super) options: &'a Value,
    /// `admit` or `validating`.
    pub(super) sort: &'static str,
}

impl Failure {
    /// As it is told on: whoever was asked may say megabytes.
    fn told(self) -> Self {
        match self {
            Self::Calling { why, code } => Self::Calling { why: cut(why), code },
            Self::Own(why) => Self::Own(cut(why)),
            Self::Rejected(_) | Self::Unasked(_) => self,
        }
    }

    /// The code that it is counted by.
    fn code(&self) -> u16 {
        match self {
            Self::Calling { code, .. } => *code,
            Self::Rejected(status) => status.code,
            Self::Own(_) | Self::Unasked(_) => 0,
        }
    }

    /// Why it refuses, as that is counted.
    fn word(&self) -> &'static str {
        match self {
            Self::Calling { .. } => "calling_webhook_error",
            Self::Rejected(_) => "no_error",
            Self::Own(_) | Self::Unasked(_) => "apiserver_internal_error",
        }
    }

    /// What whoever writes is told.
    fn error(self, hook: &Hook) -> Error {
        match self {
            Self::Calling { why, .. } => {
                Status::internal(format!("failed calling webhook {}: {why}", quote(&hook.name))).into()
            }
            Self::Rejected(status) | Self::Unasked(status) => status.into(),
            Self::Own(why) => Status::internal(why).into(),
        }
    }
}

impl Asking<'_> {
    /// Asks a webhook of an object, which it knows as one of `of`; counts that, and notes what it says.
    pub(super) async fn ask(
        &self,
        hook: &Hook,
        of: &As,
        object: Option<&Object>,
        old: Option<&Object>,
    ) -> Result<(Answer, Option<Long>), Failure> {
        let write = self.write;
        if write.dry_run && !hook.bears_dry_runs {
            let why = format!("admission webhook {} does not support dry run", quote(&hook.name));
            return Err(Failure::Unasked(Status::bad_request(why)));
        }
        let callee = hook.callee.as_ref().map_err(|why| Failure::Calling {
            why: format!("could not get REST client: {why}"),
            code: 500,
        })?;
        let uid = write.context.new_uid();
        let text = self.question(&uid, hook, of, object, old);
        let reach = write.context.reach();
        let asked = reach.ask(callee, text, hook.patience).await;
        let Answered { text, long } = asked.map_err(|error| unasked(&error))?;
        let (version, mutating) = (hook.version, self.sort == "admit");
        let read = reach.digest(long.is_some(), move || review::read(&text, version, &uid, mutating)).await;
        let answer = read.map_err(rubbish)?;
        for (key, value) in &answer.annotations {
            if let Some(key) = review::annotation_key(&hook.name, key) {
                write.context.note(key, value);
            }
        }
        for warning in &answer.warnings {
            write.warn(warning.clone());
        }
        if answer.allowed {
            Ok((answer, long.map(Long)))
        } else {
            Err(Failure::Rejected(review::refusal(&hook.name, answer.result)))
        }
    }

    fn question(
        &self,
        uid: &str,
        hook: &Hook,
        of: &As,
        object: Option<&Object>,
        old: Option<&Object>,
    ) -> Bytes {
        let own = self.write.context.resource();
        let known_as: &Resource = match of {
            As::Itself => own,
            As::Equivalent(other) => other,
        };
        let kind = match of {
            As::Itself => self.kind.clone(),
            As::Equivalent(other) => kind_of(other, self.write.subresource),
        };
        fn names(resource: &Resource) -> (&str, &str, &str) {
            (&resource.group, &resource.version, &resource.plural)
        }
        let question = Question {
            uid,
            kind: &kind,
            resource: names(known_as),
            request_kind: self.kind,
            request_resource: names(own),
            subresource: self.write.subresource,
            namespace: self.namespace,
            name: self.name,
            operation: self.write.operation,
            identity: self.write.identity,
            object,
            old,
            dry_run: self.write.dry_run,
            options: self.options,
        };
        question.text(hook.version)
    }

    /// What a webhook said, after `began`: whether the write goes on without it where it could not be asked. `note` is
    /// where that is noted.
    pub(super) fn judge<T>(
        &self,
        hook: &Hook,
        said: Result<T, Failure>,
        began: std::time::Duration,
        note: String,
    ) -> Result<Option<T>, Error> {
        let said = said.map_err(Failure::told);
        let context = &self.write.context;
        let took = context.elapsed().saturating_sub(began);
        let passes = hook.fails_open && matches!(said, Err(Failure::Calling { .. }));
        let (code, rejected) = match &said {
            Ok(_) => (200, None),
            Err(failure) => (failure.code(), (!passes).then(|| failure.word())),
        };
        let why = match &said {
            Err(Failure::Calling { why, .. }) => why.as_str(),
            _ => "",
        };
        context.count_webhook(&Counted {
            name: &hook.name,
            kind: self.sort,
            operation: self.write.operation,
            took,
            code,
            rejected,
            passes,
            why,
        });
        match said {
            Ok(said) => Ok(Some(said)),
            Err(_) if passes => {
                context.note(note, &hook.name);
                Ok(None)
            }
            Err(failure) => Err(failure.error(hook)),
        }
    }
}

/// What a subresource of a resource takes.
fn kind_of(resource: &Resource, subresource: &str) -> GroupVersionKind {
    let own = resource.find_subresource(subresource).and_then(|subresource| subresource.kind.clone());
    own.unwrap_or_else(|| resource.gvk())
}

fn unasked(error: &AskError) -> Failure {
    let code = error.code();
    let why = if error.is_unusable() {
        format!("could not get REST client: {error}")
    } else {
        format!("failed to call webhook: {error}")
    };
    Failure::Calling { why, code }
}

fn rubbish(rubbish: Rubbish) -> Failure {
    match rubbish {
        Rubbish::Invalid(why) => Failure::Calling { why, code: 503 },
        Rubbish::Patch(why) => Failure::Own(why),
    }
}
