//! Expressions that say of which requests somebody is asked: `matchConditions`.
//!
//! All of them have to be met. One that is not says so whatever becomes of the others; where one fails and none says
//! no, nobody knows.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use apiserver::{Attributes, Context, Decision, Identity, Reach, ResourceAttributes};
use cel::{
    AuthorizerValue, Budget, Declared, Environment, PER_CALL_LIMIT, Program, Question, Type,
    Value as CelValue,
};
use model::field::{FieldError, Path};
use model::select::{FieldSelector, LabelSelector};
use model::validate::{Errors, list, text};
use model::{Object, names};
use serde_json::Value;

/// So many there may be.
const MOST: usize = 64;
/// What all of one webhook may cost.
const BUDGET: u64 = 2_500_000;

/// What there is to speak of.
static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    Environment::new()
        .with_variable("object", Type::Dyn)
        .with_variable("oldObject", Type::Dyn)
        .with_declared("request", &REQUEST)
        .with_variable("authorizer", Type::object("kubernetes.authorization.Authorizer"))
        .with_variable("authorizer.requestResource", Type::object("kubernetes.authorization.ResourceCheck"))
});

/// A request, as expressions know it.
static REQUEST: LazyLock<Arc<Declared>> = LazyLock::new(|| {
    let of = |ty: Type| Arc::new(Declared::of(ty));
    let words = |name: &str, fields: [&'static str; 3]| {
        Arc::new(Declared::object(name, fields.map(|field| (field, of(Type::String)))))
    };
    let kind = words("kubernetes.GroupVersionKind", ["group", "version", "kind"]);
    let resource = words("kubernetes.GroupVersionResource", ["group", "version", "resource"]);
    let user = Declared::object(
        "kubernetes.UserInfo",
        [
            ("username", of(Type::String)),
            ("uid", of(Type::String)),
            ("groups", of(Type::list(Type::String))),
            ("extra", of(Type::map(Type::String, Type::list(Type::String)))),
        ],
    );
    Arc::new(Declared::object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", of(Type::String)),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", of(Type::String)),
            ("name", of(Type::String)),
            ("namespace", of(Type::String)),
            ("operation", of(Type::String)),
            ("userInfo", Arc::new(user)),
            ("dryRun", of(Type::Bool)),
            ("options", of(Type::Dyn)),
        ],
    ))
});

/// A condition.
#[derive(Debug)]
pub(crate) struct MatchCondition {
    expression: String,
    program: Result<Program, String>,
}

/// What conditions are asked of.
pub(crate) struct Asked<'a> {
    pub(crate) object: Option<&'a Object>,
    pub(crate) old: Option<&'a Object>,
    /// The request of the review, without its objects.
    pub(crate) request: &'a Value,
}

fn compile(expression: &str) -> Result<Program, String> {
    let checked =
        ENVIRONMENT.compile(expression).map_err(|issues| format!("compilation failed: {issues}"))?;
    if !matches!(checked.output(), Type::Bool | Type::Dyn) {
        return Err("must evaluate to bool".to_owned());
    }
    checked.program().map_err(|error| format!("program instantiation failed: {error}"))
}

/// What must hold of a list of conditions.
pub(crate) fn rules(conditions: &[Value], path: &Path<'_>, errors: &mut Errors) {
    if conditions.len() > MOST {
        errors.push(FieldError::too_many(path, conditions.len(), MOST));
        return;
    }
    let mut known = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let expression = text(condition, "expression").trim();
        if expression.is_empty() {
            errors.push(FieldError::required(&path.child("expression"), ""));
        } else if let Err(why) = compile(expression) {
            errors.push(FieldError::invalid(&path.child("expression"), text(condition, "expression"), why));
        }
        let name = text(condition, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
            continue;
        }
        for why in names::qualified(name) {
            errors.push(FieldError::invalid(&path.child("name"), name, why));
        }
        if !known.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
    }
}

