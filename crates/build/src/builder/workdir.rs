//! WORKDIR: a configuration, and a directory that has to be there.

use std::path::Path;

use super::{Builder, Stage, nop};
use crate::dockerfile::Command;
use crate::error::BuildError;
use crate::files::{Owner, Target, make_directories};

impl Builder {
    pub(super) async fn workdir(&self, stage: &mut Stage, command: &Command) -> Result<(), BuildError> {
        let comment = self.apply(stage, command)?;
        let created_by = nop(stage, &comment);
        if !self.found_done(stage, &created_by).await? {
            let path = stage.config.working_dir.clone();
            let exists = match &stage.image {
                Some(image) => {
                    let root = self.store.image_mount(image)?;
                    offload::in_place(|| Target::new(root).is_directory(Path::new(&path)))
                }
                None => path == "/",
            };
            let layer = match exists {
                true => None,
                false => {
                    self.layer(stage, move |target| {
                        make_directories(target, Path::new(&path), Owner::default()).map(drop).map_err(
                            |error| {
                                BuildError::Step(format!("cannot make working directory `{path}`: {error}"))
                            },
                        )
                    })
                    .await?
                }
            };
            self.commit(stage, &created_by, layer)?;
        }
        self.arrow(stage).await;
        Ok(())
    }
}
