//! A container that the shim holds, apart from its processes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cgroup::{Cgroup, OomWatch};
use crate::seccomp::Filter;
use crate::spec::{Hooks, Process, Spec};

use super::ending::Ending;
use super::protocol::StopSpec;
use super::server::milliseconds;

/// A container that the shim holds.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) bundle: PathBuf,
    /// The number of its first process, which is not held by itself before it is made.
    pub(super) process: u32,
    /// Its added processes by name.
    pub(super) execs: BTreeMap<String, u32>,
    pub(super) cgroup: Cgroup,
    pub(super) oom: Option<OomWatch>,
    pub(super) paused: bool,
    /// Its processes are being frozen or thawed.
    pub(super) changing: Option<Changing>,
    /// It is being ended.
    pub(super) ending: Option<Ending>,
    /// How it is asked to stop where nobody says.
    pub(super) stop: StopSpec,
    /// When it is killed for not having stopped, in milliseconds of the monotonic clock.
    pub(super) stop_deadline: Option<u64>,
    pub(super) profile: Profile,
}

/// A change from running to frozen or back.
#[derive(Debug)]
pub(super) struct Changing {
    pub(super) paused: bool,
    pub(super) asker: u32,
    pub(super) deadline: u64,
    /// When it is looked at next, in milliseconds of the monotonic clock.
    pub(super) look: u64,
}

/// What processes that join a container have in common with its first one.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) filter: Option<Filter>,
    capabilities: Option<crate::spec::Capabilities>,
    apparmor_profile: Option<String>,
    selinux_label: Option<String>,
    pub(super) hooks: Hooks,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Profile {
    pub(super) fn of(spec: Spec, filter: Option<Filter>) -> Self {
        let process = spec.process.unwrap_or_default();
        Self {
            filter,
            capabilities: process.capabilities,
            apparmor_profile: process.apparmor_profile,
            selinux_label: process.selinux_label,
            hooks: spec.hooks.unwrap_or_default(),
            annotations: spec.annotations,
        }
    }

    /// Gives a process that joins what it does not say itself.
    pub(super) fn complete(&self, process: &mut Process) {
        if process.capabilities.is_none() {
            process.capabilities.clone_from(&self.capabilities);
        }
        if process.apparmor_profile.is_none() {
            process.apparmor_profile.clone_from(&self.apparmor_profile);
        }
        if process.selinux_label.is_none() {
            process.selinux_label.clone_from(&self.selinux_label);
        }
    }
}

impl Container {
    /// When something has to be looked at, in milliseconds of the monotonic clock.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let ending = self.ending.as_ref().map(Ending::next_deadline);
        let changing = self.changing.as_ref().map(|changing| changing.look);
        let stop = self.stop_deadline.filter(|_| self.ending.is_none());
        [ending, changing, stop].into_iter().flatten().min()
    }
}

impl Changing {
    /// How long processes may take to stand still, milliseconds.
    const LIMIT: u64 = 500;

    pub(super) fn begin(paused: bool, asker: u32) -> Self {
        let now = milliseconds();
        Self { paused, asker, deadline: now + Self::LIMIT, look: now + 1 }
    }
}
