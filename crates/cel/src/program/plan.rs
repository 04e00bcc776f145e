//! From a tree to steps.

use std::collections::HashSet;
use std::sync::Arc;

use model::structural::PatternRoom;

use super::{
    Base, Body, Call, Chain, Fold, Program, Qualifier, QualifierKey, Step, is_conversion, type_value,
};
use crate::ast::{Comprehension, Id, Kind, Literal, operator};
use crate::budget::Budget;
use crate::checker::Reference;
use crate::cost::{CallCost, LIST};
use crate::environment::Checked;
use crate::library::{Context, FUNCTIONS, Patterns};
use crate::value::{EvalError, Key, List, Map, Text, Value};

struct Planner<'c, 'r> {
    checked: &'c Checked,
    steps: Vec<Step>,
    /// What patterns may still take.
    room: &'r mut PatternRoom,
    /// How many variables of comprehensions there are around this part.
    depth: usize,
}

pub(super) fn plan(checked: &Checked, room: &mut PatternRoom) -> Result<Program, EvalError> {
    let mut planner = Planner { checked, steps: Vec::with_capacity(checked.ast.nodes.len()), depth: 0, room };
    let root = planner.plan(checked.ast.root)?;
    let depth = depth(&planner.steps, root);
    Ok(Program { steps: planner.steps, root, locals: checked.locals, depth })
}

/// How many steps are within each other at most. What a step is made of is there before it is.
fn depth(steps: &[Step], root: u32) -> usize {
    let mut depths: Vec<usize> = Vec::with_capacity(steps.len());
    for step in steps {
        let mut deepest = 0;
        step.parts(|part| deepest = deepest.max(depths.get(part as usize).copied().unwrap_or(usize::MAX)));
        depths.push(deepest.saturating_add(1));
    }
    depths.get(root as usize).copied().unwrap_or(usize::MAX)
}

fn constant(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Text::Shared(text.clone())),
        Literal::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}

type Planned = Result<u32, EvalError>;

