//! Words: quotes, escapes and variables, as the Dockerfile reference has them.

/// Looks up a variable; `None` if it is not set.
pub(crate) trait Variables {
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// Cuts a line at white space outside quotes. Quotes and escapes stay in the words.
pub(super) fn split(line: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, None | Some('"')) if c == escape => {
                word.push(c);
                word.extend(chars.next());
            }
            ('\'' | '"', None) => {
                quote = Some(c);
                word.push(c);
            }
            (c, Some(open)) if c == open => {
                quote = None;
                word.push(c);
            }
            (c, _) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Removes quotes and escapes and puts in variables.
pub(crate) fn expand(word: &str, escape: char, variables: &dyn Variables) -> Result<String, String> {
    let mut expander = Expander { chars: word.chars().collect(), at: 0, escape, variables };
    expander.until(&[])
}

/// As [`expand`], for text in which quotes and single escapes mean nothing, as in here-documents.
pub(crate) fn expand_text(text: &str, escape: char, variables: &dyn Variables) -> Result<String, String> {
    let mut expander = Expander { chars: text.chars().collect(), at: 0, escape, variables };
    let mut expanded = String::new();
    while let Some(c) = expander.next() {
        match c {
            c if c == escape && expander.peek() == Some('$') => expanded.extend(expander.next()),
            '$' => expanded.push_str(&expander.variable()?),
            c => expanded.push(c),
        }
    }
    Ok(expanded)
}

/// As [`expand`]; what a variable brought in is cut at white space too.
pub(crate) fn expand_words(
    word: &str,
    escape: char,
    variables: &dyn Variables,
) -> Result<Vec<String>, String> {
    Ok(expand(word, escape, variables)?.split_whitespace().map(str::to_owned).collect())
}

struct Expander<'a> {
    chars: Vec<char>,
    at: usize,
    escape: char,
    variables: &'a dyn Variables,
}

