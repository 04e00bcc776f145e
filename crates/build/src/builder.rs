//! The builder: goes through a Dockerfile's steps, each on the image of the one before.
//!
//! What writes files is an operation of the solver, the same that the front end makes of the same instruction, and
//! is cached as the solver's result; the image of a step is a name for what is there then. Stages that do not wait for each other
//! are done at the same time, and what they say comes in their order.

mod begin;
mod cache;
mod copying;
mod idle;
mod operation;
mod outlet;
mod run;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use dockerfile::Env;
use dockerfile::classic::operation::{CommandSettings, directory};
use dockerfile::classic::{Command, Dockerfile, Step};
use dockerfile::words::expand;
use engine::Engine;
use engine::container::NetworkMode;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use image::{ImageHold, ImageId, Layer, NewImage, Scratch, Store};
use llb::pb;
use oci::{ContainerConfig, Platform, Reference};
use parking_lot::Mutex;
use tokio::sync::{SetOnce, mpsc};

use crate::args::Args;
use crate::configure::{Scope, configure, shell};
use crate::error::BuildError;
use crate::request::{BuildEvent, BuildOptions};
use crate::solve::value::{Chain, HeldTree, Value};
use crate::solve::{Entitlement, Job, JobOptions, Solver};
use operation::{Kind, Operation};
use outlet::{Outlet, outlet};

/// How long variables and labels may become together, in bytes: each step writes them down once more.
const CONFIGURATION_MAX: usize = 4 << 20;
/// Stages that are begun at a time.
const STAGES_AT_ONCE: usize = 8;

/// Takes what a build tells.
pub(crate) type Events = mpsc::Sender<Result<BuildEvent, BuildError>>;

/// A build under way.
pub(crate) struct Builder {
    engine: Engine,
    store: Store,
    job: Job,
    options: BuildOptions,
    context: Value,
    /// Whether there are files to copy from: not where the Dockerfile alone was sent for.
    has_files: bool,
    /// How commands run.
    commands: CommandSettings,
    /// Their network, where that is none that definitions have.
    network: Option<NetworkMode>,
    /// What is built for.
    platform: Platform,
    /// The same, where the request says so.
    asked_platform: Option<Platform>,
    escape: char,
    stages: Vec<Slot>,
    /// The images that the build stands on and those that it made: nobody removes them meanwhile.
    held: Mutex<Vec<ImageHold>>,
    /// Goes away with the build; the context is in it.
    _scratch: Scratch,
}

/// What a stage is called, and what it came to.
struct Slot {
    name: Option<String>,
    made: SetOnce<Option<ImageId>>,
}

/// The stage that is being built.
struct Stage {
    /// Among all stages.
    number: usize,
    /// What the last step came to; nothing yet after `FROM scratch`.
    image: Option<ImageId>,
    /// The files of that.
    chain: Chain,
    config: ContainerConfig,
    author: String,
    platform: Platform,
    args: Args,
    /// What commands find set.
    env: Env,
    /// Whether all steps so far were found done; after the first that was not, none without files can be.
    cached: bool,
    /// Whether this Dockerfile said what to run; an entrypoint else drops the base image's command.
    has_command: bool,
    /// The step, as it is written.
    text: String,
    out: Outlet,
}

/// A step with the line that tells of it.
type Announced = (String, Step);

/// The job of a build.
pub(crate) fn job(solver: &Solver, options: &BuildOptions, platform: Option<Platform>) -> Job {
    let host = (options.network == "host").then_some(Entitlement::NetworkHost);
    solver.job(JobOptions { entitlements: host.into_iter().collect(), platform, ..JobOptions::default() })
}

impl Builder {
    /// A build that has not begun. `scratch` is kept until it ends.
    pub(crate) fn new(
        job: Job,
        options: BuildOptions,
        context: HeldTree,
        has_files: bool,
        scratch: Scratch,
    ) -> Result<Self, BuildError> {
        let engine = job.solver().engine().clone();
        let (network, other) = run::network_of(&engine, &options.network)?;
        let asked_platform = job.options().platform.clone();
        Ok(Self {
            store: engine.images().clone(),
            engine,
            context: Value::Files(Arc::new(context)),
            has_files,
            commands: run::settings(&options, network)?,
            network: other,
            platform: asked_platform.clone().unwrap_or_else(Platform::host),
            asked_platform,
            options,
            job,
            escape: '\\',
            stages: Vec::new(),
            held: Mutex::default(),
            _scratch: scratch,
        })
    }

