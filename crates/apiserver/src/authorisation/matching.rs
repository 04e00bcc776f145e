//! Which requests somebody elsewhere is asked of: conditions (CEL) on what he would be asked.

use std::sync::{Arc, LazyLock};

use cel::{Declared, Environment, MOST_WORK, Type, Value};
use serde_json::{Map, Value as Json, json};

use crate::expression::Expression;

/// How many conditions one may have.
pub(super) const MOST: usize = 64;

/// Conditions, all of which must hold.
#[derive(Debug, Default)]
pub(super) struct Conditions(Vec<Expression>);

const RESOURCE: [&str; 7] = ["namespace", "verb", "group", "version", "resource", "subresource", "name"];
const PATH: [&str; 2] = ["path", "verb"];

/// What is declared about the variable `request`: the `spec` of a `SubjectAccessReview`.
static REQUEST: LazyLock<Arc<Declared>> = LazyLock::new(|| {
    let of = |ty: Type| Arc::new(Declared::of(ty));
    let texts = || Type::list(Type::String);
    let requirement = json!({
        "type": "object",
        "properties": {
            "key": {"type": "string"}, "operator": {"type": "string"},
            "values": {"type": "array", "items": {"type": "string"}},
        },
    });
    let selector = |name: &str| {
        let schema = json!({
            "type": "object",
            "properties": {
                "rawSelector": {"type": "string"}, "requirements": {"type": "array", "items": requirement},
            },
        });
        cel::schema::declare(&schema, false).expect("an object with fields is seen").named(name)
    };
    let text = |name: &'static str| (name, of(Type::String));
    let selectors = [
        ("fieldSelector", selector("kubernetes.FieldSelectorAttributes")),
        ("labelSelector", selector("kubernetes.LabelSelectorAttributes")),
    ];
    let resource =
        Declared::object("kubernetes.ResourceAttributes", RESOURCE.map(text).into_iter().chain(selectors));
    let path = Declared::object("kubernetes.NonResourceAttributes", PATH.map(text));
    Arc::new(Declared::object(
        "kubernetes.SubjectAccessReviewSpec",
        [
            ("resourceAttributes", Arc::new(resource)),
            ("nonResourceAttributes", Arc::new(path)),
            text("user"),
            ("groups", of(texts())),
            ("extra", of(Type::map(Type::String, texts()))),
            text("uid"),
        ],
    ))
});

/// Reads a condition; says in Kubernetes' words what is wrong with it.
pub(super) fn read(source: &str) -> Result<Expression, String> {
    let expression = Expression::read(&Environment::new().with_declared("request", &REQUEST), source)?;
    match expression.output() {
        Type::Bool => Ok(expression),
        other => Err(format!("must evaluate to bool but got {other}")),
    }
}

