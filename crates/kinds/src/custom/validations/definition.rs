//! What is asked of the rules of a definition: they compile, and what they may cost is not too much.

use cel::PatternRoom;
use model::field::{FieldError, FieldErrorKind, Path};
use model::structural::{Additional, Kind, ListType, Structural};
use model::validate::Errors;
use serde_json::{Value, json};

use super::field_path;
use super::rule::{self, Rule};

/// What one rule may cost, for all values that there may be.
const RULE_LIMIT: u64 = 10_000_000;
/// What all rules of a definition may cost.
const TOTAL_LIMIT: u64 = 100_000_000;
/// How many rules are named where all of them cost too much.
const NAMED: usize = 4;

struct Checker<'e> {
    errors: &'e mut Errors,
    /// What patterns in all rules may still take.
    room: PatternRoom,
    total: u64,
    expensive: Vec<(u64, String)>,
}

/// Where a schema stands.
#[derive(Clone, Copy)]
struct Place<'p> {
    /// How many values of it there may be at most, if that is known.
    count: Option<u64>,
    /// The list in which it is not known what was which before.
    uncorrelated: Option<&'p str>,
    root: bool,
}

/// What is wrong with the rules of a schema (`openAPIV3Schema`), which `path` names. It is asked after all else is
/// right.
pub(crate) fn check_definition(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Ok(schema) = Structural::parse(schema) else { return };
    let mut checker = Checker { errors, room: PatternRoom::default(), total: 0, expensive: Vec::new() };
    checker.check(&schema, &schema, path, Place { count: Some(1), uncorrelated: None, root: true });
    let Checker { errors, total, mut expensive, .. } = checker;
    if total > TOTAL_LIMIT {
        expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, field) in expensive.into_iter().take(NAMED) {
            let why =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError { field, ..FieldError::forbidden(path, why) });
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, too_much(what, total, TOTAL_LIMIT)));
    }
}

fn too_much(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

/// How often what is in a value of this schema can be there at most.
fn inside(schema: &Structural) -> Option<u64> {
    let most = |size: Option<i64>| size.map(|size| u64::try_from(size).unwrap_or(0));
    let asked = schema.asked.as_deref();
    match (schema.kind, &schema.additional) {
        (Kind::Object, Additional::Of(_) | Additional::Allowed(_)) => {
            most(asked.and_then(|asked| asked.max_properties))
        }
        (Kind::Array, _) => most(asked.and_then(|asked| asked.max_items)),
        _ => Some(1),
    }
}

impl Checker<'_> {
    /// Rules of `rules`, about values of `schema`.
    fn check(&mut self, rules: &Structural, schema: &Structural, path: &Path<'_>, place: Place<'_>) {
        let count = place.count.zip(inside(schema)).map(|(count, inside)| count.saturating_mul(inside));
        let below = Place { count, root: false, ..place };
        for (name, inner) in &rules.properties {
            if let Some(schema) = schema.property(name) {
                let properties = path.child("properties");
                let below = Place { root: schema.embedded, ..below };
                self.check(inner, schema, &properties.key(name), below);
            }
        }
        if let (Some(inner), Some(schema)) = (rules.additional(), schema.additional()) {
            let below = Place { root: schema.embedded, ..below };
            self.check(inner, schema, &path.child("additionalProperties"), below);
        }
        if let (Some(inner), Some(items)) = (&rules.items, &schema.items) {
            let own = path.to_string();
            let is_map = matches!(schema.list, ListType::Map(_));
            let uncorrelated = place.uncorrelated.or((!is_map).then_some(own.as_str()));
            let below = Place { root: items.embedded, uncorrelated, ..below };
            self.check(inner, items, &path.child("items"), below);
        }
        for (index, part) in rules.asked.iter().flat_map(|asked| &asked.all_of).enumerate() {
            let parts = path.child("allOf");
            self.check(part, schema, &parts.index(index), place);
        }
        if !rules.validations.is_empty() {
            self.rules(rules, schema, path, place);
        }
    }

    fn rules(&mut self, rules: &Structural, schema: &Structural, path: &Path<'_>, place: Place<'_>) {
        let list = path.child("x-kubernetes-validations");
        let Some(declared) = rule::declare(schema, place.root) else {
            let why = "failed to retrieve type information for x-kubernetes-validations";
            self.errors.push(FieldError {
                kind: FieldErrorKind::Internal,
                field: list.to_string(),
                value: None,
                detail: why.to_owned(),
            });
            return;
        };
        let often = place.count.unwrap_or(cel::schema::MAX_REQUEST / (declared.least_json() + 1));
        for (index, written) in rules.validations.iter().enumerate() {
            let path = list.index(index);
            let (place_of_rule, place_of_message) = (path.child("rule"), path.child("messageExpression"));
            if let Some(field) = written.field_path.as_deref().filter(|field| !field.trim().is_empty())
                && field_path::of(field, schema).is_none()
            {
                self.errors.push(FieldError::invalid(
                    &path.child("fieldPath"),
                    field,
                    "must be a valid path",
                ));
            }
            let rule = Rule::of(written, &declared, schema, &mut self.room);
            let cost = rule.cost.max.saturating_mul(often);
            self.observe(&place_of_rule, "estimated rule cost", cost);
            let value = json!({"rule": written.rule, "messageExpression": written.message_expression});
            if let Err(why) = &rule.program {
                self.errors.push(FieldError::invalid(&place_of_rule, value.clone(), why.as_str()));
            }
            match &rule.message {
                Err(why) => self.errors.push(FieldError::invalid(&place_of_message, value, why.as_str())),
                Ok(Some(_)) => {
                    self.observe(
                        &place_of_message,
                        "estimated messageExpression cost",
                        rule.message_cost.max,
                    );
                }
                Ok(None) => {}
            }
            if rule.uses_old {
                if let Some(list) = place.uncorrelated {
                    let why = format!(
                        "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
                    );
                    self.errors.push(FieldError::invalid(&place_of_rule, &*written.rule, why));
                }
            } else if let Some(optional) = written.optional_old_self {
                let why = "may not be set if oldSelf is not used in rule";
                self.errors.push(FieldError::invalid(&path.child("optionalOldSelf"), optional, why));
            }
        }
    }

    fn observe(&mut self, path: &Path<'_>, what: &str, cost: u64) {
        if cost > RULE_LIMIT {
            self.errors.push(FieldError::forbidden(path, too_much(what, cost, RULE_LIMIT)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= TOTAL_LIMIT / 100 {
            self.expensive.push((cost, path.to_string()));
        }
    }
}
