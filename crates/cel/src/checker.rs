//! Types: every part of an expression gets one, every name and every call what it means.

use std::sync::Arc;

use crate::ast::{Ast, Comprehension, Entry, Field, Id, Kind, Literal, operator};
use crate::environment::Environment;
use crate::library::{FUNCTIONS, Function};
use crate::source::Issues;
use crate::types::{HEAVIEST, Type, Unifier, most_general};

/// How many steps comparing types may take in one expression.
const STEPS: u64 = 2_000_000;
/// The type of an entry of `JSONPatch`.
pub(crate) const JSON_PATCH: &str = "JSONPatch";

/// What a name or a call means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reference {
    None,
    /// A variable of the environment.
    Variable(usize),
    /// A variable of a comprehension, by its place among those around it.
    Local(usize),
    /// The name of a type.
    Type(Type),
    /// A function, and which of its overloads may be meant.
    Call(&'static str, Vec<usize>),
}

/// An expression with types.
pub(crate) struct Outcome {
    pub(crate) ast: Ast,
    pub(crate) types: Vec<Type>,
    pub(crate) references: Vec<Reference>,
    /// How many variables of comprehensions there are at once.
    pub(crate) locals: usize,
}

struct Checker<'e, 'i> {
    environment: &'e Environment,
    ast: Ast,
    types: Vec<Type>,
    references: Vec<Reference>,
    scopes: Vec<(Arc<str>, Type)>,
    locals: usize,
    unifier: Unifier,
    issues: &'i mut Issues,
}

/// Checks the types of an expression.
pub(crate) fn check(environment: &Environment, ast: Ast, issues: &mut Issues) -> Outcome {
    let (count, root) = (ast.nodes.len(), ast.root);
    let mut checker = Checker {
        environment,
        ast,
        types: vec![Type::Error; count],
        references: vec![Reference::None; count],
        scopes: Vec::new(),
        locals: 0,
        unifier: Unifier::new(STEPS),
        issues,
    };
    checker.check(root);
    if checker.unifier.is_exhausted() {
        checker.issues.report_whole("the types of the expression are too large to be checked");
    }
    let Checker { ast, mut types, references, locals, unifier, .. } = checker;
    for ty in &mut types {
        *ty = unifier.resolve(ty, true);
    }
    Outcome { ast, types, references, locals }
}

impl Checker<'_, '_> {
    fn check(&mut self, id: Id) {
        let kind = std::mem::replace(&mut self.ast.nodes[id as usize].kind, Kind::Literal(Literal::Null));
        let (kind, ty) = self.typed(id, kind);
        self.ast.nodes[id as usize].kind = kind;
        self.set(id, ty);
    }

    fn set(&mut self, id: Id, ty: Type) {
        if ty.weight() > HEAVIEST {
            self.issues.report(self.ast.get(id).at, "the type of the expression is too large");
            self.types[id as usize] = Type::Error;
            return;
        }
        self.types[id as usize] = ty;
    }

    fn ty(&self, id: Id) -> &Type {
        &self.types[id as usize]
    }

    fn report(&mut self, id: Id, message: impl Into<String>) {
        let at = self.ast.get(id).at;
        self.issues.report(at, message);
    }

