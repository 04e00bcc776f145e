//! What expressions know of a request, and what they may ask of the authorizer.

use std::time::Duration;

use apiserver::{Attributes, Identity, Resource, ResourceAttributes, Write};
pub(super) use cel::admission::{NAMESPACE, REQUEST as DECLARED};
use cel::{Decision, Question};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::Object;
use model::select::{FieldSelector, LabelSelector};
use serde_json::{Value, json};

use super::super::webhooks::{name_of, namespace_of};
use super::scope::Answers;

/// The request of a write, looked at as one of another version if it is.
pub(super) fn document(
    write: &Write<'_>,
    of: Option<&Resource>,
    object: Option<&Object>,
    old: Option<&Object>,
) -> Value {
    let own = write.context.resource();
    let to = of.unwrap_or(own);
    let resource = |of: &Resource| json!({"group": of.group, "version": of.version, "resource": of.plural});
    let some = object.or(old);
    let kind = |of: Option<&Resource>| {
        let kind = match (of, some) {
            (Some(of), Some(object)) => write.converted_kind(object, of),
            (Some(of), None) => of.gvk(),
            (None, Some(object)) => write.seen_kind(object),
            (None, None) => own.gvk(),
        };
        json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
    };
    let identity = write.identity;
    let mut user = json!({"username": identity.user, "groups": identity.groups});
    if !identity.uid.is_empty() {
        user["uid"] = identity.uid.as_str().into();
    }
    if !identity.extra.is_empty() {
        user["extra"] = json!(identity.extra);
    }
    let mut request = json!({
        "kind": kind(of), "resource": resource(to), "requestKind": kind(None), "requestResource": resource(own),
        "operation": write.operation.as_str(), "userInfo": user, "dryRun": write.dry_run, "options": write.options(),
    });
    let texts = [
        ("subResource", write.subresource),
        ("requestSubResource", write.subresource),
        ("name", name_of(write, object)),
        ("namespace", namespace_of(write, some)),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        request[name] = text.into();
    }
    request
}

/// Whoever asks for a write, and the authorizer.
pub(super) struct Authorizer<'a, 'w>(pub(super) &'a Write<'w>);

impl Answers for Authorizer<'_, '_> {
    fn answer<'s>(&'s self, question: &'s Question) -> BoxFuture<'s, Decision> {
        answer(self.0, question).boxed()
    }

    fn elapsed(&self) -> Duration {
        self.0.context.elapsed()
    }
}

/// Asks the authorizer what an expression wants to know.
async fn answer(write: &Write<'_>, question: &Question) -> Decision {
    let account =
        question.service_account.as_ref().map(|(namespace, name)| Identity::service_account(namespace, name));
    let identity = account.as_ref().unwrap_or(write.identity);
    // What cannot be read selects everything, so that more has to be allowed, not less.
    let fields: FieldSelector = question.field_selector.parse().unwrap_or_default();
    let labels: LabelSelector = question.label_selector.parse().unwrap_or_default();
    let attributes = match question.path.as_str() {
        "" => Attributes::Resource(ResourceAttributes {
            verb: &question.verb,
            group: &question.group,
            version: "*",
            namespace: &question.namespace,
            resource: &question.resource,
            subresource: &question.subresource,
            name: &question.name,
            fields: fields.conditions(),
            labels: labels.requirements(),
        }),
        path => Attributes::Path { verb: &question.verb, path },
    };
    let decision = write.context.decide_as(identity, attributes).await;
    Decision { allowed: decision.is_allowed(), reason: decision.reason().to_owned(), error: None }
}
