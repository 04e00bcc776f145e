//! From a Dockerfile to the definition of its target and the configuration of the image.

mod args;
mod base;
mod checks;
mod copy;
mod dispatch;
mod expose;
mod mounts;
mod names;
mod outline;
mod run;
mod stages;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexMap;
use llb::pb;
use oci::{ImageConfig, Platform};

pub(crate) use copy::{action_of, common, directory_op, file_op, inline_op, local};
pub(crate) use mounts::{root_mount, tmpfs_mount};
pub(crate) use outline::{Listed, Outline};
pub(crate) use run::{RunSettings, meta, proxies};
pub use state::Env;
pub(crate) use state::Later;

use crate::client::{Client, ClientError, DockerfileSource};
use crate::draft::{Draft, Place};
use crate::front::{Contexts, Named, Settings};
use crate::instruction::{self, Instruction, Stage};
use crate::lexer::Lexer;
use crate::lint::{Linter, Rules, Warning};
use crate::syntax::{self, Lines};
use outline::Noted;
use state::State;

/// What is wrong, and where.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) problem: String,
    /// Innermost first.
    pub(crate) lines: Vec<Lines>,
    pub(crate) source: Option<ClientError>,
}

/// What is to be converted, and for what.
pub(crate) struct Job<'a> {
    pub(crate) source: &'a DockerfileSource,
    pub(crate) settings: &'a Settings,
    pub(crate) contexts: &'a Contexts<'a>,
    pub(crate) client: &'a dyn Client,
    /// None where the request does not say.
    pub(crate) platform: Option<Platform>,
    /// What the builder itself runs on.
    pub(crate) build_platform: Platform,
    /// Whether every stage is gone through, not only those that the target needs.
    pub(crate) all_stages: bool,
    /// How many conversions there are in all, which share what may be made.
    pub(crate) shares: usize,
}

/// What a Dockerfile came to.
#[derive(Debug)]
pub(crate) struct Converted {
    pub(crate) definition: pb::Definition,
    pub(crate) config: ImageConfig,
    /// That of the image that the target begins with.
    pub(crate) base_config: Option<ImageConfig>,
    /// Seconds: the time that is written into what is made.
    pub(crate) epoch: Option<i64>,
    /// What else a scanner is to look into, by name.
    pub(crate) scanned: Vec<(String, pb::Definition)>,
    pub(crate) outline: Outline,
}

/// A stage while it is worked on.
struct StageState {
    stage: Stage,
    /// As names of steps have it; empty where there is one stage only.
    shown: String,
    /// The stage that it begins with.
    base: Option<usize>,
    /// Stages that its instructions take from, and where.
    uses: Vec<(usize, Lines)>,
    commands: Vec<Command>,
    state: State,
    image: ImageConfig,
    base_image: Option<ImageConfig>,
    platform: Option<Platform>,
    context: Option<Named>,
    /// Whether all of it is done.
    is_done: bool,
    is_resolved: bool,
    has_triggers: bool,
    ignores_cache: bool,
    /// It is no stage of the Dockerfile but an image that something is copied from.
    is_outside: bool,
    /// Arguments that it declares, in that order.
    args: IndexMap<String, Option<String>>,
    /// What it takes of the context.
    context_paths: BTreeSet<String>,
    /// What others take of it; stages that begin with a stage share them.
    paths: BTreeSet<String>,
    paths_of: usize,
    step: usize,
    steps: usize,
    is_trigger: bool,
    has_workdir: bool,
    /// Where the last of those stands of which only the last counts.
    cmd: Option<Lines>,
    entrypoint: Option<Lines>,
    healthcheck: Option<Lines>,
    noted: Noted,
}

/// An instruction with the stages that it takes from.
#[derive(Clone, Debug)]
struct Command {
    instruction: Instruction,
    sources: Vec<usize>,
    is_trigger: bool,
}

