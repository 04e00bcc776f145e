//! What somebody may do: expressions ask, and whoever evaluates them answers.

use std::fmt;
use std::sync::Arc;

use model::names;

use super::{Context, Declaration, Other};
use crate::value::{Evaluated, Value, failed, no_overload};

pub(super) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub(super) const PATH: &str = "kubernetes.authorization.PathCheck";
pub(super) const GROUP: &str = "kubernetes.authorization.GroupCheck";
pub(super) const RESOURCE: &str = "kubernetes.authorization.ResourceCheck";
pub(super) const DECISION: &str = "kubernetes.authorization.Decision";

pub(super) const FUNCTIONS: &[Declaration] = &[
    ("path", path, &[("authorizer_path", "authorizer.(string) -> pathcheck")]),
    ("group", group, &[("authorizer_group", "authorizer.(string) -> groupcheck")]),
    (
        "serviceAccount",
        service_account,
        &[("authorizer_serviceaccount", "authorizer.(string, string) -> authorizer")],
    ),
    ("resource", resource, &[("groupcheck_resource", "groupcheck.(string) -> resourcecheck")]),
    (
        "subresource",
        |arguments, context| with(arguments, context, |question, text| question.subresource = text),
        &[("resourcecheck_subresource", "resourcecheck.(string) -> resourcecheck")],
    ),
    (
        "namespace",
        |arguments, context| with(arguments, context, |question, text| question.namespace = text),
        &[("resourcecheck_namespace", "resourcecheck.(string) -> resourcecheck")],
    ),
    (
        "name",
        |arguments, context| with(arguments, context, |question, text| question.name = text),
        &[("resourcecheck_name", "resourcecheck.(string) -> resourcecheck")],
    ),
    (
        "fieldSelector",
        |arguments, context| with(arguments, context, |question, text| question.field_selector = text),
        &[("authorizer_fieldselector", "resourcecheck.(string) -> resourcecheck")],
    ),
    (
        "labelSelector",
        |arguments, context| with(arguments, context, |question, text| question.label_selector = text),
        &[("authorizer_labelselector", "resourcecheck.(string) -> resourcecheck")],
    ),
    (
        "check",
        check,
        &[
            ("pathcheck_check", "pathcheck.(string) -> decision"),
            ("resourcecheck_check", "resourcecheck.(string) -> decision"),
        ],
    ),
    (
        "errored",
        |arguments, _| of(arguments, |decision| Value::Bool(decision.error.is_some())),
        &[("decision_errored", "decision.() -> bool")],
    ),
    (
        "error",
        |arguments, _| of(arguments, |decision| Value::text(decision.error.as_deref().unwrap_or_default())),
        &[("decision_error", "decision.() -> string")],
    ),
    (
        "allowed",
        |arguments, _| of(arguments, |decision| Value::Bool(decision.allowed)),
        &[("decision_allowed", "decision.() -> bool")],
    ),
    (
        "reason",
        |arguments, _| of(arguments, |decision| Value::text(&*decision.reason)),
        &[("decision_reason", "decision.() -> string")],
    ),
];

/// Who answers what somebody may do.
pub trait Authorizer: Send + Sync {
    /// Whether that may be done.
    fn authorize(&self, question: &Question) -> Decision;
}

/// What somebody wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The service account that is meant instead of whoever makes the request: namespace and name.
    pub service_account: Option<(String, String)>,
    /// The path that is asked for; empty where it is a resource.
    pub path: String,
    /// What is to be done.
    pub verb: String,
    /// The API group.
    pub group: String,
    /// The resource; empty where it is a path.
    pub resource: String,
    /// A part of the resource.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// The object.
    pub name: String,
    /// Which objects are meant, by fields.
    pub field_selector: String,
    /// Which objects are meant, by labels.
    pub label_selector: String,
}

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong.
    pub error: Option<String>,
}

/// Who is asked, and what is asked so far, or what was answered.
#[derive(Clone)]
pub enum AuthorizerValue {
    #[doc(hidden)]
    Anything(Arc<dyn Authorizer>, Question),
    #[doc(hidden)]
    Path(Arc<dyn Authorizer>, Question),
    #[doc(hidden)]
    Group(Arc<dyn Authorizer>, Question),
    #[doc(hidden)]
    Resource(Arc<dyn Authorizer>, Question),
    #[doc(hidden)]
    Decision(Decision),
}

