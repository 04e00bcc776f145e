//! ValidatingAdmissionPolicies: whether something may be written, in expressions.
//!
//! Policies and their bindings are read, and expressions compiled, once for each change of them ([`kept`]). Which
//! policies are asked of a write is decided by their rules before anything is waited for. Expressions are evaluated
//! at once; what they ask of the authorizer is answered between two evaluations ([`scope::Asked`]), since that may
//! have to ask somebody itself.

mod compiled;
mod kept;
mod request;
mod scope;

use std::borrow::Cow;
use std::sync::Arc;

use apiserver::{Admission, Admitting, Form, Resource, Result, Write, after_asking, at_once};
use model::select::LabelSelector;
use model::validate::text;
use model::{GroupResource, Object, Status};
use serde_json::{Value, json};

use compiled::{Binding, Policy};
pub(crate) use compiled::{check_binding, check_conditions, check_policy};
use kept::Kept;
use scope::{Asked, Outcome, Said};

use super::webhooks::{is_exempt, name_of, namespace_of};

/// How many bytes of an annotation are kept.
const LONGEST_ANNOTATION: usize = 10 * 1024;
/// How often expressions may come back with questions.
const ROUNDS: usize = 10;

/// Asks policies whether something may be written.
pub(crate) struct ValidatingAdmissionPolicy {
    policies: Kept<Policy>,
    bindings: Kept<Binding>,
}

impl Default for ValidatingAdmissionPolicy {
    fn default() -> Self {
        Self {
            policies: Kept::new("validatingadmissionpolicies", Policy::read),
            bindings: Kept::new("validatingadmissionpolicybindings", Binding::read),
        }
    }
}

/// What refuses a write: whose it is, what is said, what kind of refusal it is.
struct Denial {
    policy: String,
    binding: Option<String>,
    message: String,
    reason: Option<String>,
}

impl Admission for ValidatingAdmissionPolicy {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        if write.form == Form::Effect || is_exempt(write) {
            return at_once(Ok(()));
        }
        let policies = self.policies.all(&write.context);
        if policies.is_empty() {
            return at_once(Ok(()));
        }
        let asked: Vec<_> = policies
            .iter()
            .filter_map(|policy| Some((policy.clone(), policy.matcher.by_rules(write, object)?)))
            .collect();
        if asked.is_empty() {
            return at_once(Ok(()));
        }
        let bindings = self.bindings.all(&write.context);
        after_asking(async move { ask_all(write, object, &asked, &bindings).await })
    }

    fn looks_at_sent(&self) -> bool {
        true
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

type Forms<'o> = (Option<Cow<'o, Object>>, Option<Cow<'o, Object>>);

async fn ask_all(
    write: &Write<'_>,
    object: Option<&Object>,
    asked: &[(Arc<Policy>, Option<Arc<Resource>>)],
    bindings: &[Arc<Binding>],
) -> Result<()> {
    let seen: Forms<'_> = (object.map(|object| write.seen(object)), write.old.map(|old| write.seen(old)));
    let mut denied: Option<Denial> = None;
    for (policy, of) in asked {
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
        let mut annotations: Vec<(String, Vec<String>)> = Vec::new();
        for binding in bindings.iter().filter(|binding| binding.policy == policy.name) {
            if binding.matcher.by_rules(write, object).is_none() {
                continue;
            }
            let matched = binding.matcher.by_selectors(write, seen.0.as_deref(), seen.1.as_deref());
            let parameters = match matched {
                Ok(true) => parameters(write, object, policy, binding),
                Ok(false) => continue,
                Err(status) => Err(status.message),
            };
            let parameters = match parameters {
                Ok(parameters) => parameters,
                Err(_) if policy.fails_open => continue,
                Err(why) => {
                    refuse(Some(binding), format!("failed to configure binding: {why}"), None);
                    continue;
                }
            };
            let forms =
                if parameters.is_empty() { (None, None) } else { converted(write, &seen, of).await? };
            for parameter in &parameters {
                let outcome = evaluate(write, policy, of.as_deref(), &forms, parameter.as_ref()).await;
                for (index, said) in outcome.said.into_iter().enumerate() {
                    let Said::Denied { message, reason } = said else { continue };
                    for action in &binding.actions {
                        match action.as_str() {
                            "Deny" => refuse(Some(binding), message.clone(), reason.clone()),
                            "Warn" => write.warn(format!(
                                "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                                policy.name, binding.name
                            )),
                            _ => {
                                let failure = json!([{
                                    "message": message, "policy": policy.name, "binding": binding.name,
                                    "expressionIndex": index, "validationActions": binding.actions,
                                }]);
                                let key = "validation.policy.admission.k8s.io/validation_failure";
                                write.context.note(key, &failure.to_string());
                            }
                        }
                    }
                }
                for (key, mut value) in outcome.annotations {
                    let end = (0..=LONGEST_ANNOTATION.min(value.len()))
                        .rev()
                        .find(|end| value.is_char_boundary(*end));
                    value.truncate(end.unwrap_or(0));
                    match annotations.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, values)) if values.contains(&value) => {}
                        Some((_, values)) => values.push(value),
                        None => annotations.push((key, vec![value])),
                    }
                }
                for why in outcome.failed_annotations {
                    refuse(Some(binding), why, None);
                }
            }
        }
        for (key, values) in annotations {
            write.context.note(format!("{}/{key}", policy.name), &values.join(", "));
        }
    }
    match denied {
        Some(denied) => Err(refusal(write, object, denied).into()),
        None => Ok(()),
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
    if let Some(details) = &mut status.details
        && let Ok(cause) = serde_json::from_value(json!({"message": message}))
    {
        details.causes.push(cause);
    }
    status
}

