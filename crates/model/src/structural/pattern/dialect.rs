//! From Go's syntax of patterns to that of the engine that there is.

use regex_syntax::ast::{
    self, Ast, ClassSetItem, Flag, Flags, RepetitionKind, RepetitionRange, Span, Visitor,
};

/// Go repeats nothing more often, repetitions within repetitions included.
const REPETITIONS: u32 = 1000;

/// The same pattern in the syntax of the engine that there is.
pub(super) fn rewrite(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    let mut in_class = false;
    // Whether a brace is open that is a repetition, or a name of a class or a character.
    let mut in_braces = false;
    // Where the repetition begins that stands right before.
    let mut repeated: Option<usize> = None;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        if !in_class && !in_braces {
            let begins = repeated.take();
            if let Some(length) = operator(&chars[at..]) {
                if let Some(begins) = begins {
                    let shown: String = chars[begins..at + length].iter().collect();
                    return Err(format!("invalid nested repetition operator: `{shown}`"));
                }
                out.extend(&chars[at..at + length]);
                (repeated, at) = (Some(at), at + length);
                continue;
            }
        }
        at += 1;
        match c {
            '\\' => {
                let Some(next) = next else {
                    return Err("trailing backslash at end of expression: ``".to_owned());
                };
                at += 1;
                if next == 'Q' && !in_class {
                    let rest = &chars[at..];
                    let end = rest.windows(2).position(|two| two == ['\\', 'E']);
                    let quoted = &rest[..end.unwrap_or(rest.len())];
                    quoted.iter().for_each(|c| literal(*c, &mut out));
                    at += quoted.len() + if end.is_some() { 2 } else { 0 };
                    continue;
                }
                escape(next, in_class, &chars, &mut at, &mut out)?;
                // What it names may follow in braces.
                if matches!(next, 'p' | 'P' | 'x') && chars.get(at) == Some(&'{') {
                    out.push('{');
                    at += 1;
                    in_braces = true;
                }
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if chars.get(at) == Some(&'^') {
                    out.push('^');
                    at += 1;
                }
                // The first one is none that ends the class.
                if chars.get(at) == Some(&']') {
                    out.push_str("\\]");
                    at += 1;
                }
            }
            '[' if next == Some(':') && posix(&chars[at - 1..]).is_some() => {
                let name = posix(&chars[at - 1..]).unwrap_or_default();
                at += name.chars().count() - 1;
                out.push_str(&name);
            }
            '[' => out.push_str("\\["),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && next == Some('-') => out.push_str("\\-"),
            '}' if in_braces => {
                in_braces = false;
                out.push('}');
            }
            '{' if !in_class => match repetition(&chars[at..]) {
                None => out.push_str("\\{"),
                // What is allowed was taken as an operator.
                Some(Ok(())) => out.push('{'),
                Some(Err(count)) => return Err(format!("invalid repeat count: `{count}`")),
            },
            '}' if !in_class => out.push_str("\\}"),
            '(' if !in_class && next == Some('?') => {
                if let Some(bad) = unsupported(&chars[at + 1..]) {
                    let shown: String = chars[at - 1..=at + bad].iter().collect();
                    return Err(format!("invalid or unsupported Perl syntax: `{shown}`"));
                }
                out.push('(');
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

fn escape(
    next: char,
    in_class: bool,
    chars: &[char],
    at: &mut usize,
    out: &mut String,
) -> Result<(), String> {
    let (inside, outside) = match next {
        'd' => ("0-9", "[0-9]"),
        'w' => ("0-9A-Za-z_", "[0-9A-Za-z_]"),
        's' => ("\\t\\n\\x0C\\r ", "[\\t\\n\\x0C\\r ]"),
        'D' => ("[^0-9]", "[^0-9]"),
        'W' => ("[^0-9A-Za-z_]", "[^0-9A-Za-z_]"),
        'S' => ("[^\\t\\n\\x0C\\r ]", "[^\\t\\n\\x0C\\r ]"),
        'b' if !in_class => ("", "(?-u:\\b)"),
        'B' if !in_class => ("", "(?-u:\\B)"),
        '0'..='7' => {
            // An octal number of up to three digits; one digit that is not 0 would refer to a group.
            let digits: String = std::iter::once(next)
                .chain(chars[*at..].iter().copied().take_while(|c| matches!(c, '0'..='7')).take(2))
                .collect();
            if next != '0' && digits.len() == 1 {
                return Err(format!("invalid escape sequence: `\\{next}`"));
            }
            *at += digits.len() - 1;
            let code = u32::from_str_radix(&digits, 8).unwrap_or_default();
            out.push_str(&format!("\\x{{{code:X}}}"));
            return Ok(());
        }
        '8' | '9' | 'Z' | 'C' | 'G' | 'R' | 'X' | 'K' | 'h' | 'H' | 'N' | 'V' | 'u' | 'U' => {
            return Err(format!("invalid escape sequence: `\\{next}`"));
        }
        // In the other engine these mean the beginning and the end of a word.
        '<' | '>' => {
            out.push_str(&format!("\\x{{{:X}}}", u32::from(next)));
            return Ok(());
        }
        other => {
            out.push('\\');
            out.push(other);
            return Ok(());
        }
    };
    out.push_str(if in_class { inside } else { outside });
    Ok(())
}

/// A POSIX class that a text begins with, such as `[:alpha:]`.
fn posix(chars: &[char]) -> Option<String> {
    let text: String = chars.iter().take(16).collect();
    let end = text.find(":]")?;
    let name = text.get(2..end)?.trim_start_matches('^');
    (!name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase())).then(|| text[..end + 2].to_owned())
}

/// How long the repetition is that a text begins with, with the mark behind it that makes it lazy.
fn operator(rest: &[char]) -> Option<usize> {
    let length = match rest.first()? {
        '*' | '+' | '?' => 1,
        '{' => match repetition(&rest[1..])? {
            Ok(()) => rest.iter().position(|c| *c == '}')? + 1,
            Err(_) => return None,
        },
        _ => return None,
    };
    Some(length + usize::from(rest.get(length) == Some(&'?')))
}

/// Of what follows `(?`, how many characters Go reads until it meets one that means nothing there. Names of groups are
/// left to the engine.
fn unsupported(rest: &[char]) -> Option<usize> {
    match rest {
        ['P', '<', ..] => return None,
        // What looks behind is no name.
        ['<', '=' | '!', ..] => return Some(1),
        ['<', ..] => return None,
        _ => {}
    }
    let (mut negated, mut flagged) = (false, false);
    for (index, c) in rest.iter().enumerate() {
        match c {
            'i' | 'm' | 's' | 'U' => flagged = true,
            '-' if !negated => (negated, flagged) = (true, false),
            ':' | ')' if !negated || flagged => return None,
            _ => return Some(index + 1),
        }
    }
    Some(rest.len())
}

/// The first repetition that repeats something more often than Go does, with those that are within it.
pub(super) fn repeated_too_often(ast: &Ast) -> Option<&Span> {
    times(ast).err()
}

/// How often something in it is repeated.
fn times(ast: &Ast) -> Result<u32, &Span> {
    match ast {
        Ast::Repetition(repetition) => {
            let within = times(&repetition.ast)?;
            let count = match &repetition.op.kind {
                RepetitionKind::Range(RepetitionRange::Exactly(0) | RepetitionRange::Bounded(_, 0)) => {
                    return Ok(1);
                }
                RepetitionKind::Range(RepetitionRange::AtLeast(0)) => 1,
                RepetitionKind::Range(RepetitionRange::Exactly(count) | RepetitionRange::AtLeast(count)) => {
                    *count
                }
                RepetitionKind::Range(RepetitionRange::Bounded(_, most)) => *most,
                RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
            };
            let all = within.saturating_mul(count);
            if all > REPETITIONS { Err(&repetition.op.span) } else { Ok(all) }
        }
        Ast::Group(group) => times(&group.ast),
        Ast::Alternation(parts) => most_times(&parts.asts),
        Ast::Concat(parts) => most_times(&parts.asts),
        _ => Ok(1),
    }
}

fn most_times(parts: &[Ast]) -> Result<u32, &Span> {
    parts.iter().try_fold(1, |most, part| Ok(times(part)?.max(most)))
}

/// How many characters the classes of a pattern have together, if somewhere in it upper and lower case are the same.
pub(super) fn folded(ast: &Ast) -> u32 {
    let Ok((folds, characters)) = ast::visit(ast, Folding::default());
    if folds { characters } else { 0 }
}

#[derive(Default)]
struct Folding {
    folds: bool,
    characters: u32,
}

impl Folding {
    /// About as many characters as a named class has.
    const NAMED: u32 = 1 << 17;

    fn take(&mut self, flags: &Flags) {
        self.folds |= flags.flag_state(Flag::CaseInsensitive) == Some(true);
    }

    fn count(&mut self, characters: u32) {
        self.characters = self.characters.saturating_add(characters);
    }

    fn item(&mut self, item: &ClassSetItem) {
        match item {
            ClassSetItem::Range(range) => {
                self.count(u32::from(range.end.c).abs_diff(u32::from(range.start.c)));
            }
            ClassSetItem::Unicode(_) => self.count(Self::NAMED),
            _ => {}
        }
    }
}

impl Visitor for Folding {
    type Output = (bool, u32);
    type Err = std::convert::Infallible;

    fn finish(self) -> Result<Self::Output, Self::Err> {
        Ok((self.folds, self.characters))
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        match ast {
            Ast::Flags(set) => self.take(&set.flags),
            Ast::Group(group) => group.flags().into_iter().for_each(|flags| self.take(flags)),
            Ast::ClassUnicode(_) => self.count(Self::NAMED),
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Self::Err> {
        self.item(item);
        Ok(())
    }
}

/// What follows a brace, where that makes it a repetition: one that is allowed, or what it is. Without, it stands for
/// itself.
fn repetition(rest: &[char]) -> Option<Result<(), String>> {
    /// Longer numbers are none.
    const DIGITS: usize = 40;
    let end = rest.iter().take(DIGITS).position(|c| *c == '}')?;
    let inside: String = rest[..end].iter().collect();
    let number = |text: &str| {
        let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = is_one && (text.len() == 1 || !text.starts_with('0'));
        is_plain.then(|| text.parse().unwrap_or(u32::MAX))
    };
    let (low, high) = match inside.split_once(',') {
        Some((low, "")) => (number(low)?, None),
        Some((low, high)) => (number(low)?, Some(number(high)?)),
        None => (number(&inside)?, None),
    };
    let is_allowed = low <= REPETITIONS && high.is_none_or(|high| (low..=REPETITIONS).contains(&high));
    Some(if is_allowed { Ok(()) } else { Err(format!("{{{inside}}}")) })
}

/// A character that stands for itself.
fn literal(c: char, out: &mut String) {
    if c.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(c);
}