impl Expander<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Expands up to one of `stops`, which is not consumed, or the end.
    fn until(&mut self, stops: &[char]) -> Result<String, String> {
        let mut out = String::new();
        while let Some(c) = self.peek() {
            if stops.contains(&c) {
                break;
            }
            self.at += 1;
            match c {
                '\'' => loop {
                    match self.next() {
                        Some('\'') => break,
                        Some(c) => out.push(c),
                        None => {
                            return Err(
                                "unexpected end of statement while looking for matching single-quote".into(),
                            );
                        }
                    }
                },
                '"' => out.push_str(&self.double_quoted()?),
                '$' => out.push_str(&self.variable()?),
                c if c == self.escape => match self.next() {
                    Some(escaped) => out.push(escaped),
                    None => out.push(c),
                },
                c => out.push(c),
            }
        }
        Ok(out)
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let mut out = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(out),
                Some('$') => out.push_str(&self.variable()?),
                Some(c) if c == self.escape => match self.next() {
                    Some(escaped) if escaped == '"' || escaped == '$' || escaped == self.escape => {
                        out.push(escaped)
                    }
                    Some(other) => out.extend([c, other]),
                    None => out.push(c),
                },
                Some(c) => out.push(c),
                None => {
                    return Err("unexpected end of statement while looking for matching double-quote".into());
                }
            }
        }
    }

    /// What stands after a dollar sign.
    fn variable(&mut self) -> Result<String, String> {
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() {
                "$".to_owned()
            } else {
                self.variables.get(&name).unwrap_or_default()
            });
        }
        self.at += 1;
        let name = self.name();
        if name.is_empty() {
            return Err("syntax error: bad substitution".into());
        }
        let value = self.variables.get(&name);
        let modifier = self.next().ok_or("syntax error: missing '}'")?;
        match modifier {
            '}' => Ok(value.unwrap_or_default()),
            ':' => {
                let modifier = self.next().ok_or("syntax error: missing '}'")?;
                let set = value.filter(|value| !value.is_empty());
                self.with_default(&name, modifier, set)
            }
            '-' | '+' | '?' => self.with_default(&name, modifier, value),
            '#' | '%' => {
                let longest = self.peek() == Some(modifier);
                self.at += usize::from(longest);
                let pattern = self.braced_word(&['}'])?;
                let value = value.unwrap_or_default();
                Ok(if modifier == '#' {
                    cut_front(&value, &pattern, longest)
                } else {
                    cut_back(&value, &pattern, longest)
                })
            }
            '/' => {
                let all = self.peek() == Some('/');
                self.at += usize::from(all);
                let pattern = self.until(&['/', '}'])?;
                let replacement = if self.peek() == Some('/') {
                    self.at += 1;
                    self.until(&['}'])?
                } else {
                    String::new()
                };
                self.close()?;
                Ok(replace(&value.unwrap_or_default(), &pattern, &replacement, all))
            }
            other => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    fn with_default(&mut self, name: &str, modifier: char, value: Option<String>) -> Result<String, String> {
        let word = self.braced_word(&['}'])?;
        match modifier {
            '-' => Ok(value.unwrap_or(word)),
            '+' => Ok(if value.is_some() { word } else { String::new() }),
            '?' => value.ok_or_else(|| {
                let why = if word.is_empty() { "not allowed to be empty or unset" } else { word.as_str() };
                format!("{name}: {why}")
            }),
            other => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    fn braced_word(&mut self, stops: &[char]) -> Result<String, String> {
        let word = self.until(stops)?;
        self.close()?;
        Ok(word)
    }

    fn close(&mut self) -> Result<(), String> {
        match self.next() {
            Some('}') => Ok(()),
            _ => Err("syntax error: missing '}'".into()),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            let first_ok = c == '_' || c.is_ascii_alphabetic();
            // $1 and the like are names of one digit, and never set.
            if first_ok
                || (c.is_ascii_digit()
                    && (name.is_empty() || !name.starts_with(|c: char| c.is_ascii_digit())))
            {
                name.push(c);
                self.at += 1;
            } else {
                break;
            }
        }
        name
    }
}

/// Whether a shell pattern (`*`, `?`, backslash) matches a whole text.
fn matches(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        Some(('?', rest)) => !text.is_empty() && matches(rest, &text[1..]),
        Some(('\\', rest)) if !rest.is_empty() => {
            text.first() == rest.first() && matches(&rest[1..], &text[1..])
        }
        Some((c, rest)) => text.first() == Some(c) && matches(rest, &text[1..]),
    }
}

fn cut_front(value: &str, pattern: &str, longest: bool) -> String {
    let (value, pattern) = (chars(value), chars(pattern));
    let mut lengths: Vec<usize> = (0..=value.len()).collect();
    if longest {
        lengths.reverse();
    }
    let cut = lengths.into_iter().find(|&len| matches(&pattern, &value[..len])).unwrap_or(0);
    value[cut..].iter().collect()
}

fn cut_back(value: &str, pattern: &str, longest: bool) -> String {
    let (value, pattern) = (chars(value), chars(pattern));
    let mut ends: Vec<usize> = (0..=value.len()).collect();
    if !longest {
        ends.reverse();
    }
    let cut = ends.into_iter().find(|&end| matches(&pattern, &value[end..])).unwrap_or(value.len());
    value[..cut].iter().collect()
}

fn replace(value: &str, pattern: &str, replacement: &str, all: bool) -> String {
    let (value, pattern) = (chars(value), chars(pattern));
    let mut out = String::new();
    let mut at = 0;
    let mut done = false;
    while at < value.len() {
        let found = (at + 1..=value.len()).rev().find(|&end| matches(&pattern, &value[at..end]));
        match found {
            Some(end) if !done && !pattern.is_empty() => {
                out.push_str(replacement);
                at = end;
                done = !all;
            }
            _ => {
                out.push(value[at]);
                at += 1;
            }
        }
    }
    out
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}
