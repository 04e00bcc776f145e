//! What is said of a Dockerfile that builds, but not well: rules, and which of them count.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub(crate) use rules::*;

use crate::go::quote;
use crate::syntax::Lines;

/// The most that is said of one Dockerfile.
const FOUND_MAX: usize = 1_000;

/// A rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// `StageNameCasing`.
    pub name: &'static str,
    /// What should be, in a sentence.
    pub description: &'static str,
    /// Where more about it is written; empty where nothing is.
    pub url: &'static str,
    /// Whether it counts only where it is asked for.
    pub is_experimental: bool,
}

/// Something that a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: &'static Rule,
    /// What is wrong.
    pub message: String,
    /// Where; none of the file if [`Lines::first`] is 0.
    pub lines: Lines,
}

/// Which rules count: what `# check=` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    skips_all: bool,
    skipped: BTreeSet<String>,
    experimental_all: bool,
    experimental: BTreeSet<String>,
    /// Whether anything found makes the build fail.
    is_error: bool,
}

/// Collects what is found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Linter {
    rules: Rules,
    /// Those for the instruction that is looked at.
    local: Option<Rules>,
    found: Vec<Warning>,
}

impl Warning {
    /// In one line: the rule, what is wrong, and where.
    pub fn short(&self) -> String {
        match self.lines.first {
            0 => format!("{}: {}", self.rule.name, self.message),
            line => format!("{}: {} (line {line})", self.rule.name, self.message),
        }
    }
}

impl Rules {
    /// Reads `skip=…;error=true;experimental=…`.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut rules = Self::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(rules);
        }
        let names = |text: &str| text.split(',').map(|name| name.trim().to_owned()).collect();
        for part in text.splitn(3, ';') {
            let invalid = |part: &str| format!("invalid check option {}", quote(part));
            let (key, value) = part.split_once('=').ok_or_else(|| invalid(part))?;
            match (key.trim(), value.trim()) {
                ("skip", "all") => rules.skips_all = true,
                ("skip", value) => rules.skipped = names(value),
                ("experimental", "all") => rules.experimental_all = true,
                ("experimental", value) => rules.experimental = names(value),
                ("error", value) => {
                    rules.is_error = base::truth::parse(value).ok_or_else(|| {
                        let why = format!("strconv.ParseBool: parsing {}: invalid syntax", quote(value));
                        format!("failed to parse check option {}: {why}", quote(part))
                    })?;
                }
                (key, _) => return Err(invalid(key)),
            }
        }
        Ok(rules)
    }

    fn with(&self, other: Self) -> Self {
        let mut both = self.clone();
        both.skips_all |= other.skips_all;
        both.skipped.extend(other.skipped);
        both.experimental_all |= other.experimental_all;
        both.experimental.extend(other.experimental);
        both
    }

    fn count(&self, rule: &Rule) -> bool {
        match rule.is_experimental {
            true => self.experimental_all || self.experimental.contains(rule.name),
            false => !self.skips_all && !self.skipped.contains(rule.name),
        }
    }
}

impl Linter {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Begins with an instruction: a comment before it may say which rules count for it.
    pub(crate) fn enter(&mut self, comments: &[String]) {
        let check = comments.iter().find_map(|comment| {
            let (name, value) = comment.split_once('=')?;
            let value = value.trim();
            (name.trim().eq_ignore_ascii_case("check") && !value.is_empty()).then_some(value)
        });
        let local = check.and_then(|text| Rules::read(text.split(' ').next().unwrap_or(text)).ok());
        self.local = local.map(|local| self.rules.with(local));
    }

    /// Ends with the instruction.
    pub(crate) fn leave(&mut self) {
        self.local = None;
    }

    /// Something was found.
    pub(crate) fn found(&mut self, rule: &'static Rule, lines: Lines, message: String) {
        if !self.is_full() && self.local.as_ref().unwrap_or(&self.rules).count(rule) {
            self.found.push(Warning { rule, message, lines });
        }
    }

    /// Whether enough was found: more is not looked for.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= FOUND_MAX
    }

    /// All that was found, in the order of looking.
    pub(crate) fn take(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.found)
    }

    /// Why the build fails for what was found, if it does.
    pub(crate) fn error(&self) -> Option<String> {
        if !self.rules.is_error || self.found.is_empty() {
            return None;
        }
        let names: BTreeSet<&str> = self.found.iter().map(|warning| warning.rule.name).collect();
        Some(format!("lint violation found for rules: {}", Vec::from_iter(names).join(", ")))
    }
}