    /// Does all steps. The last event is the success.
    pub(crate) async fn build(mut self, dockerfile: Dockerfile, events: &Events) -> Result<(), BuildError> {
        self.escape = dockerfile.escape;
        let mut args = Args::new(&self.options.args, &self.platform);
        let mut stages: Vec<Vec<Announced>> = Vec::new();
        let steps = self.choose_steps(dockerfile)?;
        let total = steps.len();
        for (at, step) in steps.into_iter().enumerate() {
            let announced = format!("Step {}/{total} : {}\n", at + 1, step.text);
            match (&step.command, stages.last_mut()) {
                (Command::From { name, .. }, _) => {
                    self.stages.push(Slot { name: name.clone(), made: SetOnce::new() });
                    stages.push(vec![(announced, step)]);
                }
                (_, Some(stage)) => stage.push((announced, step)),
                (Command::Arg(declared), None) => {
                    self.text(events, announced).await;
                    for (name, default) in declared {
                        let default = self.expand_global(&args, default.as_deref())?;
                        args.declare_global(name, default).map_err(BuildError::Step)?;
                    }
                }
                (_, None) => return Err(BuildError::Step("no build stage in current context".to_owned())),
            }
        }
        let image = self.do_stages(stages, &mut args, events).await?;
        let image = image.ok_or_else(|| {
            BuildError::Step("No image was generated. Is your Dockerfile empty?".to_owned())
        })?;
        self.finish(image, &args.unused(), events).await
    }

    /// Does the stages, several at a time, and passes on what they say in their order. Gives what the last came to.
    async fn do_stages(
        &self,
        stages: Vec<Vec<Announced>>,
        args: &mut Args,
        events: &Events,
    ) -> Result<Option<ImageId>, BuildError> {
        let known = args.clone();
        let mut begin = stages.into_iter().enumerate().map(|(number, steps)| {
            let (out, listener) = outlet(self.options.quiet);
            let stage = self.stage(number, steps, known.clone(), out);
            (listener, async move { (number, stage.await) })
        });
        // In this task, as one stage is what most builds have: no word of it goes from thread to thread.
        let (mut listeners, mut under_way) = (VecDeque::new(), FuturesUnordered::new());
        for (listener, stage) in begin.by_ref().take(STAGES_AT_ONCE) {
            listeners.push_back(listener);
            under_way.push(stage);
        }
        let (mut done, mut said, mut last, mut at) = (BTreeMap::new(), None, None, 0);
        while let Some(listener) = listeners.front_mut() {
            tokio::select! {
                biased;
                // Nobody may be listening any more: then the build is about to be dropped.
                permit = events.reserve(), if said.is_some() => {
                    if let (Some(event), Ok(permit)) = (said.take(), permit) {
                        permit.send(Ok(event));
                    }
                }
                event = listener.next(), if said.is_none() => {
                    said = event;
                    if said.is_some() {
                        continue;
                    }
                    // It has ended, and all that it said is passed on.
                    let ended = loop {
                        match done.remove(&at) {
                            Some(ended) => break ended,
                            // Its result comes with its end.
                            None => match under_way.next().await {
                                Some((number, ended)) => drop(done.insert(number, ended)),
                                None => return Ok(last),
                            },
                        }
                    };
                    let (image, used): (Option<ImageId>, Args) = ended?;
                    args.take_used(used);
                    last = image;
                    at += 1;
                    listeners.pop_front();
                    if let Some((listener, stage)) = begin.next() {
                        listeners.push_back(listener);
                        under_way.push(stage);
                    }
                }
                Some((number, ended)) = under_way.next() => drop(done.insert(number, ended)),
            }
        }
        Ok(last)
    }

    /// Does the steps of a stage. Gives what it came to, and its arguments.
    async fn stage(
        &self,
        number: usize,
        steps: Vec<Announced>,
        args: Args,
        out: Outlet,
    ) -> Result<(Option<ImageId>, Args), BuildError> {
        let mut steps = steps.into_iter();
        let Some((announced, Step { command: Command::From { image, platform, name }, .. })) = steps.next()
        else {
            return Err(BuildError::Step("no build stage in current context".to_owned()));
        };
        out.text(announced).await;
        if let Some(name) = name.filter(|name| self.stage_called(number, name).is_some()) {
            return Err(BuildError::Step(format!("{name} stage name already used")));
        }
        let mut stage = self.begin(number, &image, platform.as_deref(), args, out).await?;
        for (announced, step) in steps {
            stage.out.text(announced).await;
            self.step(&mut stage, &step).await?;
        }
        // That of the last is told when it is on disk.
        if let Some(image) = stage.image.as_ref().filter(|_| number + 1 < self.stages.len()) {
            stage.out.built(engine::image::ImageId::from(image)).await;
        }
        // It is set once: here.
        let _ = self.stages[number].made.set(stage.image.clone());
        Ok((stage.image, stage.args))
    }

