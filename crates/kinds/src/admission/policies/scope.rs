//! The variables of a policy's expressions, and what comes of evaluating them.

use std::cell::RefCell;
use std::sync::Arc;

use cel::{
    AuthorizerValue, Budget, Decision, EvalError, PER_CALL_LIMIT, Program, Question, Value as CelValue,
    Variables,
};
use parking_lot::Mutex;
use serde_json::Value;

use super::compiled::{Expression, FIXED, Policy};
use super::request;

/// What all validations of a policy may cost for one binding.
const BUDGET: u64 = 10_000_000;
/// What conditions may cost.
const CONDITIONS: u64 = 2_500_000;
/// How many bytes a message may have that an expression makes.
const LONGEST_MESSAGE: usize = 5 * 1024;

/// What is known of a write.
pub(super) struct Data<'a> {
    pub(super) object: Option<&'a Value>,
    pub(super) old: Option<&'a Value>,
    pub(super) request: &'a Value,
    pub(super) namespace: Option<&'a Value>,
    pub(super) parameter: Option<&'a Value>,
}

/// What one validation says.
pub(super) enum Said {
    Admitted,
    Denied { message: String, reason: Option<String> },
}

/// What comes of a policy.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) said: Vec<Said>,
    pub(super) annotations: Vec<(String, String)>,
    pub(super) failed_annotations: Vec<String>,
}

impl Outcome {
    /// Something went wrong with all of it.
    pub(super) fn failed(policy: &Policy, why: impl Into<String>) -> Self {
        Self { said: vec![failed(policy, why.into())], ..Self::default() }
    }
}

fn failed(policy: &Policy, message: String) -> Said {
    if policy.fails_open { Said::Admitted } else { Said::Denied { message, reason: None } }
}

/// What expressions have asked the authorizer, and what it answered.
#[derive(Default)]
pub(super) struct Asked {
    answers: Mutex<Vec<(Question, Decision)>>,
    open: Mutex<Vec<Question>>,
}

impl Asked {
    /// What is still to be asked.
    pub(super) fn open(&self) -> Vec<Question> {
        std::mem::take(&mut *self.open.lock())
    }

    pub(super) fn answer(&self, question: Question, decision: Decision) {
        self.answers.lock().push((question, decision));
    }
}

impl cel::Authorizer for Asked {
    fn authorize(&self, question: &Question) -> Decision {
        if let Some((_, decision)) = self.answers.lock().iter().find(|(known, _)| known == question) {
            return decision.clone();
        }
        let mut open = self.open.lock();
        if !open.contains(question) {
            open.push(question.clone());
        }
        // The expression is evaluated again when this is known.
        Decision { allowed: false, reason: String::new(), error: Some("not asked yet".to_owned()) }
    }
}

/// Values of variables; those that a policy has itself are worked out when they are first looked at.
struct Scope<'a> {
    fixed: [CelValue<'a>; FIXED],
    programs: &'a [(String, Result<Program, String>)],
    made: RefCell<Vec<Option<Result<CelValue<'a>, EvalError>>>>,
}

impl<'a> Variables<'a> for Scope<'a> {
    fn get(&self, number: usize, budget: &mut Budget) -> Result<CelValue<'a>, EvalError> {
        if let Some(value) = <[CelValue<'a>]>::get(&self.fixed, number) {
            return Ok(value.clone());
        }
        let own = number - FIXED;
        if let Some(Some(made)) = self.made.borrow().get(own) {
            return made.clone();
        }
        let Some((name, program)) = self.programs.get(own) else {
            return Err(EvalError::Failed("no such attribute(s)".into()));
        };
        let value = match program {
            Ok(program) => program.evaluate(self, budget).map_err(|error| match error {
                EvalError::Cancelled => EvalError::Cancelled,
                EvalError::Failed(why) => EvalError::Failed(
                    format!("composited variable \"{name}\" fails to evaluate: {why}").into(),
                ),
            }),
            Err(why) => Err(EvalError::Failed(
                format!("composited variable \"{name}\" fails to compile: {why}").into(),
            )),
        };
        if let Some(place) = self.made.borrow_mut().get_mut(own) {
            *place = Some(value.clone());
        }
        value
    }
}

