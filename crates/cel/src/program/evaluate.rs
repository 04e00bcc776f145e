//! Evaluation.

use std::sync::Arc;

use super::{Base, Body, Call, Chain, Fold, Program, Qualifier, QualifierKey, Step, Variables};
use crate::budget::Budget;
use crate::cost::{LIST, MAP, SELECT, STRUCT};
use crate::library::{Context, Patterns, first_valued, value_or};
use crate::value::{
    Entries, EvalError, Evaluated, Fields, Key, List, Made, Map, Object, Value, equal, failed, no_overload,
    shown,
};

/// What an evaluation has besides the program.
struct Frame<'a, 'f> {
    program: &'a Program,
    variables: &'f dyn Variables<'a>,
    /// Variables of comprehensions: those that hold what there is so far may hold a failure.
    locals: Vec<Evaluated<'a>>,
    budget: &'f mut Budget,
    patterns: Patterns,
}

pub(super) fn evaluate<'a>(
    program: &'a Program,
    variables: &dyn Variables<'a>,
    budget: &mut Budget,
) -> Evaluated<'a> {
    let locals = vec![Ok(Value::Null); program.locals];
    let mut frame = Frame { program, variables, locals, budget, patterns: Patterns::default() };
    frame.step(program.root)
}

/// What is asked of a value: it is there, or not.
enum Asked<'a> {
    There(Value<'a>),
    Missing,
}

