//! Steps that were done before: an image with the same parent, instruction and configuration.

use image::{Image, ImageId, NewImage};
use oci::Digest;

use super::{Builder, Key, Stage};
use crate::error::BuildError;

impl Builder {
    /// Looks for the image that a step would make. If there is one, the stage goes on with it. Of steps that write
    /// files this counts only where it is said which images to take steps from: else results do.
    pub(super) async fn found_done(&self, stage: &mut Stage, key: &Key) -> Result<bool, BuildError> {
        if !stage.cached || self.options.no_cache {
            return Ok(false);
        }
        let found = match self.done_here(stage, key, None) {
            Some(image) => Some(image),
            None => offload::in_place(|| self.done_elsewhere(stage, key))?,
        };
        match found {
            Some(image) => {
                stage.chain = self.chain_of(&image)?;
                self.go_on(stage, image.id)?;
                stage.out.text(" ---> Using cache\n".to_owned()).await;
                Ok(true)
            }
            None => {
                stage.cached = false;
                Ok(false)
            }
        }
    }

    /// The image of a step with these files, if it was made before.
    pub(super) fn image_here(&self, stage: &Stage, key: &Key, top: Option<&Digest>) -> Option<ImageId> {
        self.done_here(stage, key, Some(top)).map(|image| image.id)
    }

    /// Goes on with an image of this machine.
    pub(super) fn go_on(&self, stage: &mut Stage, id: ImageId) -> Result<(), BuildError> {
        self.held.lock().push(self.store.image_hold(&id)?);
        stage.image = Some(id);
        Ok(())
    }

    fn done_here(&self, stage: &Stage, key: &Key, files: Option<Option<&Digest>>) -> Option<Image> {
        let candidates: Vec<Image> = match &stage.image {
            Some(parent) => {
                let children = self.store.image_children(parent);
                children.iter().filter_map(|id| self.store.image_get(&id.to_string()).ok()).collect()
            }
            None => self.store.image_list().into_iter().filter(|image| image.parent.is_none()).collect(),
        };
        let same = |image: &Image| {
            let steps = &image.config.history;
            steps.last().is_some_and(|step| step.created_by == key.created_by)
                && files.is_none_or(|top| image.layers.last() == top)
                && command_of(image).as_ref() == Some(&key.command)
                && (stage.image.is_some() || (steps.len() == 1 && image.config.platform() == stage.platform))
                && image.config.config == stage.config
                && image.config.author == stage.author
                && self.may_count(&image.id)
        };
        let found = candidates.into_iter().filter(same);
        found.max_by(|a, b| a.config.created.cmp(&b.config.created))
    }

    /// Whether an image here may stand for a step. Where the user named images to take steps from,
    /// only what those were made of does.
    fn may_count(&self, id: &ImageId) -> bool {
        if self.options.cache_from.is_empty() {
            return true;
        }
        self.options.cache_from.iter().filter_map(|name| self.store.image_get(name).ok()).any(|named| {
            let mut line = Some(named);
            while let Some(image) = line {
                if image.id == *id {
                    return true;
                }
                line = image.parent.and_then(|parent| self.store.image_get(&parent.to_string()).ok());
            }
            false
        })
    }

    /// Looks into the images that the user said to take steps from. Their steps have no images of
    /// their own here, so one is made.
    fn done_elsewhere(&self, stage: &mut Stage, key: &Key) -> Result<Option<Image>, BuildError> {
        let parent = match &stage.image {
            Some(id) => Some(self.store.image_get(&id.to_string())?),
            None => None,
        };
        let empty = (Vec::new(), Vec::new());
        let (history, diff_ids) = parent
            .as_ref()
            .map_or(empty, |image| (image.config.history.clone(), image.config.rootfs.diff_ids.clone()));
        for name in &self.options.cache_from {
            let Ok(image) = self.store.image_get(name) else { continue };
            let steps = &image.config.history;
            let same_steps = steps.len() > history.len()
                && steps.iter().zip(&history).all(|(a, b)| a.created_by == b.created_by)
                && steps[history.len()].created_by == key.created_by;
            if !same_steps || !image.config.rootfs.diff_ids.starts_with(&diff_ids) {
                continue;
            }
            let step = &steps[history.len()];
            // A history has the words of a program in one line, as Docker writes them and finds them. Where they
            // are known one by one, those decide.
            let is_last = steps.len() == history.len() + 1;
            if is_last && command_of(&image).is_some_and(|command| command != key.command) {
                continue;
            }
            let layer = match (step.empty_layer, image.layers.get(diff_ids.len())) {
                (true, _) => None,
                (false, Some(chain_id)) => match self.store.layer_hold(chain_id) {
                    Some(layer) => Some(layer),
                    None => continue,
                },
                (false, None) => continue,
            };
            let created = step.created.as_deref().and_then(|text| text.parse().ok());
            let created = created.unwrap_or(base::Timestamp::UNIX_EPOCH);
            let new = NewImage {
                layer,
                author: stage.author.clone(),
                platform: stage.image.is_none().then(|| stage.platform.clone()),
                command: key.command.clone(),
                ..NewImage::on(stage.image.clone(), stage.config.clone(), created, &key.created_by)
            };
            let (made, held) = self.store.image_create_step(new)?;
            self.held.lock().push(held);
            return Ok(Some(made));
        }
        Ok(None)
    }
}

/// The command of the step that an image was made by, word by word.
fn command_of(image: &Image) -> Option<Vec<String>> {
    image.config.container()?.cmd
}
