//! A container that the shim holds, apart from its processes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cgroup::{Cgroup, OomWatch};
use crate::launch::Pending;
use crate::seccomp::Filter;
use crate::spec::{Hooks, Process, Spec, Status};

use super::process::Held;

/// A container that the shim holds.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) bundle: PathBuf,
    /// Its first process.
    pub(super) process: u32,
    /// Its added processes by name.
    pub(super) execs: BTreeMap<String, u32>,
    pub(super) cgroup: Cgroup,
    pub(super) oom: Option<OomWatch>,
    /// How to start its program, until it was.
    pub(super) pending: Option<Pending>,
    pub(super) paused: bool,
    pub(super) profile: Profile,
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
    /// Where it is in its life, given its first process.
    pub(super) fn status(&self, held: &Held) -> Status {
        if held.exit.is_some() || held.ended.is_some() {
            Status::Stopped
        } else if self.pending.is_some() {
            Status::Created
        } else if self.paused {
            Status::Paused
        } else {
            Status::Running
        }
    }
}
