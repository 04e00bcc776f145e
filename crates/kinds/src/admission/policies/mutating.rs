//! MutatingAdmissionPolicies: what writes are changed to.

use std::borrow::Cow;
use std::time::Duration;

use apiserver::{Admission, Admitting, Error, PolicyChecked, Resource, Result, Write, after_asking, at_once};
use model::{Object, Status};

use super::super::remade::{RemadeError, remade, schema_of};
use super::super::rounds::Rounds;
use super::super::webhooks::name_of;
use super::compiled::{Binding, Mutation, Policy, Programs};
use super::patch::patched;
use super::request::Authorizer;
use super::scope::{BUDGET, Evaluation};
use super::{About, Asked, Forms, Holder, Policies, bound, hold, looked_at};

const NAME: &str = "MutatingAdmissionPolicy";
/// Objects of so many bytes are long.
const LONG: u64 = 64 << 10;

/// Has policies change what is written, in the order of their names.
pub(crate) struct MutatingAdmissionPolicy(Policies);

impl Default for MutatingAdmissionPolicy {
    fn default() -> Self {
        Self(Policies::new("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"))
    }
}

/// A policy that is asked of a write, by a binding, with an object of parameters.
struct Invocation<'a> {
    policy: &'a Policy,
    of: Option<&'a Resource>,
    binding: &'a Binding,
    parameter: Option<Object>,
}

/// What went wrong with a policy that has to be asked.
struct Problem {
    message: String,
    reason: Option<&'static str>,
}

/// Why a write ends, whatever the policy says of that.
enum Failure {
    /// This server cannot do what it was told to.
    Ends(Error),
    /// As the policy says.
    Fails(String),
}

impl Admission for MutatingAdmissionPolicy {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        let Some(asked) = self.0.asked(write, Some(object)) else { return at_once(Ok(())) };
        after_asking(async move {
            let mut seen = write.seen(object).into_owned();
            if ask_all(write, &mut seen, &asked).await? {
                write.take(object, seen);
            }
            Ok(())
        })
    }

    fn looks_at_sent(&self) -> bool {
        true
    }

    fn keeps_form(&self) -> bool {
        // What is taken from one is looked at as such.
        true
    }
}

/// Asks one after the other; whether one of them has changed the object.
async fn ask_all(write: &Write<'_>, object: &mut Object, asked: &Asked) -> Result<bool> {
    let old = write.old.map(|old| write.seen(old));
    let mut problems = Vec::new();
    let invocations = invocations(write, object, old.as_deref(), asked, &mut problems).await;
    if write.is_again() {
        write.kept(NAME, |rounds: &mut Rounds| rounds.begin(Some(object)));
    }
    let (mut changed, mut patched) = (false, false);
    for invocation in &invocations {
        let outcome = invoke(write, object, old.as_deref(), invocation, &mut problems).await?;
        changed |= outcome.changed;
        patched |= outcome.patched;
    }
    if patched {
        // As Kubernetes has it: whoever wants it is asked again once something was patched, be it to what it was.
        write.kept(NAME, Rounds::change);
        write.ask_again();
    }
    if invocations.iter().any(|invocation| invocation.policy.asked_again) {
        write.kept(NAME, |rounds: &mut Rounds| rounds.end(object));
    }
    if problems.is_empty() { Ok(changed) } else { Err(refusal(write, object, problems).into()) }
}