    fn undeclared(&mut self, id: Id, name: &str) -> Type {
        self.report(id, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn typed(&mut self, id: Id, kind: Kind) -> (Kind, Type) {
        match kind {
            Kind::Literal(literal) => {
                let ty = match &literal {
                    Literal::Null => Type::Null,
                    Literal::Bool(_) => Type::Bool,
                    Literal::Int(_) => Type::Int,
                    Literal::Uint(_) => Type::Uint,
                    Literal::Double(_) => Type::Double,
                    Literal::String(_) => Type::String,
                    Literal::Bytes(_) => Type::Bytes,
                };
                (Kind::Literal(literal), ty)
            }
            Kind::Ident(name) => {
                let ty = match self.lookup(id, &name) {
                    Some(ty) => ty,
                    None => self.undeclared(id, &name),
                };
                (Kind::Ident(name), ty)
            }
            Kind::Select { operand, field, test } => self.select(id, operand, field, test),
            Kind::Call { function, target, arguments } => self.call(id, function, target, arguments),
            Kind::List(elements) => {
                let ty = self.list(&elements);
                (Kind::List(elements), ty)
            }
            Kind::Map(entries) => {
                let ty = self.map(&entries);
                (Kind::Map(entries), ty)
            }
            Kind::Struct { name, fields } => {
                let ty = self.message(id, &name, &fields);
                (Kind::Struct { name, fields }, ty)
            }
            Kind::Comprehension(fold) => {
                let ty = self.comprehension(&fold);
                (Kind::Comprehension(fold), ty)
            }
        }
    }

    /// The type of what a name means, which is noted.
    fn lookup(&mut self, id: Id, name: &str) -> Option<Type> {
        let global = name.strip_prefix('.');
        if global.is_none()
            && let Some(place) = self.scopes.iter().rposition(|(known, _)| **known == *name)
        {
            self.references[id as usize] = Reference::Local(place);
            return Some(self.scopes[place].1.clone());
        }
        let name = global.unwrap_or(name);
        if let Some(number) = self.environment.variable(name) {
            self.references[id as usize] = Reference::Variable(number);
            return Some(self.environment.variables[number].ty.clone());
        }
        let named = named_type(name)?;
        self.references[id as usize] = Reference::Type(named.clone());
        Some(Type::of(named))
    }

    /// The name that a chain of selections is: `a.b.c`.
    fn qualified(&self, operand: Id) -> Option<String> {
        let mut parts = Vec::new();
        let mut next = operand;
        loop {
            match self.ast.kind(next) {
                Kind::Ident(name) => {
                    parts.push(name.clone());
                    break;
                }
                Kind::Select { operand, field, test: false } => {
                    parts.push(field.clone());
                    next = *operand;
                }
                _ => return None,
            }
        }
        parts.reverse();
        Some(parts.join("."))
    }

    fn select(&mut self, id: Id, operand: Id, field: Arc<str>, test: bool) -> (Kind, Type) {
        // A point in the name of a variable looks like a selection.
        if let Some(prefix) = self.qualified(operand) {
            let name = format!("{prefix}.{field}");
            if test {
                // What is declared is there.
                if self.environment.variable(&name).is_some() && self.environment.variable(&prefix).is_none()
                {
                    return (Kind::Literal(Literal::Bool(true)), Type::Bool);
                }
            } else if let Some(ty) = self.lookup(id, &name) {
                return (Kind::Ident(name.into()), ty);
            }
        }
        let ty = self.select_field(id, operand, &field, false);
        let ty = if test { Type::Bool } else { self.unifier.resolve(&ty, false) };
        (Kind::Select { operand, field, test }, ty)
    }

    fn select_field(&mut self, id: Id, operand: Id, field: &str, optional: bool) -> Type {
        self.check(operand);
        let of = self.unifier.resolve(self.ty(operand), false);
        let (target, within) = match of.in_optional() {
            Some(inner) => (inner.clone(), true),
            None => (of, false),
        };
        let result = match &target {
            Type::Map(parameters) => parameters[1].clone(),
            Type::Object(name) => match self.field_type(name, field) {
                Some(ty) => ty,
                None => {
                    self.report(id, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
            Type::Param(_) => {
                self.unifier.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                self.report(id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if within || optional { Type::optional(result) } else { result }
    }

    /// The type of a field of an object.
    fn field_type(&self, object: &str, field: &str) -> Option<Type> {
        if let Some(shape) = self.environment.objects.get(object) {
            let reserved =
                || shape.fields.get(format!("__{field}__").as_str()).filter(|of| *of.json == *field);
            return shape.fields.get(field).or_else(reserved).map(|of| of.declared.ty());
        }
        if !self.environment.mutation {
            return None;
        }
        match (object, field) {
            (JSON_PATCH, "op" | "path" | "from") => Some(Type::String),
            (JSON_PATCH, "value") => Some(Type::Dyn),
            (name, _) if is_mutated(name) => Some(Type::Dyn),
            _ => None,
        }
    }

    fn function(&self, name: &str) -> Option<&'static Function> {
        // Paths of patches are made where patches are.
        let found = FUNCTIONS.get(name.strip_prefix('.').unwrap_or(name))?;
        (self.environment.mutation || found.name != "jsonpatch.escapeKey").then_some(found)
    }

    fn call(&mut self, id: Id, function: Arc<str>, target: Option<Id>, arguments: Vec<Id>) -> (Kind, Type) {
        if &*function == operator::OPTIONAL_SELECT {
            let ty = match self.ast.kind(arguments[1]) {
                Kind::Literal(Literal::String(field)) => {
                    let field = field.clone();
                    self.set(arguments[1], Type::String);
                    let ty = self.select_field(id, arguments[0], &field, true);
                    self.unifier.resolve(&ty, false)
                }
                _ => Type::Error,
            };
            self.references[id as usize] = Reference::Call(operator::OPTIONAL_SELECT, vec![0]);
            return (Kind::Call { function, target, arguments }, ty);
        }
        for argument in &arguments {
            self.check(*argument);
        }
        let Some(on) = target else {
            let ty = match self.function(&function) {
                Some(found) => self.resolve(id, found, None, &arguments),
                None => self.undeclared(id, &function),
            };
            return (Kind::Call { function, target, arguments }, ty);
        };
        // `format.uri()` is no call on anything, but a function with a point in its name.
        if let Some(prefix) = self.qualified(on)
            && let Some(found) = self.function(&format!("{prefix}.{function}"))
        {
            let ty = self.resolve(id, found, None, &arguments);
            return (Kind::Call { function: found.name.into(), target: None, arguments }, ty);
        }
        self.check(on);
        let ty = match self.function(&function) {
            Some(found) => self.resolve(id, found, Some(on), &arguments),
            None => self.undeclared(id, &function),
        };
        (Kind::Call { function, target, arguments }, ty)
    }

    /// Finds the overloads that a call may mean.
    fn resolve(&mut self, id: Id, function: &'static Function, target: Option<Id>, arguments: &[Id]) -> Type {
        let given: Vec<Type> = target.iter().chain(arguments).map(|id| self.ty(*id).clone()).collect();
        if matches!(function.name, operator::AND | operator::OR) {
            for (argument, ty) in arguments.iter().zip(&given) {
                if !self.unifier.assignable(ty, &Type::Bool) {
                    let ty = self.unifier.resolve(ty, true);
                    self.report(*argument, format!("expected type 'bool' but found '{ty}'"));
                }
            }
            self.references[id as usize] = Reference::Call(function.name, vec![0]);
            return Type::Bool;
        }
        let mut result: Option<Type> = None;
        let mut found = Vec::new();
        for (index, overload) in function.overloads.iter().enumerate() {
            if overload.member != target.is_some() || overload.arguments.len() != given.len() {
                continue;
            }
            let first = self.unifier.fresh_range(overload.parameters);
            let wanted: Vec<Type> = overload.arguments.iter().map(|ty| shifted(ty, first)).collect();
            if !self.unifier.assignable_all(&given, &wanted) {
                continue;
            }
            found.push(index);
            let ty = self.unifier.resolve(&shifted(&overload.result, first), false);
            result = Some(match result {
                None => ty,
                Some(known) if known.is_dyn() || known == ty => known,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let given: Vec<String> =
                given.iter().map(|ty| self.unifier.resolve(ty, true).to_string()).collect();
            let signature = match (target, given.split_first()) {
                (Some(_), Some((on, rest))) => format!("{on}.({})", rest.join(", ")),
                _ => format!("({})", given.join(", ")),
            };
            let name = function.name;
            self.report(id, format!("found no matching overload for '{name}' applied to '{signature}'"));
            return Type::Error;
        };
        self.references[id as usize] = Reference::Call(function.name, found);
        result
    }

    /// The type of elements so far and of the next one.
    fn join(&mut self, before: Option<Type>, next: Type) -> Type {
        match before {
            None => next,
            Some(before) if self.unifier.assignable(&before, &next) => most_general(&before, &next),
            Some(_) => Type::Dyn,
        }
    }

    /// The type of what an optional element holds.
    fn held(&mut self, id: Id) -> Type {
        let ty = self.ty(id).clone();
        match ty.in_optional() {
            Some(inner) => inner.clone(),
            None => {
                if !ty.is_dyn() {
                    let wanted = Type::optional(ty.clone());
                    self.report(id, format!("expected type '{wanted}' but found '{ty}'"));
                }
                ty
            }
        }
    }

    fn list(&mut self, elements: &[(Id, bool)]) -> Type {
        let mut of = None;
        for (element, optional) in elements {
            self.check(*element);
            let ty = if *optional { self.held(*element) } else { self.ty(*element).clone() };
            of = Some(self.join(of, ty));
        }
        Type::list(of.unwrap_or_else(|| self.unifier.fresh()))
    }

    fn map(&mut self, entries: &[Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            self.check(entry.key);
            let key = self.ty(entry.key).clone();
            keys = Some(self.join(keys, key));
            self.check(entry.value);
            let value = if entry.optional { self.held(entry.value) } else { self.ty(entry.value).clone() };
            values = Some(self.join(values, value));
        }
        let keys = keys.unwrap_or_else(|| self.unifier.fresh());
        let values = values.unwrap_or_else(|| self.unifier.fresh());
        Type::map(keys, values)
    }

    fn message(&mut self, id: Id, name: &str, fields: &[Field]) -> Type {
        let name = name.strip_prefix('.').unwrap_or(name);
        // Only what a mutation makes is made; all else is read.
        let known = self.environment.mutation && (name == JSON_PATCH || is_mutated(name));
        if !known {
            return self.undeclared(id, name);
        }
        for field in fields {
            self.check(field.value);
            let value = if field.optional { self.held(field.value) } else { self.ty(field.value).clone() };
            let Some(wanted) = self.field_type(name, &field.name) else {
                self.issues.report(field.at, format!("undefined field '{}'", field.name));
                continue;
            };
            if !self.unifier.assignable(&wanted, &value) {
                let value = self.unifier.resolve(&value, true);
                let field_name = &field.name;
                self.issues.report(
                    field.at,
                    format!(
                        "expected type of field '{field_name}' is '{wanted}' but provided type is '{value}'"
                    ),
                );
            }
        }
        Type::object(name)
    }

    fn comprehension(&mut self, fold: &Comprehension) -> Type {
        self.check(fold.range);
        self.check(fold.init);
        let range = self.unifier.resolve(self.ty(fold.range), false);
        let accumulated = self.ty(fold.init).clone();
        let two = fold.variable2.is_some();
        let (first, second) = match &range {
            Type::List(of) if two => (Type::Int, of[0].clone()),
            Type::List(of) => (of[0].clone(), Type::Error),
            Type::Map(of) => (of[0].clone(), of[1].clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.unifier.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.report(fold.range, message);
                (Type::Error, Type::Error)
            }
        };
        self.scopes.push((fold.accumulator.clone(), accumulated.clone()));
        self.scopes.push((fold.variable.clone(), first));
        if let Some(variable) = &fold.variable2 {
            self.scopes.push((variable.clone(), second));
        }
        self.locals = self.locals.max(self.scopes.len());
        self.check(fold.condition);
        self.assert(fold.condition, &Type::Bool);
        self.check(fold.step);
        self.assert(fold.step, &accumulated);
        let outside = self.scopes.len() - if two { 2 } else { 1 };
        self.scopes.truncate(outside);
        self.check(fold.result);
        self.scopes.pop();
        self.unifier.resolve(self.ty(fold.result), false)
    }

    fn assert(&mut self, id: Id, wanted: &Type) {
        let ty = self.ty(id).clone();
        if !self.unifier.assignable(wanted, &ty) {
            let (wanted, ty) = (self.unifier.resolve(wanted, true), self.unifier.resolve(&ty, true));
            self.report(id, format!("expected type '{wanted}' but found '{ty}'"));
        }
    }
}

/// Whether that is an object that a mutation makes: `Object`, `Object.spec`.
pub(crate) fn is_mutated(name: &str) -> bool {
    name == "Object" || name.starts_with("Object.")
}

/// A type of a declaration with its parameters numbered from here.
fn shifted(ty: &Type, first: u32) -> Type {
    match ty {
        Type::Param(number) => Type::Param(first + number),
        other => match other.parameters() {
            Some(parameters) if !parameters.is_empty() => {
                other.with(parameters.iter().map(|part| shifted(part, first)).collect())
            }
            _ => other.clone(),
        },
    }
}

/// The type of a name that means one.
fn named_type(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "google.protobuf.Duration" => Type::Duration,
        "int" => Type::Int,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "null_type" => Type::Null,
        "string" => Type::String,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "type" => Type::of(Type::Dyn),
        "uint" => Type::Uint,
        "optional_type" => Type::optional(Type::Dyn),
        "net.IP" => Type::opaque("net.IP"),
        "net.CIDR" => Type::opaque("net.CIDR"),
        _ => return None,
    })
}
