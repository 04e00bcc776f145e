//! ValidatingAdmissionPolicies: whether something may be written.

use std::time::Duration;

use apiserver::{Admission, Admitting, PolicyChecked, Result, Write, after_asking, at_once};
use cel::Value as CelValue;
use model::{Object, Status};
use serde_json::json;

use super::super::webhooks::name_of;
use super::compiled::{Binding, Policy, Programs, Validation};
use super::request::Authorizer;
use super::scope::{BUDGET, Evaluation};
use super::{About, Asked, Forms, Holder, Policies, bound, hold};

/// How many bytes of an annotation are kept.
const LONGEST_ANNOTATION: usize = 10 * 1024;
/// How many bytes a message may have that an expression makes.
const LONGEST_MESSAGE: usize = 5 * 1024;

/// Asks policies whether something may be written.
pub(crate) struct ValidatingAdmissionPolicy(Policies);

impl Default for ValidatingAdmissionPolicy {
    fn default() -> Self {
        Self(Policies::new("validatingadmissionpolicies", "validatingadmissionpolicybindings"))
    }
}

/// What refuses a write: whose it is, what is said, what kind of refusal it is.
struct Denial {
    policy: String,
    binding: Option<String>,
    message: String,
    reason: Option<String>,
}

/// What one expression says of a write.
#[derive(Clone, Default)]
struct Said {
    /// It is against it.
    denies: bool,
    /// It could not be evaluated.
    failed: bool,
    message: String,
    reason: Option<String>,
    took: Duration,
}

/// What comes of a policy.
#[derive(Clone, Default)]
struct Outcome {
    said: Vec<Said>,
    annotations: Vec<(String, String)>,
    failed_annotations: Vec<Said>,
}

impl Admission for ValidatingAdmissionPolicy {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        let Some(asked) = self.0.asked(write, object) else { return at_once(Ok(())) };
        after_asking(async move { ask_all(write, object, &asked).await })
    }

    fn looks_at_sent(&self) -> bool {
        true
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

async fn ask_all(write: &Write<'_>, object: Option<&Object>, asked: &Asked) -> Result<()> {
    let seen: Forms<'_> = (object.map(|object| write.seen(object)), write.old.map(|old| write.seen(old)));
    let objects = (seen.0.as_deref(), seen.1.as_deref());
    let mut denied: Option<Denial> = None;
    // Most policies look at what is written as what it is.
    let mut itself: Option<About<'_>> = None;
    for (policy, of) in &asked.policies {
        let mut refuse = |binding: Option<&Binding>, message: String, reason: Option<String>| {
            denied.get_or_insert_with(|| Denial {
                policy: policy.name.clone(),
                binding: binding.map(|binding| binding.name.clone()),
                message,
                reason,
            });
        };
        match policy.matcher.by_selectors(write, seen.0.as_deref(), seen.1.as_deref()) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(_) if policy.fails_open => continue,
            Err(status) => {
                refuse(None, format!("failed to configure policy: {}", status.message), None);
                continue;
            }
        }
        let mut annotations = Annotations::default();
        let mut other: Option<About<'_>> = None;
        // Without a parameter the same comes of it, whichever binding has it asked.
        let mut without: Option<Outcome> = None;
        for binding in asked.bindings_of(policy) {
            let parameters = match bound(write, object, &seen, &asked.equivalents, (policy, binding)).await {
                Ok(parameters) => parameters,
                Err(_) if policy.fails_open => continue,
                Err(why) => {
                    refuse(Some(binding), format!("failed to configure binding: {why}"), None);
                    continue;
                }
            };
            for parameter in &parameters {
                let known = if of.is_some() { &mut other } else { &mut itself };
                let about = match known {
                    Some(about) => about,
                    None => match About::converted(write, of.as_deref(), objects).await {
                        Ok(about) => known.insert(about),
                        Err(_) if policy.fails_open => break,
                        Err(error) => {
                            refuse(None, format!("failed to configure policy: {error}"), None);
                            break;
                        }
                    },
                };
                let outcome = match (parameter, &without) {
                    (None, Some(known)) => known.clone(),
                    (None, None) => without.insert(evaluate(write, policy, about, None).await).clone(),
                    (Some(parameter), _) => evaluate(write, policy, about, Some(parameter)).await,
                };
                for (index, said) in outcome.said.into_iter().enumerate() {
                    act(write, policy, binding, index, said, &mut refuse);
                }
                for (key, value) in outcome.annotations {
                    annotations.add(key, value);
                }
                for said in outcome.failed_annotations {
                    count(write, policy, binding, &said, "deny");
                    refuse(Some(binding), said.message, None);
                }
            }
        }
        annotations.note(write, &policy.name);
    }
    match denied {
        Some(denied) => Err(refusal(write, object, denied).into()),
        None => Ok(()),
    }
}