impl Conditions {
    /// Those in which nothing is wrong.
    pub(super) fn of<'a>(sources: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        sources.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold of what would be asked, the `spec` of a review. One that does not is enough, whatever is wrong
    /// with others.
    pub(super) fn hold(&self, spec: &Json) -> Result<bool, String> {
        if self.is_empty() {
            return Ok(true);
        }
        let spec = whole(spec.clone());
        let request = Value::from_json(&spec, Some(&REQUEST)).map_err(|error| error.to_string())?;
        let (mut errors, mut work) = (Vec::new(), MOST_WORK);
        for condition in &self.0 {
            match condition.evaluate(&request, &mut work) {
                Ok(value) if value.as_bool() == Some(true) => {}
                Ok(_) => return Ok(false),
                Err(error) => errors.push(format!(
                    "cel evaluation error: expression '{}' resulted in error: {error}",
                    condition.source()
                )),
            }
        }
        match errors.as_slice() {
            [] => Ok(true),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }
}

/// With all fields of text and all lists, empty ones too, so that conditions need not ask whether they are there.
fn whole(mut spec: Json) -> Json {
    if let Json::Object(spec) = &mut spec {
        fill(spec, &["user", "uid"]);
        spec.entry("groups").or_insert_with(|| json!([]));
        spec.entry("extra").or_insert_with(|| json!({}));
        if let Some(Json::Object(path)) = spec.get_mut("nonResourceAttributes") {
            fill(path, &PATH);
        }
        if let Some(Json::Object(resource)) = spec.get_mut("resourceAttributes") {
            fill(resource, &RESOURCE);
            for selector in ["fieldSelector", "labelSelector"] {
                let requirements = resource.get_mut(selector).and_then(|of| of.get_mut("requirements"));
                let requirements = requirements.and_then(Json::as_array_mut).into_iter().flatten();
                for requirement in requirements.filter_map(Json::as_object_mut) {
                    fill(requirement, &["key", "operator"]);
                    requirement.entry("values").or_insert_with(|| json!([]));
                }
            }
        }
    }
    spec
}

fn fill(of: &mut Map<String, Json>, names: &[&str]) {
    for name in names {
        of.entry(*name).or_insert_with(|| json!(""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Json {
        json!({
            "user": "jane", "groups": ["dev", "system:authenticated"], "extra": {"acme.com/team": ["x"]},
            "resourceAttributes": {
                "verb": "list", "version": "v1", "resource": "pods", "namespace": "a",
                "labelSelector": {"requirements": [
                    {"key": "app", "operator": "In", "values": ["web"]}, {"key": "tier", "operator": "Exists"},
                ]},
            },
        })
    }

    fn hold(sources: &[&str], spec: &Json) -> Result<bool, String> {
        Conditions::of(sources.iter().copied()).expect("good ones").hold(spec)
    }

    #[test]
    fn it_is_known_what_would_be_asked() {
        for source in [
            "request.user == 'jane' && request.uid == ''",
            "'dev' in request.groups && !('ops' in request.groups)",
            "request.extra['acme.com/team'] == ['x']",
            "has(request.resourceAttributes) && !has(request.nonResourceAttributes)",
            "request.resourceAttributes.namespace == 'a' && request.resourceAttributes.group == ''",
            "request.resourceAttributes.name == '' && request.resourceAttributes.subresource == ''",
            "request.resourceAttributes.labelSelector.requirements.exists(r, r.key == 'app' && 'web' in r.values)",
            "request.resourceAttributes.labelSelector.requirements.all(r, !('public' in r.values))",
            "!has(request.resourceAttributes.fieldSelector)",
        ] {
            assert_eq!(hold(&[source], &asked()), Ok(true), "{source}");
        }
        let health = json!({"nonResourceAttributes": {"path": "/livez", "verb": "get"}});
        for source in [
            "request.user == '' && request.groups == [] && request.extra == {}",
            "request.nonResourceAttributes.path.startsWith('/livez') && request.nonResourceAttributes.verb == 'get'",
            "!has(request.resourceAttributes)",
        ] {
            assert_eq!(hold(&[source], &health), Ok(true), "{source}");
        }
    }

    #[test]
    fn all_must_hold_and_one_that_does_not_is_enough() {
        let (yes, no) = ("request.user != ''", "request.user == ''");
        let fails = "request.nonResourceAttributes.path == '/'";
        assert_eq!(hold(&[], &asked()), Ok(true));
        assert_eq!(hold(&[yes, no], &asked()), Ok(false));
        assert_eq!(hold(&[fails, no], &asked()), Ok(false));
        let why = hold(&[yes, fails], &asked()).expect_err("there is no path");
        assert_eq!(
            why,
            "cel evaluation error: expression 'request.nonResourceAttributes.path == '/'' resulted in error: no such key: nonResourceAttributes"
        );
        // It costs more than it may, whatever is asked.
        let mut long = asked();
        long["user"] = "x".repeat(1 << 20).into();
        let costly = "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, request.user.matches('(a|x)*y') == false))";
        let why = hold(&[costly], &long).expect_err("it costs too much");
        assert!(why.ends_with("actual cost limit exceeded"), "{why}");
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for (source, why) in [
            ("request.user", "must evaluate to bool but got string"),
            (
                "request.name == ''",
                "compilation failed: ERROR: <input>:1:8: undefined field 'name'\n | request.name == ''\n | .......^",
            ),
        ] {
            assert_eq!(read(source).expect_err(source), why);
        }
    }
}
