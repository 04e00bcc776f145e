//! The builder: goes through a Dockerfile's steps, each on the image of the one before.

mod begin;
mod cache;
mod copying;
mod idle;
mod run;
mod workdir;

use std::sync::{Arc, LazyLock};

use base::cancel::{Cancel, CancelOnDrop};
use dockerfile::classic::{Command, Dockerfile, Step};
use dockerfile::words::expand;
use engine::Engine;
use image::{ImageHold, ImageId, Layer, NewImage, Scratch, Store};
use oci::{ContainerConfig, Platform, Reference};
use offload::Threads;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::args::Args;
use crate::configure::{Scope, configure, shell};
use crate::error::BuildError;
use crate::files::Tree;
use crate::request::{BuildEvent, BuildOptions};

/// How long variables and labels may become together, in bytes: each step writes them down once more.
const CONFIGURATION_MAX: usize = 4 << 20;

/// Threads for the files of steps, of all builds together: more would not make the disk quicker.
static STEPS: LazyLock<Threads> = LazyLock::new(|| Threads::new(8));

/// Takes what a build tells.
pub(crate) type Events = mpsc::Sender<Result<BuildEvent, BuildError>>;

/// A build under way.
pub(crate) struct Builder {
    engine: Engine,
    store: Store,
    options: BuildOptions,
    events: Events,
    context: Arc<Tree>,
    args: Args,
    /// What is built for.
    platform: Platform,
    /// The same, where the request says so.
    asked_platform: Option<Platform>,
    escape: char,
    /// The stages so far: their names and what they came to.
    stages: Vec<(Option<String>, Option<ImageId>)>,
    /// The images that the build stands on and those that it made: nobody removes them meanwhile.
    held: Mutex<Vec<ImageHold>>,
    /// Ends the work on other threads when the build is dropped.
    cancel: Cancel,
    _ends: CancelOnDrop,
    /// Whether there are files to copy from: not where the Dockerfile alone was sent for.
    has_files: bool,
    /// Goes away with the build; the context is in it.
    _scratch: Scratch,
}

/// The stage that is being built.
struct Stage {
    name: Option<String>,
    /// What the last step came to; nothing yet after `FROM scratch`.
    image: Option<ImageId>,
    config: ContainerConfig,
    author: String,
    platform: Platform,
    /// Whether all steps so far were found done; after the first that was not, none can be.
    cached: bool,
    /// Whether this Dockerfile said what to run; an entrypoint else drops the base image's command.
    has_command: bool,
}

impl Builder {
    /// A build that has not begun. `scratch` is kept until it ends; then the context is told that
    /// nobody waits any more.
    #[expect(clippy::too_many_arguments, reason = "one caller, which has just worked each of them out")]
    pub(crate) fn new(
        engine: Engine,
        options: BuildOptions,
        events: Events,
        context: Arc<Tree>,
        args: Args,
        asked_platform: Option<Platform>,
        has_files: bool,
        scratch: Scratch,
    ) -> Self {
        let store = engine.images().clone();
        let stages = Vec::new();
        let cancel = context.cancel().clone();
        Self {
            engine,
            store,
            options,
            events,
            context,
            args,
            platform: asked_platform.clone().unwrap_or_else(Platform::host),
            asked_platform,
            escape: '\\',
            stages,
            held: Mutex::default(),
            _ends: cancel.on_drop(),
            cancel,
            has_files,
            _scratch: scratch,
        }
    }

