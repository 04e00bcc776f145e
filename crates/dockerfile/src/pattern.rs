//! Patterns of shells and of paths, matched in time that grows with pattern and text and no faster.
//!
//! A pattern takes as much memory as it is long: Dockerfiles and lists of what to leave out come from
//! anywhere, and may have thousands.

use std::iter::Peekable;
use std::str::Chars;

/// A pattern: of the shell, or of paths as Go's matchers read them.
#[derive(Debug)]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Debug)]
enum Part {
    /// Any text.
    Anything,
    /// Any text without a slash.
    Within,
    /// Any character.
    One,
    /// Any character but a slash.
    OneWithin,
    Char(char),
    /// One of these, or none of them; both ends belong to a range.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Nothing, or what [`Part::Directories`], which comes next, takes.
    MaybeDirectories,
    /// Any text that ends with a slash.
    Directories,
}

impl Pattern {
    /// A pattern of the shell: `*`, `?`, and a backslash before what stands for itself.
    pub fn shell(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let part = match c {
                '*' => Part::Anything,
                '?' => Part::One,
                '\\' => Part::Char(chars.next().unwrap_or('\\')),
                c => Part::Char(c),
            };
            push(&mut parts, part);
        }
        Self { parts }
    }

    /// A pattern of paths: `*` and `?` stay within a directory, `[a-z]` and `[^a-z]` are classes. With
    /// `doubled`, `**` goes through any number of directories.
    pub fn path(text: &str, doubled: bool) -> Result<Self, String> {
        let broken = || "syntax error in pattern".to_owned();
        let mut parts = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let part = match c {
                '*' if doubled && chars.peek() == Some(&'*') => {
                    chars.next();
                    if chars.peek() == Some(&'/') {
                        chars.next();
                    }
                    if chars.peek().is_none() {
                        Part::Anything
                    } else {
                        parts.push(Part::MaybeDirectories);
                        Part::Directories
                    }
                }
                '*' => Part::Within,
                '?' => Part::OneWithin,
                '[' => class(&mut chars).ok_or_else(broken)?,
                '\\' => Part::Char(chars.next().ok_or_else(broken)?),
                c => Part::Char(c),
            };
            push(&mut parts, part);
        }
        Ok(Self { parts })
    }

    /// The text that it stands for, if it is only that one.
    pub fn literal(&self) -> Option<String> {
        self.parts.iter().map(|part| if let Part::Char(c) = part { Some(*c) } else { None }).collect()
    }

    /// The pattern of the same texts, read backwards. For patterns of the shell.
    pub fn reversed(&self) -> Self {
        Self { parts: self.parts.iter().rev().cloned().collect() }
    }

    /// Whether it is a pattern of this text.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        self.beginnings(&text).next_back() == Some(text.len())
    }

    /// The lengths of all beginnings of `text` that match, shortest first.
    pub fn beginnings(&self, text: &[char]) -> std::vec::IntoIter<usize> {
        let end = self.parts.len();
        let mut lengths = Vec::new();
        // Most patterns are not of this text, which the first character shows.
        if let (Some(Part::Char(wanted)), first) = (self.parts.first(), text.first())
            && first != Some(wanted)
        {
            return lengths.into_iter();
        }
        // Where in the pattern one can be after what was read. Some parts let one be behind them too.
        let (mut places, mut next) = (vec![false; end + 1], vec![false; end + 1]);
        places[0] = true;
        for length in 0..=text.len() {
            for place in 0..end {
                if !places[place] {
                    continue;
                }
                match self.parts[place] {
                    Part::Anything | Part::Within => places[place + 1] = true,
                    Part::MaybeDirectories => (places[place + 1], places[place + 2]) = (true, true),
                    _ => {}
                }
            }
            if places[end] {
                lengths.push(length);
            }
            let Some(&c) = text.get(length) else { break };
            next.fill(false);
            for place in (0..end).filter(|place| places[*place]) {
                let (stays, goes_on) = self.parts[place].takes(c);
                next[place] |= stays;
                next[place + 1] |= goes_on;
            }
            if !next.contains(&true) {
                break;
            }
            std::mem::swap(&mut places, &mut next);
        }
        lengths.into_iter()
    }
}

