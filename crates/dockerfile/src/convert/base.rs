//! What stages begin with: images, named contexts, other stages, and the triggers that they bring.

use std::collections::BTreeSet;

use futures::StreamExt;
use oci::{ImageConfig, Platform, Reference};

use super::stages::SCRATCH;
use super::state::State;
use super::{Converter, Failure, Job};
use crate::client::{ClientError, ResolveOptions, ResolvedImage};
use crate::draft::Source;
use crate::front::{Loaded, Named};
use crate::go::quote;
use crate::instruction::read_trigger;
use crate::lint;
use crate::suggest;
use crate::syntax::Lines;

/// The path for images that start with nothing.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many images and contexts are asked for at a time.
const ASKED_AT_ONCE: usize = 16;
/// How many instructions all triggers together may add.
const TRIGGERS_MAX: usize = 10_000;

/// Images whose names are suggested.
const COMMON_IMAGES: [&str; 7] = ["alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"];

/// What a stage begins with that has to be asked for.
enum Wanted {
    Context(Named),
    Image { name: Reference, platform: Platform },
}

/// What came of it.
enum Got {
    Context(Loaded),
    Image(ResolvedImage),
}

impl Wanted {
    async fn ask(&self, job: &Job<'_>, platform: &Platform) -> Result<Got, Failure> {
        match self {
            Self::Context(context) => job.contexts.load(context, platform).await.map(Got::Context),
            Self::Image { name, platform } => {
                let prefix = match job.settings.is_multi_platform {
                    true => format!("[{platform} internal]"),
                    false => "[internal]".to_owned(),
                };
                let options = ResolveOptions {
                    platform: Some(platform),
                    mode: &job.settings.resolve_mode,
                    name: &format!("{prefix} load metadata for {name}"),
                    store: None,
                };
                let name = name.to_string();
                job.client.resolve_image(&name, options).await.map(Got::Image).map_err(Failure::from)
            }
        }
    }
}

