//! What a target takes: arguments, secrets and agents, for `--call=outline`; and the list of targets.

use std::collections::{BTreeMap, BTreeSet};

use super::Converter;
use crate::instruction::{self, Arg};
use crate::lint::{Linter, Rules};
use crate::syntax::{Lines, SyntaxError};

/// What a stage takes, as far as is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    pub(super) args: BTreeMap<String, ArgNote>,
    pub(super) used: BTreeSet<String>,
    pub(super) secrets: BTreeMap<String, Need>,
    pub(super) agents: BTreeMap<String, Need>,
}

/// An argument.
#[derive(Clone, Debug)]
pub(super) struct ArgNote {
    name: String,
    description: String,
    lines: Lines,
    pub(super) value: String,
    /// Others that its value is made of.
    pub(super) uses: BTreeSet<String>,
}

/// A secret or agent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) is_required: bool,
    pub(super) lines: Lines,
}

/// What a target takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outline {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) args: Vec<OutlineArg>,
    /// Names, whether each has to be there, and where it is asked for.
    pub(crate) secrets: Vec<(String, bool, Lines)>,
    pub(crate) agents: Vec<(String, bool, Lines)>,
}

/// An argument of a target.
#[derive(Clone, Debug)]
pub(crate) struct OutlineArg {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) value: String,
    pub(crate) lines: Lines,
}

/// A stage as the list of targets has it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) is_default: bool,
    pub(crate) description: String,
    pub(crate) base: String,
    pub(crate) platform: String,
    pub(crate) lines: Lines,
}

impl ArgNote {
    pub(super) fn new(arg: &Arg, lines: Lines) -> Self {
        Self {
            name: arg.name.clone(),
            description: arg.description.clone(),
            lines,
            value: String::new(),
            uses: BTreeSet::new(),
        }
    }
}

impl Noted {
    /// The arguments that are used, with those that they are made of.
    fn used_args(&self) -> impl Iterator<Item = &ArgNote> {
        let mut used = self.used.clone();
        let mut waiting: Vec<String> = used.iter().cloned().collect();
        while let Some(name) = waiting.pop() {
            let Some(arg) = self.args.get(&name) else { continue };
            for name in &arg.uses {
                if used.insert(name.clone()) {
                    waiting.push(name.clone());
                }
            }
        }
        self.args.iter().filter(move |(name, _)| used.contains(*name)).map(|(_, arg)| arg)
    }
}

impl Converter<'_> {
    pub(super) fn outline(&self, target: usize) -> Outline {
        let stage = &self.stages[target].stage;
        let mut outline = Outline {
            name: stage.name.clone(),
            description: stage.description.clone(),
            ..Outline::default()
        };
        let (mut args, mut secrets, mut agents) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        // The target itself first: what it says of a name counts.
        let needed = self.needed(target);
        for at in std::iter::once(target).chain(needed.into_iter().filter(|at| *at != target)) {
            let noted = &self.stages[at].noted;
            for arg in noted.used_args() {
                if args.insert(arg.name.clone()) {
                    outline.args.push(OutlineArg {
                        name: arg.name.clone(),
                        description: arg.description.clone(),
                        value: arg.value.clone(),
                        lines: arg.lines,
                    });
                }
            }
            for (needs, seen, list) in [
                (&noted.secrets, &mut secrets, &mut outline.secrets),
                (&noted.agents, &mut agents, &mut outline.agents),
            ] {
                for (name, need) in needs {
                    if seen.insert(name.clone()) {
                        list.push((name.clone(), need.is_required, need.lines));
                    }
                }
            }
        }
        outline.args.sort_by_key(|arg| arg.lines.first);
        outline.secrets.sort_by_key(|(_, _, lines)| lines.first);
        outline.agents.sort_by_key(|(_, _, lines)| lines.first);
        outline
    }
}

impl Listed {
    /// The targets of a Dockerfile.
    pub(crate) fn all(text: &str) -> Result<Vec<Self>, SyntaxError> {
        let document = instruction::parse(text, &mut Linter::new(Rules::default()))?;
        let last = document.stages.len() - 1;
        let listed = document.stages.into_iter().enumerate().map(|(number, stage)| Self {
            name: stage.name,
            is_default: number == last,
            description: stage.description,
            base: stage.base,
            platform: stage.platform,
            lines: stage.lines,
        });
        Ok(listed.collect())
    }
}
