//! Expressions that are ready to be evaluated.
//!
//! A tree is turned into steps: what is constant is worked out, chains of selections become one step, loops that
//! macros make get steps of their own, so that collecting elements does not copy what was collected. Cost is
//! counted as Kubernetes' interpreter counts it, which is not always what the estimate says.

mod evaluate;
mod plan;

use std::collections::HashSet;
use std::sync::Arc;

use ::regex::Regex;

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
    pattern: Option<Regex>,
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
    pub(crate) fn new(checked: &Checked) -> Result<Self, ProgramError> {
        plan::plan(checked).map_err(ProgramError)
    }

    /// What the expression comes to. What it cost is in the budget.
    pub fn evaluate<'a>(&'a self, variables: &dyn Variables<'a>, budget: &mut Budget) -> Evaluated<'a> {
        evaluate::evaluate(self, variables, budget)
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
