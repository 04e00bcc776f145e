//! What the runtime has of a pod.

use std::collections::BTreeMap;

use super::plan::{Instance, SandboxState};
use crate::runtime::{ContainerStatus, Error, Kind, PodSandboxId, PodSandboxStatus, Runtime};

/// A pod's sandboxes and containers, as they are.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The sandbox that is up, if one is.
    pub sandbox: Option<PodSandboxStatus>,
    /// Sandboxes that are down.
    pub remains: Vec<PodSandboxId>,
    /// Instances by container name, oldest first.
    pub instances: BTreeMap<String, Vec<ContainerStatus>>,
}

impl Observation {
    /// Looks at what belongs to the pod with this uid.
    pub async fn new(runtime: &dyn Runtime, uid: &str) -> Result<Self, Error> {
        let mut observation = Self::default();
        for listed in runtime.list_pod_sandbox(Some(uid)).await? {
            if !listed.ready || observation.sandbox.is_some() {
                observation.remains.push(listed.id);
                continue;
            }
            match still_there(runtime.pod_sandbox_status(&listed.id).await)? {
                Some(status) if status.ready => observation.sandbox = Some(status),
                Some(_) => observation.remains.push(listed.id),
                None => {}
            }
        }
        for listed in runtime.list_containers(uid).await? {
            if let Some(status) = still_there(runtime.container_status(&listed.id).await)? {
                observation.instances.entry(listed.name).or_default().push(status);
            }
        }
        for instances in observation.instances.values_mut() {
            instances.sort_by_key(|instance| instance.attempt);
        }
        Ok(observation)
    }

    /// The newest instance of a container.
    pub fn latest(&self, name: &str) -> Option<&ContainerStatus> {
        self.instances.get(name)?.last()
    }

    /// The instance before the newest one.
    pub fn previous(&self, name: &str) -> Option<&ContainerStatus> {
        self.instances.get(name)?.iter().rev().nth(1)
    }

    /// Every instance whose program runs.
    pub fn running(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.instances.values().flatten().filter(|instance| instance.is_running())
    }

    /// The sandbox in the planner's words.
    pub fn sandbox_state(&self) -> SandboxState {
        match (&self.sandbox, self.remains.is_empty() && self.instances.is_empty()) {
            (Some(_), _) => SandboxState::Ready,
            (None, true) => SandboxState::Missing,
            (None, false) => SandboxState::Down,
        }
    }

    /// The newest instance of a container in the planner's words.
    pub fn instance(&self, name: &str) -> Option<Instance> {
        let latest = self.latest(name)?;
        Some(Instance {
            id: latest.id.clone(),
            in_current_sandbox: self.sandbox.as_ref().is_some_and(|sandbox| sandbox.id == latest.sandbox),
            state: latest.into(),
        })
    }
}

/// What went between a list and a look is not there.
fn still_there<T>(status: Result<T, Error>) -> Result<Option<T>, Error> {
    match status {
        Ok(status) => Ok(Some(status)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
