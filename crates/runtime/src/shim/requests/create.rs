//! Making a container and starting its program.

use std::path::{Path, PathBuf};

use base::error::chain;
use rustix::event::epoll::EventFlags;

use super::super::container::{Container, Profile};
use super::super::descriptors::Descriptors;
use super::super::launching::Stage;
use super::super::process::Prepared;
use super::super::protocol::{Failure, FailureKind, Stdio, StopSpec};
use super::super::server::{Server, Wake};
use super::{not_found, wrong_state};
use crate::Rootfs;
use crate::cgroup::Cgroup;
use crate::launch::{self, Making, ProcessError};
use crate::seccomp::{self, Filter};
use crate::spec::Spec;

/// What a container is made of.
pub(super) struct Order {
    pub(super) id: String,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: Rootfs,
    pub(super) stdio: Stdio,
    /// What its configuration names on the host.
    pub(super) given: Descriptors,
    pub(super) stop: StopSpec,
    pub(super) limit: Option<u64>,
}

impl Server {
    /// Begins to make a container; `peer` is answered when it is made.
    pub(super) fn create_container(&mut self, peer: u32, order: Order) -> Result<(), Failure> {
        self.refuse_if_stopping()?;
        let Order { id, bundle, rootfs, stdio, given, stop, limit } = order;
        if self.containers.contains_key(&id) {
            let message = format!("there is already a container {id} in this sandbox");
            return Err(Failure { kind: FailureKind::Exists, message });
        }
        let spec = Spec::load(&bundle.join("config.json"))
            .map_err(|error| Failure { kind: FailureKind::Invalid, message: chain(&error).to_string() })?;
        let linux = spec.linux.clone().unwrap_or_default();
        let filter =
            linux.seccomp.as_ref().map(seccomp::compile).transpose().map_err(ProcessError::Seccomp)?;
        let path = linux.cgroups_path.clone().unwrap_or_else(|| Path::new("/gantry").join(&id));
        let cgroup = Cgroup::at(&path)?;
        let (streams, theirs) = Prepared::new(stdio, id.clone(), None)?;
        let made = cgroup
            .create()
            .and_then(|()| cgroup.apply(&crate::defaults::limits(&spec)))
            .map_err(Failure::from)
            .and_then(|()| {
                self.launch(&id, &spec, &bundle, &rootfs, filter.as_ref(), &cgroup, theirs, given)
                    .map_err(Failure::from)
            });
        let making = made.inspect_err(|_| drop(cgroup.try_remove()))?;
        let number = self.next_number();
        let oom = cgroup.oom_watch();
        if let Some(oom) = &oom {
            // Only for events: how a process ended is found out without it.
            let _ = self.watch(oom, Wake::OutOfMemory(number), EventFlags::IN);
        }
        let container = Container {
            bundle,
            process: number,
            execs: std::collections::BTreeMap::new(),
            cgroup,
            oom,
            paused: false,
            changing: None,
            ending: None,
            stop,
            stop_deadline: None,
            profile: Profile::of(spec, filter),
        };
        self.containers.insert(id.clone(), container);
        if let Err(failure) = self.follow(number, making, streams, peer, None, limit) {
            self.begin_ending(&id, Some(peer), Some(failure));
        }
        Ok(())
    }

    /// Releases a container's first process; `peer` is answered when its program runs.
    pub(super) fn start_container(&mut self, peer: u32, id: &str, limit: Option<u64>) -> Result<(), Failure> {
        self.refuse_if_stopping()?;
        let container = self.containers.get(id).ok_or_else(|| not_found(id, None))?;
        let number = container.process;
        match self.launches.get(&number).map(|launching| launching.stage) {
            Some(Stage::Made) => self.release(number, peer, limit),
            Some(Stage::Making) => Err(wrong_state(format!("container {id} is not made yet"))),
            Some(Stage::Starting | Stage::Following) | None => {
                Err(wrong_state(format!("container {id} was started before")))
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is a field of the container that is made of them")]
    fn launch(
        &self,
        id: &str,
        spec: &Spec,
        bundle: &Path,
        rootfs: &Rootfs,
        filter: Option<&Filter>,
        cgroup: &Cgroup,
        stdio: launch::Stdio,
        given: Descriptors,
    ) -> Result<Making, ProcessError> {
        launch::begin_create(launch::Container {
            id,
            spec,
            bundle,
            rootfs,
            filter,
            cgroup,
            stdio,
            inherited: self.identity.inherited,
            die_with_parent: true,
            preserve_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            given: Some(given),
            release: None,
        })
    }
}
