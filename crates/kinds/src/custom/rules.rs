//! Rules of objects of a custom kind: what its schema asks, and where their numbers of replicas stand.

use std::sync::Arc;

use model::Object;
use model::field::{FieldError, Path};
use model::structural::{Structural, go_type, validate};
use model::validate::{Errors, Rules, text};
use serde_json::Value;

use super::validations::Validator;

/// What errors are at that are of the object as a whole.
const NOWHERE: &str = "<nil>";

/// Where numbers of replicas stand.
pub(super) struct Scale {
    wanted: String,
    running: String,
    selector: Option<String>,
}

impl Scale {
    /// As a definition says it.
    pub(super) fn of(scale: &Value) -> Self {
        let selector = scale.get("labelSelectorPath").and_then(Value::as_str);
        Self {
            wanted: text(scale, "specReplicasPath").to_owned(),
            running: text(scale, "statusReplicasPath").to_owned(),
            selector: selector.filter(|path| !path.is_empty()).map(str::to_owned),
        }
    }
}

/// The rules of one version of a custom kind.
pub(super) struct CustomRules {
    schema: Arc<Structural>,
    scale: Option<Scale>,
    has_status: bool,
    validator: Option<Validator>,
}

impl CustomRules {
    pub(super) fn new(schema: Arc<Structural>, scale: Option<Scale>, has_status: bool) -> Self {
        let validator = Validator::of(&schema);
        Self { schema, scale, has_status, validator }
    }

    /// Whether errors are of a kind that leaves expressions without what they are asked about.
    fn evaluate(&self, object: &Object, old: Option<&Object>, from: usize, errors: &mut Errors) {
        use model::field::FieldErrorKind as Kind;
        let Some(validator) = &self.validator else { return };
        let is_blocking = |error: &FieldError| {
            matches!(
                error.kind,
                Kind::NotSupported | Kind::Required | Kind::TooLong | Kind::TooMany | Kind::TypeInvalid
            )
        };
        if errors[from..].iter().any(is_blocking) {
            errors.push(FieldError {
                kind: Kind::Invalid,
                field: NOWHERE.to_owned(),
                value: Some(Value::Null),
                detail: "some validation rules were not checked because the object was invalid; correct the \
                         existing errors to complete validation"
                    .to_owned(),
            });
            return;
        }
        let asked = errors.len();
        validator.check(object, old, errors);
        // The object itself has no path, which Go prints like that.
        for error in errors[asked..].iter_mut().filter(|error| error.field.is_empty()) {
            NOWHERE.clone_into(&mut error.field);
        }
    }

    fn check_wanted(&self, object: &Object, errors: &mut Errors) {
        if let Some(scale) = &self.scale {
            check_replicas(object, &scale.wanted, errors);
        }
    }

    fn check_running(&self, object: &Object, errors: &mut Errors) {
        let Some(scale) = &self.scale else { return };
        check_replicas(object, &scale.running, errors);
        if let Some(path) = &scale.selector
            && let Some(value) = find(object, path).filter(|value| !value.is_string())
        {
            let why = accessor(path, value, "string");
            errors.push(FieldError::invalid(&Path::root(path), "", why));
        }
    }

    /// Lists that were no sets or maps before may go on as they are.
    fn check_lists(&self, object: &Object, old: &Object, errors: &mut Errors) {
        let mut found = Errors::new();
        validate::sets_and_maps(&self.schema, object.value(), &mut found);
        if found.is_empty() {
            return;
        }
        let mut before = Errors::new();
        validate::sets_and_maps(&self.schema, old.value(), &mut before);
        if before.is_empty() {
            errors.append(&mut found);
        }
    }
}

fn find<'a>(object: &'a Object, path: &str) -> Option<&'a Value> {
    let path: Vec<&str> = path.trim_start_matches('.').split('.').collect();
    object.get(&path)
}

fn accessor(path: &str, value: &Value, wanted: &str) -> String {
    let place = format!(".{}", path.trim_start_matches('.'));
    format!("{place} accessor error: {value} is of the type {is}, expected {wanted}", is = go_type(value))
}

fn check_replicas(object: &Object, path: &str, errors: &mut Errors) {
    let Some(value) = find(object, path) else { return };
    let place = Path::root(path);
    match value.as_i64() {
        None => errors.push(FieldError::invalid(&place, 0, accessor(path, value, "int64"))),
        Some(number) if number < 0 => {
            errors.push(FieldError::invalid(&place, number, "should be a non-negative integer"));
        }
        Some(number) if number > i64::from(i32::MAX) => {
            let message = format!("should be less than or equal to {}", i32::MAX);
            errors.push(FieldError::invalid(&place, number, message));
        }
        Some(_) => {}
    }
}

impl Rules for CustomRules {
    fn is_own(&self) -> bool {
        false
    }

    fn creation(&self, object: &Object, errors: &mut Errors) {
        let from = errors.len();
        validate::values(&self.schema, object.value(), None, None, errors);
        self.check_wanted(object, errors);
        self.check_running(object, errors);
        validate::embedded_objects(&self.schema, object.value(), errors);
        validate::sets_and_maps(&self.schema, object.value(), errors);
        self.evaluate(object, None, from, errors);
    }

    fn change(&self, object: &Object, old: &Object, errors: &mut Errors) {
        let from = errors.len();
        validate::values(&self.schema, object.value(), Some(old.value()), None, errors);
        self.check_wanted(object, errors);
        self.check_running(object, errors);
        validate::embedded_objects(&self.schema, object.value(), errors);
        self.check_lists(object, old, errors);
        self.evaluate(object, Some(old), from, errors);
    }

    fn status(&self, object: &Object, old: &Object, errors: &mut Errors) {
        if !self.has_status {
            return;
        }
        let from = errors.len();
        if let (Some(status), Some(schema)) = (object.get(&["status"]), self.schema.property("status")) {
            validate::values(schema, status, old.get(&["status"]), Some("status"), errors);
        }
        self.check_running(object, errors);
        self.check_lists(object, old, errors);
        self.evaluate(object, Some(old), from, errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_rule_says_of_the_whole_object_is_at_no_place() {
        let rule = |rule: &str, message: &str| json!({"rule": rule, "message": message});
        let spec = json!({
            "type": "object", "properties": {"n": {"type": "integer"}},
            "x-kubernetes-validations": [rule("self.n < 5", "too many")],
        });
        let schema = json!({
            "type": "object", "properties": {"spec": spec},
            "x-kubernetes-validations": [rule("self.metadata.name.size() < 4", "too long")],
        });
        let schema = Arc::new(Structural::parse(&schema).expect("a schema"));
        let object =
            json!({"apiVersion": "a.b/v1", "kind": "C", "metadata": {"name": "long"}, "spec": {"n": 7}});
        let object = Object::from_value(object).expect("an object");
        let mut errors = Errors::new();
        CustomRules::new(schema, None, false).creation(&object, &mut errors);
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["<nil>: Invalid value: too long", "spec: Invalid value: too many"]);
    }
}
