//! Who somebody is, and whether he is taken, by expressions about what his token says.

use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use cel::{Declared, Environment, MOST_WORK, Type, Value};
use serde_json::{Value as Json, json};

use super::configuration::Jwt;
use crate::expression::Expression;
use crate::identity::Identity;

/// Whose values expressions are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// What the token says: `claims`.
    Claims,
    /// Who that is by then: `user`.
    User,
}

/// The expressions of an issuer.
#[derive(Debug, Default)]
pub(super) struct Mapping {
    username: Option<Expression>,
    groups: Option<Expression>,
    uid: Option<Expression>,
    extra: Vec<(String, Expression)>,
    claim_rules: Vec<Rule>,
    user_rules: Vec<Rule>,
}

/// What must be true, and what is said if it is not.
#[derive(Debug)]
struct Rule {
    expression: Expression,
    message: String,
}

static USER: LazyLock<Arc<Declared>> = LazyLock::new(|| {
    let of = |ty: Type| Arc::new(Declared::of(ty));
    let texts = Type::list(Type::String);
    Arc::new(Declared::object(
        "kubernetes.UserInfo",
        [
            ("username", of(Type::String)),
            ("uid", of(Type::String)),
            ("groups", of(texts.clone())),
            ("extra", of(Type::map(Type::String, texts))),
        ],
    ))
});

impl About {
    fn environment(self) -> Environment {
        match self {
            Self::Claims => Environment::new().with_variable("claims", Type::map(Type::String, Type::Dyn)),
            Self::User => Environment::new().with_declared("user", &USER),
        }
    }

    /// Reads an expression that may come to anything.
    pub(super) fn expression(self, source: &str) -> Result<Expression, String> {
        Expression::read(&self.environment(), source)
    }

    /// Reads an expression that says whether somebody is taken.
    pub(super) fn rule(self, source: &str) -> Result<Expression, String> {
        let expression = self.expression(source)?;
        if *expression.output() == Type::Bool {
            Ok(expression)
        } else {
            Err("must evaluate to bool".to_owned())
        }
    }
}

impl Mapping {
    /// Those of an issuer in which nothing is wrong.
    pub(super) fn of(jwt: &Jwt) -> Result<Self, String> {
        let mappings = &jwt.claim_mappings;
        let expression = |source: &str| {
            let read = (!source.is_empty()).then(|| About::Claims.expression(source));
            read.transpose()
        };
        let rule = |about: About, source: &str, message: &str| {
            about.rule(source).map(|expression| Rule { expression, message: message.to_owned() })
        };
        let extra = mappings.extra.iter().map(|extra| {
            Ok::<_, String>((extra.key.clone(), About::Claims.expression(&extra.value_expression)?))
        });
        let claim_rules = jwt.claim_validation_rules.iter().filter(|rule| !rule.expression.is_empty());
        let user_rules = &jwt.user_validation_rules;
        Ok(Self {
            username: expression(&mappings.username.expression)?,
            groups: expression(&mappings.groups.expression)?,
            uid: expression(&mappings.uid.expression)?,
            extra: extra.collect::<Result<_, _>>()?,
            claim_rules: claim_rules
                .map(|one| rule(About::Claims, &one.expression, &one.message))
                .collect::<Result<_, _>>()?,
            user_rules: user_rules
                .iter()
                .map(|one| rule(About::User, &one.expression, &one.message))
                .collect::<Result<_, _>>()?,
        })
    }

    /// What they make of a token that says this.
    pub(super) fn applied<'m>(&'m self, claims: &'m Json) -> Applied<'m> {
        Applied { mapping: self, claims, work: Cell::new(MOST_WORK) }
    }
}

/// The expressions of an issuer, about one token: they share what work they may be.
#[derive(Debug)]
pub(super) struct Applied<'m> {
    mapping: &'m Mapping,
    claims: &'m Json,
    work: Cell<u64>,
}