impl<'c> Planner<'c, '_> {
    fn kind(&self, id: Id) -> &'c Kind {
        self.checked.ast.kind(id)
    }

    fn reference(&self, id: Id) -> &'c Reference {
        &self.checked.references[id as usize]
    }

    fn add(&mut self, step: Step) -> u32 {
        let number = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        self.steps.push(step);
        number
    }

    fn value(&self, step: u32) -> Option<&Value<'static>> {
        match &self.steps[step as usize] {
            Step::Constant(value) => Some(value),
            _ => None,
        }
    }

    fn plan(&mut self, id: Id) -> Planned {
        let step = match self.kind(id) {
            Kind::Literal(literal) => Step::Constant(constant(literal)),
            Kind::Ident(name) => match self.reference(id) {
                Reference::Type(ty) => Step::Constant(type_value(ty)),
                Reference::Variable(number) => {
                    let base = if name.contains('.') && !name.starts_with('.') {
                        Base::Composed(*number)
                    } else {
                        Base::Variable(*number)
                    };
                    chain(base)
                }
                Reference::Local(slot) => chain(Base::Local(*slot)),
                Reference::None | Reference::Call(..) => chain(Base::Variable(usize::MAX)),
            },
            Kind::Select { operand, field, test } => {
                let key = QualifierKey::Field(field.clone());
                return self.qualify(*operand, Qualifier { key, optional: false }, *test);
            }
            Kind::Call { function, target, arguments } => return self.call(id, function, *target, arguments),
            Kind::List(elements) => {
                let mut parts = Vec::with_capacity(elements.len());
                for (element, optional) in elements {
                    parts.push((self.plan(*element)?, *optional));
                }
                let constants: Option<Vec<_>> = parts
                    .iter()
                    .map(|(part, optional)| self.value(*part).filter(|_| !optional).cloned())
                    .collect();
                match constants {
                    Some(values) => Step::Constant(Value::list(values)),
                    None => Step::List(parts.into()),
                }
            }
            Kind::Map(entries) => {
                let mut parts = Vec::with_capacity(entries.len());
                for entry in entries {
                    parts.push((self.plan(entry.key)?, self.plan(entry.value)?, entry.optional));
                }
                let constants: Option<Vec<_>> = parts
                    .iter()
                    .map(|(key, value, optional)| {
                        let key = self.value(*key).filter(|key| !optional && Key::of(key).is_some())?;
                        Some((key.clone(), self.value(*value)?.clone()))
                    })
                    .collect();
                let distinct = constants.as_ref().is_some_and(|entries| {
                    let keys: HashSet<_> = entries.iter().filter_map(|(key, _)| Key::of(key)).collect();
                    keys.len() == entries.len()
                });
                match constants {
                    Some(entries) if distinct => Step::Constant(Value::Map(Map::made(entries))),
                    _ => Step::Map(parts.into()),
                }
            }
            Kind::Struct { name, fields } => {
                let mut parts = Vec::with_capacity(fields.len());
                for field in fields {
                    parts.push((field.name.clone(), self.plan(field.value)?, field.optional));
                }
                let name = name.strip_prefix('.').map_or_else(|| name.clone(), Arc::from);
                Step::Struct(name, parts.into())
            }
            Kind::Comprehension(fold) => return self.fold(fold),
        };
        Ok(self.add(step))
    }

    /// Asks something more of what is there.
    fn qualify(&mut self, operand: Id, qualifier: Qualifier, test: bool) -> Planned {
        let operand = self.plan(operand)?;
        match &mut self.steps[operand as usize] {
            Step::Chain(chain) if !chain.test => {
                chain.qualifiers.push(qualifier);
                chain.test = test;
                Ok(operand)
            }
            _ => {
                let chain = Chain { base: Base::Step(operand), qualifiers: vec![qualifier], test };
                Ok(self.add(Step::Chain(Box::new(chain))))
            }
        }
    }

    fn call(&mut self, id: Id, function: &str, target: Option<Id>, arguments: &[Id]) -> Planned {
        if let (operator::OPTIONAL_SELECT, [operand, field]) = (function, arguments) {
            let Kind::Literal(Literal::String(field)) = self.kind(*field) else {
                return self.plan(*operand);
            };
            let key = QualifierKey::Field(field.clone());
            return self.qualify(*operand, Qualifier { key, optional: true }, false);
        }
        if let (operator::INDEX | operator::OPTIONAL_INDEX, [operand, index]) = (function, arguments) {
            let index = self.plan(*index)?;
            let key = match self.value(index) {
                Some(Value::String(text)) => QualifierKey::Field(Arc::from(&**text)),
                Some(value) => QualifierKey::Constant(value.clone()),
                None => QualifierKey::Step(index),
            };
            let optional = function == operator::OPTIONAL_INDEX;
            return self.qualify(*operand, Qualifier { key, optional }, false);
        }
        let mut parts = Vec::with_capacity(arguments.len() + 1);
        for argument in target.iter().chain(arguments) {
            parts.push(self.plan(*argument)?);
        }
        let step = match (function, parts.as_slice()) {
            (operator::AND, [one, two]) => Step::And(*one, *two),
            (operator::OR, [one, two]) => Step::Or(*one, *two),
            (operator::NOT, [one]) => Step::Not(*one),
            (operator::NOT_STRICTLY_FALSE, [one]) => Step::NotStrictlyFalse(*one),
            (operator::CONDITIONAL, [condition, then, otherwise]) => {
                chain(Base::Conditional(*condition, *then, *otherwise))
            }
            ("or", [one, two]) => Step::OptionalOr(*one, *two),
            ("orValue", [one, two]) => Step::OptionalOrValue(*one, *two),
            _ => return self.ordinary(id, parts),
        };
        Ok(self.add(step))
    }

    fn ordinary(&mut self, id: Id, parts: Vec<u32>) -> Planned {
        let (name, overloads) = match self.reference(id) {
            Reference::Call(name, overloads) => (*name, overloads.as_slice()),
            _ => ("", [].as_slice()),
        };
        let Some(function) = FUNCTIONS.get(name) else { return crate::value::no_overload() };
        let overload = match overloads {
            [one] => function.overloads[*one].id.as_str(),
            _ => "",
        };
        if overload == "in_list"
            && let Some(set) = self.value(parts[1]).and_then(set)
        {
            let step = if set.is_empty() {
                Step::Constant(Value::Bool(false))
            } else {
                Step::InSet(parts[0], Arc::new(set))
            };
            return Ok(self.add(step));
        }
        let pattern = match (name, parts.get(1).and_then(|part| self.value(*part)).cloned()) {
            ("matches" | "find" | "findAll", Some(Value::String(text))) => {
                Some(self.room.compiled(&text).map_err(|error| EvalError::Failed(error.into()))?)
            }
            _ => None,
        };
        if is_conversion(name)
            && let [one] = parts.as_slice()
            && let Some(value) = self.value(*one)
        {
            let (mut budget, mut patterns) = (Budget::new(u64::MAX), Patterns::default());
            let mut context =
                Context { budget: &mut budget, overload, pattern: None, patterns: &mut patterns };
            let converted = (function.call)(std::slice::from_ref(value), &mut context)?;
            return Ok(self.add(Step::Constant(converted)));
        }
        let call = Call {
            call: function.call,
            overload: overload.into(),
            cost: CallCost::of(name, overload),
            arguments: parts.into(),
            pattern,
        };
        Ok(self.add(Step::Call(Box::new(call))))
    }

    fn fold(&mut self, fold: &'c Comprehension) -> Planned {
        let slot = self.depth;
        if fold.is_binding(&self.checked.ast) {
            let value = self.plan(fold.init)?;
            self.depth += 1;
            let result = self.plan(fold.result)?;
            self.depth -= 1;
            return Ok(self.add(Step::Bind { slot, value, result }));
        }
        let range = self.plan(fold.range)?;
        let two = fold.variable2.is_some();
        let init = self.plan(fold.init)?;
        self.depth += if two { 3 } else { 2 };
        let body = self.body(fold, slot, init)?;
        self.depth = slot;
        Ok(self.add(Step::Fold(Box::new(Fold { range, slot, two, body }))))
    }

    fn is_accumulator(&self, id: Id, slot: usize) -> bool {
        matches!(self.kind(id), Kind::Ident(_)) && *self.reference(id) == Reference::Local(slot)
    }

    /// What a call of this function is given.
    fn arguments(&self, id: Id, wanted: &str) -> Option<&'c [Id]> {
        match self.kind(id) {
            Kind::Call { function, target: None, arguments } if **function == *wanted => Some(arguments),
            _ => None,
        }
    }

    fn body(&mut self, fold: &'c Comprehension, slot: usize, init: u32) -> Result<Body, EvalError> {
        let whole = self.is_accumulator(fold.result, slot);
        for (function, all) in [(operator::AND, true), (operator::OR, false)] {
            let begins = matches!(self.kind(fold.init), Kind::Literal(Literal::Bool(value)) if *value == all);
            if let Some([so_far, predicate]) = self.arguments(fold.step, function)
                && begins
                && whole
                && self.is_accumulator(*so_far, slot)
            {
                let predicate = self.plan(*predicate)?;
                return Ok(if all { Body::All(predicate) } else { Body::Exists(predicate) });
            }
        }
        // `filter ? accumulator + [element] : accumulator`
        let (filter, inner) = match self.arguments(fold.step, operator::CONDITIONAL) {
            Some([filter, inner, same]) if self.is_accumulator(*same, slot) => (Some(*filter), *inner),
            _ => (None, fold.step),
        };
        let always = matches!(self.kind(fold.condition), Kind::Literal(Literal::Bool(true)));
        if whole
            && always
            && let Some([so_far, added]) = self.arguments(inner, operator::ADD)
            && self.is_accumulator(*so_far, slot)
            && let Kind::List(elements) = self.kind(*added)
            && let [(element, false)] = elements.as_slice()
        {
            let filter = filter.map(|filter| self.plan(filter)).transpose()?;
            let element = self.plan(*element)?;
            // What is so far, a list of one unless that is constant, and one behind the other.
            let cost = 2 + if self.value(element).is_some() { 0 } else { LIST };
            return Ok(Body::Collect { filter, element, cost });
        }
        if whole
            && always
            && let Some([so_far, rest @ ..]) = self.arguments(inner, operator::MAP_INSERT)
            && self.is_accumulator(*so_far, slot)
        {
            let filter = filter.map(|filter| self.plan(filter)).transpose()?;
            let (key, value) = match rest {
                [key, value] => (Some(self.plan(*key)?), self.plan(*value)?),
                [value] => (None, self.plan(*value)?),
                _ => return crate::value::no_overload(),
            };
            return Ok(Body::Insert { filter, key, value });
        }
        let (condition, step) = (self.plan(fold.condition)?, self.plan(fold.step)?);
        let depth = std::mem::replace(&mut self.depth, slot + 1);
        let result = self.plan(fold.result)?;
        self.depth = depth;
        Ok(Body::Other { init, condition, step, result })
    }
}

fn chain(base: Base) -> Step {
    Step::Chain(Box::new(Chain { base, qualifiers: Vec::new(), test: false }))
}

/// The elements of a constant list as a set, if all of them can be keys.
fn set(list: &Value<'static>) -> Option<HashSet<Key<'static>>> {
    match list {
        Value::List(List::Made(values)) => values.iter().map(Key::of).collect(),
        _ => None,
    }
}