/// Who is asked, with what.
async fn invocations<'a>(
    write: &Write<'_>,
    object: &Object,
    old: Option<&Object>,
    asked: &'a Asked,
    problems: &mut Vec<Problem>,
) -> Vec<Invocation<'a>> {
    let seen: Forms<'_> = (Some(Cow::Borrowed(object)), old.map(Cow::Borrowed));
    let mut all = Vec::new();
    for (policy, of) in &asked.policies {
        match policy.matcher.by_selectors(write, Some(object), old) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(_) if policy.fails_open => continue,
            Err(status) => {
                let message = unconfigured(policy, &status.message);
                note(problems, || Problem { message, reason: None });
                continue;
            }
        }
        for binding in asked.bindings_of(policy) {
            match bound(write, Some(object), &seen, &asked.equivalents, (policy, binding)).await {
                Ok(parameters) => all.extend(parameters.into_iter().map(|parameter| Invocation {
                    policy,
                    of: of.as_deref(),
                    binding,
                    parameter,
                })),
                Err(_) if policy.fails_open => {}
                Err(why) => {
                    let why = format!("failed to configure binding: {why}");
                    note(problems, || Problem { message: denied(policy, binding, &why), reason: None });
                }
            }
        }
    }
    all
}

fn denied(policy: &Policy, binding: &Binding, why: &str) -> String {
    format!("policy '{}' with binding '{}' denied request: {why}", policy.name, binding.name)
}

fn unconfigured(policy: &Policy, why: &str) -> String {
    format!("policy {} denied request: failed to configure policy: {why}", model::field::quote(&policy.name))
}

/// Takes a problem, if it may still be told; what it says may be long.
fn note(problems: &mut Vec<Problem>, problem: impl FnOnce() -> Problem) {
    if problems.len() < super::MOST_CAUSES {
        let Problem { message, reason } = problem();
        problems.push(Problem { message: model::field::shortened(message), reason });
    }
}

/// What became of an object.
#[derive(Default)]
struct Became {
    /// It is another.
    changed: bool,
    /// It was patched, be it to what it was.
    patched: bool,
}

impl Invocation<'_> {
    /// Tells it from all others.
    fn id(&self) -> String {
        let (name, namespace) = match &self.parameter {
            Some(parameter) => (parameter.name(), parameter.namespace().unwrap_or_default()),
            None => ("", ""),
        };
        format!("{}/{}/{namespace}/{name}", self.policy.name, self.binding.name)
    }

    fn count(&self, write: &Write<'_>, took: Duration, why: Option<&str>) {
        write.context.count_policy(&PolicyChecked {
            policy: &self.policy.name,
            binding: &self.binding.name,
            error: super::error_word(why),
            action: None,
            took,
        });
    }
}