impl Converter<'_> {
    /// Finds out what the stages begin with that the target needs. Gives these.
    pub(super) async fn resolve(&mut self, target: usize) -> Result<BTreeSet<usize>, Failure> {
        loop {
            let needed = self.needed(target);
            self.resolve_bases(&needed).await?;
            let mut has_new = false;
            for at in needed.clone() {
                self.begin(at)?;
                let stage = &mut self.stages[at];
                let mut triggers = std::mem::take(&mut stage.image.config.on_build);
                if let (Some(base), false) = (stage.base, stage.has_triggers) {
                    stage.has_triggers = true;
                    let commands = self.stages[base].commands.iter();
                    triggers.extend(commands.filter_map(|command| match &command.instruction.what {
                        crate::instruction::What::OnBuild(text) => Some(text.clone()),
                        _ => None,
                    }));
                }
                if !triggers.is_empty() {
                    let lines = self.stages[at].stage.lines;
                    has_new |= self
                        .add_triggers(at, &triggers)
                        .map_err(|problem| Failure::from(problem).at(lines))?;
                }
            }
            if !has_new {
                return Ok(needed);
            }
        }
    }

    /// Puts triggers before the instructions of a stage. Whether they take from other stages.
    fn add_triggers(&mut self, at: usize, triggers: &[String]) -> Result<bool, String> {
        let lines = self.stages[at].stage.lines;
        let mut commands = Vec::new();
        self.triggers += triggers.len();
        if self.triggers > TRIGGERS_MAX {
            return Err(format!("there are more than {TRIGGERS_MAX} triggers"));
        }
        for trigger in triggers {
            let mut instruction = read_trigger(trigger)?;
            instruction.lines = lines;
            let mut command = self.command(instruction)?;
            command.is_trigger = true;
            commands.push(command);
        }
        let stage = &mut self.stages[at];
        let uses: Vec<_> =
            commands.iter().flat_map(|command| &command.sources).map(|source| (*source, lines)).collect();
        let has_new = !uses.is_empty();
        stage.uses.extend(uses);
        stage.steps += commands.len();
        commands.append(&mut stage.commands);
        stage.commands = commands;
        Ok(has_new)
    }

    async fn resolve_bases(&mut self, needed: &BTreeSet<usize>) -> Result<(), Failure> {
        let mut wanted = Vec::new();
        for at in 0..self.stages.len() {
            let stage = &mut self.stages[at];
            if stage.base.is_some() || stage.is_done || stage.is_resolved {
                continue;
            }
            let is_needed = needed.contains(&at) || self.job.all_stages;
            stage.is_resolved = is_needed;
            if stage.stage.base == SCRATCH && stage.context.is_none() {
                stage.state = State::default();
                stage.image = empty_image(&self.target_platform);
                stage.platform = Some(self.target_platform.clone());
                stage.is_done = stage.is_outside;
                continue;
            }
            let lines = stage.stage.lines;
            let asked = self.wanted(at, is_needed).map_err(|problem| Failure::from(problem).at(lines))?;
            let platform = self.stages[at].platform.clone().unwrap_or_else(|| self.target_platform.clone());
            wanted.extend(asked.map(|asked| (at, asked, platform)));
        }
        let job = self.job;
        let asking = wanted.into_iter().map(|(at, wanted, platform)| async move {
            let got = wanted.ask(job, &platform).await;
            (at, wanted, got)
        });
        let mut answers = std::pin::pin!(futures::stream::iter(asking).buffered(ASKED_AT_ONCE));
        while let Some((at, wanted, got)) = answers.next().await {
            let lines = self.stages[at].stage.lines;
            let applied = match got {
                Ok(got) => self.apply(at, wanted, got),
                Err(failure) => Err(self.not_found(at, failure)),
            };
            applied.map_err(|failure| failure.at(lines))?;
        }
        Ok(())
    }

    /// What has to be asked for so that a stage can begin.
    fn wanted(&mut self, at: usize, is_needed: bool) -> Result<Option<Wanted>, String> {
        let stage = &mut self.stages[at];
        let name = stage.stage.base.clone();
        let reference = Reference::parse(&name)
            .map_err(|error| format!("failed to parse stage name {}: {error}", quote(&name)))?;
        let reference = reference.with_default_tag();
        if stage.is_outside {
            stage.is_done = true;
        }
        if !is_needed {
            return Ok(None);
        }
        if let Some(context) = &stage.context {
            return Ok(Some(Wanted::Context(context.clone())));
        }
        let platform = stage.platform.clone().unwrap_or_else(|| self.target_platform.clone());
        Ok(Some(match self.job.contexts.named(&reference.to_string(), &platform)? {
            Some(context) => Wanted::Context(context),
            None => Wanted::Image { name: reference, platform },
        }))
    }

    /// Begins a stage with what was asked for.
    fn apply(&mut self, at: usize, wanted: Wanted, got: Got) -> Result<(), Failure> {
        let replaces_stage = self.stages[at].context.is_some();
        match (wanted, got) {
            (Wanted::Context(_), Got::Context(loaded)) => {
                let (root, later) = self.job.contexts.place(&loaded, &mut self.draft);
                let config = loaded.config.map(|config| ImageConfig { created: None, ..config });
                self.charge(config.as_ref().map_or(0, |config| 3 * config.to_bytes().len()))?;
                let stage = &mut self.stages[at];
                stage.state = State { root, later, ..State::default() };
                if replaces_stage {
                    stage.is_done = true;
                    if let Some(config) = config {
                        if !config.os.is_empty() && !config.architecture.is_empty() {
                            stage.platform = Some(config.platform());
                        }
                        set_up(&mut stage.state, &config);
                        stage.image = config;
                    }
                    return Ok(());
                }
                let platform = stage.platform.clone().unwrap_or_else(|| self.target_platform.clone());
                let config = config.unwrap_or_else(|| empty_image(&platform));
                set_up(&mut stage.state, &config);
                stage.base_image = Some(config.clone());
                stage.image = config;
                stage.platform = Some(platform);
                Ok(())
            }
            (Wanted::Image { name, platform }, Got::Image(image)) => {
                self.begin_image(at, name, platform, image)
            }
            _ => Ok(()),
        }
    }

    fn begin_image(
        &mut self,
        at: usize,
        asked: Reference,
        mut platform: Platform,
        image: ResolvedImage,
    ) -> Result<(), Failure> {
        let original = self.stages[at].stage.base.clone();
        self.charge(3 * image.config.len())?;
        let config = ImageConfig::take(&image.config)
            .map_err(|error| Failure::of("failed to parse image config".to_owned(), Box::new(error)))?;
        let base_image = config.clone();
        let config = ImageConfig { created: None, ..config };
        if self.stages[at].platform.is_none() && self.job.platform.is_none() {
            let build = &self.job.build_platform;
            let is = |other: &Platform| other.os == config.os && other.architecture == config.architecture;
            if !is(&platform) && is(build) {
                platform = build.clone();
            }
        }
        let name = match image.name == asked.to_string() {
            true => asked,
            false => Reference::parse(&image.name)
                .map_err(|error| format!("failed to parse ref {}: {error}", quote(&image.name)))?,
        };
        // The tag stays, for people.
        let text = match image.digest.filter(|_| name.digest().is_none()) {
            Some(digest) => format!("{name}@{digest}"),
            None => name.to_string(),
        };
        let is_empty =
            config.rootfs.diff_ids.is_empty() && config.history.iter().all(|step| step.empty_layer);
        let lines = self.stages[at].stage.lines;
        if !is_empty {
            let label = self.step_name(at, &format!("FROM {text}"), Some(&platform), &super::Env::default());
            let source = Source::image(&text, &platform, &self.job.settings.resolve_mode)
                .named(&label)
                .command(&self.stages[at].stage.code)
                .at(lines);
            self.stages[at].state.root = Some(self.draft.add_source(source));
            self.check_image_platform(&original, &platform, &config, lines);
        }
        let stage = &mut self.stages[at];
        stage.stage.base = text;
        stage.image = config;
        stage.base_image = Some(base_image);
        stage.platform = Some(platform);
        Ok(())
    }

    fn check_image_platform(&mut self, name: &str, platform: &Platform, config: &ImageConfig, lines: Lines) {
        if platform.os == config.os && platform.architecture == config.architecture {
            return;
        }
        let expected = quote(&platform.normalised().to_string());
        let actual = quote(&config.platform().normalised().to_string());
        let message = format!(
            "Base image {name} was pulled with platform {actual}, expected {expected} for current build"
        );
        self.linter.found(&lint::INVALID_BASE_IMAGE_PLATFORM, lines, message);
    }

    /// The complaint about an image that could not be had.
    fn not_found(&self, at: usize, failure: Failure) -> Failure {
        let name = self.stages[at].stage.base.as_str();
        let Some(source) = failure.source.filter(|_| failure.problem.is_empty()) else {
            return Failure { problem: failure.problem, lines: failure.lines, source: None };
        };
        let common: Vec<String> =
            COMMON_IMAGES.iter().flat_map(|image| [(*image).to_owned(), format!("{image}:latest")]).collect();
        let known = self.shown_names().chain(common.iter().map(String::as_str));
        let hint = suggest::nearest(name, known, true).map(|best| format!(" (did you mean {best}?)"));
        let problem = format!("{name}: {source}{}", hint.unwrap_or_default());
        Failure { problem, lines: failure.lines, source: Some(source) }
    }

    /// Takes over from the stage that a stage begins with.
    pub(super) fn begin(&mut self, at: usize) -> Result<(), Failure> {
        let Some(base) = self.stages[at].base else { return Ok(()) };
        let weight = super::dispatch::weight(&self.stages[base]);
        let lines = self.stages[at].stage.lines;
        self.charge(weight).map_err(|problem| Failure::from(problem).at(lines))?;
        let base = &self.stages[base];
        let mut image = base.image.clone();
        image.config.on_build = Vec::new();
        let (state, platform) = (State { later: None, ..base.state.clone() }, base.platform.clone());
        let (base_image, paths_of) = (base.base_image.clone(), base.paths_of);
        let (has_workdir, args) = (base.has_workdir, base.args.clone());
        let stage = &mut self.stages[at];
        stage.image = image;
        stage.state = state;
        stage.platform = platform;
        stage.base_image = base_image;
        stage.paths_of = paths_of;
        stage.has_workdir = has_workdir;
        stage.args = args;
        Ok(())
    }
}

/// A configuration without anything but a path.
pub(super) fn empty_image(platform: &Platform) -> ImageConfig {
    let mut config = ImageConfig::for_platform(platform);
    "/".clone_into(&mut config.config.working_dir);
    if platform.os != "windows" {
        config.config.env = vec![format!("PATH={DEFAULT_PATH}")];
    }
    config
}

/// Takes variables and working directory over from an image.
pub(super) fn set_up(state: &mut State, config: &ImageConfig) {
    for entry in &config.config.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        state.env.set(name, value);
    }
    state.dir.clone_from(&config.config.working_dir);
}

impl From<ClientError> for Failure {
    fn from(source: ClientError) -> Self {
        Self { problem: String::new(), lines: Vec::new(), source: Some(source) }
    }
}