/// The conversion under way.
struct Converter<'a> {
    job: &'a Job<'a>,
    target_platform: Platform,
    /// Arguments that were given.
    given: BTreeMap<String, String>,
    /// Arguments that FROM knows.
    global: Env,
    lexer: Lexer,
    linter: Linter,
    draft: Draft,
    stages: Vec<StageState>,
    by_name: HashMap<String, usize>,
    /// The build context.
    context: Option<Place>,
    /// Whether [`Converter::context`] is made when all that is taken of it is known.
    is_context_later: bool,
    ignore: Option<checks::Ignored>,
    epoch: Option<i64>,
    noted: Noted,
    /// Bytes that were made of what is written: lines can make very much of little.
    worth: usize,
    /// Instructions that triggers added.
    triggers: usize,
}

/// Bytes that may be made of a Dockerfile; fewer in tests, which are not optimised.
const WORTH_MAX: usize = if cfg!(test) { 16 << 20 } else { 128 << 20 };

/// The arguments that say what a scanner is to look into.
const SCAN_CONTEXT: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";
const SCAN_STAGE: &str = "BUILDKIT_SBOM_SCAN_STAGE";

/// Converts a Dockerfile. What was found about it is told whether it succeeds or not.
pub(crate) async fn convert(job: &Job<'_>) -> (Result<Converted, Failure>, Vec<Warning>) {
    let text = String::from_utf8_lossy(&job.source.data);
    let rules = match &job.settings.rules {
        Some(rules) => Ok(rules.clone()),
        None => {
            let check = syntax::directive(&text, "check").map(|found| found.value);
            let check = check.as_deref().and_then(|text| text.split(' ').next()).unwrap_or_default();
            Rules::read(check).map_err(|problem| format!("failed to parse check options: {problem}"))
        }
    };
    let mut linter = match rules {
        Ok(rules) => Linter::new(rules),
        Err(problem) => return (Err(Failure::from(problem)), Vec::new()),
    };
    let document = match instruction::parse(&text, &mut linter) {
        Ok(document) => document,
        Err(error) => {
            let lines = Vec::from_iter((error.lines.first > 0).then_some(error.lines));
            return (Err(Failure { problem: error.problem, lines, source: None }), linter.take());
        }
    };
    checks::stages(&document.stages, &mut linter);
    checks::casing(&document.stages, &mut linter);
    let mut draft = Draft::default();
    let (context, is_context_later) = match job.contexts.main(&mut draft) {
        Some(given) => (given, false),
        None => (Some(draft.add_later()), true),
    };
    let mut converter = Converter {
        target_platform: job.platform.clone().unwrap_or_else(|| job.build_platform.clone()),
        given: job.settings.args.clone(),
        job,
        global: Env::default(),
        lexer: Lexer::new(document.escape),
        linter,
        draft,
        stages: Vec::new(),
        by_name: HashMap::new(),
        context,
        is_context_later,
        ignore: None,
        epoch: None,
        noted: Noted::default(),
        worth: 0,
        triggers: 0,
    };
    let converted = converter.convert(document).await;
    (converted, converter.linter.take())
}