impl Part {
    /// Whether one may be at this part still after `c`, and whether behind it.
    fn takes(&self, c: char) -> (bool, bool) {
        match self {
            Part::Anything => (true, false),
            Part::Within => (c != '/', false),
            Part::One => (false, true),
            Part::OneWithin => (false, c != '/'),
            Part::Char(wanted) => (false, *wanted == c),
            Part::Class { negated, ranges } => {
                let is_in = ranges.iter().any(|(first, last)| (*first..=*last).contains(&c));
                (false, is_in != *negated)
            }
            Part::MaybeDirectories => (false, false),
            Part::Directories => (true, c == '/'),
        }
    }
}

/// Several stars are one.
fn push(parts: &mut Vec<Part>, part: Part) {
    let repeats = matches!(part, Part::Anything | Part::Within) && parts.last() == Some(&part);
    if !repeats {
        parts.push(part);
    }
}

/// What follows a `[`; `None` if it does not end, has nothing in it or a range that goes backwards.
fn class(chars: &mut Peekable<Chars<'_>>) -> Option<Part> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let first = match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Part::Class { negated, ranges }),
            ']' => return None,
            '\\' => chars.next()?,
            c => c,
        };
        let last = match chars.next_if_eq(&'-') {
            None => first,
            Some(_) => match chars.next()? {
                // A dash before the end stands for itself.
                ']' => {
                    ranges.extend([(first, first), ('-', '-')]);
                    return Some(Part::Class { negated, ranges });
                }
                '\\' => chars.next()?,
                c => c,
            },
        };
        if last < first {
            return None;
        }
        ranges.push((first, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: &[usize]) {
        let text: Vec<char> = text.chars().collect();
        let found: Vec<usize> = Pattern::shell(pattern).beginnings(&text).collect();
        assert_eq!(found, expected, "{pattern}");
    }

    #[test]
    fn beginnings_are_found() {
        check("a*", "aab", &[1, 2, 3]);
        check("*a", "aba", &[1, 3]);
        check("?b", "abc", &[2]);
        check(r"\*b", "*b", &[2]);
        check(r"\", r"\x", &[1]);
        check("", "x", &[0]);
        check("x", "", &[]);
        check("**", "ab", &[0, 1, 2]);
    }

    #[test]
    fn stars_cost_what_they_are_long() {
        let text: Vec<char> = "a".repeat(4096).chars().collect();
        let pattern = Pattern::shell(&format!("{}b", "*a".repeat(100)));
        assert_eq!(pattern.beginnings(&text).next(), None);
    }

    #[track_caller]
    fn check_path(pattern: &str, matching: &[&str], others: &[&str]) {
        let found = Pattern::path(pattern, true).expect(pattern);
        for text in matching {
            assert!(found.matches(text), "`{pattern}` is no pattern of `{text}`");
        }
        for text in others {
            assert!(!found.matches(text), "`{pattern}` is a pattern of `{text}`");
        }
    }

    #[test]
    fn paths_are_matched_as_go_does_it() {
        check_path("a*c", &["ac", "abbc"], &["a/c", "acd"]);
        check_path("**/x", &["x", "a/x", "a/b/x"], &["ax", "x/a"]);
        check_path("a/**", &["a/", "a/b/c"], &["a", "ab"]);
        check_path("a**b", &["ab", "a/b", "ac/d/b"], &["acb"]);
        check_path("[a-cx]", &["a", "c", "x"], &["d", "ab"]);
        check_path("[^a-c]", &["d", "é"], &["a"]);
        check_path(r"[\]\-a]", &["]", "-", "a"], &["\\"]);
        check_path("[a-]", &["a", "-"], &["b"]);
        check_path("?", &["a", "é"], &["/", ""]);
        for broken in ["[", "[]", "[a", "[z-a]", r"a\"] {
            assert!(Pattern::path(broken, true).is_err(), "{broken}");
        }
    }
}
