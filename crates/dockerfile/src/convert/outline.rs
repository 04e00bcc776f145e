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

impl Converter<'_> {
    pub(super) fn outline(&self, target: usize) -> Outline {
        let stage = &self.stages[target].stage;
        let mut outline = Outline {
            name: stage.name.clone(),
            description: stage.description.clone(),
            ..Outline::default()
        };
        let (mut secrets, mut agents) = (BTreeSet::new(), BTreeSet::new());
        // The target itself first: what it says of a name counts.
        let needed = self.needed(target);
        let order: Vec<usize> =
            std::iter::once(target).chain(needed.into_iter().filter(|at| *at != target)).collect();
        self.outline_args(&order, &mut outline.args);
        for at in order {
            let noted = &self.stages[at].noted;
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
        outline.secrets.sort_by_key(|(_, _, lines)| lines.first);
        outline.agents.sort_by_key(|(_, _, lines)| lines.first);
        outline
    }

    /// The arguments that these stages use, with those that they are made of.
    fn outline_args(&self, order: &[usize], args: &mut Vec<OutlineArg>) {
        let mut known: BTreeMap<&str, &ArgNote> = BTreeMap::new();
        let of_stages = order.iter().map(|at| &self.stages[*at].noted);
        for noted in of_stages.clone().chain([&self.noted]) {
            for (name, note) in &noted.args {
                known.entry(name).or_insert(note);
            }
        }
        let mut waiting: Vec<&str> = of_stages.flat_map(|noted| &noted.used).map(String::as_str).collect();
        let mut used: BTreeSet<&str> = waiting.iter().copied().collect();
        while let Some(name) = waiting.pop() {
            let Some(note) = known.get(name) else { continue };
            waiting.extend(note.uses.iter().map(String::as_str).filter(|name| used.insert(name)));
        }
        args.extend(known.iter().filter(|(name, _)| used.contains(**name)).map(|(_, note)| OutlineArg {
            name: note.name.clone(),
            description: note.description.clone(),
            value: note.value.clone(),
            lines: note.lines,
        }));
        args.sort_by_key(|arg| arg.lines.first);
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