impl AuthorizerValue {
    /// The value of the variable `authorizer`.
    pub fn authorizer(authorizer: Arc<dyn Authorizer>) -> Value<'static> {
        value(Self::Anything(authorizer, Question::default()))
    }

    /// The value of the variable `authorizer.requestResource`.
    pub fn request_resource(authorizer: Arc<dyn Authorizer>, question: Question) -> Value<'static> {
        value(Self::Resource(authorizer, question))
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Anything(..) => AUTHORIZER,
            Self::Path(..) => PATH,
            Self::Group(..) => GROUP,
            Self::Resource(..) => RESOURCE,
            Self::Decision(_) => DECISION,
        }
    }
}

impl fmt::Debug for AuthorizerValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name())
    }
}

/// A value that carries a question: it has texts of its own.
fn asked<'a>(value: AuthorizerValue, question: &Question, context: &mut Context<'_>) -> Evaluated<'a> {
    let texts = [
        &question.path,
        &question.group,
        &question.resource,
        &question.subresource,
        &question.namespace,
        &question.name,
        &question.field_selector,
        &question.label_selector,
    ];
    context.budget.work(texts.iter().map(|text| text.len()).sum::<usize>() + 256)?;
    Ok(Value::Other(Other::Authorizer(Arc::new(value))))
}

fn value<'a>(value: AuthorizerValue) -> Value<'a> {
    Value::Other(Other::Authorizer(Arc::new(value)))
}

fn path<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::Other(Other::Authorizer(of)), Value::String(path)] = arguments else { return no_overload() };
    let AuthorizerValue::Anything(who, question) = &**of else { return no_overload() };
    if path.trim().is_empty() {
        return failed("path must not be empty");
    }
    let question = Question { path: path.to_string(), ..question.clone() };
    asked(AuthorizerValue::Path(who.clone(), question.clone()), &question, context)
}

fn group<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::Other(Other::Authorizer(of)), Value::String(group)] = arguments else { return no_overload() };
    let AuthorizerValue::Anything(who, question) = &**of else { return no_overload() };
    let question = Question { group: group.to_string(), ..question.clone() };
    asked(AuthorizerValue::Group(who.clone(), question.clone()), &question, context)
}

fn service_account<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::Other(Other::Authorizer(of)), Value::String(namespace), Value::String(name)] = arguments
    else {
        return no_overload();
    };
    let AuthorizerValue::Anything(who, _) = &**of else { return no_overload() };
    if !names::dns1123_subdomain(name).is_empty() {
        return failed("Invalid service account name");
    }
    if !names::dns1123_label(namespace).is_empty() {
        return failed("Invalid service account namespace");
    }
    let account = Some((namespace.to_string(), name.to_string()));
    let question = Question { service_account: account, ..Question::default() };
    asked(AuthorizerValue::Anything(who.clone(), question.clone()), &question, context)
}

fn resource<'a>(arguments: &[Value<'a>], context: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::Other(Other::Authorizer(of)), Value::String(resource)] = arguments else {
        return no_overload();
    };
    let AuthorizerValue::Group(who, question) = &**of else { return no_overload() };
    if resource.trim().is_empty() {
        return failed("resource must not be empty");
    }
    let question = Question { resource: resource.to_string(), ..question.clone() };
    asked(AuthorizerValue::Resource(who.clone(), question.clone()), &question, context)
}

fn with<'a>(
    arguments: &[Value<'a>],
    context: &mut Context<'_>,
    set: impl FnOnce(&mut Question, String),
) -> Evaluated<'a> {
    let [Value::Other(Other::Authorizer(of)), Value::String(text)] = arguments else { return no_overload() };
    let AuthorizerValue::Resource(who, question) = &**of else { return no_overload() };
    let mut question = question.clone();
    set(&mut question, text.to_string());
    asked(AuthorizerValue::Resource(who.clone(), question.clone()), &question, context)
}

fn check<'a>(arguments: &[Value<'a>], _: &mut Context<'_>) -> Evaluated<'a> {
    let [Value::Other(Other::Authorizer(of)), Value::String(verb)] = arguments else { return no_overload() };
    let (AuthorizerValue::Path(who, question) | AuthorizerValue::Resource(who, question)) = &**of else {
        return no_overload();
    };
    let decision = who.authorize(&Question { verb: verb.to_string(), ..question.clone() });
    Ok(value(AuthorizerValue::Decision(decision)))
}

fn of<'a>(arguments: &[Value<'a>], get: impl FnOnce(&Decision) -> Value<'a>) -> Evaluated<'a> {
    match arguments {
        [Value::Other(Other::Authorizer(of))] => match &**of {
            AuthorizerValue::Decision(decision) => Ok(get(decision)),
            _ => no_overload(),
        },
        _ => no_overload(),
    }
}