/// Reads the conditions of somebody who is asked.
pub(crate) fn read(holder: &Value) -> Vec<MatchCondition> {
    let conditions = list(holder, "matchConditions").iter();
    conditions
        .map(|condition| {
            let expression = text(condition, "expression").to_owned();
            MatchCondition { program: compile(&expression), expression }
        })
        .collect()
}

/// Whether all conditions are met, or why that cannot be told.
pub(crate) fn are_met(
    conditions: &[MatchCondition],
    context: &Context<'_>,
    asked: &Asked<'_>,
) -> Result<bool, String> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let whose = Arc::new(Whose { reach: context.reach(), identity: context.identity().clone() });
    let request = |name: &str| text(asked.request, name).to_owned();
    let resource = &asked.request["requestResource"];
    let question = Question {
        group: text(resource, "group").to_owned(),
        resource: text(resource, "resource").to_owned(),
        subresource: request("requestSubResource"),
        namespace: request("namespace"),
        name: request("name"),
        ..Question::default()
    };
    let authorizer = AuthorizerValue::authorizer(whose.clone());
    let of_request = AuthorizerValue::request_resource(whose, question);
    evaluate(conditions, asked, authorizer, of_request)
}

/// An object as it stands there.
fn plain(object: Option<&Object>) -> Result<CelValue<'_>, cel::EvalError> {
    object.map_or(Ok(CelValue::Null), |object| CelValue::from_json(object.value(), None))
}

fn evaluate(
    conditions: &[MatchCondition],
    asked: &Asked<'_>,
    authorizer: CelValue<'static>,
    of_request: CelValue<'static>,
) -> Result<bool, String> {
    let nothing = |error: cel::EvalError| error.to_string();
    let variables: [CelValue<'_>; 5] = [
        plain(asked.object).map_err(nothing)?,
        plain(asked.old).map_err(nothing)?,
        CelValue::from_json(asked.request, Some(&**REQUEST)).map_err(nothing)?,
        authorizer,
        of_request,
    ];
    let mut left = BUDGET;
    let mut failures = Vec::new();
    for condition in conditions {
        let program = match &condition.program {
            Ok(program) => program,
            Err(why) => {
                failures.push(why.clone());
                continue;
            }
        };
        let mut budget = Budget::new(left.min(PER_CALL_LIMIT));
        let outcome = program.evaluate(&variables, &mut budget);
        match left.checked_sub(budget.cost()) {
            Some(rest) => left = rest,
            None => {
                let why = "validation failed due to running out of cost budget, no further validation rules will be run";
                return Err(why.to_owned());
            }
        }
        let failed = |why: &str| format!("expression '{}' resulted in error: {why}", condition.expression);
        match outcome {
            Ok(CelValue::Bool(true)) => {}
            Ok(CelValue::Bool(false)) => return Ok(false),
            Ok(_) => failures.push(failed("it is neither true nor false")),
            Err(error) => failures.push(failed(&error.to_string())),
        }
    }
    match failures.len() {
        0 => Ok(true),
        1 => Err(failures.remove(0)),
        _ => Err(format!("[{}]", failures.join(", "))),
    }
}

/// Whoever makes the request, asked what he may do.
struct Whose {
    reach: Reach,
    identity: Identity,
}