impl Converter<'_> {
    async fn convert(&mut self, document: instruction::Document) -> Result<Converted, Failure> {
        let last = document.stages.last().map(|stage| stage.name.clone()).unwrap_or_default();
        self.declare_globals(&document, &last)?;
        self.add_stages(document.stages)?;
        let target = self.target()?;
        self.find_uses()?;
        let needed = self.resolve(target).await?;
        self.dispatch_all(&needed).await?;
        let target_paths = self.stages[target].paths_of;
        self.stages[target_paths].paths.insert("/".to_owned());
        if let Some(problem) = self.linter.error() {
            return Err(Failure::from(problem));
        }
        self.fill_contexts(&needed)?;
        let outline = self.outline(target);
        let implicit = self.job.platform.is_none();
        let mut config = self.stages[target].image.clone();
        config.config.labels.extend(self.job.settings.labels.clone());
        if !implicit {
            let platform = &self.target_platform;
            let is_same = platform.os == config.os && platform.architecture == config.architecture;
            config.os.clone_from(&platform.os);
            config.architecture.clone_from(&platform.architecture);
            if !platform.variant.is_empty() || !is_same {
                config.variant.clone_from(&platform.variant);
            }
            if !platform.os_version.is_empty() || !is_same {
                config.os_version.clone_from(&platform.os_version);
            }
        }
        let normal = config.platform().normalised();
        (config.os, config.architecture, config.variant) = (normal.os, normal.architecture, normal.variant);
        let definition = self.draft.finish(self.stages[target].state.root, Some(self.job.source.info()));
        let base_config = self.stages[target].base_image.clone();
        let scanned = self.scanned(target, &needed);
        Ok(Converted { definition, config, base_config, epoch: self.epoch, scanned, outline })
    }

    /// What else a scanner is to look into: the build context and other stages, where arguments say so.
    fn scanned(&self, target: usize, needed: &BTreeSet<usize>) -> Vec<(String, pb::Definition)> {
        let context = self.is_scanned(target, SCAN_CONTEXT).then(|| ("context".to_owned(), self.context));
        let is_other = |at: &usize| *at != target && !self.stages[*at].is_outside;
        let stages = needed.iter().copied().filter(is_other).filter(|at| self.is_scanned(*at, SCAN_STAGE));
        let stages = stages.map(|at| (self.stages[at].shown.clone(), self.stages[at].state.root));
        context
            .into_iter()
            .chain(stages)
            .map(|(name, place)| (name, self.draft.finish(place, None)))
            .collect()
    }

    /// Whether an argument says so of a stage: a truth, or a list of names.
    fn is_scanned(&self, at: usize, argument: &str) -> bool {
        let stage = &self.stages[at];
        let own = stage.args.get(argument).and_then(Option::as_deref);
        let Some(said) = own.or_else(|| self.global.value(argument)) else { return false };
        ::base::truth::parse(said).unwrap_or_else(|| said.split(',').any(|name| name == stage.shown))
    }

    /// Counts bytes that were made, and fails if they are too many.
    fn charge(&mut self, bytes: usize) -> Result<(), String> {
        self.worth = self.worth.saturating_add(bytes);
        let most = WORTH_MAX / self.job.shares.max(1);
        match self.worth > most {
            true => Err(format!("the stages come to more than {most} bytes together")),
            false => Ok(()),
        }
    }

    /// Makes the sources of which it was not known yet what is taken of them.
    fn fill_contexts(&mut self, needed: &BTreeSet<usize>) -> Result<(), Failure> {
        let mut taken = BTreeSet::new();
        for stage in &self.stages {
            taken.extend(stage.context_paths.iter().cloned());
        }
        if let (true, Some(place)) = (self.is_context_later, self.context) {
            let source = self.job.contexts.local_main(&normal_paths(&taken));
            self.draft.fill(place, source);
        }
        for at in 0..self.stages.len() {
            let paths = &self.stages[self.stages[at].paths_of].paths;
            let Some(later) = self.stages[at].state.later.clone().filter(|_| needed.contains(&at)) else {
                continue;
            };
            self.draft.fill(later.place, later.source.follow(&normal_paths(paths)));
        }
        Ok(())
    }
}

/// Paths without a slash at the front; none where all of it is wanted.
fn normal_paths(paths: &BTreeSet<String>) -> Vec<String> {
    if paths.contains("/") {
        return Vec::new();
    }
    let mut paths: Vec<String> =
        paths.iter().map(|path| crate::go::clean_path(path.trim_start_matches('/'))).collect();
    paths.sort();
    paths
}

impl Failure {
    /// The same with where it happened.
    pub(crate) fn at(mut self, lines: Lines) -> Self {
        if lines.first > 0 {
            self.lines.push(lines);
        }
        self
    }

    /// What somebody else could not do.
    pub(crate) fn of(problem: String, source: ClientError) -> Self {
        Self { problem, lines: Vec::new(), source: Some(source) }
    }
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self { problem, lines: Vec::new(), source: None }
    }
}
