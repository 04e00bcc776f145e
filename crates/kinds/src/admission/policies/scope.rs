//! The variables of a policy's expressions, and evaluating these.
//!
//! An expression is evaluated at once. What it asks of the authorizer is answered afterwards, since that may have to
//! ask somebody itself, and the expression is evaluated again; those before it are not.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use cel::{
    AuthorizerValue, Budget, Decision, Declared, EvalError, MOST_WORK, PER_CALL_LIMIT, Program, Question,
    Value as CelValue, Variables,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;

use super::expressions::{Expression, FIXED};
use super::request;

/// What all expressions of a policy may cost for one binding, besides its conditions.
pub(super) const BUDGET: u64 = 10_000_000;
/// What conditions may cost.
const CONDITIONS: u64 = 2_500_000;
/// How often one expression may come back with questions, its variables' included: so many of them as all may cost.
const ROUNDS: usize = (BUDGET / QUESTION) as usize + 2;
/// What a question to the authorizer costs.
const QUESTION: u64 = 350_000;
/// After an expression that costs so much others have their turn.
const LONG: u64 = 100_000;

/// What is known of a write.
#[derive(Clone, Copy)]
pub(super) struct Data<'a> {
    pub(super) object: Option<&'a Value>,
    pub(super) old: Option<&'a Value>,
    pub(super) request: &'a Value,
    pub(super) namespace: Option<&'a Value>,
    pub(super) parameter: Option<&'a Value>,
}

/// Who knows what somebody may do, and what time it is.
pub(super) trait Answers: Sync {
    /// Answers what an expression asks.
    fn answer<'s>(&'s self, question: &'s Question) -> BoxFuture<'s, Decision>;

    /// How long the server has run.
    fn elapsed(&self) -> Duration;
}

/// What expressions have asked the authorizer, and what it answered.
#[derive(Default)]
struct Asked {
    answers: Mutex<Vec<(Question, Decision)>>,
    open: Mutex<Vec<Question>>,
}

impl Asked {
    /// What is still to be asked.
    fn open(&self) -> Vec<Question> {
        std::mem::take(&mut *self.open.lock())
    }

    fn answer(&self, question: Question, decision: Decision) {
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
    data: Data<'a>,
    /// Made when something is asked: most expressions ask nothing.
    asked: OnceCell<Arc<Asked>>,
    programs: &'a [(String, Result<Program, String>)],
    made: RefCell<Vec<Option<Result<CelValue<'a>, EvalError>>>>,
    /// Those that were worked out for the expression that is being evaluated, and what that cost.
    fresh: RefCell<Vec<usize>>,
    cost: Cell<u64>,
}

impl<'a> Scope<'a> {
    fn asked(&self) -> Arc<Asked> {
        self.asked.get_or_init(Arc::default).clone()
    }

    /// A variable that a policy does not have itself, by its number.
    fn fixed(&self, number: usize) -> CelValue<'a> {
        let declared = |value: &'a Value, declared: &'static Declared| {
            CelValue::from_json(value, Some(declared)).unwrap_or(CelValue::Null)
        };
        let Data { object, old, request, namespace, parameter } = self.data;
        match number {
            0 => plain(object),
            1 => plain(old),
            2 => declared(request, &request::DECLARED),
            3 => namespace.map_or(CelValue::Null, |namespace| declared(namespace, &request::NAMESPACE)),
            4 => AuthorizerValue::authorizer(self.asked()),
            5 => AuthorizerValue::request_resource(self.asked(), requested(request)),
            _ => plain(parameter),
        }
    }

    /// Another expression is evaluated.
    fn begin(&self) {
        self.fresh.borrow_mut().clear();
        self.cost.set(0);
    }

    /// Works out a variable of the policy's own, which may cost as much as an expression.
    fn work_out(
        &self,
        name: &str,
        program: &'a Program,
        budget: &mut Budget,
    ) -> Result<CelValue<'a>, EvalError> {
        let before = budget.work_left();
        let mut own = Budget::going_on(PER_CALL_LIMIT, before);
        let value = program.evaluate(self, &mut own);
        let worked = usize::try_from(before - own.work_left()).unwrap_or(usize::MAX);
        budget.take(worked)?;
        let cost = self.cost.get().saturating_add(own.cost());
        self.cost.set(cost);
        // All of them together are no more than all expressions, and the work is one.
        if cost > BUDGET || own.work_left() == 0 {
            return Err(EvalError::Cancelled);
        }
        let failed = |why| format!("composited variable \"{name}\" fails to evaluate: {why}").into();
        value.map_err(|error| EvalError::Failed(failed(error)))
    }

    /// Forgets the variables that were worked out for this one.
    fn forget(&self) {
        let mut made = self.made.borrow_mut();
        for number in self.fresh.borrow_mut().drain(..) {
            made[number] = None;
        }
    }
}

