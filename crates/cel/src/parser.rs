//! From words to a tree: the grammar of the language, by recursive descent.
//!
//! The grammar is that of the language's definition, with optional selections, indices and elements and names
//! in backticks. `&&` and `||` chains become balanced trees, as Kubernetes makes them, so that a long condition
//! is not a deep one. Macros are expanded on the way ([`macros`]).

mod literal;
mod macros;

use std::sync::Arc;

use crate::ast::{Ast, DEEPEST, Entry, Field, Id, Kind, Literal, MOST_NODES, operator};
use crate::lexer::{self, Token, Word};
use crate::source::Issues;

/// How many characters an expression may have.
const LONGEST: usize = 100_000;
/// How deep parentheses, indices, arguments and chains of operators may go.
const NESTED: u32 = 250;

const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];
const PRIMARY: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, \
                       STRING, BYTES, IDENTIFIER}";

/// Parsing has ended: the reason is among the issues.
pub(crate) struct Stop;

type Parsed<T> = Result<T, Stop>;

pub(crate) struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    next: usize,
    nested: u32,
    ast: Ast,
    issues: Issues,
}

/// Reads an expression.
pub(crate) fn parse(source: &str) -> Result<Ast, Issues> {
    let mut issues = Issues::new(source);
    let length = source.chars().count();
    if length > LONGEST {
        issues.report_whole(format!(
            "expression code point size exceeds limit: size: {length}, limit {LONGEST}"
        ));
        return Err(issues);
    }
    let tokens = lexer::words(source, &mut issues);
    let mut parser = Parser { source, tokens, next: 0, nested: 0, ast: Ast::default(), issues };
    if let Ok(root) = parser.whole() {
        parser.ast.root = root;
    }
    parser.issues.into_result(parser.ast)
}