impl cel::Authorizer for Whose {
    fn authorize(&self, question: &Question) -> cel::Decision {
        let other = question
            .service_account
            .as_ref()
            .map(|(namespace, name)| Identity::service_account(namespace, name));
        let identity = other.as_ref().unwrap_or(&self.identity);
        let failed = |why: String| cel::Decision { allowed: false, reason: String::new(), error: Some(why) };
        let (fields, labels): (FieldSelector, LabelSelector) =
            match (question.field_selector.parse(), question.label_selector.parse()) {
                (Ok(fields), Ok(labels)) => (fields, labels),
                (Err(error), _) => return failed(error.to_string()),
                (_, Err(error)) => return failed(error.to_string()),
            };
        let attributes = if question.resource.is_empty() {
            Attributes::Path { verb: &question.verb, path: &question.path }
        } else {
            Attributes::Resource(ResourceAttributes {
                verb: &question.verb,
                group: &question.group,
                version: "*",
                namespace: &question.namespace,
                resource: &question.resource,
                subresource: &question.subresource,
                name: &question.name,
                fields: fields.conditions(),
                labels: labels.requirements(),
            })
        };
        match self.reach.decides(identity, attributes) {
            Some(decision) => {
                let reason = match &decision {
                    Decision::Allowed(why) | Decision::Denied(why) | Decision::NoOpinion(why) => {
                        why.to_string()
                    }
                };
                cel::Decision { allowed: decision.is_allowed(), reason, error: None }
            }
            None => failed("who decides cannot be asked from an expression".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::field::aggregate;
    use serde_json::json;

    use super::*;

    struct Nobody;

    impl cel::Authorizer for Nobody {
        fn authorize(&self, question: &Question) -> cel::Decision {
            cel::Decision { allowed: question.verb == "get", reason: String::new(), error: None }
        }
    }

    fn check(expressions: &[&str], expected: Result<bool, &str>) {
        let conditions: Vec<Value> =
            expressions.iter().map(|text| json!({"name": "a", "expression": text})).collect();
        let conditions = read(&json!({"matchConditions": conditions}));
        let object =
            Object::from_value(json!({"metadata": {"name": "x", "labels": {"a": "b"}}})).expect("an object");
        let request = json!({
            "operation": "CREATE", "name": "x", "dryRun": false, "options": null,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "userInfo": {"username": "jane", "groups": ["system:nodes"]},
        });
        let asked = Asked { object: Some(&object), old: None, request: &request };
        let found = evaluate(
            &conditions,
            &asked,
            AuthorizerValue::authorizer(Arc::new(Nobody)),
            AuthorizerValue::request_resource(Arc::new(Nobody), Question::default()),
        );
        assert_eq!(found.as_ref().map_err(String::as_str).copied(), expected, "{expressions:?}");
    }

    #[test]
    fn conditions_are_met_all_together_or_not() {
        check(&[], Ok(true));
        check(&["object.metadata.labels['a'] == 'b'", "request.operation == 'CREATE'"], Ok(true));
        check(&["oldObject == null && !('system:nodes' in request.userInfo.groups)"], Ok(false));
        check(&["request.kind.kind == 'Pod' && !has(request.namespace)"], Ok(true));
        check(&["authorizer.group('').resource('pods').check('get').allowed()"], Ok(true));
        check(&["authorizer.requestResource.check('delete').allowed()"], Ok(false));
        // Whoever says no is heard, whoever else fails.
        check(&["object.spec.a == 1", "false"], Ok(false));
        check(
            &["object.spec.a == 1", "true"],
            Err("expression 'object.spec.a == 1' resulted in error: no such key: spec"),
        );
    }

    #[test]
    fn conditions_are_named_once_and_say_yes_or_no() {
        let check = |conditions: Value, expected: &str| {
            let mut errors = Errors::new();
            rules(conditions.as_array().expect("a list"), &Path::root("c"), &mut errors);
            let found = if errors.is_empty() { String::new() } else { aggregate(&errors) };
            assert!(if expected.is_empty() { found.is_empty() } else { found.contains(expected) }, "{found}");
        };
        let one = |name: &str, expression: &str| json!({"name": name, "expression": expression});
        check(json!([one("a", "object.spec.replicas > 1"), one("b", "true")]), "");
        check(json!([one("a", "true"), one("a", "true")]), "c[1].name: Duplicate value: \"a\"");
        check(json!([one("", "")]), "c[0].expression: Required value, c[0].name: Required value");
        check(
            json!([one("a", "'text'")]),
            "c[0].expression: Invalid value: \"'text'\": must evaluate to bool",
        );
        check(json!([one("a", "params.x")]), "compilation failed");
        check(json!(vec![one("a", "true"); 65]), "c: Too many: 65: must have at most 64 items");
    }
}
