//! From text to words: the lexical part of the language's grammar.

use crate::source::Issues;

/// A word of an expression, with the place of its first character.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Word,
    pub(crate) at: u32,
    /// Where its text is, in bytes of the source.
    pub(crate) span: (usize, usize),
}

/// What sort of word it is. The text of a literal is looked at when it is made into a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Symbol(&'static str),
    Ident,
    /// An identifier in backticks.
    Escaped,
    Int,
    Uint,
    Float,
    String,
    Bytes,
    End,
}

const SYMBOLS: [&str; 26] = [
    "==", "!=", "<=", ">=", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%", "<", ">", "`", "&",
];

struct Lexer<'a> {
    source: &'a str,
    /// Bytes and characters read.
    byte: usize,
    at: u32,
}

/// The words of a source, of which the last is [`Word::End`]. What is no word is reported and left out.
pub(crate) fn words(source: &str, issues: &mut Issues) -> Vec<Token> {
    let mut lexer = Lexer { source, byte: 0, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let (start, at) = (lexer.byte, lexer.at);
        let Some(first) = lexer.peek() else {
            tokens.push(Token { kind: Word::End, at, span: (start, start) });
            return tokens;
        };
        let kind = lexer.word(first);
        match kind {
            Some(kind) => tokens.push(Token { kind, at, span: (start, lexer.byte) }),
            None => {
                if lexer.byte == start {
                    lexer.next();
                }
                let text = &source[start..lexer.byte];
                issues.report(at, format!("Syntax error: token recognition error at: '{text}'"));
            }
        }
    }
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.byte..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.byte += character.len_utf8();
        self.at += 1;
        Some(character)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.byte += text.len();
            self.at += u32::try_from(text.chars().count()).unwrap_or(0);
        }
        found
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> usize {
        let mut count = 0;
        while self.peek().is_some_and(&wanted) {
            self.next();
            count += 1;
        }
        count
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take_while(|character| matches!(character, ' ' | '\t' | '\r' | '\n' | '\u{c}'));
            if !self.take("//") {
                return;
            }
            self.take_while(|character| character != '\n');
        }
    }

    fn word(&mut self, first: char) -> Option<Word> {
        let second = self.rest().chars().nth(1);
        if first.is_ascii_digit() || (first == '.' && second.is_some_and(|digit| digit.is_ascii_digit())) {
            return Some(self.number());
        }
        if let Some(word) = self.text() {
            return word;
        }
        if first.is_ascii_alphabetic() || first == '_' {
            self.take_while(|character| character.is_ascii_alphanumeric() || character == '_');
            return Some(Word::Ident);
        }
        if first == '`' {
            self.next();
            let length =
                self.take_while(|character| character.is_ascii_alphanumeric() || "_.-/ ".contains(character));
            return (self.take("`") && length > 0).then_some(Word::Escaped);
        }
        SYMBOLS
            .iter()
            .find(|symbol| !matches!(**symbol, "`" | "&") && self.take(symbol))
            .map(|found| Word::Symbol(found))
    }

    fn number(&mut self) -> Word {
        let digit = |character: char| character.is_ascii_digit();
        let hex = self
            .rest()
            .strip_prefix("0x")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit()));
        if hex {
            self.take("0x");
            self.take_while(|character| character.is_ascii_hexdigit());
            return if self.take("u") || self.take("U") { Word::Uint } else { Word::Int };
        }
        self.take_while(digit);
        let mut float = false;
        if self.rest().strip_prefix('.').is_some_and(|rest| rest.starts_with(digit)) {
            self.take(".");
            self.take_while(digit);
            float = true;
        }
        if let Some(rest) = self.rest().strip_prefix(['e', 'E']) {
            let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
            if unsigned.starts_with(digit) {
                self.next();
                let _ = self.take("+") || self.take("-");
                self.take_while(digit);
                float = true;
            }
        }
        match float {
            true => Word::Float,
            false if self.take("u") || self.take("U") => Word::Uint,
            false => Word::Int,
        }
    }

    /// A string or bytes, if there is one here: `Some(None)` if it has no end.
    fn text(&mut self) -> Option<Option<Word>> {
        let rest = self.rest();
        let mut prefix = rest.bytes().take(3).position(|byte| matches!(byte, b'"' | b'\''))?;
        let (mut bytes, mut raw) = (false, false);
        match &rest[..prefix] {
            "" => {}
            "b" | "B" => bytes = true,
            "r" | "R" => raw = true,
            "br" | "bR" | "Br" | "BR" => (bytes, raw) = (true, true),
            _ => return None,
        }
        while prefix > 0 {
            self.next();
            prefix -= 1;
        }
        let triple = self.take("\"\"\"").then_some("\"\"\"").or_else(|| self.take("'''").then_some("'''"));
        let quote = match triple {
            Some(quote) => quote,
            None if self.take("\"") => "\"",
            None => {
                self.take("'");
                "'"
            }
        };
        while !self.take(quote) {
            match self.next() {
                None => return Some(None),
                Some('\n' | '\r') if triple.is_none() => return Some(None),
                Some('\\') if !raw && self.next().is_none() => return Some(None),
                Some(_) => {}
            }
        }
        Some(Some(if bytes { Word::Bytes } else { Word::String }))
    }
}