impl Parser<'_> {
    fn whole(&mut self) -> Parsed<Id> {
        let root = self.expression()?;
        if self.peek().kind != Word::End {
            let (at, text) = (self.peek().at, self.text(self.next).to_owned());
            return self.fail(at, format!("Syntax error: mismatched input '{text}' expecting <EOF>"));
        }
        Ok(root)
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.next]
    }

    fn text(&self, index: usize) -> &str {
        let token = &self.tokens[index];
        match token.kind {
            Word::End => "<EOF>",
            _ => &self.source[token.span.0..token.span.1],
        }
    }

    fn advance(&mut self) -> u32 {
        let at = self.peek().at;
        // The last word is the end, which is never passed.
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        at
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek().kind, Word::Symbol(found) if found == symbol)
    }

    fn accept(&mut self, symbol: &str) -> Option<u32> {
        self.is(symbol).then(|| self.advance())
    }

    fn expect(&mut self, symbol: &str) -> Parsed<u32> {
        match self.accept(symbol) {
            Some(at) => Ok(at),
            None => self.unexpected(&format!("'{symbol}'")),
        }
    }

    fn unexpected<T>(&mut self, wanted: &str) -> Parsed<T> {
        let (at, text) = (self.peek().at, self.text(self.next).to_owned());
        self.fail(at, format!("Syntax error: mismatched input '{text}' expecting {wanted}"))
    }

    fn fail<T>(&mut self, at: u32, message: impl Into<String>) -> Parsed<T> {
        self.issues.report(at, message);
        Err(Stop)
    }

    fn too_deep<T>(&mut self) -> Parsed<T> {
        self.issues.report_whole(format!("expression recursion limit exceeded: {NESTED}"));
        Err(Stop)
    }

    fn add(&mut self, at: u32, kind: Kind) -> Parsed<Id> {
        if self.ast.nodes.len() >= MOST_NODES {
            return self.fail(at, format!("expression has more than {MOST_NODES} parts"));
        }
        let id = self.ast.add(at, kind);
        if self.ast.depth(id) > DEEPEST {
            return self.too_deep();
        }
        Ok(id)
    }

    fn call(&mut self, at: u32, function: &str, arguments: Vec<Id>) -> Parsed<Id> {
        self.add(at, Kind::Call { function: function.into(), target: None, arguments })
    }

    fn expression(&mut self) -> Parsed<Id> {
        self.nested += 1;
        if self.nested > NESTED {
            return self.too_deep();
        }
        let condition = self.chain("||", operator::OR)?;
        let result = match self.accept("?") {
            None => condition,
            Some(at) => {
                let then = self.chain("||", operator::OR)?;
                self.expect(":")?;
                let otherwise = self.expression()?;
                self.call(at, operator::CONDITIONAL, vec![condition, then, otherwise])?
            }
        };
        self.nested -= 1;
        Ok(result)
    }

    /// A chain of `&&`, or of `||` between chains of `&&`.
    fn chain(&mut self, symbol: &'static str, function: &'static str) -> Parsed<Id> {
        let mut terms = vec![self.term(symbol)?];
        let mut places = Vec::new();
        while let Some(at) = self.accept(symbol) {
            places.push(at);
            terms.push(self.term(symbol)?);
        }
        if places.is_empty() {
            return Ok(terms[0]);
        }
        self.balanced(function, &terms, &places)
    }

    fn term(&mut self, symbol: &str) -> Parsed<Id> {
        if symbol == "||" { self.chain("&&", operator::AND) } else { self.relation() }
    }

    fn balanced(&mut self, function: &str, terms: &[Id], places: &[u32]) -> Parsed<Id> {
        let middle = places.len() / 2;
        let left = match &places[..middle] {
            [] => terms[middle],
            before => self.balanced(function, &terms[..=middle], before)?,
        };
        let right = match &places[middle + 1..] {
            [] => terms[middle + 1],
            after => self.balanced(function, &terms[middle + 1..], after)?,
        };
        self.call(places[middle], function, vec![left, right])
    }

    fn relation(&mut self) -> Parsed<Id> {
        let mut left = self.calculation(true)?;
        for length in 1.. {
            let function = match self.peek().kind {
                Word::Symbol("<") => operator::LESS,
                Word::Symbol("<=") => operator::LESS_EQUALS,
                Word::Symbol(">") => operator::GREATER,
                Word::Symbol(">=") => operator::GREATER_EQUALS,
                Word::Symbol("==") => operator::EQUALS,
                Word::Symbol("!=") => operator::NOT_EQUALS,
                Word::Ident if self.text(self.next) == "in" => operator::IN,
                _ => break,
            };
            left = self.operate(function, left, length, |parser| parser.calculation(true))?;
        }
        Ok(left)
    }

    /// Sums, or the products that are added up.
    fn calculation(&mut self, sums: bool) -> Parsed<Id> {
        let mut left = if sums { self.calculation(false)? } else { self.unary()? };
        for length in 1.. {
            let function = match self.peek().kind {
                Word::Symbol("+") if sums => operator::ADD,
                Word::Symbol("-") if sums => operator::SUBTRACT,
                Word::Symbol("*") if !sums => operator::MULTIPLY,
                Word::Symbol("/") if !sums => operator::DIVIDE,
                Word::Symbol("%") if !sums => operator::MODULO,
                _ => break,
            };
            left = self.operate(function, left, length, |parser| match sums {
                true => parser.calculation(false),
                false => parser.unary(),
            })?;
        }
        Ok(left)
    }

    fn operate(
        &mut self,
        function: &str,
        left: Id,
        length: u32,
        right: impl FnOnce(&mut Self) -> Parsed<Id>,
    ) -> Parsed<Id> {
        if length > NESTED {
            return self.too_deep();
        }
        let at = self.advance();
        let right = right(self)?;
        self.call(at, function, vec![left, right])
    }

    fn unary(&mut self) -> Parsed<Id> {
        let (at, mut count) = (self.peek().at, 0_u32);
        if self.is("!") {
            while self.accept("!").is_some() {
                count += 1;
            }
            let member = self.member(false)?;
            return if count % 2 == 0 { Ok(member) } else { self.call(at, operator::NOT, vec![member]) };
        }
        while self.accept("-").is_some() {
            count += 1;
        }
        // The sign belongs to a number right behind it, since the least integer has no positive one.
        let signed = count > 0 && matches!(self.peek().kind, Word::Int | Word::Float);
        let member = self.member(signed)?;
        let left = count - u32::from(signed);
        if left % 2 == 0 { Ok(member) } else { self.call(at, operator::NEGATE, vec![member]) }
    }

    fn member(&mut self, negative: bool) -> Parsed<Id> {
        let mut operand = self.primary(negative)?;
        for length in 1.. {
            if length > NESTED {
                return self.too_deep();
            }
            if let Some(at) = self.accept(".") {
                operand = self.select_or_call(at, operand)?;
            } else if let Some(at) = self.accept("[") {
                let optional = self.accept("?").is_some();
                let index = self.expression()?;
                self.expect("]")?;
                let function = if optional { operator::OPTIONAL_INDEX } else { operator::INDEX };
                operand = self.call(at, function, vec![operand, index])?;
            } else {
                break;
            }
        }
        Ok(operand)
    }

    fn select_or_call(&mut self, at: u32, operand: Id) -> Parsed<Id> {
        let optional = self.accept("?").is_some();
        let escaped = self.peek().kind == Word::Escaped;
        let field = self.field_name()?;
        if optional {
            let place = self.tokens[self.next.saturating_sub(1)].at;
            let name = self.add(place, Kind::Literal(Literal::String(field)))?;
            return self.call(at, operator::OPTIONAL_SELECT, vec![operand, name]);
        }
        if !escaped && let Some(open) = self.accept("(") {
            let arguments = self.arguments()?;
            return self.member_call(open, &field, operand, arguments);
        }
        self.add(at, Kind::Select { operand, field, test: false })
    }

    /// The name of a field: an identifier, or what is in backticks.
    fn field_name(&mut self) -> Parsed<Arc<str>> {
        let text = self.text(self.next);
        let name: Arc<str> = match self.peek().kind {
            Word::Ident if !matches!(text, "true" | "false" | "null" | "in") => text.into(),
            Word::Escaped => text.trim_matches('`').into(),
            _ => return self.unexpected("{IDENTIFIER, ESC_IDENTIFIER}"),
        };
        self.advance();
        Ok(name)
    }

    /// What stands in the parentheses of a call, and the closing one.
    fn arguments(&mut self) -> Parsed<Vec<Id>> {
        let mut arguments = Vec::new();
        if self.accept(")").is_some() {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression()?);
            if self.accept(",").is_none() {
                break;
            }
        }
        self.expect(")")?;
        Ok(arguments)
    }

    fn primary(&mut self, negative: bool) -> Parsed<Id> {
        let Token { kind, at, .. } = *self.peek();
        match kind {
            Word::Int | Word::Uint | Word::Float | Word::String | Word::Bytes => self.literal(negative),
            Word::Ident => match self.text(self.next) {
                "true" | "false" | "null" => {
                    let literal = match self.text(self.next) {
                        "true" => Literal::Bool(true),
                        "false" => Literal::Bool(false),
                        _ => Literal::Null,
                    };
                    self.advance();
                    self.add(at, Kind::Literal(literal))
                }
                "in" => self.unexpected(PRIMARY),
                _ => self.name(at, ""),
            },
            Word::Symbol(".") => {
                self.advance();
                if self.peek().kind == Word::Ident {
                    self.name(at, ".")
                } else {
                    self.unexpected("IDENTIFIER")
                }
            }
            Word::Symbol("(") => {
                self.advance();
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Word::Symbol("[") => self.list(at),
            Word::Symbol("{") => self.map(at),
            _ => self.unexpected(PRIMARY),
        }
    }

    /// A name, a call of a function without a target, or a message.
    fn name(&mut self, at: u32, dot: &str) -> Parsed<Id> {
        if let Some(length) = self.message_name() {
            let words: Vec<&str> = (0..length).map(|index| self.text(self.next + index)).collect();
            let name: Arc<str> = format!("{dot}{}", words.concat()).into();
            self.next += length;
            return self.message(&name);
        }
        let text = self.text(self.next).to_owned();
        self.advance();
        if RESERVED.contains(&text.as_str()) {
            return self.fail(at, format!("reserved identifier: {text}"));
        }
        let name = format!("{dot}{text}");
        match self.accept("(") {
            Some(open) => {
                let arguments = self.arguments()?;
                self.global_call(open, &name, arguments)
            }
            None => self.add(at, Kind::Ident(name.into())),
        }
    }

    /// How many words the name of a message has, if one begins here.
    fn message_name(&self) -> Option<usize> {
        let word = |index: usize| self.tokens.get(self.next + index).map(|token| token.kind);
        let mut length = 1;
        while word(length) == Some(Word::Symbol(".")) && word(length + 1) == Some(Word::Ident) {
            length += 2;
        }
        (word(length) == Some(Word::Symbol("{"))).then_some(length)
    }

    fn message(&mut self, name: &Arc<str>) -> Parsed<Id> {
        let open = self.expect("{")?;
        let mut fields = Vec::new();
        while !self.is("}") {
            let optional = self.accept("?").is_some();
            let name = self.field_name()?;
            let at = self.expect(":")?;
            let value = self.expression()?;
            fields.push(Field { name, value, optional, at });
            if self.accept(",").is_none() {
                break;
            }
        }
        self.expect("}")?;
        self.add(open, Kind::Struct { name: name.clone(), fields })
    }

    fn list(&mut self, at: u32) -> Parsed<Id> {
        self.advance();
        let mut elements = Vec::new();
        while !self.is("]") {
            let optional = self.accept("?").is_some();
            elements.push((self.expression()?, optional));
            if self.accept(",").is_none() {
                break;
            }
        }
        self.expect("]")?;
        self.add(at, Kind::List(elements))
    }

    fn map(&mut self, at: u32) -> Parsed<Id> {
        self.advance();
        let mut entries = Vec::new();
        while !self.is("}") {
            let optional = self.accept("?").is_some();
            let key = self.expression()?;
            self.expect(":")?;
            let value = self.expression()?;
            entries.push(Entry { key, value, optional });
            if self.accept(",").is_none() {
                break;
            }
        }
        self.expect("}")?;
        self.add(at, Kind::Map(entries))
    }

    fn literal(&mut self, negative: bool) -> Parsed<Id> {
        let Token { kind, at, .. } = *self.peek();
        let text = self.text(self.next).to_owned();
        self.advance();
        match literal::value(kind, &text, negative) {
            Ok(literal) => self.add(at, Kind::Literal(literal)),
            Err(message) => self.fail(at, message),
        }
    }
}
