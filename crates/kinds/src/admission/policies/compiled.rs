//! Policies and bindings as their objects say. Their expressions are compiled when they are first needed, and once.

use std::sync::Arc;

use apiserver::Context;
use cel::Program;
use model::Object;
use model::validate::{list, text};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::super::webhooks::Matcher;
use super::expressions::{Compiler, Expression, MOST_VARIABLES, Purpose};

/// Expressions of more bytes together are compiled on the threads for long computations.
const LONG: usize = 4 << 10;

/// A policy.
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) matcher: Matcher,
    pub(super) fails_open: bool,
    /// It is asked again about what others have changed since.
    pub(super) asked_again: bool,
    /// The kind that it takes its parameters from.
    pub(super) parameters: Option<ParameterKind>,
    spec: Arc<Value>,
    programs: OnceCell<Programs>,
}

/// A kind of objects that policies take parameters from.
pub(super) struct ParameterKind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

/// The expressions of a policy.
pub(super) struct Programs {
    pub(super) variables: Vec<(String, Result<Program, String>)>,
    pub(super) conditions: Vec<Expression>,
    pub(super) validations: Vec<Validation>,
    pub(super) annotations: Vec<(String, Expression)>,
    pub(super) mutations: Vec<Mutation>,
}

/// A validation of a policy.
pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) message: String,
    pub(super) message_expression: Option<Expression>,
    pub(super) reason: Option<String>,
}

/// A change that a policy makes.
pub(super) struct Mutation {
    pub(super) form: Form,
    pub(super) expression: Expression,
}

/// What a change is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    ApplyConfiguration,
    JsonPatch,
}

/// A binding.
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) matcher: Matcher,
    pub(super) parameters: Option<Value>,
    pub(super) actions: Vec<String>,
}

/// Conditions under which somebody is asked of a write who has no parameters.
#[derive(Debug)]
pub(super) struct Compiled {
    written: Arc<[Value]>,
    ready: OnceCell<Vec<Expression>>,
}

impl Policy {
    pub(super) fn read(object: &Object) -> Self {
        let nothing = Value::Null;
        let spec = object.get(&["spec"]).unwrap_or(&nothing);
        let parameters = spec.get("paramKind").filter(|kind| !kind.is_null()).map(|kind| {
            let version = text(kind, "apiVersion");
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            ParameterKind {
                group: group.to_owned(),
                version: version.to_owned(),
                kind: text(kind, "kind").to_owned(),
            }
        });
        Self {
            name: object.name().to_owned(),
            matcher: Matcher::read(spec.get("matchConstraints").unwrap_or(&nothing)),
            fails_open: text(spec, "failurePolicy") == "Ignore",
            asked_again: text(spec, "reinvocationPolicy") == "IfNeeded",
            parameters,
            spec: Arc::new(spec.clone()),
            programs: OnceCell::new(),
        }
    }

    /// Its expressions.
    pub(super) async fn programs(&self, context: &Context<'_>) -> &Programs {
        let compile = || async {
            let spec = self.spec.clone();
            context.reach().digest(length(&self.spec) > LONG, move || Programs::compile(&spec)).await
        };
        self.programs.get_or_init(compile).await
    }
}

/// How long all texts in it are together.
fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(length).sum(),
        Value::Object(fields) => fields.values().map(length).sum(),
        _ => 0,
    }
}

impl Programs {
    /// Those of the spec of a policy.
    pub(super) fn compile(spec: &Value) -> Self {
        let mut compiler = Compiler::new(spec.get("paramKind").is_some_and(|kind| !kind.is_null()));
        let mut variables = Vec::new();
        for variable in list(spec, "variables").iter().take(MOST_VARIABLES) {
            let name = text(variable, "name");
            variables.push((name.to_owned(), compiler.variable(name, text(variable, "expression"))));
        }
        let conditions = list(spec, "matchConditions").iter();
        let validations = list(spec, "validations").iter();
        let annotations = list(spec, "auditAnnotations").iter();
        let mutations = list(spec, "mutations").iter();
        Self {
            variables,
            conditions: conditions
                .map(|condition| compiler.expression(Purpose::Condition, text(condition, "expression")))
                .collect(),
            validations: validations
                .map(|validation| Validation {
                    expression: compiler.expression(Purpose::Validation, text(validation, "expression")),
                    message: text(validation, "message").to_owned(),
                    message_expression: Some(text(validation, "messageExpression"))
                        .filter(|source| !source.trim().is_empty())
                        .map(|source| compiler.expression(Purpose::Message, source)),
                    reason: validation.get("reason").and_then(Value::as_str).map(str::to_owned),
                })
                .collect(),
            annotations: annotations
                .map(|annotation| {
                    let source = text(annotation, "valueExpression");
                    (text(annotation, "key").to_owned(), compiler.expression(Purpose::Annotation, source))
                })
                .collect(),
            mutations: mutations.map(|mutation| Mutation::read(mutation, &compiler)).collect(),
        }
    }
}

impl Mutation {
    fn read(mutation: &Value, compiler: &Compiler) -> Self {
        let nothing = Value::Null;
        let (form, purpose, field) = match text(mutation, "patchType") {
            "JSONPatch" => (Form::JsonPatch, Purpose::JsonPatch, "jsonPatch"),
            _ => (Form::ApplyConfiguration, Purpose::ApplyConfiguration, "applyConfiguration"),
        };
        let source = text(mutation.get(field).unwrap_or(&nothing), "expression");
        Self { form, expression: compiler.expression(purpose, source) }
    }
}

impl Binding {
    pub(super) fn read(object: &Object) -> Self {
        let nothing = Value::Null;
        let spec = object.get(&["spec"]).unwrap_or(&nothing);
        Self {
            name: object.name().to_owned(),
            policy: text(spec, "policyName").to_owned(),
            matcher: Matcher::read(spec.get("matchResources").unwrap_or(&nothing)),
            parameters: spec.get("paramRef").filter(|reference| !reference.is_null()).cloned(),
            actions: list(spec, "validationActions")
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        }
    }
}

impl Compiled {
    pub(super) fn read(conditions: &[Value]) -> Self {
        Self { written: conditions.into(), ready: OnceCell::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    pub(super) async fn expressions(&self, context: &Context<'_>) -> &[Expression] {
        let compile = || async {
            let written = self.written.clone();
            let is_long = written.iter().map(length).sum::<usize>() > LONG;
            let compile = move || {
                let compiler = Compiler::new(false);
                let sources = written.iter().map(|condition| text(condition, "expression"));
                sources.map(|source| compiler.expression(Purpose::Condition, source)).collect()
            };
            context.reach().digest(is_long, compile).await
        };
        self.ready.get_or_init(compile).await
    }
}
