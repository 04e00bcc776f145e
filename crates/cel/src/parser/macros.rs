//! Macros: calls that become something else while they are read.
//!
//! Those of the language (`has`, `all`, `exists`, `exists_one`, `map`, `filter`), with one variable or two, and of
//! the libraries (`transformList`, `transformMap`, `transformMapEntry`, `optMap`, `optFlatMap`, `sortBy`). What
//! they become is what Kubernetes makes of them, since cost is counted by it.

use std::sync::Arc;

use super::{Parsed, Parser};
use crate::ast::{ACCUMULATOR, Comprehension, Id, Kind, Literal, operator};

/// A variable that no source can name: it is never looked at.
const UNUSED: &str = "#unused";
/// What `sortBy` is applied to.
const SORT_INPUT: &str = "@__sortBy_input__";

impl Parser<'_> {
    /// A call of a function by its name, or the macro of that name.
    pub(super) fn global_call(&mut self, at: u32, function: &str, arguments: Vec<Id>) -> Parsed<Id> {
        if let ("has", [argument]) = (function, arguments.as_slice()) {
            let place = self.ast.get(*argument).at;
            let Kind::Select { operand, field, test: false } = self.ast.kind(*argument) else {
                return self.fail(place, "invalid argument to has() macro");
            };
            let (operand, field) = (*operand, field.clone());
            return self.add(at, Kind::Select { operand, field, test: true });
        }
        self.add(at, Kind::Call { function: function.into(), target: None, arguments })
    }

    /// A call on a target, or the macro of that name with so many arguments.
    pub(super) fn member_call(
        &mut self,
        at: u32,
        function: &str,
        target: Id,
        arguments: Vec<Id>,
    ) -> Parsed<Id> {
        match (function, arguments.as_slice()) {
            ("all" | "exists" | "exists_one" | "existsOne", [variable, predicate]) => {
                let variable = self.variable(*variable, "argument must be a simple name")?;
                self.quantifier(at, function, target, (variable, None), *predicate)
            }
            ("all" | "exists" | "exists_one" | "existsOne", [first, second, predicate]) => {
                let variables = self.variables(*first, *second)?;
                self.quantifier(at, function, target, variables, *predicate)
            }
            ("map", [variable, transform]) => self.map_macro(at, target, *variable, None, *transform),
            ("map", [variable, filter, transform]) => {
                self.map_macro(at, target, *variable, Some(*filter), *transform)
            }
            ("filter", [variable, predicate]) => {
                self.map_macro(at, target, *variable, Some(*predicate), *variable)
            }
            ("transformList" | "transformMap" | "transformMapEntry", [first, second, rest @ ..])
                if matches!(rest.len(), 1 | 2) =>
            {
                let variables = self.variables(*first, *second)?;
                self.transform(at, function, target, variables, rest)
            }
            ("optMap" | "optFlatMap", [variable, transform]) => {
                self.optional_map(at, function, target, *variable, *transform)
            }
            ("sortBy", [variable, key]) => self.sort_by(at, target, *variable, *key),
            _ => self.add(at, Kind::Call { function: function.into(), target: Some(target), arguments }),
        }
    }

    /// The name that an argument gives to what a macro goes through.
    fn variable(&mut self, argument: Id, otherwise: &str) -> Parsed<Arc<str>> {
        let place = self.ast.get(argument).at;
        let name = match self.ast.kind(argument) {
            Kind::Ident(name) => name.clone(),
            _ => return self.fail(place, otherwise),
        };
        if matches!(&*name, ACCUMULATOR | "__result__") {
            return self.fail(place, "iteration variable overwrites accumulator variable");
        }
        Ok(name)
    }

    fn variables(&mut self, first: Id, second: Id) -> Parsed<(Arc<str>, Option<Arc<str>>)> {
        let one = self.variable(first, "argument must be a simple name")?;
        let two = self.variable(second, "argument must be a simple name")?;
        if one == two {
            let place = self.ast.get(second).at;
            return self.fail(place, format!("duplicate variable name: {one}"));
        }
        Ok((one, Some(two)))
    }

    fn accumulated(&mut self, at: u32) -> Parsed<Id> {
        self.add(at, Kind::Ident(ACCUMULATOR.into()))
    }

    fn constant(&mut self, at: u32, literal: Literal) -> Parsed<Id> {
        self.add(at, Kind::Literal(literal))
    }

    fn fold(
        &mut self,
        at: u32,
        range: Id,
        (variable, variable2): (Arc<str>, Option<Arc<str>>),
        [init, condition, step, result]: [Id; 4],
    ) -> Parsed<Id> {
        let accumulator = ACCUMULATOR.into();
        let fold = Comprehension { range, variable, variable2, accumulator, init, condition, step, result };
        self.add(at, Kind::Comprehension(Box::new(fold)))
    }

    fn quantifier(
        &mut self,
        at: u32,
        function: &str,
        range: Id,
        variables: (Arc<str>, Option<Arc<str>>),
        predicate: Id,
    ) -> Parsed<Id> {
        let parts = match function {
            "all" | "exists" => {
                let all = function == "all";
                let init = self.constant(at, Literal::Bool(all))?;
                let mut condition = self.accumulated(at)?;
                if !all {
                    condition = self.call(at, operator::NOT, vec![condition])?;
                }
                let condition = self.call(at, operator::NOT_STRICTLY_FALSE, vec![condition])?;
                let so_far = self.accumulated(at)?;
                let joined = if all { operator::AND } else { operator::OR };
                let step = self.call(at, joined, vec![so_far, predicate])?;
                [init, condition, step, self.accumulated(at)?]
            }
            _ => {
                let init = self.constant(at, Literal::Int(0))?;
                let condition = self.constant(at, Literal::Bool(true))?;
                let (so_far, one) = (self.accumulated(at)?, self.constant(at, Literal::Int(1))?);
                let more = self.call(at, operator::ADD, vec![so_far, one])?;
                let same = self.accumulated(at)?;
                let step = self.call(at, operator::CONDITIONAL, vec![predicate, more, same])?;
                let (found, one) = (self.accumulated(at)?, self.constant(at, Literal::Int(1))?);
                [init, condition, step, self.call(at, operator::EQUALS, vec![found, one])?]
            }
        };
        self.fold(at, range, variables, parts)
    }

    fn map_macro(
        &mut self,
        at: u32,
        range: Id,
        variable: Id,
        filter: Option<Id>,
        transform: Id,
    ) -> Parsed<Id> {
        let variable = self.variable(variable, "argument is not an identifier")?;
        self.collect(at, range, (variable, None), filter, transform)
    }

    /// `accumulator + [transform]` for each that passes the filter.
    fn collect(
        &mut self,
        at: u32,
        range: Id,
        variables: (Arc<str>, Option<Arc<str>>),
        filter: Option<Id>,
        transform: Id,
    ) -> Parsed<Id> {
        let init = self.add(at, Kind::List(Vec::new()))?;
        let condition = self.constant(at, Literal::Bool(true))?;
        let so_far = self.accumulated(at)?;
        let element = self.add(at, Kind::List(vec![(transform, false)]))?;
        let step = self.call(at, operator::ADD, vec![so_far, element])?;
        let step = self.filtered(at, filter, step)?;
        let result = self.accumulated(at)?;
        self.fold(at, range, variables, [init, condition, step, result])
    }

    fn filtered(&mut self, at: u32, filter: Option<Id>, step: Id) -> Parsed<Id> {
        let Some(filter) = filter else { return Ok(step) };
        let same = self.accumulated(at)?;
        self.call(at, operator::CONDITIONAL, vec![filter, step, same])
    }

    fn transform(
        &mut self,
        at: u32,
        function: &str,
        range: Id,
        variables: (Arc<str>, Option<Arc<str>>),
        rest: &[Id],
    ) -> Parsed<Id> {
        let (filter, transform) = match rest {
            [filter, transform] => (Some(*filter), *transform),
            _ => (None, rest[0]),
        };
        if function == "transformList" {
            return self.collect(at, range, variables, filter, transform);
        }
        let init = self.add(at, Kind::Map(Vec::new()))?;
        let condition = self.constant(at, Literal::Bool(true))?;
        let mut arguments = vec![self.accumulated(at)?];
        if function == "transformMap" {
            arguments.push(self.add(at, Kind::Ident(variables.0.clone()))?);
        }
        arguments.push(transform);
        let step = self.call(at, operator::MAP_INSERT, arguments)?;
        let step = self.filtered(at, filter, step)?;
        let result = self.accumulated(at)?;
        self.fold(at, range, variables, [init, condition, step, result])
    }

    /// Gives a name to a value within an expression.
    fn bind(&mut self, at: u32, name: Arc<str>, value: Id, inner: Id) -> Parsed<Id> {
        let range = self.add(at, Kind::List(Vec::new()))?;
        let condition = self.constant(at, Literal::Bool(false))?;
        let step = self.add(at, Kind::Ident(name.clone()))?;
        let fold = Comprehension {
            range,
            variable: UNUSED.into(),
            variable2: None,
            accumulator: name,
            init: value,
            condition,
            step,
            result: inner,
        };
        self.add(at, Kind::Comprehension(Box::new(fold)))
    }

    fn optional_map(
        &mut self,
        at: u32,
        function: &str,
        target: Id,
        variable: Id,
        transform: Id,
    ) -> Parsed<Id> {
        let place = self.ast.get(variable).at;
        let Kind::Ident(name) = self.ast.kind(variable) else {
            return self.fail(place, format!("{function}() variable name must be a simple identifier"));
        };
        let name = name.clone();
        let Some(again) = self.ast.copy(target) else {
            return self.fail(at, format!("expression has more than {} parts", crate::ast::MOST_NODES));
        };
        let has = self.on(at, "hasValue", target)?;
        let value = self.on(at, "value", again)?;
        let mut inner = self.bind(at, name, value, transform)?;
        if function == "optMap" {
            inner = self.call(at, "optional.of", vec![inner])?;
        }
        let none = self.call(at, "optional.none", Vec::new())?;
        self.call(at, operator::CONDITIONAL, vec![has, inner, none])
    }

    fn on(&mut self, at: u32, function: &str, target: Id) -> Parsed<Id> {
        self.add(at, Kind::Call { function: function.into(), target: Some(target), arguments: Vec::new() })
    }

    fn sort_by(&mut self, at: u32, target: Id, variable: Id, key: Id) -> Parsed<Id> {
        let place = self.ast.get(target).at;
        if !matches!(
            self.ast.kind(target),
            Kind::List(_) | Kind::Select { .. } | Kind::Ident(_) | Kind::Comprehension(_) | Kind::Call { .. }
        ) {
            let message =
                "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return self.fail(place, message);
        }
        let input = self.add(at, Kind::Ident(SORT_INPUT.into()))?;
        let keys = self.map_macro(at, input, variable, None, key)?;
        let input = self.add(at, Kind::Ident(SORT_INPUT.into()))?;
        let call = Kind::Call {
            function: "@sortByAssociatedKeys".into(),
            target: Some(input),
            arguments: vec![keys],
        };
        let sorted = self.add(at, call)?;
        self.bind(at, SORT_INPUT.into(), target, sorted)
    }
}