/// Does what a binding has to be done about what was said.
fn act(
    write: &Write<'_>,
    policy: &Policy,
    binding: &Binding,
    index: usize,
    said: Said,
    refuse: &mut impl FnMut(Option<&Binding>, String, Option<String>),
) {
    if !said.denies {
        if said.failed {
            count(write, policy, binding, &said, "allow");
        }
        return;
    }
    let message = &said.message;
    for action in &binding.actions {
        match action.as_str() {
            "Deny" => {
                refuse(Some(binding), message.clone(), said.reason.clone());
                count(write, policy, binding, &said, "deny");
            }
            "Warn" => {
                write.warn(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                    policy.name, binding.name
                ));
                count(write, policy, binding, &said, "warn");
            }
            _ => {
                let failure = json!([{
                    "message": message, "policy": policy.name, "binding": binding.name,
                    "expressionIndex": index, "validationActions": binding.actions,
                }]);
                let key = "validation.policy.admission.k8s.io/validation_failure";
                write.context.note(key, &failure.to_string());
                count(write, policy, binding, &said, "audit");
            }
        }
    }
}

fn count(write: &Write<'_>, policy: &Policy, binding: &Binding, said: &Said, action: &'static str) {
    write.context.count_policy(&PolicyChecked {
        policy: &policy.name,
        binding: &binding.name,
        error: super::error_word(Some(&said.message)),
        action: Some(action),
        took: said.took,
    });
}

/// What the bindings of a policy note.
#[derive(Default)]
struct Annotations(Vec<(String, Vec<String>)>);

impl Annotations {
    fn add(&mut self, key: String, mut value: String) {
        value.truncate(value.floor_char_boundary(LONGEST_ANNOTATION));
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => self.0.push((key, vec![value])),
        }
    }

    fn note(self, write: &Write<'_>, policy: &str) {
        for (key, values) in self.0 {
            write.context.note(format!("{policy}/{key}"), &values.join(", "));
        }
    }
}

fn refusal(write: &Write<'_>, object: Option<&Object>, denied: Denial) -> Status {
    let Denial { policy, binding, message, reason } = denied;
    let message = match binding {
        Some(binding) => {
            format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}")
        }
        None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {message}"),
    };
    let resource = write.context.resource().group_resource();
    let mut status = Status::forbidden(&resource, name_of(write, object), &message);
    status.reason = reason.unwrap_or_else(|| "Invalid".to_owned());
    status.code = match status.reason.as_str() {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    super::add_cause(&mut status, message);
    status
}

/// Asks a policy about a write.
async fn evaluate(
    write: &Write<'_>,
    policy: &Policy,
    about: &About<'_>,
    parameter: Option<&Object>,
) -> Outcome {
    let programs = policy.programs(&write.context).await;
    let (data, authorizer) = (about.data(parameter), Authorizer(write));
    let mut evaluation = Evaluation::new(&data, &programs.variables, &authorizer);
    let holder = Holder { name: &policy.name, kind: "policy", sort: "validate" };
    match hold(holder, write, &mut evaluation, &programs.conditions).await {
        Ok(true) => judge(policy, programs, &mut evaluation).await,
        Ok(false) => Outcome::default(),
        Err(why) => Outcome { said: vec![failed(policy, why, Duration::ZERO)], ..Outcome::default() },
    }
}

fn failed(policy: &Policy, message: String, took: Duration) -> Said {
    Said { denies: !policy.fails_open, failed: true, message, reason: None, took }
}

async fn judge<'a>(policy: &Policy, programs: &'a Programs, evaluation: &mut Evaluation<'a>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut left = BUDGET;
    for validation in &programs.validations {
        let began = evaluation.elapsed();
        let value = evaluation.ask(&validation.expression, &mut left).await;
        let took = evaluation.elapsed().saturating_sub(began);
        outcome.said.push(match value {
            Err(why) => failed(policy, why, took),
            Ok(CelValue::Bool(true)) => Said::default(),
            Ok(_) => {
                let message = message(validation, evaluation, &mut left).await;
                Said { denies: true, failed: false, message, reason: validation.reason.clone(), took }
            }
        });
    }
    let mut left = BUDGET;
    for (key, expression) in &programs.annotations {
        let began = evaluation.elapsed();
        let value = evaluation.ask(expression, &mut left).await;
        let took = evaluation.elapsed().saturating_sub(began);
        match value {
            Ok(CelValue::Null) => {}
            Ok(value) => match value.as_str().map(str::trim) {
                Some("") => {}
                Some(text) => outcome.annotations.push((key.clone(), text.to_owned())),
                None => {
                    let why = format!(
                        "valueExpression '{}' resulted in unsupported return type. Return type must be either string \
                         or null.",
                        expression.source
                    );
                    outcome.failed_annotations.push(failed(policy, why, took));
                }
            },
            Err(_) if policy.fails_open => {}
            Err(why) => outcome.failed_annotations.push(failed(policy, why, took)),
        }
    }
    outcome
}

/// What is said where a validation is not met.
async fn message<'a>(validation: &'a Validation, evaluation: &mut Evaluation<'a>, left: &mut u64) -> String {
    if let Some(expression) = &validation.message_expression
        && let Ok(value) = evaluation.ask(expression, left).await
        && let Some(text) = value.as_str().map(str::trim)
        && !text.is_empty()
        && text.len() <= LONGEST_MESSAGE
        && !text.contains('\n')
    {
        return text.to_owned();
    }
    match validation.message.trim() {
        "" => format!("failed expression: {}", validation.expression.source.trim()),
        message => message.to_owned(),
    }
}