impl Applied<'_> {
    /// The name, if an expression says it.
    pub(super) fn username(&self) -> Option<Result<String, String>> {
        let name = self.text(self.mapping.username.as_ref()?, "username");
        Some(name.map_err(|why| format!("error evaluating username claim expression: {why}")))
    }

    /// The groups, if an expression says them.
    pub(super) fn groups(&self) -> Option<Result<Vec<String>, String>> {
        let groups = self.texts(self.mapping.groups.as_ref()?);
        Some(groups.map_err(|why| format!("error evaluating group claim expression: {why}")))
    }

    /// The uid, if an expression says it.
    pub(super) fn uid(&self) -> Option<Result<String, String>> {
        let uid = self.text(self.mapping.uid.as_ref()?, "uid");
        Some(uid.map_err(|why| format!("error evaluating uid claim expression: {why}")))
    }

    /// What else is said of him.
    pub(super) fn extra(&self) -> Result<Vec<(String, Vec<String>)>, String> {
        let mut all = Vec::new();
        for (key, expression) in &self.mapping.extra {
            let values = self
                .texts(expression)
                .map_err(|why| format!("error evaluating extra claim expression: {why}"))?;
            if !values.is_empty() {
                all.push((key.clone(), values));
            }
        }
        Ok(all)
    }

    /// Whether the token is taken.
    pub(super) fn check_claims(&self) -> Result<(), String> {
        self.hold(&self.mapping.claim_rules, self.claims, None)
            .map_err(|why| format!("error evaluating claim validation expression: {why}"))
    }

    /// Whether he is taken, whose groups are these by what the token says.
    pub(super) fn check_user(&self, identity: &Identity, groups: &[String]) -> Result<(), String> {
        let rules = &self.mapping.user_rules;
        if rules.is_empty() {
            return Ok(());
        }
        let user = json!({
            "username": identity.user, "uid": identity.uid, "groups": groups, "extra": identity.extra,
        });
        self.hold(rules, &user, Some(&USER))
            .map_err(|why| format!("error evaluating user info validation rule: {why}"))
    }

    fn evaluate<'a>(
        &self,
        expression: &'a Expression,
        about: &'a Json,
        declared: Option<&'a Declared>,
    ) -> Result<Value<'a>, String> {
        let mut work = self.work.get();
        let value =
            Value::from_json(about, declared).and_then(|variable| expression.evaluate(&variable, &mut work));
        self.work.set(work);
        value.map_err(|error| format!("expression '{}' resulted in error: {error}", expression.source()))
    }

    fn text(&self, expression: &Expression, of: &str) -> Result<String, String> {
        match self.evaluate(expression, self.claims, None)?.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(format!("{of} claim expression must return a string")),
        }
    }

    /// What is empty is as what is not there.
    fn texts(&self, expression: &Expression) -> Result<Vec<String>, String> {
        let wrong = || "expression must return a string or a list of strings".to_owned();
        match self.evaluate(expression, self.claims, None)? {
            Value::Null => Ok(Vec::new()),
            Value::String(one) if one.is_empty() => Ok(Vec::new()),
            Value::String(one) => Ok(vec![one.to_string()]),
            Value::List(many) => {
                let mut all = Vec::new();
                for one in many.iter() {
                    let one = one.map_err(|error| error.to_string())?;
                    let one = one.as_str().ok_or_else(wrong)?;
                    if !one.is_empty() {
                        all.push(one.to_owned());
                    }
                }
                Ok(all)
            }
            _ => Err(wrong()),
        }
    }

    /// Whether rules hold of what is declared like this.
    fn hold(&self, rules: &[Rule], about: &Json, declared: Option<&Declared>) -> Result<(), String> {
        // All are evaluated before one is looked at: an error is told rather than a refusal.
        let values: Vec<Option<bool>> = rules
            .iter()
            .map(|rule| Ok(self.evaluate(&rule.expression, about, declared)?.as_bool()))
            .collect::<Result<_, String>>()?;
        for (rule, value) in rules.iter().zip(values) {
            match value {
                Some(true) => {}
                Some(false) => {
                    let (source, message) = (rule.expression.source(), &rule.message);
                    return Err(format!("validation expression '{source}' failed: {message}"));
                }
                None => return Err("validation expression must return a boolean".to_owned()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
