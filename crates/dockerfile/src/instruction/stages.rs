//! Stages: what a Dockerfile comes to as a whole.

use super::read::{Read, read};
use super::{Arg, Instruction, What};
use crate::lint::{self, Linter};
use crate::syntax::{self, Lines, Node, SyntaxError};

/// A Dockerfile.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Document {
    pub(crate) stages: Vec<Stage>,
    /// The arguments that are declared before the first stage, with where.
    pub(crate) args: Vec<(Vec<Arg>, Lines)>,
    pub(crate) escape: char,
}

/// A stage: FROM, and the instructions up to the next.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Stage {
    /// In lower case; empty for none.
    pub(crate) name: String,
    pub(crate) base: String,
    /// Of its base; empty for that of the build.
    pub(crate) platform: String,
    /// What the comment before it says of it.
    pub(crate) description: String,
    /// `FROM`, as written.
    pub(crate) keyword: String,
    /// The whole of FROM as written.
    pub(crate) code: String,
    pub(crate) lines: Lines,
    pub(crate) comments: Vec<String>,
    pub(crate) instructions: Vec<Instruction>,
}

/// Reads a Dockerfile, and tells what is not well about how it is written.
pub(crate) fn parse(text: &str, linter: &mut Linter) -> Result<Document, SyntaxError> {
    if text.is_empty() {
        let problem = "the Dockerfile cannot be empty".to_owned();
        return Err(SyntaxError { problem, lines: Lines::default() });
    }
    let syntax = syntax::parse(text)?;
    for lines in &syntax.empty_continuations {
        linter.found(&lint::NO_EMPTY_CONTINUATION, *lines, "Empty continuation line".to_owned());
    }
    let mut document = Document { stages: Vec::new(), args: Vec::new(), escape: syntax.escape };
    for node in &syntax.nodes {
        linter.enter(&node.comments);
        check_before(node, linter);
        let read = read(node).map_err(|problem| SyntaxError {
            problem: format!("dockerfile parse error on line {}: {problem}", node.lines.first),
            lines: node.lines,
        })?;
        check_after(&read, linter);
        match (read, document.stages.last_mut()) {
            (Read::Stage(stage), _) => document.stages.push(stage),
            (Read::Instruction(instruction), Some(stage)) => stage.instructions.push(instruction),
            (Read::Instruction(Instruction { what: What::Arg(args), lines, .. }), None) => {
                document.args.push((args, lines));
            }
            (Read::Instruction(instruction), None) => {
                let problem = "no build stage in current context".to_owned();
                return Err(SyntaxError { problem, lines: instruction.lines });
            }
        }
    }
    linter.leave();
    if document.stages.is_empty() {
        let problem = "dockerfile contains no stages to build".to_owned();
        return Err(SyntaxError { problem, lines: Lines::default() });
    }
    Ok(document)
}

/// What can be said of a node however it reads.
fn check_before(node: &Node, linter: &mut Linter) {
    let words = &node.arguments.words;
    match node.keyword.to_lowercase().as_str() {
        "maintainer" => {
            let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
            linter.found(&lint::MAINTAINER_DEPRECATED, node.lines, message);
        }
        "from" => {
            let keyword = &node.keyword;
            if let [_, _, name] = words.as_slice()
                && *name != name.to_lowercase()
            {
                let message = format!("Stage name '{name}' should be lowercase");
                linter.found(&lint::STAGE_NAME_CASING, node.lines, message);
            }
            if let [_, word, _, ..] = words.as_slice() {
                let differs = match (*keyword == keyword.to_lowercase(), *keyword == keyword.to_uppercase()) {
                    (true, _) => *word != word.to_lowercase(),
                    (_, true) => *word != word.to_uppercase(),
                    _ => false,
                };
                if differs {
                    let message = format!("'{word}' and '{keyword}' keywords' casing do not match");
                    linter.found(&lint::FROM_AS_CASING, node.lines, message);
                }
            }
        }
        _ => {}
    }
}

/// Whether the comment before a stage or an argument describes it.
fn check_after(read: &Read, linter: &mut Linter) {
    let (keyword, names, comments, lines) = match read {
        Read::Stage(stage) if !stage.name.is_empty() => {
            ("FROM", vec![stage.name.as_str()], &stage.comments, stage.lines)
        }
        Read::Instruction(Instruction { what: What::Arg(args), comments, lines, .. }) => {
            ("ARG", args.iter().map(|arg| arg.name.as_str()).collect(), comments, *lines)
        }
        _ => return,
    };
    let Some(first) = comments.last().and_then(|comment| comment.split(' ').next()) else { return };
    if names.contains(&first) {
        return;
    }
    let example = if let [name] = names.as_slice() { name } else { "<arg_key>" };
    let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    linter.found(&lint::INVALID_DEFINITION_DESCRIPTION, lines, message);
}