async fn converted<'o>(write: &Write<'_>, seen: &Forms<'o>, to: &Option<Arc<Resource>>) -> Result<Forms<'o>> {
    let Some(to) = to else { return Ok(seen.clone()) };
    let mut forms = [None, None];
    for (form, object) in forms.iter_mut().zip([&seen.0, &seen.1]) {
        if let Some(object) = object {
            *form = Some(Cow::Owned(write.context.convert(object.clone().into_owned(), to).await?));
        }
    }
    let [object, old] = forms;
    Ok((object, old))
}

/// The objects that a policy takes its parameters from; one that is none where it takes none.
fn parameters(
    write: &Write<'_>,
    object: Option<&Object>,
    policy: &Policy,
    binding: &Binding,
) -> std::result::Result<Vec<Option<Object>>, String> {
    let (Some((group, version, kind)), Some(reference)) = (&policy.parameters, &binding.parameters) else {
        return Ok(vec![None]);
    };
    let Some((plural, namespaced)) = write.context.kind(group, version, kind) else {
        return Err(format!(
            "failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'"
        ));
    };
    let resource = GroupResource::new(group.clone(), plural);
    let own = text(reference, "namespace");
    let namespace = match (namespaced, own) {
        (true, "") => {
            match namespace_of(write, object) {
                "" => {
                    return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .to_owned());
                }
                namespace => namespace,
            }
        }
        (true, namespace) => namespace,
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
    };
    let found: Vec<Object> =
        match (text(reference, "name"), reference.get("selector").filter(|it| !it.is_null())) {
            ("", Some(selector)) => {
                let selector = LabelSelector::from_json(Some(selector)).map_err(|error| error.to_string())?;
                let all = write.context.list(&resource, namespace);
                all.into_iter().filter(|object| selector.matches(object)).collect()
            }
            ("", None) => return Err("one of name or selector must be provided".to_owned()),
            (name, _) => write.context.find(&resource, namespace, name).into_iter().collect(),
        };
    if found.is_empty() && text(reference, "parameterNotFoundAction") == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found.into_iter().map(Some).collect())
}

/// Conditions under which somebody is asked of a write.
#[derive(Debug)]
pub(super) struct Conditions(Vec<compiled::Expression>);

impl Conditions {
    /// Reads them.
    pub(super) fn read(conditions: &[Value]) -> Self {
        Self(compiled::conditions(conditions))
    }

    /// Whether all of them hold, or why that cannot be told.
    pub(super) async fn hold(
        &self,
        write: &Write<'_>,
        of: Option<&Resource>,
        object: Option<&Object>,
        old: Option<&Object>,
    ) -> std::result::Result<bool, String> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let told = with_answers(write, of, (object, old), None, |data, asked| {
            scope::conditions(&self.0, data, asked)
        });
        told.await.unwrap_or_else(|| Err(TOO_MANY_QUESTIONS.to_owned()))
    }
}

const TOO_MANY_QUESTIONS: &str = "too many questions to the authorizer";

async fn evaluate(
    write: &Write<'_>,
    policy: &Policy,
    of: Option<&Resource>,
    forms: &Forms<'_>,
    parameter: Option<&Object>,
) -> Outcome {
    let objects = (forms.0.as_deref(), forms.1.as_deref());
    let outcome =
        with_answers(write, of, objects, parameter, |data, asked| scope::evaluate(policy, data, asked));
    outcome.await.unwrap_or_else(|| Outcome::failed(policy, TOO_MANY_QUESTIONS))
}

/// Evaluates something until it has no more questions to the authorizer.
async fn with_answers<T>(
    write: &Write<'_>,
    of: Option<&Resource>,
    (object, old): (Option<&Object>, Option<&Object>),
    parameter: Option<&Object>,
    look: impl Fn(&scope::Data<'_>, &Arc<Asked>) -> T,
) -> Option<T> {
    let request = request::document(write, of, object, old);
    let namespace = namespace_of(write, object.or(old));
    let is_namespace =
        write.context.resource().plural == "namespaces" && write.context.resource().group.is_empty();
    let namespace = (!namespace.is_empty() && !is_namespace)
        .then(|| write.context.find(&GroupResource::new("", "namespaces"), "", namespace))
        .flatten();
    let asked = Arc::new(Asked::default());
    for _ in 0..ROUNDS {
        let data = scope::Data {
            object: object.map(Object::value),
            old: old.map(Object::value),
            request: &request,
            namespace: namespace.as_ref().map(Object::value),
            parameter: parameter.map(Object::value),
        };
        let outcome = look(&data, &asked);
        let open = asked.open();
        if open.is_empty() {
            return Some(outcome);
        }
        for question in open {
            let decision = request::answer(write, &question).await;
            asked.answer(question, decision);
        }
    }
    None
}
