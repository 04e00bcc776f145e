//! FROM: the image that a stage begins with.

use dockerfile::Env;
use dockerfile::classic::Dockerfile;
use engine::image::{PullOptions, RegistryAuth};
use futures::StreamExt;
use image::{FindError, Image};
use oci::{ContainerConfig, Platform, Reference};

use super::outlet::Outlet;
use super::{Builder, Stage};
use crate::args::Args;
use crate::error::BuildError;
use crate::solve::value::Chain;

/// The name that stands for no image at all.
const SCRATCH: &str = "scratch";
/// The path for images that start with nothing.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Builder {
    pub(super) async fn begin(
        &self,
        number: usize,
        image: &str,
        platform: Option<&str>,
        args: Args,
        out: Outlet,
    ) -> Result<Stage, BuildError> {
        let word = image;
        let image = self.expand_global(&args, Some(word))?.unwrap_or_default();
        if image.is_empty() {
            return Err(BuildError::Step(format!("base name ({word}) should not be blank")));
        }
        let asked = match self.expand_global(&args, platform)?.filter(|text| !text.is_empty()) {
            Some(text) => Some(
                text.parse::<Platform>()
                    .map_err(|error| BuildError::Step(format!("failed to parse platform {text}: {error}")))?,
            ),
            None => self.asked_platform.clone(),
        };
        let platform = asked.clone().unwrap_or_else(|| self.platform.clone());
        let mut stage = Stage {
            number,
            image: None,
            chain: Chain::default(),
            config: ContainerConfig { env: vec![DEFAULT_PATH.to_owned()], ..ContainerConfig::default() },
            author: String::new(),
            platform: platform.clone(),
            args,
            env: Env::default(),
            cached: true,
            has_command: false,
            text: String::new(),
            out,
        };
        let base = match self.stage_called(number, &image) {
            _ if image == SCRATCH => None,
            // A stage that came to nothing is as good as none.
            Some(made) => match self.stages[made].made.wait().await {
                Some(id) => Some(self.store.image_get(&id.to_string())?),
                None => None,
            },
            None => Some(self.base_image(&stage, &image, asked.as_ref()).await?),
        };
        let Some(base) = base else {
            stage.set_up();
            stage.out.text(" ---> \n".to_owned()).await;
            return Ok(stage);
        };
        stage.author.clone_from(&base.config.author);
        stage.config = base.config.config.clone();
        if stage.config.env_get("PATH").is_none() {
            stage.config.env.push(DEFAULT_PATH.to_owned());
        }
        stage.set_up();
        stage.chain = self.chain_of(&base)?;
        stage.image = Some(base.id);
        stage.arrow().await;
        self.triggers(&mut stage).await?;
        Ok(stage)
    }

    /// The stage before the stage `number` that is called `name`.
    pub(super) fn stage_called(&self, number: usize, name: &str) -> Option<usize> {
        let wanted = name.to_lowercase();
        self.stages[..number].iter().position(|stage| stage.name.as_deref() == Some(wanted.as_str()))
    }

    /// The files that COPY --from names: of a stage by name or number, or of any image.
    pub(super) async fn source_chain(&self, stage: &Stage, name: &str) -> Result<Chain, BuildError> {
        let no_stage = |why: &str| BuildError::Step(format!("invalid from flag value {name}: {why}"));
        let wanted = match (self.stage_called(stage.number, name), name.parse::<usize>()) {
            (Some(known), _) => known,
            (None, Ok(number)) if number == stage.number => {
                return Err(no_stage("refers to current build stage"));
            }
            (None, Ok(number)) if number > stage.number => return Err(no_stage("index out of bounds")),
            (None, Ok(number)) => number,
            (None, Err(_)) => {
                let image = self.base_image(stage, name, self.asked_platform.as_ref()).await?;
                return self.chain_of(&image);
            }
        };
        let made = self.stages[wanted].made.wait().await;
        let id = made.as_ref().ok_or_else(|| BuildError::Step(format!("build stage {name} is empty")))?;
        self.chain_of(&self.store.image_get(&id.to_string())?)
    }

    /// The files of an image.
    pub(super) fn chain_of(&self, image: &Image) -> Result<Chain, BuildError> {
        let Some(top) = image.layers.last() else { return Ok(Chain::default()) };
        let gone = || FindError::NotFound { name: image.id.to_string() };
        Ok(Chain::new(Some(self.store.layer_hold(top).ok_or_else(gone)?)))
    }

    /// An image of this machine, or pulled.
    async fn base_image(
        &self,
        stage: &Stage,
        name: &str,
        asked: Option<&Platform>,
    ) -> Result<Image, BuildError> {
        let image = self.find_base_image(stage, name, asked).await?;
        self.held.lock().push(self.store.image_hold(&image.id)?);
        Ok(image)
    }

    async fn find_base_image(
        &self,
        stage: &Stage,
        name: &str,
        asked: Option<&Platform>,
    ) -> Result<Image, BuildError> {
        let local = self.store.image_get(name);
        let fits = |image: &Image| {
            image.config.os.is_empty() || asked.is_none_or(|asked| self.store.image_fits(image, asked))
        };
        match local {
            // An id names nothing that a registry could have.
            Ok(image) if Reference::parse(name).is_err() => return Ok(image),
            Ok(image) if !self.options.pull && fits(&image) => return Ok(image),
            Ok(_) | Err(FindError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let reference = Reference::parse(name).map_err(|error| BuildError::Step(error.to_string()))?;
        let options = PullOptions {
            platform: asked.map(ToString::to_string),
            auth: self.credentials(&reference),
            all_tags: false,
        };
        let mut pull = self.engine.image_pull(name, options)?;
        while let Some(step) = pull.next().await {
            stage.out.pull(step?).await;
        }
        Ok(self.store.image_get(name)?)
    }

    fn credentials(&self, reference: &Reference) -> Option<RegistryAuth> {
        let domain = reference.domain();
        let names = match domain {
            oci::reference::DEFAULT_DOMAIN => {
                vec!["https://index.docker.io/v1/", "docker.io", "index.docker.io"]
            }
            domain => vec![domain],
        };
        names.iter().find_map(|name| self.options.auth.get(*name)).cloned()
    }

    /// What the base image wants done in every build that begins with it.
    async fn triggers(&self, stage: &mut Stage) -> Result<(), BuildError> {
        let triggers = std::mem::take(&mut stage.config.on_build);
        if triggers.is_empty() {
            return Ok(());
        }
        let plural = if triggers.len() == 1 { "trigger" } else { "triggers" };
        stage.out.text(format!("# Executing {} build {plural}\n", triggers.len())).await;
        for trigger in triggers {
            let step = Dockerfile::parse_step(&trigger)?;
            self.step(stage, &step).await?;
        }
        Ok(())
    }
}

impl Stage {
    /// What commands find set at the beginning.
    fn set_up(&mut self) {
        for entry in &self.config.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.env.set(name, value);
        }
    }
}
