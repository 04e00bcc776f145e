//! `.dockerignore` and wildcards, with the meaning that Go's matchers give them.

use regex::Regex;

/// What a `.dockerignore` says. Later lines win; a directory's match is its content's.
#[derive(Debug, Default)]
pub(crate) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: Regex,
    keeps: bool,
}

impl Ignore {
    /// Reads a `.dockerignore`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self::new(text.lines().filter(|line| !line.starts_with('#')))
    }

    /// Rules from their lines.
    pub(crate) fn new<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut rules = Vec::new();
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
            rules.push(Rule { pattern: compile(&pattern, true)?, keeps });
        }
        Ok(Self { rules })
    }

    /// Whether the file or directory at `path` (relative, with slashes) is left out.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for rule in &self.rules {
            // A rule can only change the answer in one direction.
            if excluded == rule.keeps && rule.applies(path) {
                excluded = !rule.keeps;
            }
        }
        excluded
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Rule {
    fn applies(&self, path: &str) -> bool {
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        parents.chain([path]).any(|part| self.pattern.is_match(part))
    }
}

/// A wildcard pattern of COPY and ADD, in which `*` stays within a directory.
pub(crate) fn wildcard(pattern: &str) -> Result<Regex, String> {
    compile(&clean(pattern), false)
}

/// Whether a COPY source is a pattern at all.
pub(crate) fn has_wildcard(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// A path without `.`, `..` and doubled slashes, as Go's `filepath.Clean` has it, and not absolute.
pub(crate) fn clean(path: &str) -> String {
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

fn compile(pattern: &str, doubled: bool) -> Result<Regex, String> {
    let mut regex = String::from("^");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if doubled && chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                }
                regex.push_str(if chars.peek().is_none() { ".*" } else { "(.*/)?" });
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' => {
                regex.push('[');
                if chars.peek() == Some(&'^') {
                    regex.push('^');
                    chars.next();
                }
                loop {
                    match chars.next() {
                        Some(']') => break,
                        Some('\\') => {
                            let escaped = chars.next().ok_or("syntax error in pattern")?;
                            regex.push_str(&regex::escape(&escaped.to_string()));
                        }
                        Some('-') => regex.push('-'),
                        Some(c) => regex.push_str(&regex::escape(&c.to_string())),
                        None => return Err("syntax error in pattern".to_owned()),
                    }
                }
                regex.push(']');
            }
            '\\' => {
                let escaped = chars.next().ok_or("syntax error in pattern")?;
                regex.push_str(&regex::escape(&escaped.to_string()));
            }
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    Regex::new(&regex).map_err(|error| format!("pattern `{pattern}`: {error}"))
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
    fn broken_patterns_are_refused() {
        assert!(Ignore::parse("[a").is_err());
        assert!(Ignore::parse("!").is_err());
    }

    #[test]
    fn wildcards_of_copy_stay_within_a_directory() {
        let pattern = wildcard("./d/*.t?t").expect("pattern");
        assert!(pattern.is_match("d/a.txt") && !pattern.is_match("d/e/a.txt") && !pattern.is_match("d/a.tt"));
    }
}
