//! `.dockerignore` and wildcards, with the meaning that Go's matchers give them.

use std::collections::HashMap;

use crate::pattern::Pattern;

/// How many rules there may be. Every file of the context is held against each that is a pattern.
const RULES_MAX: usize = 10_000;

/// What a `.dockerignore` says. Later lines win; a directory's match is its content's.
#[derive(Debug, Default)]
pub struct Ignore {
    /// Whether a rule keeps what it is about, in the order written.
    keeps: Vec<bool>,
    /// The last rule about each path that is written out.
    paths: HashMap<String, usize>,
    /// The others, in the order written.
    patterns: Vec<(usize, Pattern)>,
}

impl Ignore {
    /// Reads a `.dockerignore`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self::new(text.lines().filter(|line| !line.starts_with('#')))
    }

    /// Rules from their lines.
    pub fn new<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut rules = Self::default();
        for line in lines {
            let line = line.trim();
            let (keeps, pattern) = match line.strip_prefix('!') {
                Some(pattern) => (true, pattern.trim()),
                None => (false, line),
            };
            let pattern = clean(pattern);
            if pattern.is_empty() {
                if keeps {
                    return Err("illegal exclusion pattern: \"!\"".to_owned());
                }
                continue;
            }
            let number = rules.keeps.len();
            if number == RULES_MAX {
                return Err(format!("there are more than {RULES_MAX} patterns"));
            }
            rules.keeps.push(keeps);
            let pattern = compile(&pattern, true)?;
            match pattern.literal() {
                Some(path) => drop(rules.paths.insert(path, number)),
                None => rules.patterns.push((number, pattern)),
            }
        }
        Ok(rules)
    }

    /// Whether the file or directory at `path` (relative, with slashes) is left out.
    pub fn excludes(&self, path: &str) -> bool {
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        let mut last = parents.chain([path]).filter_map(|part| self.paths.get(part)).max().copied();
        let mut text = Vec::new();
        for (number, pattern) in self.patterns.iter().rev() {
            if last.is_some_and(|last| last > *number) {
                break;
            }
            if text.is_empty() {
                text.extend(path.chars());
            }
            let ends_a_part = |length: usize| length == text.len() || text[length] == '/';
            if pattern.beginnings(&text).any(ends_a_part) {
                last = Some(*number);
                break;
            }
        }
        last.is_some_and(|number| !self.keeps[number])
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.keeps.is_empty()
    }

    /// Whether some rule keeps what another leaves out.
    pub fn keeps_some(&self) -> bool {
        self.keeps.contains(&true)
    }
}

/// The patterns of a `.dockerignore`, cleaned, as whoever sends a context wants them.
pub fn patterns(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let pattern = |line: &str| {
        let line = line.trim();
        let (keeps, pattern) = match line.strip_prefix('!') {
            Some(pattern) => ("!", pattern.trim()),
            None => ("", line),
        };
        let pattern = if pattern.is_empty() { String::new() } else { crate::go::clean_path(pattern) };
        let pattern = match pattern.strip_prefix('/') {
            Some(relative) if !relative.is_empty() => relative,
            _ => pattern.as_str(),
        };
        format!("{keeps}{pattern}")
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(pattern).filter(|pattern| !pattern.is_empty()).collect()
}

/// A wildcard pattern of COPY and ADD, in which `*` stays within a directory.
pub fn wildcard(pattern: &str) -> Result<Pattern, String> {
    compile(&clean(pattern), false)
}

/// Whether a COPY source is a pattern at all.
pub fn has_wildcard(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// A path without `.`, `..` and doubled slashes, as Go's `filepath.Clean` has it, and not absolute.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn compile(pattern: &str, doubled: bool) -> Result<Pattern, String> {
    Pattern::path(pattern, doubled).map_err(|problem| format!("pattern `{pattern}`: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these paths a `.dockerignore` leaves out.
    #[track_caller]
    fn check(text: &str, paths: &[&str], expected: &[&str]) {
        let ignore = Ignore::parse(text).expect(text);
        let excluded: Vec<&str> = paths.iter().copied().filter(|path| ignore.excludes(path)).collect();
        assert_eq!(excluded, expected, "for `{text}`");
    }

    #[test]
    fn a_directory_takes_its_content_along() {
        check(
            "node_modules\n",
            &["node_modules", "node_modules/a/b", "src/node_modules"],
            &["node_modules", "node_modules/a/b"],
        );
        check("/build/\n", &["build/x", "a/build"], &["build/x"]);
    }

    #[test]
    fn single_and_double_stars_differ() {
        check("*.md", &["a.md", "d/a.md"], &["a.md"]);
        check("**/*.md", &["a.md", "d/a.md", "d/e/a.md", "a.mdx"], &["a.md", "d/a.md", "d/e/a.md"]);
        check("a/**", &["a", "a/b", "a/b/c", "ab"], &["a/b", "a/b/c"]);
        check("a/**/z", &["a/z", "a/b/z", "a/b/c/z", "az"], &["a/z", "a/b/z", "a/b/c/z"]);
        check("?.txt\n[a-c]x", &["1.txt", "12.txt", "bx", "dx"], &["1.txt", "bx"]);
    }

    #[test]
    fn the_last_rule_that_matches_wins() {
        check("*.md\n!README.md\n", &["a.md", "README.md"], &["a.md"]);
        check("!README.md\n*.md\n", &["a.md", "README.md"], &["a.md", "README.md"]);
        check("*\n!src\n", &["x", "src", "src/a"], &["x"]);
        check("# comment\n\n  d  \n", &["d", "# comment"], &["d"]);
    }

    #[test]
    fn there_are_as_many_rules_as_a_person_writes() {
        let lines = |count: usize| (0..count).map(|n| format!("d{n}/*.o\n")).collect::<String>();
        let ignore = Ignore::parse(&lines(10_000)).expect("many");
        assert!(ignore.excludes("d9999/x.o") && !ignore.excludes("d9999/x.c"));
        let error = Ignore::parse(&lines(10_001)).expect_err("too many");
        assert_eq!(error, "there are more than 10000 patterns");
    }

    #[test]
    fn paths_that_are_written_out_are_not_compared_one_by_one() {
        let lines: String = (0..10_000).map(|n| format!("d/{n}\n")).collect();
        let ignore = Ignore::parse(&format!("{lines}!d/7\n")).expect_err("one too many");
        assert!(ignore.contains("more than"), "{ignore}");
        let ignore =
            Ignore::parse(&lines.replacen("d/0\n", "", 1).replacen("d/1\n", "!d/1\n", 1)).expect("many");
        // Each against each, these would be a thousand million comparisons.
        let excluded = (0..100_000).filter(|n| ignore.excludes(&format!("d/{n}/x"))).count();
        assert_eq!(excluded, 9_998);
        assert!(ignore.patterns.is_empty());
    }

    #[test]
    fn patterns_are_sent_clean() {
        let text = "\u{feff}# no\n a/../b/ \n\n! /c\n/\n!\n**/x\n";
        assert_eq!(patterns(text), ["b", "!c", "/", "!", "**/x"]);
    }

    #[test]
    fn broken_patterns_are_refused() {
        assert!(Ignore::parse("[a").is_err());
        assert!(Ignore::parse("!").is_err());
        assert!(Ignore::parse("[z-a]").is_err());
    }

    #[test]
    fn wildcards_of_copy_stay_within_a_directory() {
        let pattern = wildcard("./d/*.t?t").expect("pattern");
        assert!(pattern.matches("d/a.txt") && !pattern.matches("d/e/a.txt") && !pattern.matches("d/a.tt"));
    }
}