    /// The steps up to the end of the wanted stage, with the wanted labels as the last of them.
    fn choose_steps(&self, dockerfile: Dockerfile) -> Result<Vec<Step>, BuildError> {
        let mut steps = dockerfile.steps;
        let stages: Vec<(usize, Option<String>)> = steps
            .iter()
            .enumerate()
            .filter_map(|(at, step)| match &step.command {
                Command::From { name, .. } => Some((at, name.clone())),
                _ => None,
            })
            .collect();
        if !self.options.target.is_empty() {
            let target = self.options.target.as_str();
            let by_name = stages.iter().position(|(_, name)| name.as_deref() == Some(&target.to_lowercase()));
            let by_number = || target.parse().ok().filter(|&number: &usize| number < stages.len());
            let chosen = by_name
                .or_else(by_number)
                .ok_or_else(|| BuildError::Step(format!("target stage {target:?} could not be found")))?;
            if let Some((end, _)) = stages.get(chosen + 1) {
                steps.truncate(*end);
            }
        }
        if !self.options.labels.is_empty() {
            let pairs: Vec<(String, String)> = self
                .options
                .labels
                .iter()
                .map(|(name, value)| (single_quoted(name), single_quoted(value)))
                .collect();
            let text: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let line = steps.last().map_or(1, |step| step.line);
            steps.push(Step {
                line,
                text: format!("LABEL {}", text.join(" ")),
                command: Command::Label(pairs),
            });
        }
        Ok(steps)
    }

    async fn step(&self, stage: &mut Stage, step: &Step) -> Result<(), BuildError> {
        stage.text.clone_from(&step.text);
        match &step.command {
            Command::Run { form, network, documents } => self.run(stage, form, *network, documents).await,
            Command::Add(copying) => self.copy(stage, "ADD", copying).await,
            Command::Copy(copying) => self.copy(stage, "COPY", copying).await,
            Command::Workdir(_) => self.workdir(stage, &step.command).await,
            Command::Arg(args) => {
                for (name, default) in args {
                    let default = default.as_deref().map(|word| self.expand(stage, word)).transpose()?;
                    let name = self.expand(stage, name)?;
                    let value = stage.args.declare(&name, default).map_err(BuildError::Step)?;
                    // What ENV says goes before it.
                    if let Some(value) = value.filter(|_| stage.config.env_get(&name).is_none()) {
                        stage.env.set(&name, &value);
                    }
                }
                let words: Vec<String> = args
                    .iter()
                    .map(|(name, default)| match default {
                        Some(default) => format!("{name}={default}"),
                        None => name.clone(),
                    })
                    .collect();
                self.configured(stage, format!("ARG {}", words.join(" "))).await
            }
            Command::Maintainer(who) => {
                stage.author.clone_from(who);
                self.configured(stage, format!("MAINTAINER {who}")).await
            }
            command => {
                let comment = self.apply(stage, command)?;
                self.configured(stage, comment).await
            }
        }
    }

    /// WORKDIR: a configuration, and a directory that has to be there.
    async fn workdir(&self, stage: &mut Stage, command: &Command) -> Result<(), BuildError> {
        let comment = self.apply(stage, command)?;
        let key = Key::of([nop(stage), vec![format!("#(nop) {comment}")]].concat());
        let op = directory(&stage.config.working_dir, stage.chain.top().is_some());
        let operation = Operation { op: pb::op::Op::File(op), inputs: stage.base(), kind: Kind::Directory };
        self.operate(stage, &key, operation).await
    }

    /// Applies an instruction to the stage's configuration; gives the history's words.
    fn apply(&self, stage: &mut Stage, command: &Command) -> Result<String, BuildError> {
        match command {
            Command::Cmd(_) => stage.has_command = true,
            Command::Entrypoint(_) if !stage.has_command => stage.config.cmd = None,
            _ => {}
        }
        let environment = stage.config.clone();
        let variables =
            |name: &str| environment.env_get(name).map(str::to_owned).or_else(|| stage.args.get(name));
        let scope = Scope { escape: self.escape, variables: &variables };
        let comment = configure(command, &mut stage.config, &scope).map_err(BuildError::Step)?;
        if let Command::Env(pairs) = command {
            for (name, _) in pairs {
                let name = expand(name, self.escape, &variables).map_err(BuildError::Step)?;
                stage.env.set(&name, stage.config.env_get(&name).unwrap_or_default());
            }
        }
        stage.config.check().map_err(|error| BuildError::Step(error.to_string()))?;
        let pairs = stage.config.labels.iter().map(|(key, value)| key.len() + value.len());
        let on_build = stage.config.on_build.iter().map(String::len);
        if stage.config.env.iter().map(String::len).chain(pairs).chain(on_build).sum::<usize>()
            > CONFIGURATION_MAX
        {
            let problem =
                format!("variables, labels and triggers are longer than {CONFIGURATION_MAX} bytes together");
            return Err(BuildError::Step(problem));
        }
        Ok(comment.unwrap_or_default())
    }

