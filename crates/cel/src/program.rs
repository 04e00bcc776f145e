//! Expressions that are ready to be evaluated.
//!
//! A tree is turned into steps: what is constant is worked out, chains of selections become one step, loops that
//! macros make get steps of their own, so that collecting elements does not copy what was collected. Cost is
//! counted as Kubernetes' interpreter counts it, which is not always what the estimate says.

mod evaluate;
mod plan;

use std::collections::HashSet;
use std::sync::Arc;

use model::structural::{PatternRoom, Regex};

use crate::budget::Budget;
use crate::cost::CallCost;
use crate::environment::Checked;
use crate::library::Implementation;
use crate::types::Type;
use crate::value::{EvalError, Evaluated, Key, Value};

/// An expression that can be evaluated any number of times.
#[derive(Debug)]
pub struct Program {
    steps: Vec<Step>,
    root: u32,
    locals: usize,
    depth: usize,
}

/// Why an expression cannot be made ready: something in it that is constant fails.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ProgramError(#[source] pub EvalError);

/// The values of variables, by the numbers that the environment gave them.
pub trait Variables<'a> {
    /// The value of a variable. It may be worked out now, at the expense of whoever asks.
    fn get(&self, number: usize, budget: &mut Budget) -> Evaluated<'a>;
}

impl<'a> Variables<'a> for [Value<'a>] {
    fn get(&self, number: usize, _: &mut Budget) -> Evaluated<'a> {
        match <[Value<'a>]>::get(self, number) {
            Some(value) => Ok(value.clone()),
            None => crate::value::failed("no such attribute(s)"),
        }
    }
}

impl<'a, const N: usize> Variables<'a> for [Value<'a>; N] {
    fn get(&self, number: usize, budget: &mut Budget) -> Evaluated<'a> {
        Variables::get(self.as_slice(), number, budget)
    }
}

/// A part of an expression.
#[derive(Debug)]
enum Step {
    Constant(Value<'static>),
    Chain(Box<Chain>),
    And(u32, u32),
    Or(u32, u32),
    Not(u32),
    NotStrictlyFalse(u32),
    OptionalOr(u32, u32),
    OptionalOrValue(u32, u32),
    /// Whether it is one of these.
    InSet(u32, Arc<HashSet<Key<'static>>>),
    Call(Box<Call>),
    List(Box<[(u32, bool)]>),
    Map(Box<[(u32, u32, bool)]>),
    Struct(Arc<str>, Box<[(Arc<str>, u32, bool)]>),
    Fold(Box<Fold>),
    /// A value that has a name, and what is said with it.
    Bind {
        slot: usize,
        value: u32,
        result: u32,
    },
}

#[derive(Debug)]
struct Call {
    call: Implementation,
    overload: Box<str>,
    cost: CallCost,
    arguments: Box<[u32]>,
    pattern: Option<Arc<Regex>>,
}

/// A beginning, and what is asked of it, one after another.
#[derive(Debug)]
struct Chain {
    base: Base,
    qualifiers: Vec<Qualifier>,
    /// Whether the last is asked only to be there.
    test: bool,
}

#[derive(Debug)]
enum Base {
    Variable(usize),
    /// A variable whose name has a point, which looks like a selection and costs as much.
    Composed(usize),
    Local(usize),
    Conditional(u32, u32, u32),
    Step(u32),
}

#[derive(Debug)]
struct Qualifier {
    key: QualifierKey,
    optional: bool,
}

#[derive(Debug)]
enum QualifierKey {
    Field(Arc<str>),
    Constant(Value<'static>),
    Step(u32),
}

/// A loop.
#[derive(Debug)]
struct Fold {
    range: u32,
    /// Where what there is so far is, behind which the variables are.
    slot: usize,
    two: bool,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// Whether all are.
    All(u32),
    /// Whether one is.
    Exists(u32),
    /// Those that pass, or something of each.
    Collect {
        filter: Option<u32>,
        element: u32,
        cost: u64,
    },
    /// A map: something under a key, or the entries of a map.
    Insert {
        filter: Option<u32>,
        key: Option<u32>,
        value: u32,
    },
    Other {
        init: u32,
        condition: u32,
        step: u32,
        result: u32,
    },
}

impl Program {
    /// Makes an expression ready.
    pub(crate) fn new(checked: &Checked, patterns: &mut PatternRoom) -> Result<Self, ProgramError> {
        plan::plan(checked, patterns).map_err(ProgramError)
    }

    /// How many steps are within each other at most while it is evaluated: each takes frames of the stack. What the
    /// variables take that it speaks of comes on top.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// What the expression comes to. What it cost is in the budget.
    pub fn evaluate<'a>(&'a self, variables: &dyn Variables<'a>, budget: &mut Budget) -> Evaluated<'a> {
        evaluate::evaluate(self, variables, budget)
    }
}

impl Step {
    /// Calls for each step that this one evaluates.
    fn parts(&self, mut each: impl FnMut(u32)) {
        match self {
            Self::Constant(_) => {}
            Self::Chain(chain) => {
                match chain.base {
                    Base::Variable(_) | Base::Composed(_) | Base::Local(_) => {}
                    Base::Conditional(one, two, three) => [one, two, three].into_iter().for_each(&mut each),
                    Base::Step(one) => each(one),
                }
                for qualifier in &chain.qualifiers {
                    if let QualifierKey::Step(key) = qualifier.key {
                        each(key);
                    }
                }
            }
            Self::And(one, two)
            | Self::Or(one, two)
            | Self::OptionalOr(one, two)
            | Self::OptionalOrValue(one, two)
            | Self::Bind { value: one, result: two, .. } => [*one, *two].into_iter().for_each(each),
            Self::Not(one) | Self::NotStrictlyFalse(one) | Self::InSet(one, _) => each(*one),
            Self::Call(call) => call.arguments.iter().copied().for_each(each),
            Self::List(parts) => parts.iter().for_each(|(part, _)| each(*part)),
            Self::Map(parts) => parts.iter().for_each(|(key, value, _)| {
                each(*key);
                each(*value);
            }),
            Self::Struct(_, parts) => parts.iter().for_each(|(_, part, _)| each(*part)),
            Self::Fold(fold) => {
                each(fold.range);
                match &fold.body {
                    Body::All(one) | Body::Exists(one) => each(*one),
                    Body::Collect { filter, element, .. } => {
                        filter.iter().chain([element]).for_each(|one| each(*one))
                    }
                    Body::Insert { filter, key, value } => {
                        filter.iter().chain(key).chain([value]).for_each(|one| each(*one));
                    }
                    Body::Other { init, condition, step, result } => {
                        [*init, *condition, *step, *result].into_iter().for_each(each);
                    }
                }
            }
        }
    }
}

/// The types that a conversion to them is worked out beforehand for, if what is converted is constant.
fn is_conversion(function: &str) -> bool {
    matches!(
        function,
        "bool" | "bytes" | "double" | "dyn" | "duration" | "int" | "string" | "timestamp" | "uint" | "type"
    )
}

/// A type as a value.
fn type_value(ty: &Type) -> Value<'static> {
    Value::Type(ty.clone())
}
