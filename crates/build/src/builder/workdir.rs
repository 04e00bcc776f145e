//! WORKDIR: a configuration, and a directory that has to be there.

use std::path::Path;

use dockerfile::classic::Command;

use super::{Builder, Key, STEPS, Stage, nop};
use crate::error::BuildError;
use crate::files::{Owner, Target, make_directories};

impl Builder {
    pub(super) async fn workdir(&self, stage: &mut Stage, command: &Command) -> Result<(), BuildError> {
        let comment = self.apply(stage, command)?;
        let key = Key::of([nop(stage), vec![format!("#(nop) {comment}")]].concat());
        if self.found_done(stage, &key).await? {
            self.arrow(stage).await;
            return Ok(());
        }
        let path = stage.config.working_dir.clone();
        let exists = match &stage.image {
            Some(image) => {
                let root = self.store.image_mount(image)?;
                offload::in_place(|| Target::new(root).is_directory(Path::new(&path)))
            }
            None => path == "/",
        };
        let container = self.idle_container(stage, &key).await?;
        let layer = match (exists, &container) {
            (true, _) => None,
            (false, Some(container)) => {
                let (store, id) = (self.store.clone(), container.id.as_str().to_owned());
                let make = STEPS.run(move || make(&Target::new(store.snapshot_mount(&id)?), &path));
                make.await?;
                self.layer_of(&container.id).await?
            }
            (false, None) => self.layer(stage, move |target| make(target, &path)).await?,
        };
        self.commit(stage, &key, layer)?;
        self.arrow_after(stage, container).await
    }
}

fn make(target: &Target, path: &str) -> Result<(), BuildError> {
    make_directories(target, Path::new(path), Owner::default())
        .map(drop)
        .map_err(|error| BuildError::Step(format!("cannot make working directory `{path}`: {error}")))
}