impl<'a> Frame<'a, '_> {
    fn step(&mut self, number: u32) -> Evaluated<'a> {
        let program = self.program;
        match &program.steps[number as usize] {
            Step::Constant(value) => Ok(value.clone()),
            Step::Chain(chain) => self.chain(chain, true),
            Step::And(one, two) => self.both(*one, *two, false),
            Step::Or(one, two) => self.both(*one, *two, true),
            Step::Not(one) => {
                let value = self.step(*one)?;
                self.budget.spend(1)?;
                match value {
                    Value::Bool(value) => Ok(Value::Bool(!value)),
                    _ => no_overload(),
                }
            }
            Step::NotStrictlyFalse(one) => {
                let value = self.step(*one);
                self.budget.spend(1)?;
                match value {
                    Err(EvalError::Cancelled) => Err(EvalError::Cancelled),
                    Ok(Value::Bool(false)) => Ok(Value::Bool(false)),
                    _ => Ok(Value::Bool(true)),
                }
            }
            Step::OptionalOr(one, two) => {
                let first = self.step(*one)?;
                first_valued(first, || self.step(*two))
            }
            Step::OptionalOrValue(one, two) => {
                let first = self.step(*one)?;
                value_or(first, || self.step(*two))
            }
            Step::InSet(one, set) => {
                let value = self.step(*one)?;
                self.hashed(&value)?;
                Ok(Value::Bool(Key::of(&value).is_some_and(|key| set.contains(&key))))
            }
            Step::Call(call) => self.call(call),
            Step::List(elements) => self.list(elements),
            Step::Map(entries) => self.map(entries),
            Step::Struct(name, fields) => {
                let mut made = Fields::with_capacity(fields.len());
                for (field, value, optional) in fields {
                    let value = match (self.step(*value)?, optional) {
                        (Value::Optional(None), true) => continue,
                        (Value::Optional(Some(value)), true) => Value::clone(&value),
                        (_, true) => return no_overload(),
                        (value, false) => value,
                    };
                    made.insert(field.clone(), value);
                }
                self.budget.work(64 * (made.len() + 1))?;
                self.budget.spend(STRUCT)?;
                let made = Made { name: name.clone(), fields: made.into() };
                Value::Object(Object::Made(Arc::new(made))).not_too_deep()
            }
            Step::Fold(fold) => self.fold(fold),
            Step::Bind { slot, value, result } => {
                self.locals[*slot] = self.step(*value);
                if let Err(EvalError::Cancelled) = self.locals[*slot] {
                    return Err(EvalError::Cancelled);
                }
                self.step(*result)
            }
        }
    }

    /// `&&` and `||`: a failure counts only if the other does not decide.
    fn both(&mut self, one: u32, two: u32, decides: bool) -> Evaluated<'a> {
        let mut failure = None;
        for number in [one, two] {
            match self.step(number) {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => {
                    failure.get_or_insert(EvalError::Failed("no such overload".into()));
                }
                Err(EvalError::Cancelled) => return Err(EvalError::Cancelled),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        failure.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn call(&mut self, call: &'a Call) -> Evaluated<'a> {
        match *call.arguments {
            [] => self.invoke(call, &[]),
            [one] => {
                let arguments = [self.step(one)?];
                self.invoke(call, &arguments)
            }
            [one, two] => {
                let arguments = [self.step(one)?, self.step(two)?];
                self.invoke(call, &arguments)
            }
            ref more => {
                let arguments =
                    more.iter().map(|number| self.step(*number)).collect::<Result<Vec<_>, _>>()?;
                self.invoke(call, &arguments)
            }
        }
    }

    fn invoke(&mut self, call: &Call, arguments: &[Value<'a>]) -> Evaluated<'a> {
        for argument in arguments {
            // Its characters are counted, whatever the call does with it.
            if let Value::String(text) = argument {
                self.budget.work(text.len() / 64)?;
            }
        }
        let before = call.cost.is_known_before();
        if before {
            let cost = call.cost.count(arguments, None, self.budget)?;
            self.budget.spend(cost)?;
        }
        let mut context = Context {
            budget: self.budget,
            overload: &call.overload,
            pattern: call.pattern.as_deref(),
            patterns: &mut self.patterns,
        };
        let result = (call.call)(arguments, &mut context);
        if !before {
            let cost = call.cost.count(arguments, result.as_ref().ok(), self.budget)?;
            self.budget.spend(cost)?;
        }
        result
    }

    fn list(&mut self, elements: &[(u32, bool)]) -> Evaluated<'a> {
        let mut values = Vec::with_capacity(elements.len());
        for (element, optional) in elements {
            match (self.step(*element)?, optional) {
                (Value::Optional(None), true) => {}
                (Value::Optional(Some(value)), true) => values.push(Arc::unwrap_or_clone(value)),
                (_, true) => return no_overload(),
                (value, false) => values.push(value),
            }
        }
        self.budget.work(32 * (values.len() + 1))?;
        self.budget.spend(LIST)?;
        Value::list(values).not_too_deep()
    }

    fn map(&mut self, parts: &[(u32, u32, bool)]) -> Evaluated<'a> {
        let mut entries = Entries::with_capacity(parts.len());
        for (key, value, optional) in parts {
            let (key, mut value) = (self.step(*key)?, self.step(*value)?);
            if *optional {
                value = match value {
                    Value::Optional(None) => continue,
                    Value::Optional(Some(value)) => Arc::unwrap_or_clone(value),
                    _ => return no_overload(),
                };
            }
            self.hashed(&key)?;
            let Some(place) = Key::of(&key) else {
                return failed(format!("unsupported key type: {}", key.ty().name()));
            };
            if entries.insert(place, (key.clone(), value)).is_some() {
                return failed(format!("Failed with repeated key: {key}"));
            }
        }
        self.budget.work(128 * (entries.len() + 1))?;
        self.budget.spend(MAP)?;
        Value::Map(Map::of(entries)).not_too_deep()
    }

    /// A key is looked at as a whole wherever it is looked up.
    fn hashed(&mut self, key: &Value<'a>) -> Result<(), EvalError> {
        match key {
            Value::String(text) => self.budget.work(text.len() / 8),
            _ => Ok(()),
        }
    }

    /// `counted` says whether looking at the beginning costs: as a branch or an index it does not.
    fn chain(&mut self, chain: &'a Chain, counted: bool) -> Evaluated<'a> {
        let counted = counted && !chain.test;
        let mut value = match chain.base {
            Base::Variable(number) => {
                let value = self.variables.get(number, self.budget)?;
                if counted {
                    self.budget.spend(SELECT)?;
                }
                value
            }
            Base::Composed(number) => {
                let value = self.variables.get(number, self.budget)?;
                self.budget.spend(SELECT + u64::from(counted))?;
                value
            }
            Base::Local(slot) => {
                if counted {
                    self.budget.spend(SELECT)?;
                }
                self.locals[slot].clone()?
            }
            Base::Conditional(condition, then, otherwise) => {
                let branch = match self.step(condition)? {
                    Value::Bool(true) => then,
                    Value::Bool(false) => otherwise,
                    _ => return no_overload(),
                };
                self.uncounted(branch)?
            }
            Base::Step(number) => {
                let value = self.step(number)?;
                if counted {
                    self.budget.spend(SELECT)?;
                }
                value
            }
        };
        if chain.qualifiers.is_empty() {
            return Ok(value);
        }
        let mut optional = false;
        if let Value::Optional(held) = value {
            match held {
                None if chain.test => return Ok(Value::Bool(false)),
                None => return Ok(Value::Optional(None)),
                Some(held) => {
                    optional = true;
                    value = Arc::unwrap_or_clone(held);
                }
            }
        }
        let last = chain.qualifiers.len() - 1;
        for (index, qualifier) in chain.qualifiers.iter().enumerate() {
            optional |= qualifier.optional;
            let test = chain.test && index == last;
            match self.ask(&value, qualifier, optional || test)? {
                Asked::There(_) if test => {
                    self.budget.spend(SELECT)?;
                    return Ok(Value::Bool(true));
                }
                Asked::There(next) => {
                    self.budget.spend(SELECT)?;
                    value = next;
                }
                Asked::Missing if test => {
                    self.budget.spend(SELECT)?;
                    return Ok(Value::Bool(false));
                }
                Asked::Missing if chain.test => return Ok(Value::Bool(false)),
                Asked::Missing => return Ok(Value::Optional(None)),
            }
        }
        Ok(if optional { Value::some(value) } else { value })
    }

    /// A step whose beginning, if it has one, costs nothing.
    fn uncounted(&mut self, number: u32) -> Evaluated<'a> {
        let program = self.program;
        match &program.steps[number as usize] {
            Step::Chain(chain) => self.chain(chain, false),
            _ => self.step(number),
        }
    }

    /// Asks a value for a field, an entry or an element. If it may be missing, it is no failure that it is.
    fn ask(
        &mut self,
        value: &Value<'a>,
        qualifier: &'a Qualifier,
        missing: bool,
    ) -> Result<Asked<'a>, EvalError> {
        let key = match &qualifier.key {
            QualifierKey::Field(name) => {
                self.budget.work(name.len() / 8)?;
                let found = match value {
                    Value::Map(map) => map.field(name)?,
                    Value::Object(object) => object.get(name)?,
                    Value::List(_) => return failed("unsupported index type 'string' in list"),
                    _ => None,
                };
                return match found {
                    Some(value) => Ok(Asked::There(value)),
                    None if missing => Ok(Asked::Missing),
                    None => failed(format!("no such key: {}", shown(name))),
                };
            }
            QualifierKey::Constant(value) => value.clone(),
            QualifierKey::Step(number) => self.uncounted(*number)?,
        };
        self.hashed(&key)?;
        let found = match (value, &key) {
            (Value::Map(map), key) => map.get(key)?,
            (Value::Object(object), Value::String(name)) => object.get(name)?,
            (Value::List(list), key) => {
                let index = match key {
                    Value::Int(index) => usize::try_from(*index).ok(),
                    Value::Uint(index) => usize::try_from(*index).ok(),
                    Value::Double(index) if index.fract() == 0.0 && *index >= 0.0 => Some(*index as usize),
                    Value::Double(_) => return failed(format!("unsupported index value {key} in list")),
                    other => {
                        return failed(format!("unsupported index type '{}' in list", other.ty().name()));
                    }
                };
                match index.filter(|index| *index < list.len()) {
                    Some(index) => Some(list.get(index)?),
                    None if missing => None,
                    None => return failed(format!("index out of bounds: {key}")),
                }
            }
            _ => None,
        };
        match found {
            Some(value) => Ok(Asked::There(value)),
            None if missing => Ok(Asked::Missing),
            None => failed(format!("no such key: {key}")),
        }
    }

    fn fold(&mut self, fold: &'a Fold) -> Evaluated<'a> {
        let range = self.step(fold.range)?;
        let (list, map) = match range {
            Value::List(list) => (Some(list), None),
            Value::Map(map) if fold.two => (None, Some(map)),
            Value::Map(map) => {
                self.budget.work(32 * map.len())?;
                (Some(List::made(map.keys())), None)
            }
            other => return failed(format!("got '{}', expected iterable type", other.ty().name())),
        };
        let length = list.as_ref().map_or(0, List::len) + map.as_ref().map_or(0, Map::len);
        let entries = map.map(|map| map.entries().into_owned());
        let mut next = |frame: &mut Self, index: usize| -> Result<(), EvalError> {
            let slot = fold.slot + 1;
            match (&list, &entries) {
                (Some(list), _) if fold.two => {
                    frame.locals[slot] = Ok(Value::Int(index as i64));
                    frame.locals[slot + 1] = list.get(index);
                }
                (Some(list), _) => frame.locals[slot] = list.get(index),
                (None, Some(entries)) => {
                    let (key, value) = &entries[index];
                    frame.locals[slot] = Ok(key.clone());
                    frame.locals[slot + 1] = value.clone();
                }
                (None, None) => {}
            }
            frame.budget.work(8)
        };
        match &fold.body {
            Body::All(predicate) => self.quantify(*predicate, length, false, &mut next),
            Body::Exists(predicate) => self.quantify(*predicate, length, true, &mut next),
            Body::Collect { filter, element, cost } => {
                let mut values = Vec::new();
                for index in 0..length {
                    next(self, index)?;
                    if !self.passes(*filter)? {
                        continue;
                    }
                    let value = self.step(*element)?;
                    self.budget.spend(*cost)?;
                    self.budget.work(32)?;
                    values.push(value);
                }
                self.budget.spend(SELECT)?;
                Value::list(values).not_too_deep()
            }
            Body::Insert { filter, key, value } => {
                let mut made = Entries::new();
                for index in 0..length {
                    next(self, index)?;
                    if !self.passes(*filter)? {
                        continue;
                    }
                    let key = key.map(|key| self.step(key)).transpose()?;
                    let value = self.step(*value)?;
                    self.budget.spend(2)?;
                    match (key, value) {
                        (Some(key), value) => self.insert(&mut made, key, value)?,
                        (None, Value::Map(map)) => {
                            self.budget.work(map.len().saturating_mul(16))?;
                            for (key, value) in map.entries().iter() {
                                self.insert(&mut made, key.clone(), value.clone()?)?;
                            }
                        }
                        (None, _) => return no_overload(),
                    }
                }
                self.budget.spend(SELECT)?;
                Value::Map(Map::of(made)).not_too_deep()
            }
            Body::Other { init, condition, step, result } => {
                let init = self.step(*init);
                self.locals[fold.slot] = init;
                for index in 0..length {
                    next(self, index)?;
                    match self.step(*condition) {
                        Ok(Value::Bool(false)) => break,
                        Err(EvalError::Cancelled) => return Err(EvalError::Cancelled),
                        _ => {}
                    }
                    let so_far = self.step(*step);
                    if let Err(EvalError::Cancelled) = so_far {
                        return so_far;
                    }
                    self.locals[fold.slot] = so_far;
                }
                self.step(*result)
            }
        }
    }

    /// Whether all are, or one is. A failure counts only if no other decides.
    fn quantify(
        &mut self,
        predicate: u32,
        length: usize,
        decides: bool,
        next: &mut dyn FnMut(&mut Self, usize) -> Result<(), EvalError>,
    ) -> Evaluated<'a> {
        // What there is so far is looked at twice and asked whether it decides, negated for `exists`.
        let each = 3 + u64::from(decides);
        let mut failure = None;
        let mut decided = false;
        for index in 0..length {
            next(self, index)?;
            self.budget.spend(each)?;
            match self.step(predicate) {
                Ok(Value::Bool(value)) if value == decides => {
                    decided = true;
                    // Whether to go on is asked once more if there is another.
                    if index + 1 < length {
                        self.budget.spend(each - 1)?;
                    }
                    break;
                }
                Ok(Value::Bool(_)) => {}
                Ok(_) => {
                    failure.get_or_insert(EvalError::Failed("no such overload".into()));
                }
                Err(EvalError::Cancelled) => return Err(EvalError::Cancelled),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        self.budget.spend(SELECT)?;
        match failure {
            Some(error) if !decided => Err(error),
            _ => Ok(Value::Bool(decided == decides)),
        }
    }

    fn passes(&mut self, filter: Option<u32>) -> Result<bool, EvalError> {
        match filter {
            None => Ok(true),
            Some(filter) => match self.step(filter)? {
                Value::Bool(value) => Ok(value),
                _ => no_overload(),
            },
        }
    }

    fn insert(&mut self, made: &mut Entries<'a>, key: Value<'a>, value: Value<'a>) -> Result<(), EvalError> {
        self.budget.work(128)?;
        self.hashed(&key)?;
        let Some(place) = Key::of(&key) else {
            return failed(format!("unsupported key type: {}", key.ty().name()));
        };
        if let Some((_, known)) = made.get(&place) {
            let _ = equal(known, &value, self.budget)?;
            return failed(format!("insert failed: key {key} already exists"));
        }
        made.insert(place, (key, value));
        Ok(())
    }
}