    /// Does all steps. The last event is the success.
    pub(crate) async fn build(mut self, dockerfile: Dockerfile) -> Result<(), BuildError> {
        self.escape = dockerfile.escape;
        let steps = self.choose_steps(dockerfile)?;
        let total = steps.len();
        let mut stage: Option<Stage> = None;
        for (at, step) in steps.iter().enumerate() {
            self.text(format!("Step {}/{total} : {}\n", at + 1, step.text)).await;
            match (&step.command, stage.as_mut()) {
                (Command::From { image, platform, name }, _) => {
                    if let Some(done) = stage.take() {
                        self.built(done.image.as_ref()).await;
                        self.stages.push((done.name, done.image));
                    }
                    if let Some(name) = name.as_ref().filter(|name| self.has_stage(name)) {
                        return Err(BuildError::Step(format!("{name} stage name already used")));
                    }
                    stage = Some(self.begin(image, platform.as_deref(), name.clone()).await?);
                }
                (Command::Arg(args), None) => {
                    for (name, default) in args {
                        let default = self.expand_global(default.as_deref())?;
                        self.args.declare_global(name, default).map_err(BuildError::Step)?;
                    }
                }
                (command, Some(stage)) => self.step(stage, command).await?,
                (_, None) => return Err(BuildError::Step("no build stage in current context".to_owned())),
            }
        }
        let image = stage.and_then(|stage| stage.image);
        let image = image.ok_or_else(|| {
            BuildError::Step("No image was generated. Is your Dockerfile empty?".to_owned())
        })?;
        self.finish(image).await
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

    async fn step(&mut self, stage: &mut Stage, command: &Command) -> Result<(), BuildError> {
        match command {
            Command::Run { form, network, documents } => self.run(stage, form, *network, documents).await,
            Command::Add(copying) => self.copy(stage, "ADD", copying).await,
            Command::Copy(copying) => self.copy(stage, "COPY", copying).await,
            Command::Workdir(_) => self.workdir(stage, command).await,
            Command::Arg(args) => {
                for (name, default) in args {
                    let default = default.as_deref().map(|word| self.expand(stage, word)).transpose()?;
                    let name = self.expand(stage, name)?;
                    self.args.declare(&name, default).map_err(BuildError::Step)?;
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

    /// Applies an instruction to the stage's configuration; gives the history's words.
    fn apply(&self, stage: &mut Stage, command: &Command) -> Result<String, BuildError> {
        match command {
            Command::Cmd(_) => stage.has_command = true,
            Command::Entrypoint(_) if !stage.has_command => stage.config.cmd = None,
            _ => {}
        }
        let environment = stage.config.clone();
        let variables =
            |name: &str| environment.env_get(name).map(str::to_owned).or_else(|| self.args.get(name));
        let scope = Scope { escape: self.escape, variables: &variables };
        let comment = configure(command, &mut stage.config, &scope).map_err(BuildError::Step)?;
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
            self.arrow_after(stage, container).await?;
            return Ok(());
        }
        self.arrow(stage).await;
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

    async fn finish(&self, image: ImageId) -> Result<(), BuildError> {
        let unused = self.args.unused();
        if !unused.is_empty() {
            let unused = unused.join(" ");
            self.text(format!("[Warning] One or more build-args [{unused}] were not consumed\n")).await;
        }
        let mut names = Vec::new();
        for tag in &self.options.tags {
            let name = Reference::parse(tag).map_err(|error| BuildError::Step(error.to_string()))?;
            names.push(name.with_default_tag());
        }
        // What is said is on disk, the image and its names together.
        self.engine.image_keep(&image, &names).await?;
        // A line each: clients look for the id at a line's end.
        let mut said = vec![format!("Successfully built {}\n", image.short())];
        for name in &names {
            said.push(format!("Successfully tagged {}\n", name.familiar()));
        }
        self.built(Some(&image)).await;
        if self.options.quiet {
            let _ = self.events.send(Ok(BuildEvent::Text(format!("{image}\n")))).await;
        } else {
            for line in said {
                self.text(line).await;
            }
        }
        Ok(())
    }

    /// Tells what a stage came to.
    async fn built(&self, image: Option<&ImageId>) {
        if let Some(image) = image {
            let _ = self.events.send(Ok(BuildEvent::Built(engine::image::ImageId::from(image)))).await;
        }
    }

    fn has_stage(&self, name: &str) -> bool {
        self.stages.iter().any(|(known, _)| known.as_deref() == Some(name))
    }

    /// Expands a word in FROM or before it.
    fn expand_global(&self, word: Option<&str>) -> Result<Option<String>, BuildError> {
        let variables = |name: &str| self.args.global(name);
        word.map(|word| expand(word, self.escape, &variables)).transpose().map_err(BuildError::Step)
    }

    /// Expands a word of an instruction: the environment goes before the arguments.
    fn expand(&self, stage: &Stage, word: &str) -> Result<String, BuildError> {
        let variables =
            |name: &str| stage.config.env_get(name).map(str::to_owned).or_else(|| self.args.get(name));
        expand(word, self.escape, &variables).map_err(BuildError::Step)
    }

    /// Tells a text, unless only the result is wanted. Nobody may be listening any more: then the
    /// build is about to be dropped.
    async fn text(&self, text: String) {
        if !self.options.quiet {
            let _ = self.events.send(Ok(BuildEvent::Text(text))).await;
        }
    }

    async fn arrow(&self, stage: &Stage) {
        if let Some(image) = &stage.image {
            self.text(format!(" ---> {}\n", image.short())).await;
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
