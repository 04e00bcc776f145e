//! One rule: compiled, asked, and what is said where it is not met.

use std::sync::Arc;

use cel::{
    Budget, CostEstimate, Declared, Environment, EvalError, MOST_WORK, PER_CALL_LIMIT, PatternRoom, Program,
    Type, Value as CelValue,
};
use model::field::{FieldError, Path};
use model::structural::{Additional, Kind, ListType, Structural, ValidationRule};
use serde_json::{Value, json};

use super::{LONGEST_MESSAGE, field_path};

/// A rule, ready to be asked.
#[derive(Debug)]
pub(super) struct Rule {
    written: ValidationRule,
    /// None where it says nothing.
    pub(super) program: Result<Option<Program>, String>,
    pub(super) cost: CostEstimate,
    pub(super) uses_old: bool,
    pub(super) optional_old: bool,
    pub(super) message: Result<Option<Program>, String>,
    pub(super) message_cost: CostEstimate,
    field: Option<String>,
}

/// What all rules of one object may cost.
const BUDGET: u64 = 10_000_000;

/// What is left of that, and of the work that they may be together.
pub(super) struct Left {
    cost: u64,
    work: u64,
}

impl Default for Left {
    fn default() -> Self {
        Self { cost: BUDGET, work: MOST_WORK }
    }
}

impl Left {
    /// Whether nothing is left.
    pub(super) fn is_spent(&self) -> bool {
        self.cost == 0
    }

    /// What an expression comes to, or none where it costs more than is left.
    pub(super) fn evaluate<'a>(
        &mut self,
        program: &'a Program,
        variables: &[CelValue<'a>; 2],
    ) -> Option<Result<CelValue<'a>, EvalError>> {
        let mut budget = Budget::going_on(PER_CALL_LIMIT, self.work);
        let outcome = program.evaluate(variables, &mut budget);
        self.work = budget.work_left();
        self.cost = self.cost.checked_sub(budget.cost())?;
        Some(outcome)
    }
}

/// What is declared about values of a schema.
pub(super) fn declare(schema: &Structural, root: bool) -> Option<Arc<Declared>> {
    cel::schema::declare(&document(schema), root).map(|declared| declared.named("selfType"))
}

/// The schema as a document, as far as types and sizes go.
fn document(schema: &Structural) -> Value {
    let mut document = json!({"type": schema.kind.as_str()});
    let mut set = |name: &str, value: Value| document[name] = value;
    if schema.nullable {
        set("nullable", true.into());
    }
    if schema.int_or_string {
        set("x-kubernetes-int-or-string", true.into());
    }
    if schema.embedded {
        set("x-kubernetes-embedded-resource", true.into());
    }
    match &schema.list {
        ListType::Atomic => {}
        ListType::Set => set("x-kubernetes-list-type", "set".into()),
        ListType::Map(keys) => {
            set("x-kubernetes-list-type", "map".into());
            set("x-kubernetes-list-map-keys", keys.iter().map(|key| Value::from(&**key)).collect());
        }
    }
    if let Some(items) = &schema.items {
        set("items", self::document(items));
    }
    if let Additional::Of(values) = &schema.additional {
        set("additionalProperties", self::document(values));
    }
    if schema.kind == Kind::Object && !schema.properties.is_empty() {
        let properties = schema.properties.iter().map(|(name, of)| (name.to_string(), self::document(of)));
        set("properties", Value::Object(properties.collect()));
    }
    if let Some(default) = &schema.default {
        set("default", Value::clone(default));
    }
    if let Some(asked) = &schema.asked {
        let sizes = [
            ("maxLength", asked.max_length),
            ("maxItems", asked.max_items),
            ("maxProperties", asked.max_properties),
        ];
        for (name, size) in sizes {
            if let Some(size) = size {
                set(name, size.max(0).into());
            }
        }
        if let Some(format) = &asked.format {
            set("format", (**format).into());
        }
        if !asked.required.is_empty() {
            set("required", asked.required.iter().map(|name| Value::from(&**name)).collect());
        }
        if let Some(values) = &asked.values {
            set("enum", values.to_vec().into());
        }
    }
    document
}

