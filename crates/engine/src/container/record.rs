//! What the engine keeps of a container, in memory as on disk ([`crate::state`]).

use base::Timestamp;

use super::life::{self, Effect, Input, Life, Wishes};
use super::{ContainerSpec, Health, MountPoint, ResolvedSpec};
use crate::id::{ContainerId, SandboxId};
use crate::network::EndpointSpec;
use crate::rootfs::Layers;

/// A container.
#[derive(Clone, Debug)]
pub(crate) struct ContainerRecord {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    /// The sandbox it lives in; its own, where `spec.sandbox` is absent.
    pub(crate) sandbox: SandboxId,
    pub(crate) spec: ContainerSpec,
    /// It stays although the work is done that it was made for.
    pub(crate) kept: bool,
    pub(crate) resolved: ResolvedSpec,
    pub(crate) life: Life,
    pub(crate) health: Option<Health>,
    pub(crate) mounts: Vec<MountPoint>,
    /// Volumes made for it alone.
    pub(crate) anonymous_volumes: Vec<String>,
    /// The networks that it joins when it starts, by name, in order of the first one first.
    pub(crate) networks: Vec<(String, EndpointSpec)>,
    /// The image store's directories: lower ones topmost first, then its own.
    pub(crate) layers: Layers,
    /// The number of the project whose quota limits its root file system. It is not asked of the files,
    /// which whoever is inside may change.
    pub(crate) project: Option<u32>,
    /// The boot of the machine in which it was made; empty if that was before this was written down.
    pub(crate) made_in: String,
    /// The boot of the machine in which it was last started.
    pub(crate) boot: String,
}

impl ContainerRecord {
    /// What `input` makes of its life, and what is to be done.
    pub(crate) fn step(&self, input: &Input) -> (Life, Vec<Effect>) {
        life::step(&self.life, input, Wishes::of(&self.spec))
    }

    /// Whether it goes with the work that it was made for.
    pub(crate) fn is_transient(&self) -> bool {
        self.spec.transient && !self.kept
    }
}
