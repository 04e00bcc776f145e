//! Rules of `x-kubernetes-validations`: expressions that objects of a custom kind must meet.
//!
//! This is where expressions come in. Nobody evaluates them yet: a definition that has some is refused, so that
//! none is stored whose rules would not hold.

use model::Object;
use model::field::{FieldError, Path};
use model::structural::Structural;
use model::validate::Errors;
use serde_json::Value;

/// What is wrong with the rules at one place of a schema (`openAPIV3Schema` or a part of it), which `path` names. It
/// is asked after all else at that place and below is right.
pub(crate) fn check_definition(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let has_rules =
        schema.get("x-kubernetes-validations").and_then(Value::as_array).is_some_and(|r| !r.is_empty());
    if has_rules {
        let message = "validation rules in expressions are not evaluated yet";
        errors.push(FieldError::forbidden(&path.child("x-kubernetes-validations"), message));
    }
}

/// The rules of one version of a custom kind, ready to be asked.
#[derive(Debug)]
pub(crate) struct Validator;

impl Validator {
    /// Those of a schema; none where it has none.
    pub(crate) fn of(_schema: &Structural) -> Option<Self> {
        None
    }

    /// What is wrong with an object that is to be made, or to be in the place of `old`. Not asked where what is wrong
    /// already would make the answer worth nothing.
    pub(crate) fn check(&self, _object: &Object, _old: Option<&Object>, _errors: &mut Errors) {}
}
