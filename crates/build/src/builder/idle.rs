//! The containers of steps that run nothing. As with Docker's builder each such step has one: it is told, and it
//! stays where containers are to stay.

use engine::container::{
    AttachFlags, ContainerSpec, HealthTest, Healthcheck, LogOptions, NetworkMode, RemoveOptions,
};
use engine::{ContainerId, Engine};
use llb::pb::NetMode;

use super::{Builder, Key, Stage};
use crate::error::BuildError;

/// Removes a step's container when the step is dropped in the middle.
pub(super) struct StepContainer {
    engine: Engine,
    id: ContainerId,
    done: bool,
}

impl Builder {
    /// Makes the container of a step, and tells it; none on top of no image, of which there are no containers.
    pub(super) async fn idle_container(
        &self,
        stage: &Stage,
        key: &Key,
    ) -> Result<Option<StepContainer>, BuildError> {
        let Some(image) = &stage.image else { return Ok(None) };
        let mut spec = ContainerSpec {
            image: image.to_string(),
            command: Some(key.command.clone()),
            entrypoint: Some(Vec::new()),
            env: stage.config.env.clone(),
            attach: AttachFlags { stdin: false, stdout: true, stderr: true },
            resources: self.options.resources.clone(),
            shm_size: self.options.shm_size,
            cgroup_parent: self.options.cgroup_parent.clone(),
            transient: true,
            healthcheck: Some(Healthcheck { test: HealthTest::Disabled, ..Healthcheck::default() }),
            log: Some(LogOptions { driver: "none".to_owned(), ..LogOptions::default() }),
            ..ContainerSpec::default()
        };
        spec.namespaces.network = match (self.commands.network, &self.network) {
            (_, Some(network)) => network.clone(),
            (NetMode::Unset, None) => NetworkMode::Bridge,
            (NetMode::None, None) => NetworkMode::None,
            (NetMode::Host, None) => NetworkMode::Host,
        };
        let created = self.engine.container_create(spec).await?;
        let container = StepContainer { engine: self.engine.clone(), id: created.id, done: false };
        for warning in created.warnings {
            stage.out.text(format!(" ---> [Warning] {warning}\n")).await;
        }
        stage.out.text(format!(" ---> Running in {}\n", container.id.short())).await;
        Ok(Some(container))
    }

    /// Removes the container of a step that is done, if it has one, unless it is to stay.
    pub(super) async fn give_up(
        &self,
        stage: &Stage,
        container: Option<StepContainer>,
    ) -> Result<(), BuildError> {
        let Some(mut container) = container else { return Ok(()) };
        container.done = true;
        let id = &container.id;
        if self.options.remove {
            self.engine.container_remove(id, RemoveOptions { force: true, volumes: true }).await?;
            stage.out.text(format!(" ---> Removed intermediate container {}\n", id.short())).await;
        } else {
            self.engine.container_keep(id).await?;
        }
        Ok(())
    }
}

impl Drop for StepContainer {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (engine, id) = (self.engine.clone(), self.id.clone());
        // The build may be dropped anywhere; the engine's own task sees the removal through.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let options = RemoveOptions { force: true, volumes: true };
                if let Err(error) = engine.container_remove(&id, options).await {
                    tracing::warn!(container = %id, error = %base::error::chain(&error), "a build step's container stays");
                }
            });
        }
    }
}