impl<'a> Variables<'a> for Scope<'a> {
    fn get(&self, number: usize, budget: &mut Budget) -> Result<CelValue<'a>, EvalError> {
        let Some(own) = number.checked_sub(FIXED) else { return Ok(self.fixed(number)) };
        if let Some(Some(made)) = self.made.borrow().get(own) {
            return made.clone();
        }
        let Some((name, program)) = self.programs.get(own) else {
            return Err(EvalError::Failed("no such attribute(s)".into()));
        };
        let value = match program {
            Ok(program) => self.work_out(name, program, budget),
            Err(why) => Err(EvalError::Failed(
                format!("composited variable \"{name}\" fails to compile: {why}").into(),
            )),
        };
        // What nothing is left for is not known.
        if !matches!(value, Err(EvalError::Cancelled)) {
            self.made.borrow_mut()[own] = Some(value.clone());
            self.fresh.borrow_mut().push(own);
        }
        value
    }
}

/// Data as it stands there.
fn plain(value: Option<&Value>) -> CelValue<'_> {
    value.and_then(|value| CelValue::from_json(value, None).ok()).unwrap_or(CelValue::Null)
}

/// What was requested, as whatever a policy looks at it.
fn requested(request: &Value) -> Question {
    let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let of = |name: &str| {
        let resource = request.get("requestResource").and_then(|resource| resource.get(name));
        resource.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    Question {
        group: of("group"),
        resource: of("resource"),
        subresource: text("requestSubResource"),
        namespace: text("namespace"),
        name: text("name"),
        ..Question::default()
    }
}

/// The evaluation of the expressions of one policy, or of somebody's conditions, about a write: they share what work
/// they may be.
pub(super) struct Evaluation<'a> {
    scope: Scope<'a>,
    answers: &'a dyn Answers,
    work: u64,
}

impl<'a> Evaluation<'a> {
    /// Begins one.
    pub(super) fn new(
        data: &Data<'a>,
        programs: &'a [(String, Result<Program, String>)],
        answers: &'a dyn Answers,
    ) -> Self {
        let scope = Scope {
            data: *data,
            asked: OnceCell::new(),
            programs,
            made: RefCell::new(vec![None; programs.len()]),
            fresh: RefCell::default(),
            cost: Cell::default(),
        };
        Self { scope, answers, work: MOST_WORK }
    }

    /// With what is left of the work that others have begun on.
    pub(super) fn within(mut self, work: u64) -> Self {
        self.work = work;
        self
    }

    /// What work is left.
    pub(super) fn work_left(&self) -> u64 {
        self.work
    }

    /// How long the server has run.
    pub(super) fn elapsed(&self) -> Duration {
        self.answers.elapsed()
    }

    /// What an expression comes to, within what is left, or what is said where that cannot be told.
    pub(super) async fn ask(
        &mut self,
        expression: &'a Expression,
        left: &mut u64,
    ) -> Result<CelValue<'a>, String> {
        let program = expression.program.as_ref().map_err(|why| format!("compilation error: {why}"))?;
        for _ in 0..ROUNDS {
            self.scope.begin();
            let mut budget = Budget::going_on(PER_CALL_LIMIT, self.work);
            let outcome = program.evaluate(&self.scope, &mut budget);
            self.work = budget.work_left();
            let cost = budget.cost().saturating_add(self.scope.cost.get());
            if cost > LONG {
                tokio::task::yield_now().await;
            }
            let asked = self.scope.asked.get().cloned();
            let open = asked.as_ref().map(|asked| asked.open()).unwrap_or_default();
            if !open.is_empty() {
                // What was worked out without the answers is worth nothing.
                drop(outcome);
                self.scope.forget();
                for question in open {
                    let decision = self.answers.answer(&question).await;
                    self.scope.asked().answer(question, decision);
                }
                continue;
            }
            let Some(rest) = left.checked_sub(cost) else {
                *left = 0;
                return Err(
                    "validation failed due to running out of cost budget, no further validation rules will be run"
                        .to_owned(),
                );
            };
            *left = rest;
            return outcome
                .map_err(|error| format!("expression '{}' resulted in error: {error}", expression.source));
        }
        Err(format!(
            "expression '{}' resulted in error: too many questions to the authorizer",
            expression.source
        ))
    }

    /// Whether all conditions hold, or why that cannot be told. One that does not decides, whatever others fail of.
    pub(super) async fn all_hold(&mut self, conditions: &'a [Expression]) -> Held {
        let mut left = CONDITIONS;
        let mut held = Held { answer: Ok(true), failed: 0 };
        let mut failures: Vec<String> = Vec::new();
        for condition in conditions {
            match self.ask(condition, &mut left).await {
                Ok(CelValue::Bool(true)) => {}
                Ok(_) => {
                    held.answer = Ok(false);
                    return held;
                }
                Err(why) => {
                    held.failed += 1;
                    if !failures.contains(&why) {
                        failures.push(why);
                    }
                }
            }
        }
        held.answer = match failures.as_slice() {
            [] => Ok(true),
            [one] => Err(one.clone()),
            more => Err(format!("[{}]", more.join(", "))),
        };
        held
    }
}

