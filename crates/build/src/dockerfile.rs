//! Dockerfiles: from text to instructions. Nothing is expanded or run here.
//!
//! The format is Docker's reference ("Dockerfile reference"); here-documents are those of its
//! later syntax versions.

mod instruction;
mod lines;
mod options;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use lines::LogicalLine;

pub(crate) use instruction::{Command, CommandForm, CopySource, Copying, HealthOptions, RunNetwork};
pub(crate) use lines::HereDocument;

/// How many instructions a Dockerfile may have, in all its stages. An image takes a thousand of them
/// ([`oci::limits::HISTORY_MAX`]).
const STEPS_MAX: usize = 10_000;

/// A whole Dockerfile.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Dockerfile {
    pub(crate) steps: Vec<Step>,
    /// The character that escapes: a backslash, or what the directive says.
    pub(crate) escape: char,
}

/// One instruction.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Step {
    /// The line where it begins, from 1.
    pub(crate) line: usize,
    /// The instruction as written, for people: continuation lines joined.
    pub(crate) text: String,
    pub(crate) command: Command,
}

/// Why a text is no Dockerfile.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// There is no instruction in it.
    #[error("the Dockerfile cannot be empty")]
    Empty,
    /// An instruction is wrong.
    #[error("dockerfile parse error on line {line}: {problem}")]
    Instruction {
        /// The line where the instruction begins, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// An instruction stands before the first FROM.
    #[error("no build stage in current context (line {line}: {keyword} before FROM)")]
    NoStage {
        /// The line.
        line: usize,
        /// The instruction.
        keyword: String,
    },
}

impl Dockerfile {
    /// Reads a Dockerfile.
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let escape = lines::escape(text)?;
        let mut steps = Vec::new();
        for line in lines::logical(text, escape)? {
            if steps.len() == STEPS_MAX {
                let problem = format!("there are more than {STEPS_MAX} instructions");
                return Err(ParseError::Instruction { line: line.number, problem });
            }
            steps.push(Step::read(line, escape)?);
        }
        if steps.is_empty() {
            return Err(ParseError::Empty);
        }
        let before = steps.iter().take_while(|step| !matches!(step.command, Command::From { .. }));
        if let Some(step) = before.into_iter().find(|step| !matches!(step.command, Command::Arg(_))) {
            let keyword = step.text.split_whitespace().next().unwrap_or_default().to_uppercase();
            return Err(ParseError::NoStage { line: step.line, keyword });
        }
        if !steps.iter().any(|step| matches!(step.command, Command::From { .. })) {
            return Err(ParseError::NoStage { line: 1, keyword: "ARG".to_owned() });
        }
        Ok(Self { steps, escape })
    }

    /// Reads one instruction, as ONBUILD and `--change` carry it.
    pub(crate) fn parse_step(text: &str) -> Result<Step, ParseError> {
        let mut lines = lines::logical(text, '\\')?.into_iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => Step::read(line, '\\'),
            (None, _) => Err(ParseError::Empty),
            (Some(_), Some(extra)) => Err(ParseError::Instruction {
                line: extra.number,
                problem: "one instruction was expected, there are several".to_owned(),
            }),
        }
    }
}

impl Step {
    fn read(line: LogicalLine, escape: char) -> Result<Self, ParseError> {
        let number = line.number;
        let text = line.text.clone();
        let command = instruction::read(line, escape)
            .map_err(|problem| ParseError::Instruction { line: number, problem })?;
        Ok(Self { line: number, text, command })
    }
}
