//! The containers of steps that run nothing. As with Docker's builder each such step has one: it is told, it
//! stays where containers are to stay, and a working directory is made in it.

use super::run::StepContainer;
use super::{Builder, Key, Stage};
use crate::error::BuildError;

impl Builder {
    /// Makes the container of a step; none on top of no image, of which there are no containers.
    pub(super) async fn idle_container(
        &self,
        stage: &Stage,
        key: &Key,
    ) -> Result<Option<StepContainer>, BuildError> {
        let Some(image) = &stage.image else { return Ok(None) };
        let network = self.options.network.as_str();
        let spec = self.container_spec(image, &stage.config.env, key.command.clone(), network, &[], &[])?;
        self.step_container(spec).await.map(Some)
    }

    /// Ends a step whose container is not needed any more.
    pub(super) async fn arrow_after(
        &self,
        stage: &Stage,
        container: Option<StepContainer>,
    ) -> Result<(), BuildError> {
        if let Some(container) = container {
            self.give_up(container).await?;
        }
        self.arrow(stage).await;
        Ok(())
    }
}