/// Whether conditions hold, or why that cannot be told, and how many could not be.
pub(super) struct Held {
    pub(super) answer: Result<bool, String>,
    pub(super) failed: usize,
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use serde_json::json;

    use super::super::expressions::{Compiler, Purpose};
    use super::*;

    /// Allows what is asked by the verb `get`, and counts.
    #[derive(Default)]
    struct Known(Mutex<Vec<Question>>);

    impl Answers for Known {
        fn answer<'s>(&'s self, question: &'s Question) -> BoxFuture<'s, Decision> {
            self.0.lock().push(question.clone());
            let allowed = question.verb == "get";
            async move {
                tokio::task::yield_now().await;
                Decision { allowed, ..Decision::default() }
            }
            .boxed()
        }

        fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
    }

    const REQUEST: &str = r#"{
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"}, "subResource": "scale",
        "requestResource": {"group": "extensions", "version": "v1beta1", "resource": "deployments"},
        "requestSubResource": "scale", "name": "n", "namespace": "ns", "operation": "UPDATE"
    }"#;

    /// What expressions come to, one after the other, and what was asked.
    async fn evaluate(variables: &[(&str, &str)], sources: &[&str]) -> (Vec<String>, Vec<Question>) {
        let mut compiler = Compiler::new(false);
        let compiled =
            variables.iter().map(|(name, source)| ((*name).to_owned(), compiler.variable(name, source)));
        let compiled: Vec<_> = compiled.collect();
        let expressions: Vec<_> =
            sources.iter().map(|source| compiler.expression(Purpose::Validation, source)).collect();
        let request: Value = serde_json::from_str(REQUEST).expect("JSON");
        let object = json!({"size": 3});
        let namespace = json!({
            "metadata": {"name": "ns", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": "b"}},
            "status": {"phase": "Active"},
        });
        let namespace = Some(&namespace);
        let data = Data { object: Some(&object), old: None, request: &request, namespace, parameter: None };
        let known = Known::default();
        let mut evaluation = Evaluation::new(&data, &compiled, &known);
        let mut left = 10_000_000;
        let mut all = Vec::new();
        for expression in &expressions {
            let outcome = evaluation.ask(expression, &mut left).await;
            all.push(outcome.map_or_else(|why| why, |value| value.to_string()));
        }
        drop(evaluation);
        (all, known.0.into_inner())
    }

    const ALLOWED: &str = "authorizer.group('').resource('a').check('get').allowed()";

    #[tokio::test]
    async fn what_is_asked_of_the_authorizer_is_answered_and_asked_once() {
        let denied = ALLOWED.replace("get", "list");
        let both = format!("{ALLOWED} && !{denied}");
        let (all, asked) =
            evaluate(&[("allowed", ALLOWED)], &["variables.allowed", &both, "variables.allowed"]).await;
        assert_eq!(all, ["true", "true", "true"]);
        let verbs: Vec<&str> = asked.iter().map(|question| question.verb.as_str()).collect();
        assert_eq!(verbs, ["get", "list"]);
    }

    #[tokio::test]
    async fn as_many_expressions_may_ask_as_what_they_may_cost_allows() {
        // Each has two, the second of which only the first leads to.
        let sources: Vec<String> = (0..14)
            .map(|number| {
                let check = |name: String, verb: &str| {
                    ALLOWED.replace("'a'", &format!("'{name}'")).replace("get", verb)
                };
                format!("{} && !{}", check(format!("a{number}"), "get"), check(format!("b{number}"), "list"))
            })
            .collect();
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let (all, asked) = evaluate(&[], &sources).await;
        assert!(all.iter().all(|one| one == "true"), "{all:?}");
        assert_eq!(asked.len(), 28);
        let three = format!("[1, 2, 3].all(x, {})", ALLOWED.replace("'a'", "'a' + string(x)"));
        let (all, _) = evaluate(&[], &[&three]).await;
        assert!(all[0].ends_with("operation cancelled: actual cost limit exceeded"), "{all:?}");
    }

    #[tokio::test]
    async fn a_variable_may_cost_as_much_as_an_expression() {
        let check = |verb: &str| ALLOWED.replace("get", verb);
        let (list, watch, patch) = (check("list"), check("watch"), check("patch"));
        let too_much = format!("{list} || {watch} || {patch}");
        let variables = [("a", &*list), ("b", &*watch), ("c", &*patch), ("d", ALLOWED), ("much", &*too_much)];
        let sources = [
            "variables.a || variables.b || variables.c || variables.d",
            "variables.much || object.size == 3",
            "variables.much",
        ];
        let (all, asked) = evaluate(&variables, &sources).await;
        assert_eq!(all[..2], ["true", "true"]);
        assert!(
            all[2].ends_with(
                "composited variable \"much\" fails to evaluate: operation cancelled: actual cost limit exceeded"
            ),
            "{all:?}"
        );
        assert_eq!(asked.len(), 4);
    }

    #[tokio::test]
    async fn what_was_requested_is_asked_for_whatever_it_is_looked_at_as() {
        let (all, asked) = evaluate(&[], &["authorizer.requestResource.check('get').allowed()"]).await;
        assert_eq!(all, ["true"]);
        let Question { group, resource, subresource, namespace, name, .. } = &asked[0];
        assert_eq!(
            [group, resource, subresource, namespace, name],
            ["extensions", "deployments", "scale", "ns", "n"]
        );
    }

    #[tokio::test]
    async fn of_a_namespace_what_is_declared_can_be_looked_at() {
        let (all, _) = evaluate(
            &[],
            &[
                "namespaceObject.metadata.creationTimestamp.getFullYear() == 2026",
                "namespaceObject.metadata.labels.all(key, key == 'a') && !has(namespaceObject.metadata.annotations)",
                "namespaceObject.status.phase == 'Active' && !has(namespaceObject.spec)",
            ],
        )
        .await;
        assert_eq!(all, ["true", "true", "true"]);
    }

    #[tokio::test]
    async fn expressions_of_a_policy_share_what_work_they_may_be() {
        let compiler = Compiler::new(false);
        let expression =
            compiler.expression(Purpose::Validation, "[1, 2, 3].map(x, x + object.size).size() == 3");
        let (object, request) = (json!({"size": 3}), json!({}));
        let data =
            Data { object: Some(&object), old: None, request: &request, namespace: None, parameter: None };
        let known = Known::default();
        let mut evaluation = Evaluation::new(&data, &[], &known).within(5_000);
        let (mut left, mut before) = (10_000_000, 5_000);
        let mut done = 0;
        let why = loop {
            let outcome = evaluation.ask(&expression, &mut left).await;
            assert!(evaluation.work_left() < before);
            before = evaluation.work_left();
            match outcome {
                Ok(_) => done += 1,
                Err(why) => break why,
            }
        };
        assert!(done > 3 && before == 0, "{done} {before}");
        assert!(why.ends_with("operation cancelled: actual cost limit exceeded"), "{why}");
    }

    #[test]
    fn what_is_as_deep_as_it_may_be_needs_half_of_a_threads_stack() {
        let mut compiler = Compiler::new(false);
        let mut compiled = Vec::new();
        // The deepest chains there can be: long expressions, and as many variables as there can be.
        for (prefix, terms) in [("a", 60), ("b", 1)] {
            for number in 0.. {
                let before =
                    if number == 0 { "1".to_owned() } else { format!("variables.{prefix}{}", number - 1) };
                let name = format!("{prefix}{number}");
                let program = compiler.variable(&name, &format!("{before}{}", " + 1".repeat(terms)));
                let is_too_deep = program.as_ref().is_err_and(|why| why.contains("levels deep"));
                assert!(program.is_ok() || (is_too_deep && number > 8), "{number} {program:?}");
                compiled.push((name, program));
                if is_too_deep {
                    break;
                }
            }
        }
        let last = |of: &str| {
            let is_it = |(name, program): &&(String, Result<Program, String>)| {
                name.starts_with(of) && program.is_ok()
            };
            compiled.iter().rfind(is_it).expect("one is not too deep").0.clone()
        };
        let names = ["a", "b"].map(last);
        let evaluate = move || {
            let request = json!({});
            let data = Data { object: None, old: None, request: &request, namespace: None, parameter: None };
            let known = Known::default();
            for name in &names {
                let number = compiled.iter().position(|(known, _)| known == name).expect("it is one");
                let mut evaluation = Evaluation::new(&data, &compiled, &known);
                let mut budget = Budget::new(PER_CALL_LIMIT);
                let value = evaluation.scope.get(FIXED + number, &mut budget);
                assert!(matches!(value, Ok(CelValue::Int(sum)) if sum > 100), "{value:?}");
                evaluation.work = 0;
            }
        };
        let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(evaluate).expect("a thread");
        thread.join().expect("it is deep enough");
    }
}
