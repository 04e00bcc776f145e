//! FROM: the image that a stage begins with.

use engine::image::{PullOptions, RegistryAuth};
use futures::StreamExt;
use image::{FindError, Image};
use oci::{ContainerConfig, Platform, Reference};

use super::{Builder, Stage};
use crate::dockerfile::Dockerfile;
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
        let image = self.expand_global(Some(image))?.unwrap_or_default();
        if image.is_empty() {
            return Err(BuildError::Step("base name should not be blank".to_owned()));
        }
        let platform = match self.expand_global(platform)?.filter(|text| !text.is_empty()) {
            Some(text) => text.parse::<Platform>().map_err(|error| BuildError::Step(error.to_string()))?,
            None => self.platform.clone(),
        };
        let mut stage = Stage {
            name,
            image: None,
            config: ContainerConfig { env: vec![DEFAULT_PATH.to_owned()], ..ContainerConfig::default() },
            author: String::new(),
            platform: platform.clone(),
            cached: true,
            has_command: false,
        };
        if image == SCRATCH {
            self.text(" ---> \n".to_owned()).await;
            return Ok(stage);
        }
        let base = match self.stage_image(&image)? {
            Some(base) => base,
            None => self.base_image(&image, &platform).await?,
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
    fn stage_image(&self, name: &str) -> Result<Option<Image>, BuildError> {
        let wanted = name.to_lowercase();
        let found = self.stages.iter().rev().find(|(known, _)| known.as_deref() == Some(wanted.as_str()));
        match found {
            None => Ok(None),
            Some((_, Some(id))) => Ok(Some(self.store.image_get(&id.to_string())?)),
            Some((_, None)) => Err(BuildError::Step(format!("build stage {name} is empty"))),
        }
    }

    /// The image that COPY --from names: a stage by name or number, or any image.
    pub(super) async fn source_image(&self, name: &str) -> Result<Image, BuildError> {
        if let Some(image) = self.stage_image(name)? {
            return Ok(image);
        }
        if let Some((_, id)) = name.parse().ok().and_then(|number: usize| self.stages.get(number)) {
            let id = id.as_ref().ok_or_else(|| BuildError::Step(format!("build stage {name} is empty")))?;
            return Ok(self.store.image_get(&id.to_string())?);
        }
        self.base_image(name, &self.platform.clone()).await
    }

    /// An image of this machine, or pulled.
    async fn base_image(&self, name: &str, platform: &Platform) -> Result<Image, BuildError> {
        let image = self.find_base_image(name, platform).await?;
        self.held.lock().push(self.store.image_hold(&image.id)?);
        Ok(image)
    }

    async fn find_base_image(&self, name: &str, platform: &Platform) -> Result<Image, BuildError> {
        let local = self.store.image_get(name);
        let fits =
            |image: &Image| image.config.platform().fitness(platform).is_some() || image.config.os.is_empty();
        match local {
            // An id names nothing that a registry could have.
            Ok(image) if Reference::parse(name).is_err() => return Ok(image),
            Ok(image) if !self.options.pull && fits(&image) => return Ok(image),
            Ok(_) | Err(FindError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let reference = Reference::parse(name).map_err(|error| BuildError::Step(error.to_string()))?;
        let options = PullOptions {
            platform: Some(platform.to_string()),
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