impl Rule {
    pub(super) fn of(
        written: &ValidationRule,
        declared: &Arc<Declared>,
        schema: &Structural,
        room: &mut PatternRoom,
    ) -> Self {
        let optional_old = written.optional_old_self == Some(true);
        let environment = Environment::new().with_declared("self", declared);
        let environment = match optional_old {
            true => environment.with_optional("oldSelf", declared),
            false => environment.with_declared("oldSelf", declared),
        };
        let mut rule = Self {
            written: written.clone(),
            program: Ok(None),
            cost: CostEstimate::default(),
            uses_old: false,
            optional_old,
            message: Ok(None),
            message_cost: CostEstimate::default(),
            field: written.field_path.as_deref().and_then(|path| field_path::of(path, schema)),
        };
        if written.rule.trim().is_empty() {
            return rule;
        }
        let checked = match environment.compile(&written.rule) {
            Ok(checked) => checked,
            Err(issues) => {
                rule.program = Err(format!("compilation failed: {issues}"));
                return rule;
            }
        };
        if *checked.output() != Type::Bool {
            rule.program = Err("cel expression must evaluate to a bool".to_owned());
            return rule;
        }
        rule.uses_old = checked.uses("oldSelf");
        rule.program = checked
            .program_within(room)
            .map(Some)
            .map_err(|why| format!("program instantiation failed: {why}"));
        if rule.program.is_err() {
            return rule;
        }
        rule.cost = checked.estimate();
        if let Some(expression) = written.message_expression.as_deref().filter(|text| !text.is_empty()) {
            match environment.compile(expression) {
                Err(issues) => rule.message = Err(format!("messageExpression compilation failed: {issues}")),
                Ok(checked) if *checked.output() != Type::String => {
                    rule.message = Err("messageExpression must evaluate to a string".to_owned());
                }
                Ok(checked) => {
                    rule.message_cost = checked.estimate();
                    let program = checked.program_within(room).map(Some);
                    rule.message =
                        program.map_err(|why| format!("messageExpression instantiation failed: {why}"));
                }
            }
        }
        rule
    }

    /// The values of `self` and `oldSelf`.
    pub(super) fn variables<'a>(
        &self,
        own: &Result<CelValue<'a>, EvalError>,
        old: Option<&Result<CelValue<'a>, EvalError>>,
    ) -> Result<[CelValue<'a>; 2], EvalError> {
        let old = match (old, self.optional_old) {
            (Some(old), true) => CelValue::Optional(Some(Arc::new(old.clone()?))),
            (Some(old), false) => old.clone()?,
            (None, true) => CelValue::Optional(None),
            (None, false) => CelValue::Null,
        };
        Ok([own.clone()?, old])
    }

    /// How errors name it.
    pub(super) fn told(&self) -> &str {
        self.written
            .message
            .as_deref()
            .filter(|message| !message.is_empty())
            .unwrap_or(&self.written.rule)
            .trim()
    }

    /// The field that it is about.
    pub(super) fn place(&self, path: &Path<'_>) -> String {
        match &self.field {
            None => path.to_string(),
            Some(field) if path.is_root() => field.clone(),
            Some(field) => path.child(field).to_string(),
        }
    }

    /// What is said where it is not met: what an expression makes, if that can be had.
    pub(super) fn message<'a>(
        &'a self,
        variables: &[CelValue<'a>; 2],
        left: &mut Left,
    ) -> Result<String, String> {
        let otherwise = || match self.written.message.as_deref().filter(|message| !message.is_empty()) {
            Some(message) => message.trim().to_owned(),
            None => format!("failed rule: {}", self.told()),
        };
        let Ok(Some(program)) = &self.message else { return Ok(otherwise()) };
        let Some(outcome) = left.evaluate(program, variables) else {
            return Err("messageExpression evaluation failed due to running out of cost budget, no further \
                        validation rules will be run"
                .to_owned());
        };
        if matches!(outcome, Err(EvalError::Cancelled)) {
            let expression = self.written.message_expression.as_deref().unwrap_or_default();
            return Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: \
                 {expression:?}"
            ));
        }
        let made = outcome.ok().and_then(|value| value.as_str().map(|text| text.trim().to_owned()));
        let fits = |text: &String| !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n');
        Ok(made.filter(fits).unwrap_or_else(otherwise))
    }

    /// The error of a value that does not meet it.
    pub(super) fn failed(&self, path: &Path<'_>, value: &Value, detail: String) -> FieldError {
        let value = Some(value).filter(|value| !value.is_object() && !value.is_array()).cloned();
        match (self.written.reason.as_deref(), value) {
            (Some("FieldValueForbidden"), _) => FieldError::forbidden(path, detail),
            (Some("FieldValueRequired"), _) => FieldError::required(path, detail),
            (Some("FieldValueDuplicate"), Some(value)) => FieldError::duplicate(path, value),
            (Some("FieldValueDuplicate"), None) => {
                FieldError { value: None, ..FieldError::duplicate(path, "") }
            }
            (_, Some(value)) => FieldError::invalid(path, value, detail),
            (_, None) => FieldError { value: None, ..FieldError::invalid(path, "", detail) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_share_what_work_they_may_be() {
        let declared = cel::schema::declare(&json!({"type": "integer"}), false).expect("a number");
        let environment =
            Environment::new().with_declared("self", &declared).with_declared("oldSelf", &declared);
        let program = environment.compile("[self, self, self].size() == 3").expect("it is right").program();
        let program = program.expect("it can be made ready");
        let variables = [CelValue::Int(1), CelValue::Int(1)];
        let mut left = Left { cost: BUDGET, work: 1_000 };
        let mut done = 0;
        while let Some(Ok(CelValue::Bool(true))) = left.evaluate(&program, &variables) {
            done += 1;
        }
        assert!((2..100).contains(&done), "{done}");
        let last = left.evaluate(&program, &variables);
        assert!(matches!(last, Some(Err(EvalError::Cancelled))), "{last:?}");
        assert!(left.cost > BUDGET - 10_000, "it was not that it cost too much");
        left.cost = 1;
        assert!(left.evaluate(&program, &variables).is_none());
    }
}
