//! Shell patterns, in time that grows with pattern and text and no faster.

/// A shell pattern: `*`, `?`, and a backslash before what stands for itself.
pub(super) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Anything,
    One,
    Char(char),
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let part = match c {
                '*' => Part::Anything,
                '?' => Part::One,
                '\\' => Part::Char(chars.next().unwrap_or('\\')),
                c => Part::Char(c),
            };
            // Several stars are one.
            if part != Part::Anything || parts.last() != Some(&Part::Anything) {
                parts.push(part);
            }
        }
        Self { parts }
    }

    /// The pattern of the same texts, read backwards.
    pub(super) fn reversed(&self) -> Self {
        Self { parts: self.parts.iter().rev().copied().collect() }
    }

    /// The lengths of all beginnings of `text` that match, shortest first.
    pub(super) fn beginnings(&self, text: &[char]) -> std::vec::IntoIter<usize> {
        let end = self.parts.len();
        let mut lengths = Vec::new();
        // Where in the pattern one can be after what was read; a star lets one be behind it too.
        let mut places = vec![false; end + 1];
        places[0] = true;
        for length in 0..=text.len() {
            for place in 0..end {
                places[place + 1] |= places[place] && self.parts[place] == Part::Anything;
            }
            if places[end] {
                lengths.push(length);
            }
            let Some(c) = text.get(length) else { break };
            let mut next = vec![false; end + 1];
            for place in (0..end).filter(|place| places[*place]) {
                match self.parts[place] {
                    Part::Anything => next[place] = true,
                    Part::One => next[place + 1] = true,
                    Part::Char(wanted) => next[place + 1] |= wanted == *c,
                }
            }
            if !next.contains(&true) {
                break;
            }
            places = next;
        }
        lengths.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: &[usize]) {
        let text: Vec<char> = text.chars().collect();
        let found: Vec<usize> = Pattern::parse(pattern).beginnings(&text).collect();
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
        let pattern = Pattern::parse(&format!("{}b", "*a".repeat(100)));
        assert_eq!(pattern.beginnings(&text).next(), None);
    }
}
