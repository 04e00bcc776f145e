//! The text of an expression, and what is wrong with it: messages with the place that they mean.

use std::fmt;

/// How many complaints about one expression are kept.
const MOST_ISSUES: usize = 100;
/// Lines longer than this are not shown with a complaint.
const LONGEST_SNIPPET: usize = 16_384;

/// One thing that is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Where, counted in characters from the beginning; [`None`] means the whole.
    pub(crate) at: Option<u32>,
    /// What, in the words of Kubernetes.
    pub message: String,
}

/// Everything that is wrong with an expression, in the order in which it stands there.
///
/// Displayed as Kubernetes shows it: each with line and column, the line itself and a mark below it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Issues {
    text: String,
    issues: Vec<Issue>,
    more: usize,
}

impl Issues {
    pub(crate) fn new(source: &str) -> Self {
        Self { text: source.to_owned(), issues: Vec::new(), more: 0 }
    }

    pub(crate) fn report(&mut self, at: u32, message: impl Into<String>) {
        self.add(Issue { at: Some(at), message: message.into() });
    }

    pub(crate) fn report_whole(&mut self, message: impl Into<String>) {
        self.add(Issue { at: None, message: message.into() });
    }

    fn add(&mut self, issue: Issue) {
        if self.issues.len() < MOST_ISSUES {
            self.issues.push(issue);
        } else {
            self.more += 1;
        }
    }

    /// Whether there is nothing to complain about.
    pub fn is_empty(&self) -> bool {
        self.issues.is_empty()
    }

    /// What is wrong, without places.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.issues.iter().map(|issue| issue.message.as_str())
    }

    pub(crate) fn sort(&mut self) {
        self.issues.sort_by_key(|issue| issue.at.map_or(-1, i64::from));
    }

    /// This, if there is something in it.
    pub(crate) fn into_result<T>(mut self, otherwise: T) -> Result<T, Self> {
        if self.issues.is_empty() {
            return Ok(otherwise);
        }
        self.sort();
        Err(self)
    }
}

/// Line (from 1) and column (from 0) of a place.
fn line_and_column(source: &str, at: u32) -> (usize, usize) {
    let (mut line, mut column) = (1, 0);
    for character in source.chars().take(at as usize) {
        if character == '\n' {
            line += 1;
            column = 0;
        } else {
            column += 1;
        }
    }
    (line, column)
}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, issue) in self.issues.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let Some(at) = issue.at else {
                // There is no place: line -1 counts as what it is there.
                write!(f, "ERROR: <input>:-1:0: {}", issue.message)?;
                continue;
            };
            let (line, column) = line_and_column(&self.text, at);
            write!(f, "ERROR: <input>:{line}:{}: {}", column + 1, issue.message)?;
            let Some(text) = self.text.split('\n').nth(line - 1).filter(|text| text.len() <= LONGEST_SNIPPET)
            else {
                continue;
            };
            let text = text.replace('\t', " ");
            write!(f, "\n | {text}\n | ")?;
            let mut characters = text.chars();
            for character in characters.by_ref().take(column) {
                f.write_str(if character.len_utf8() > 1 { "\u{ff0e}" } else { "." })?;
            }
            let wide = characters.next().is_some_and(|character| character.len_utf8() > 1);
            f.write_str(if wide { "\u{ff3e}" } else { "^" })?;
        }
        if self.more > 0 {
            write!(f, "\n{} more errors were truncated", self.more)?;
        }
        Ok(())
    }
}
