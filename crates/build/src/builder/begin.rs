//! FROM: the image that a stage begins with.

use dockerfile::classic::Dockerfile;
use engine::image::{PullOptions, RegistryAuth};
use futures::StreamExt;
use image::{FindError, Image, ImageId};
use oci::{ContainerConfig, Platform, Reference};

use super::{Builder, Stage};
use crate::error::BuildError;
use crate::request::BuildEvent;

/// The name that stands for no image at all.
const SCRATCH: &str = "scratch";
/// The path for images that start with nothing.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Builder {
    pub(super) async fn begin(
        &mut self,
        image: &str,
        platform: Option<&str>,
        name: Option<String>,
    ) -> Result<Stage, BuildError> {
        self.args.begin_stage();
        let word = image;
        let image = self.expand_global(Some(word))?.unwrap_or_default();
        if image.is_empty() {
            return Err(BuildError::Step(format!("base name ({word}) should not be blank")));
        }
        let asked = match self.expand_global(platform)?.filter(|text| !text.is_empty()) {
            Some(text) => Some(
                text.parse::<Platform>()
                    .map_err(|error| BuildError::Step(format!("failed to parse platform {text}: {error}")))?,
            ),
            None => self.asked_platform.clone(),
        };
        let platform = asked.clone().unwrap_or_else(|| self.platform.clone());
        let mut stage = Stage {
            name,
            image: None,
            config: ContainerConfig { env: vec![DEFAULT_PATH.to_owned()], ..ContainerConfig::default() },
            author: String::new(),
            platform: platform.clone(),
            cached: true,
            has_command: false,
        };
        // A stage that came to nothing is as good as none.
        let is_empty = self.stage_named(&image).is_some_and(|made| made.is_none());
        if image == SCRATCH || is_empty {
            self.text(" ---> \n".to_owned()).await;
            return Ok(stage);
        }
        let base = match self.stage_image(&image)? {
            Some(base) => base,
            None => self.base_image(&image, asked.as_ref()).await?,
        };
        stage.author.clone_from(&base.config.author);
        stage.config = base.config.config.clone();
        if stage.config.env_get("PATH").is_none() {
            stage.config.env.push(DEFAULT_PATH.to_owned());
        }
        stage.image = Some(base.id);
        self.arrow(&stage).await;
        self.triggers(&mut stage).await?;
        Ok(stage)
    }

    /// What an earlier stage came to, if `name` is one's name.
    fn stage_named(&self, name: &str) -> Option<Option<&ImageId>> {
        let wanted = name.to_lowercase();
        let found = self.stages.iter().find(|(known, _)| known.as_deref() == Some(wanted.as_str()));
        found.map(|(_, made)| made.as_ref())
    }

    /// The same as an image, which it has to be.
    fn stage_image(&self, name: &str) -> Result<Option<Image>, BuildError> {
        match self.stage_named(name) {
            None => Ok(None),
            Some(Some(id)) => Ok(Some(self.store.image_get(&id.to_string())?)),
            Some(None) => Err(BuildError::Step(format!("build stage {name} is empty"))),
        }
    }

    /// The image that COPY --from names: a stage by name or number, or any image.
    pub(super) async fn source_image(&self, name: &str) -> Result<Image, BuildError> {
        if let Some(image) = self.stage_image(name)? {
            return Ok(image);
        }
        let Ok(number) = name.parse::<usize>() else {
            return self.base_image(name, self.asked_platform.as_ref()).await;
        };
        let no_stage = |why: &str| BuildError::Step(format!("invalid from flag value {name}: {why}"));
        let (_, id) = self.stages.get(number).ok_or_else(|| match number == self.stages.len() {
            true => no_stage("refers to current build stage"),
            false => no_stage("index out of bounds"),
        })?;
        let id = id.as_ref().ok_or_else(|| BuildError::Step(format!("build stage {name} is empty")))?;
        Ok(self.store.image_get(&id.to_string())?)
    }

    /// An image of this machine, or pulled.
    async fn base_image(&self, name: &str, asked: Option<&Platform>) -> Result<Image, BuildError> {
        let image = self.find_base_image(name, asked).await?;
        self.held.lock().push(self.store.image_hold(&image.id)?);
        Ok(image)
    }

    async fn find_base_image(&self, name: &str, asked: Option<&Platform>) -> Result<Image, BuildError> {
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
            let step = step?;
            if !self.options.quiet {
                let _ = self.events.send(Ok(BuildEvent::Pull(step))).await;
            }
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
    async fn triggers(&mut self, stage: &mut Stage) -> Result<(), BuildError> {
        let triggers = std::mem::take(&mut stage.config.on_build);
        if triggers.is_empty() {
            return Ok(());
        }
        let plural = if triggers.len() == 1 { "trigger" } else { "triggers" };
        self.text(format!("# Executing {} build {plural}\n", triggers.len())).await;
        for trigger in triggers {
            let step = Dockerfile::parse_step(&trigger)?;
            self.step(stage, &step.command).await?;
        }
        Ok(())
    }
}
