//! What can be told to be wrong before anything is evaluated: literals that are no moments, spans or patterns,
//! aggregates of several types, formats that do not fit what is formatted.

use model::structural::syntax_error;

use crate::ast::{Ast, Id, Kind, Literal, children};
use crate::checker::Reference;
use crate::source::Issues;
use crate::time;
use crate::types::Type;

struct Validator<'v> {
    ast: &'v Ast,
    types: &'v [Type],
    references: &'v [Reference],
    issues: &'v mut Issues,
}

/// Complains about what is wrong with an expression whose types are right.
pub(crate) fn validate(ast: &Ast, types: &[Type], references: &[Reference], issues: &mut Issues) {
    Validator { ast, types, references, issues }.validate(ast.root, false);
}

impl Validator<'_> {
    fn literal(&self, id: Id) -> Option<&str> {
        match self.ast.kind(id) {
            Kind::Literal(Literal::String(text)) => Some(text),
            _ => None,
        }
    }

    /// `formatted` says that it is within what is formatted: there types may differ.
    fn validate(&mut self, id: Id, formatted: bool) {
        let mut within = formatted;
        match self.ast.kind(id) {
            Kind::Call { function, target, arguments } => {
                let (function, arguments) = (function.clone(), arguments.clone());
                let called = matches!(self.references[id as usize], Reference::Call(..));
                if called && let Some(first) = arguments.first() {
                    self.argument(&function, *first);
                }
                if &*function == "format" && target.is_some() {
                    within = true;
                    self.format(id, *target, &arguments);
                }
            }
            Kind::List(elements) if !formatted => {
                let elements = elements.clone();
                self.same(elements.iter().map(|(element, optional)| (*element, *optional)));
            }
            Kind::Map(entries) if !formatted => {
                let entries = entries.clone();
                self.same(entries.iter().map(|entry| (entry.key, false)));
                self.same(entries.iter().map(|entry| (entry.value, entry.optional)));
            }
            _ => {}
        }
        let mut below = Vec::new();
        children(self.ast.kind(id), |child| below.push(child));
        for child in below {
            self.validate(child, within);
        }
    }

    fn argument(&mut self, function: &str, argument: Id) {
        let at = self.ast.get(argument).at;
        let number = match self.ast.kind(argument) {
            Kind::Literal(Literal::Int(number)) => Some(*number),
            _ => None,
        };
        let wrong = match (function, self.literal(argument), number) {
            ("duration", Some(text), _) => time::parse_duration(text).is_none(),
            ("timestamp", Some(text), _) => {
                time::parse_moment(text).is_none_or(|moment| time::checked(Some(moment)).is_err())
            }
            ("timestamp", _, Some(number)) => {
                time::checked(jiff::Timestamp::from_second(number).ok()).is_err()
            }
            ("matches", Some(text), _) => syntax_error(text).is_some(),
            _ => false,
        };
        if wrong {
            self.issues.report(at, format!("invalid {function} argument"));
        }
    }

    fn same(&mut self, elements: impl Iterator<Item = (Id, bool)>) {
        let mut first: Option<Type> = None;
        for (element, optional) in elements {
            let ty = &self.types[element as usize];
            let ty = if optional { ty.in_optional().unwrap_or(ty) } else { ty };
            match &first {
                None => first = Some(ty.clone()),
                Some(first) if first == ty => {}
                Some(first) => {
                    let message = format!("expected type '{first}' but found '{ty}'");
                    self.issues.report(self.ast.get(element).at, message);
                    return;
                }
            }
        }
    }

    /// Whether each clause of a format has something of its type.
    fn format(&mut self, id: Id, target: Option<Id>, arguments: &[Id]) {
        let (Some(text), [list]) = (target.and_then(|target| self.literal(target)), arguments) else {
            return;
        };
        let Kind::List(elements) = self.ast.kind(*list) else { return };
        let mut used = 0;
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                rest = after;
                continue;
            }
            let verb_at = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
            let Some(verb) = rest[verb_at..].chars().next() else {
                self.issues.report(self.ast.get(id).at, "unexpected end of string");
                return;
            };
            rest = &rest[verb_at + verb.len_utf8()..];
            let Some((element, _)) = elements.get(used) else {
                self.issues.report(self.ast.get(id).at, format!("index {used} out of range"));
                return;
            };
            used += 1;
            let ty = &self.types[*element as usize];
            let wanted = match verb {
                's' => match ty {
                    Type::Object(_) | Type::Opaque(..) => {
                        "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, \
                         durations, and timestamps"
                    }
                    _ => continue,
                },
                'd' if !matches!(ty, Type::Int | Type::Uint) => "decimal clause can only be used on integers",
                'f' if *ty != Type::Double => "fixed-point clause can only be used on doubles",
                'e' if *ty != Type::Double => "scientific clause can only be used on doubles",
                'b' if !matches!(ty, Type::Int | Type::Uint | Type::Bool) => {
                    "binary clause can only be used on integers and bools"
                }
                'o' if !matches!(ty, Type::Int | Type::Uint) => "octal clause can only be used on integers",
                'x' | 'X' if !matches!(ty, Type::Int | Type::Uint | Type::String | Type::Bytes) => {
                    "hex clause can only be used on integers, byte buffers, and strings"
                }
                'd' | 'f' | 'e' | 'b' | 'o' | 'x' | 'X' => continue,
                _ => {
                    let message = format!(
                        "could not parse formatting clause: unrecognized formatting clause \"{verb}\""
                    );
                    self.issues.report(self.ast.get(id).at, message);
                    return;
                }
            };
            if ty.is_dyn() {
                continue;
            }
            let message = format!("error during formatting: {wanted}, was given {ty}");
            self.issues.report(self.ast.get(*element).at, message);
            return;
        }
        let given = elements.len();
        if given > used {
            let message =
                format!("too many arguments supplied to string.format (expected {used}, got {given})");
            self.issues.report(self.ast.get(id).at, message);
        }
    }
}