    /// Ends a step that changed the configuration only.
    async fn configured(&self, stage: &mut Stage, comment: String) -> Result<(), BuildError> {
        let what = [nop(stage), vec!["#(nop) ".to_owned(), comment]].concat();
        let key = Key::of(what);
        if !self.found_done(stage, &key).await? {
            let container = self.idle_container(stage, &key).await?;
            self.commit(stage, &key, None)?;
            self.give_up(stage, container).await?;
        }
        stage.arrow().await;
        Ok(())
    }

    /// Makes the image of a step.
    fn commit(&self, stage: &mut Stage, key: &Key, layer: Option<Layer>) -> Result<(), BuildError> {
        let now = base::Clock::now(&base::SystemClock::new());
        let new = NewImage {
            layer,
            author: stage.author.clone(),
            platform: stage.image.is_none().then(|| stage.platform.clone()),
            command: key.command.clone(),
            ..NewImage::on(stage.image.clone(), stage.config.clone(), now, &key.created_by)
        };
        let (made, held) = offload::in_place(|| self.store.image_create_step(new))?;
        self.held.lock().push(held);
        stage.image = Some(made.id);
        Ok(())
    }

    async fn finish(&self, image: ImageId, unused: &[String], events: &Events) -> Result<(), BuildError> {
        if !unused.is_empty() {
            let unused = unused.join(" ");
            let warning = format!("[Warning] One or more build-args [{unused}] were not consumed\n");
            self.text(events, warning).await;
        }
        let mut names = Vec::new();
        for tag in &self.options.tags {
            let name = Reference::parse(tag).map_err(|error| BuildError::Step(error.to_string()))?;
            names.push(name.with_default_tag());
        }
        // What is said is on disk, the image and its names together.
        self.engine.image_keep(&image, &names).await?;
        let _ = events.send(Ok(BuildEvent::Built(engine::image::ImageId::from(&image)))).await;
        if self.options.quiet {
            let _ = events.send(Ok(BuildEvent::Text(format!("{image}\n")))).await;
            return Ok(());
        }
        // A line each: clients look for the id at a line's end.
        self.text(events, format!("Successfully built {}\n", image.short())).await;
        for name in &names {
            self.text(events, format!("Successfully tagged {}\n", name.familiar())).await;
        }
        Ok(())
    }

    /// Expands a word in FROM or before it.
    fn expand_global(&self, args: &Args, word: Option<&str>) -> Result<Option<String>, BuildError> {
        let variables = |name: &str| args.global(name);
        word.map(|word| expand(word, self.escape, &variables)).transpose().map_err(BuildError::Step)
    }

    /// Expands a word of an instruction: the environment goes before the arguments.
    fn expand(&self, stage: &Stage, word: &str) -> Result<String, BuildError> {
        let variables =
            |name: &str| stage.config.env_get(name).map(str::to_owned).or_else(|| stage.args.get(name));
        expand(word, self.escape, &variables).map_err(BuildError::Step)
    }

    /// Tells a text that is no stage's, unless only the result is wanted.
    async fn text(&self, events: &Events, text: String) {
        if !self.options.quiet {
            let _ = events.send(Ok(BuildEvent::Text(text))).await;
        }
    }
}

impl Stage {
    /// What operations work on, if there is anything.
    fn base(&self) -> Vec<Value> {
        self.chain.top().map(|_| Value::Chain(self.chain.clone())).into_iter().collect()
    }

    /// The working directory.
    fn dir(&self) -> &str {
        if self.config.working_dir.is_empty() { "/" } else { &self.config.working_dir }
    }

    async fn arrow(&self) {
        if let Some(image) = &self.image {
            self.out.text(format!(" ---> {}\n", image.short())).await;
        }
    }
}

/// How a step is known that was done before.
struct Key {
    /// As the history has it.
    created_by: String,
    /// The same word by word.
    command: Vec<String>,
}

impl Key {
    fn of(command: Vec<String>) -> Self {
        Self { created_by: command.join(" "), command }
    }
}

/// What the command of a step begins with that runs nothing.
fn nop(stage: &Stage) -> Vec<String> {
    shell(&stage.config)
}

fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}
