//! Making a container and starting its program.

use std::path::{Path, PathBuf};

use base::Clock;
use base::error::chain;
use rustix::event::epoll::EventFlags;

use super::super::container::{Container, Profile};
use super::super::descriptors::Descriptors;
use super::super::protocol::{Failure, FailureKind, Stdio};
use super::super::server::{Server, Wake};
use super::streams::Prepared;
use super::{internal, not_found, wrong_state};
use crate::Rootfs;
use crate::cgroup::Cgroup;
use crate::launch::{self, Pending, ProcessError, Started};
use crate::seccomp::{self, Filter};
use crate::spec::Spec;
use crate::sys::memory;

impl Server {
    pub(super) fn create_container(
        &mut self,
        id: String,
        bundle: PathBuf,
        rootfs: &Rootfs,
        stdio: Stdio,
        given: Descriptors,
    ) -> Result<u32, Failure> {
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
        let (streams, theirs) = Prepared::new(stdio, format!("container {id}"))?;
        let made = cgroup
            .create()
            .and_then(|()| cgroup.apply(&crate::defaults::limits(&spec)))
            .map_err(Failure::from)
            .and_then(|()| {
                self.launch(&id, &spec, &bundle, rootfs, filter.as_ref(), &cgroup, theirs, given)
                    .map_err(Failure::from)
            });
        let (started, pending) = made.inspect_err(|_| drop(cgroup.remove()))?;
        let pid = started.pid;
        let held = streams.hold(id.clone(), None, started, None)?;
        let number = self.next_number();
        let watched = self.watch(&held.pidfd, Wake::Exit(number), EventFlags::IN);
        let oom = cgroup.oom_watch();
        if let Some(oom) = &oom {
            // Only for events: how a process ended is found out without it.
            let _ = self.watch(oom, Wake::OutOfMemory(number), EventFlags::IN);
        }
        self.processes.insert(number, held);
        let profile = Profile::of(spec, filter);
        let container = Container {
            bundle,
            process: number,
            execs: std::collections::BTreeMap::new(),
            cgroup,
            oom,
            pending: Some(pending),
            paused: false,
            profile,
        };
        self.containers.insert(id.clone(), container);
        if let Err(error) = watched {
            let _ = self.delete(&id, None, true);
            return Err(internal(format!("watch container {id}: {error}")));
        }
        Ok(pid)
    }

    pub(super) fn start_container(&mut self, id: &str) -> Result<u32, Failure> {
        let container = self.containers.get_mut(id).ok_or_else(|| not_found(id, None))?;
        let number = container.process;
        let pending = container
            .pending
            .take()
            .ok_or_else(|| wrong_state(format!("container {id} was started before")))?;
        pending.release()?;
        let held = self.processes.get_mut(&number).expect("a container has its first process");
        held.started_at = Some(self.clock.now());
        let pid = held.pid;
        if let Some(failed) = self.run_hooks(id, |hooks| hooks.poststart.as_slice()).next() {
            self.end(id);
            return Err(failed.into());
        }
        self.started(id, None, pid);
        memory::give_back();
        Ok(pid)
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
    ) -> Result<(Started, Pending), ProcessError> {
        launch::create(launch::Container {
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
