//! Stages and what they take from each other.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use oci::{ImageConfig, Platform};

use super::outline::Noted;
use super::state::State;
use super::{Command, Converter, Failure, StageState};
use crate::go::quote;
use crate::instruction::{Instruction, Mount, Stage, What};
use crate::lexer::Lexer;
use crate::suggest;
use crate::syntax::Lines;

/// The name that stands for an empty directory.
pub(super) const SCRATCH: &str = "scratch";
/// The most stages, with images that are copied from.
const STAGES_MAX: usize = 20_000;

impl Converter<'_> {
    /// Adds the stages of the Dockerfile.
    pub(super) fn add_stages(&mut self, stages: Vec<Stage>) -> Result<(), Failure> {
        for (number, stage) in stages.into_iter().enumerate() {
            let lines = stage.lines;
            let comments = stage.comments.clone();
            self.linter.enter(&comments);
            self.add_stage(number, stage).map_err(|problem| Failure::from(problem).at(lines))?;
        }
        self.linter.leave();
        Ok(())
    }

    fn add_stage(&mut self, number: usize, mut stage: Stage) -> Result<(), String> {
        let base = self.expand_global(&stage.base, stage.lines)?;
        if base.text.is_empty() {
            return Err(format!("base name ({}) should not be blank", stage.base));
        }
        let mut used = base.found;
        stage.base = base.text;
        let mut platform = None;
        if !stage.platform.is_empty() {
            let asked = stage.platform.clone();
            let expansion = self
                .expand_global(&asked, stage.lines)
                .map_err(|problem| format!("failed to process arguments for platform : {problem}"))?;
            self.check_platform(&stage, &expansion);
            let hint = |problem: String| {
                let missing = expansion.missing.iter();
                let suggested = missing
                    .filter_map(|name| suggest::nearest(name, self.global.names(), true))
                    .next()
                    .map(|name| format!(" (did you mean {name}?)"));
                format!("{problem}{}", suggested.unwrap_or_default())
            };
            if expansion.text.is_empty() {
                return Err(hint(format!("empty platform value from expression {asked}")));
            }
            let read = expansion
                .text
                .parse::<Platform>()
                .map_err(|error| format!("failed to parse platform {asked}: {}", hint(error.to_string())))?;
            platform = Some(read);
            used.extend(expansion.found.iter().cloned());
        }
        let context = match stage.name.is_empty() {
            true => None,
            false => {
                let wanted = platform.as_ref().unwrap_or(&self.target_platform);
                self.job.contexts.named(&stage.name, wanted)?
            }
        };
        let shown = match stage.name.as_str() {
            "" => format!("stage-{number}"),
            name => name.to_owned(),
        };
        let mut noted = Noted::default();
        if context.is_none() {
            noted.used = used;
        }
        let mut state = StageState::new(stage, shown, noted);
        state.platform = platform;
        state.context = context;
        let at = self.push(state);
        if self.stages[at].context.is_some() {
            self.stages[at].base = None;
            return Ok(());
        }
        let stage = &mut self.stages[at];
        let begins_with_image = stage.stage.base != SCRATCH && stage.base.is_none();
        let makes_layer = |instruction: &&Instruction| {
            matches!(instruction.what, What::Add(_) | What::Copy(_) | What::Run(_) | What::Workdir(_))
        };
        stage.steps =
            usize::from(begins_with_image) + stage.stage.instructions.iter().filter(makes_layer).count();
        stage.ignores_cache = self.job.settings.ignores_cache(&stage.stage.name);
        Ok(())
    }

    /// Adds a stage after the others. It begins with the last one that has the name of its base.
    fn push(&mut self, mut stage: StageState) -> usize {
        let at = self.stages.len();
        stage.paths_of = at;
        if let Some(&base) = self.by_name.get(&stage.stage.base) {
            stage.base = Some(base);
        }
        if !stage.stage.name.is_empty() {
            self.by_name.insert(stage.stage.name.clone(), at);
        }
        self.stages.push(stage);
        at
    }

    /// The stage that is wanted.
    pub(super) fn target(&self) -> Result<usize, Failure> {
        let wanted = self.job.settings.target.as_str();
        if wanted.is_empty() {
            return Ok(self.stages.len() - 1);
        }
        self.by_name.get(&wanted.to_lowercase()).copied().ok_or_else(|| {
            let problem = format!("target stage {} could not be found", quote(wanted));
            Failure::from(suggest::hint(problem, wanted, self.shown_names(), true))
        })
    }

    pub(super) fn shown_names(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().map(|stage| stage.shown.as_str()).filter(|name| !name.is_empty())
    }

    /// Finds what the instructions of all stages take from other stages.
    pub(super) fn find_uses(&mut self) -> Result<(), Failure> {
        // Images that are copied from come to the end of the list, and have no instructions.
        for at in 0..self.stages.len() {
            let instructions = self.stages[at].stage.instructions.clone();
            for instruction in instructions {
                let lines = instruction.lines;
                let command =
                    self.command(instruction).map_err(|problem| Failure::from(problem).at(lines))?;
                let stage = &mut self.stages[at];
                stage.uses.extend(command.sources.iter().map(|source| (*source, lines)));
                stage.commands.push(command);
            }
        }
        self.check_circles()?;
        if let [only] = self.stages.as_mut_slice() {
            only.shown.clear();
        }
        Ok(())
    }

    /// An instruction with the stages that it takes from.
    pub(super) fn command(&mut self, instruction: Instruction) -> Result<Command, String> {
        let mut sources = Vec::new();
        match &instruction.what {
            What::Copy(copying) if !copying.from.is_empty() => {
                let from = &copying.from;
                let plain = Lexer { ..self.lexer }.expand(from, &|_: &str| None)?;
                if plain.text != *from {
                    return Err(
                        "variable expansion is not supported for --from, define a new stage with FROM \
                        using ARG from global scope as a workaround"
                            .to_owned(),
                    );
                }
                sources.push(match from.parse::<i64>() {
                    Ok(number) => usize::try_from(number)
                        .ok()
                        .filter(|number| *number < self.stages.len())
                        .ok_or_else(|| format!("invalid stage index {number}"))?,
                    Err(_) => self.source(from, instruction.lines)?,
                });
            }
            What::Run(run) => {
                for mount in &run.mounts {
                    let from = Mount::source_of(mount)?;
                    let from = if from.is_empty() { SCRATCH } else { &from };
                    sources.push(self.source(from, Lines::default())?);
                }
            }
            _ => {}
        }
        Ok(Command { instruction, sources, is_trigger: false })
    }

    /// The stage of this name, or a new one for the image.
    fn source(&mut self, name: &str, lines: Lines) -> Result<usize, String> {
        if let Some(&at) = self.by_name.get(&name.to_lowercase()) {
            return Ok(at);
        }
        if self.stages.len() >= STAGES_MAX {
            return Err(format!("there are more than {STAGES_MAX} stages and images to copy from"));
        }
        let stage = Stage {
            name: String::new(),
            base: name.to_owned(),
            platform: String::new(),
            description: String::new(),
            keyword: "FROM".to_owned(),
            code: String::new(),
            lines,
            comments: Vec::new(),
            instructions: Vec::new(),
        };
        let mut state = StageState::new(stage, String::new(), Noted::default());
        state.is_outside = true;
        Ok(self.push(state))
    }

    /// Whether a stage takes from itself, by way of others or not.
    fn check_circles(&self) -> Result<(), Failure> {
        let mut is_done = vec![false; self.stages.len()];
        for start in 0..self.stages.len() {
            if is_done[start] {
                continue;
            }
            // Each stage on the way with the number of its next use to look at.
            let mut way = vec![(start, 0)];
            let mut on_way = BTreeSet::from([start]);
            while let Some((at, next)) = way.last_mut() {
                let Some(&(used, _)) = self.stages[*at].uses.get(*next) else {
                    is_done[*at] = true;
                    on_way.remove(at);
                    way.pop();
                    continue;
                };
                *next += 1;
                if on_way.contains(&used) {
                    let shown = &self.stages[start].shown;
                    let mut failure =
                        Failure::from(format!("circular dependency detected on stage: {shown}"));
                    for (at, next) in &way {
                        failure = failure.at(self.stages[*at].uses[*next - 1].1);
                    }
                    return Err(failure);
                }
                if !is_done[used] {
                    on_way.insert(used);
                    way.push((used, 0));
                }
            }
        }
        Ok(())
    }

    /// The stages that one is made with, itself among them.
    pub(super) fn needed(&self, target: usize) -> BTreeSet<usize> {
        let mut needed = BTreeSet::from([target]);
        let mut waiting = vec![target];
        while let Some(at) = waiting.pop() {
            let stage = &self.stages[at];
            for next in stage.base.into_iter().chain(stage.uses.iter().map(|(used, _)| *used)) {
                if needed.insert(next) {
                    waiting.push(next);
                }
            }
        }
        needed
    }
}

impl StageState {
    fn new(stage: Stage, shown: String, noted: Noted) -> Self {
        Self {
            stage,
            shown,
            base: None,
            uses: Vec::new(),
            commands: Vec::new(),
            state: State::default(),
            image: ImageConfig::default(),
            base_image: None,
            platform: None,
            context: None,
            is_done: false,
            is_resolved: false,
            has_triggers: false,
            ignores_cache: false,
            is_outside: false,
            args: IndexMap::new(),
            context_paths: BTreeSet::new(),
            paths: BTreeSet::new(),
            paths_of: 0,
            step: 0,
            steps: 0,
            is_trigger: false,
            has_workdir: false,
            cmd: None,
            entrypoint: None,
            healthcheck: None,
            noted,
        }
    }
}
