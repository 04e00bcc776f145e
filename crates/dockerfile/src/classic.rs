//! Dockerfiles as the classic builder reads them: from text to instructions. Nothing is expanded or run here.
//!
//! The format is Docker's reference ("Dockerfile reference"); here-documents are those of its
//! later syntax versions. What only BuildKit knows is refused, in the words that tell so.

mod instruction;
mod lines;
pub mod operation;
mod options;
#[cfg(test)]
mod tests;

use lines::LogicalLine;

pub use instruction::{Command, CommandForm, CopySource, Copying, HealthOptions, RunNetwork};
pub use lines::HereDocument;

/// How many instructions a Dockerfile may have, in all its stages. An image takes a thousand of them
/// ([`oci::limits::HISTORY_MAX`]).
const STEPS_MAX: usize = 10_000;

/// A whole Dockerfile.
#[derive(Clone, PartialEq, Debug)]
pub struct Dockerfile {
    /// Its instructions, in the order written.
    pub steps: Vec<Step>,
    /// The character that escapes: a backslash, or what the directive says.
    pub escape: char,
}

/// One instruction.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// The line where it begins, from 1.
    pub line: usize,
    /// The instruction as written, for people: continuation lines joined.
    pub text: String,
    /// What it says.
    pub command: Command,
}

/// Why a text is no Dockerfile.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// There is no instruction in it.
    #[error("file with no instructions")]
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
    #[error("dockerfile parse error on line {line}: no build stage in current context")]
    NoStage {
        /// The line.
        line: usize,
    },
}

impl Dockerfile {
    /// Reads a Dockerfile.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
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
            return Err(ParseError::NoStage { line: step.line });
        }
        if !steps.iter().any(|step| matches!(step.command, Command::From { .. })) {
            return Err(ParseError::NoStage { line: 1 });
        }
        Ok(Self { steps, escape })
    }

    /// Reads the instructions of `--change`, of which there are as many as lines; only those that `known` has
    /// are any. The error says what is wrong.
    pub fn parse_changes(text: &str, known: &[&str]) -> Result<Vec<Step>, String> {
        let escape = lines::escape(text).map_err(|error| error.to_string())?;
        let lines = lines::logical(text, escape).map_err(|error| error.to_string())?;
        if lines.is_empty() {
            return Err(ParseError::Empty.to_string());
        }
        let keyword = |line: &LogicalLine| line.text.split_whitespace().next().unwrap_or_default().to_owned();
        let unknown = lines.iter().map(keyword).find(|word| !known.contains(&word.to_uppercase().as_str()));
        if let Some(keyword) = unknown {
            return Err(format!("{keyword} is not a valid change command"));
        }
        lines.into_iter().map(|line| Step::read(line, escape).map_err(|error| error.to_string())).collect()
    }

    /// Reads one instruction, as ONBUILD carries it.
    pub fn parse_step(text: &str) -> Result<Step, ParseError> {
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