/// Asks one policy.
async fn invoke(
    write: &Write<'_>,
    object: &mut Object,
    old: Option<&Object>,
    invocation: &Invocation<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Became> {
    let Invocation { policy, of, binding, parameter } = invocation;
    let programs = policy.programs(&write.context).await;
    let mut problem = |why: String| {
        if !policy.fails_open {
            note(problems, || Problem { message: denied(policy, binding, &why), reason: Some("Invalid") });
        }
    };
    let looked = async {
        let now = looked_at(write, object, *of).await?.into_owned();
        let old = match old {
            Some(old) => Some(looked_at(write, old, *of).await?),
            None => None,
        };
        Ok::<_, Error>((now, old))
    };
    let (mut now, old) = match looked.await {
        Ok(looked) => looked,
        Err(_) if policy.fails_open => return Ok(Became::default()),
        Err(error) => {
            let message = unconfigured(policy, &error.to_string());
            note(problems, || Problem { message, reason: None });
            return Ok(Became::default());
        }
    };
    let old = old.as_deref();
    let mut work;
    {
        let about = About::new(write, *of, (Some(Cow::Borrowed(&now)), old.map(Cow::Borrowed)));
        let (data, authorizer) = (about.data(parameter.as_ref()), Authorizer(write));
        let mut evaluation = Evaluation::new(&data, &programs.variables, &authorizer);
        let holder = Holder { name: &policy.name, kind: "policy", sort: "validate" };
        let held = hold(holder, write, &mut evaluation, &programs.conditions).await;
        work = evaluation.work_left();
        match held {
            Ok(true) => {}
            Ok(false) => return Ok(Became::default()),
            Err(why) => {
                problem(why);
                return Ok(Became::default());
            }
        }
    }
    let id = invocation.id();
    if write.is_again() && !write.kept(NAME, |rounds: &mut Rounds| rounds.is_due(&id)) {
        return Ok(Became::default());
    }
    let begun = now.clone();
    let mut became = Became::default();
    // Each copies the object and reads what was made of it.
    let length = now.encoded().len() as u64;
    for mutation in &programs.mutations {
        // Others have their turn.
        if length >= LONG {
            tokio::task::yield_now().await;
        }
        let began = write.context.elapsed();
        let outcome = match work.checked_sub(length) {
            Some(left) => {
                work = left;
                mutate(write, programs, mutation, *of, (&now, old), parameter.as_ref(), &mut work).await
            }
            None => Err(Failure::Fails(cel::EvalError::Cancelled.to_string())),
        };
        let took = write.context.elapsed().saturating_sub(began);
        match outcome {
            Ok(made) => {
                invocation.count(write, took, None);
                became.patched = true;
                if let Some(made) = made {
                    now = made;
                }
            }
            Err(Failure::Fails(why)) => {
                invocation.count(write, took, Some(&why));
                problem(why);
            }
            Err(Failure::Ends(error)) => {
                invocation.count(write, took, Some(&error.to_string()));
                return Err(error);
            }
        }
    }
    if now != begun {
        became.changed = true;
        *object = match of {
            None => now,
            Some(_) => write.convert(now, write.context.resource()).await?,
        };
        write.kept(NAME, Rounds::change);
        write.ask_again();
    }
    if policy.asked_again {
        write.kept(NAME, |rounds: &mut Rounds| rounds.asked(&id));
    }
    Ok(became)
}

/// What one mutation makes of an object; none where it leaves it as it is.
async fn mutate(
    write: &Write<'_>,
    programs: &Programs,
    mutation: &Mutation,
    of: Option<&Resource>,
    (object, old): (&Object, Option<&Object>),
    parameter: Option<&Object>,
    work: &mut u64,
) -> std::result::Result<Option<Object>, Failure> {
    let resource = of.unwrap_or_else(|| write.context.resource());
    let Some(schema) = schema_of(write, resource, object) else {
        let why = format!(
            "Resource kind {} not found. There can be a delay between when CustomResourceDefinitions are created and \
             when they are available.",
            object.gvk()
        );
        return Err(Failure::Ends(Status::failure(503, "ServiceUnavailable", why).into()));
    };
    let about = About::new(write, of, (Some(Cow::Borrowed(object)), old.map(Cow::Borrowed)));
    let (data, authorizer) = (about.data(parameter), Authorizer(write));
    let mut evaluation = Evaluation::new(&data, &programs.variables, &authorizer).within(*work);
    let mut left = BUDGET;
    let value = evaluation.ask(&mutation.expression, &mut left).await;
    *work = evaluation.work_left();
    let made = value.and_then(|value| patched(mutation.form, &value, object, &schema, work));
    let Some(made) = made.map_err(Failure::Fails)? else { return Ok(None) };
    let internal = |why: String| Failure::Ends(Status::internal(why).into());
    let made = remade(write, resource, object, made).map_err(|error| match error {
        RemadeError::Undecodable(why) => internal(why),
        other => Failure::Fails(other.to_string()),
    })?;
    // Custom kinds drop what they lack.
    if !made.unknown.is_empty() && schema.is_builtin() {
        return Err(internal(model::decode::strict_error(&made.unknown)));
    }
    Ok(Some(made.object))
}

/// What is told of all that went wrong: the first of it, and the rest as its causes.
fn refusal(write: &Write<'_>, object: &Object, problems: Vec<Problem>) -> Status {
    let resource = write.context.resource().group_resource();
    let mut status = Status::forbidden(&resource, name_of(write, Some(object)), "");
    if let Some(first) = problems.first() {
        status.message = first.message.clone();
        if let Some(reason) = first.reason {
            status.reason = reason.to_owned();
        }
    }
    for problem in problems {
        super::add_cause(&mut status, problem.message);
    }
    status
}