/// Evaluates an expression within what is left.
fn ask<'a>(expression: &'a Expression, scope: &Scope<'a>, left: &mut u64) -> Result<CelValue<'a>, String> {
    let told =
        |why: &dyn std::fmt::Display| format!("expression '{}' resulted in error: {why}", expression.source);
    let program = expression.program.as_ref().map_err(|why| format!("compilation error: {why}"))?;
    let mut budget = Budget::new(PER_CALL_LIMIT);
    let outcome = program.evaluate(scope, &mut budget);
    if budget.cost() > *left {
        *left = 0;
        return Err(
            "validation failed due to running out of cost budget, no further validation rules will be run"
                .to_owned(),
        );
    }
    *left -= budget.cost();
    outcome.map_err(|error| told(&error))
}

/// Data as it stands there.
fn plain(value: Option<&Value>) -> CelValue<'_> {
    value.and_then(|value| CelValue::from_json(value, None).ok()).unwrap_or(CelValue::Null)
}

/// The variables of a write.
fn scope<'a>(
    data: &Data<'a>,
    asked: &Arc<Asked>,
    programs: &'a [(String, Result<Program, String>)],
) -> Scope<'a> {
    let text = |name: &str| data.request.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let of = |name: &str| {
        let resource = data.request.get("resource").and_then(|resource| resource.get(name));
        resource.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let own = Question {
        group: of("group"),
        resource: of("resource"),
        subresource: text("subResource"),
        namespace: text("namespace"),
        name: text("name"),
        ..Question::default()
    };
    let declared = &**request::DECLARED;
    Scope {
        fixed: [
            plain(data.object),
            plain(data.old),
            CelValue::from_json(data.request, Some(declared)).unwrap_or(CelValue::Null),
            plain(data.namespace),
            AuthorizerValue::authorizer(asked.clone()),
            AuthorizerValue::request_resource(asked.clone(), own),
            plain(data.parameter),
        ],
        programs,
        made: RefCell::new(vec![None; programs.len()]),
    }
}

/// Whether all conditions hold, or why that cannot be told. One that does not decides, whatever others fail of.
fn all_hold<'a>(conditions: &'a [Expression], scope: &Scope<'a>) -> Result<bool, String> {
    let mut left = CONDITIONS;
    let mut failure = None;
    for condition in conditions {
        match ask(condition, scope, &mut left) {
            Ok(CelValue::Bool(true)) => {}
            Ok(_) => return Ok(false),
            Err(why) => drop(failure.get_or_insert(why)),
        }
    }
    failure.map_or(Ok(true), Err)
}

/// Whether all conditions of somebody hold who is asked of a write.
pub(super) fn conditions(
    conditions: &[Expression],
    data: &Data<'_>,
    asked: &Arc<Asked>,
) -> Result<bool, String> {
    all_hold(conditions, &scope(data, asked, &[]))
}

/// Asks a policy about a write.
pub(super) fn evaluate(policy: &Policy, data: &Data<'_>, asked: &Arc<Asked>) -> Outcome {
    let scope = scope(data, asked, &policy.variables);
    match all_hold(&policy.conditions, &scope) {
        Ok(true) => {}
        Ok(false) => return Outcome::default(),
        Err(why) => return Outcome::failed(policy, why),
    }
    let mut outcome = Outcome::default();
    let mut left = BUDGET;
    for validation in &policy.validations {
        let said = match ask(&validation.expression, &scope, &mut left) {
            Err(why) => failed(policy, why),
            Ok(CelValue::Bool(true)) => Said::Admitted,
            Ok(_) => {
                let made = validation.message_expression.as_ref().and_then(|expression| {
                    let value = ask(expression, &scope, &mut left).ok()?;
                    let text = value.as_str()?.trim().to_owned();
                    let fits = !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n');
                    fits.then_some(text)
                });
                let message = made
                    .or_else(|| {
                        Some(validation.message.trim().to_owned()).filter(|message| !message.is_empty())
                    })
                    .unwrap_or_else(|| format!("failed expression: {}", validation.expression.source.trim()));
                Said::Denied { message, reason: validation.reason.clone() }
            }
        };
        outcome.said.push(said);
    }
    let mut left = BUDGET;
    for (key, expression) in &policy.annotations {
        match ask(expression, &scope, &mut left) {
            Ok(CelValue::Null) => {}
            Ok(value) => match value.as_str().map(str::trim) {
                Some("") => {}
                Some(text) => outcome.annotations.push((key.clone(), text.to_owned())),
                None => outcome.failed_annotations.push(format!(
                    "valueExpression '{}' resulted in unsupported return type. Return type must be either string or \
                     null.",
                    expression.source
                )),
            },
            Err(_) if policy.fails_open => {}
            Err(why) => outcome.failed_annotations.push(why),
        }
    }
    outcome
}
