//! What the engine has of a pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::container::{Container, ContainerFilter, Status};
use engine::sandbox::{Sandbox, SandboxFilter};
use engine::{Engine, SandboxId};

use super::plan::{Instance, InstanceState, SandboxState};
use crate::labels;

/// A pod's sandboxes and containers, as they are.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The sandbox that is up, if one is.
    pub sandbox: Option<Arc<Sandbox>>,
    /// Sandboxes that are down.
    pub remains: Vec<SandboxId>,
    /// Instances by container name, oldest first.
    pub instances: BTreeMap<String, Vec<Arc<Container>>>,
}

impl Observation {
    /// Looks at what belongs to the pod with this uid.
    pub fn new(engine: &Engine, uid: &str) -> engine::Result<Self> {
        let of_pod = vec![format!("{}={uid}", labels::POD_UID)];
        let mut observation = Self::default();
        for sandbox in engine.sandbox_list(&SandboxFilter { labels: of_pod.clone(), ready: None }) {
            if sandbox.ready && observation.sandbox.is_none() {
                observation.sandbox = Some(sandbox);
            } else {
                observation.remains.push(sandbox.id.clone());
            }
        }
        let filter = ContainerFilter { all: true, labels: of_pod, ..ContainerFilter::default() };
        for container in engine.container_list(&filter)? {
            if let Some(name) = container.spec.labels.get(labels::CONTAINER_NAME) {
                observation.instances.entry(name.clone()).or_default().push(container);
            }
        }
        for instances in observation.instances.values_mut() {
            instances.sort_by_key(|container| attempt(container));
        }
        Ok(observation)
    }

    /// The newest instance of a container.
    pub fn latest(&self, name: &str) -> Option<&Arc<Container>> {
        self.instances.get(name)?.last()
    }

    /// The instance before the newest one.
    pub fn previous(&self, name: &str) -> Option<&Arc<Container>> {
        self.instances.get(name)?.iter().rev().nth(1)
    }

    /// Every instance whose program runs.
    pub fn running(&self) -> impl Iterator<Item = &Arc<Container>> {
        self.instances.values().flatten().filter(|container| container.state.status.is_active())
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
        let container = self.latest(name)?;
        Some(Instance {
            id: container.id.clone(),
            in_current_sandbox: self.sandbox.as_ref().is_some_and(|sandbox| sandbox.id == container.sandbox),
            state: state(container),
        })
    }
}

/// Which instance of its container this is, from 0.
pub fn attempt(container: &Container) -> u32 {
    container.spec.labels.get(labels::RESTART_COUNT).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn state(container: &Container) -> InstanceState {
    match container.state.status {
        Status::Created => InstanceState::Created,
        Status::Running | Status::Paused | Status::Restarting => InstanceState::Running,
        Status::Exited | Status::Dead | Status::Removing => InstanceState::Exited(container.state.exit_code),
    }
}
