//! Further processes of a container.

use base::Clock;
use rustix::event::epoll::EventFlags;

use super::super::protocol::{Failure, FailureKind, Response, Stdio, Streams};
use super::super::server::{Server, Wake};
use super::streams::Prepared;
use super::{internal, not_found, wrong_state};
use crate::launch::{self, Joining};
use crate::spec::{Process, Status};

impl Server {
    pub(super) fn exec(
        &mut self,
        peer: u32,
        id: String,
        exec: String,
        mut process: Process,
        stdio: Stdio,
        attach: Option<Streams>,
    ) -> Result<Option<Response>, Failure> {
        let container = self.containers.get(&id).ok_or_else(|| not_found(&id, None))?;
        let first = &self.processes[&container.process];
        let status = container.status(first);
        if !matches!(status, Status::Running | Status::Created) {
            return Err(wrong_state(format!("container {id} is {status}, not running")));
        }
        if container.execs.contains_key(&exec) {
            let message = format!("there is already a process {exec} in container {id}");
            return Err(Failure { kind: FailureKind::Exists, message });
        }
        container.profile.complete(&mut process);
        let (prepared, theirs) = Prepared::new(stdio, format!("process {exec} of container {id}"))?;
        let started = launch::join(Joining {
            process: &process,
            filter: container.profile.filter.as_ref(),
            target: first.pidfd(),
            target_pid: first.pid,
            cgroup: &container.cgroup,
            stdio: theirs,
            die_with_parent: true,
            preserve_fds: 0,
        })?;
        let pid = started.pid;
        let held = prepared.hold(id.clone(), Some(exec.clone()), started, Some(self.clock.now()))?;
        let number = self.next_number();
        self.watch(&held.pidfd, Wake::Exit(number), EventFlags::IN)
            .map_err(|error| internal(format!("watch process {exec}: {error}")))?;
        self.processes.insert(number, held);
        self.containers.get_mut(&id).expect("found above").execs.insert(exec.clone(), number);
        self.started(&id, Some(&exec), pid);
        let Some(streams) = attach else { return Ok(Some(Response::Pid(pid))) };
        // The answer first: what follows it on this connection is the process's.
        self.answer(peer, &Response::Pid(pid));
        self.attach(peer, number, streams);
        Ok(None)
    }
}
