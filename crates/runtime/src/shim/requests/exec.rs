//! Further processes of a container.

use super::super::process::Prepared;
use super::super::protocol::{Failure, FailureKind, Stdio, Streams};
use super::super::server::Server;
use super::{not_found, wrong_state};
use crate::launch::{self, Joining};
use crate::spec::{Process, Status};

/// What a further process is made of.
pub(super) struct Order {
    pub(super) container: String,
    pub(super) exec: String,
    pub(super) process: Process,
    pub(super) stdio: Stdio,
    pub(super) attach: Option<Streams>,
    pub(super) limit: Option<u64>,
}

impl Server {
    /// Begins to start a further process; `peer` is answered when its program runs.
    pub(super) fn exec(&mut self, peer: u32, order: Order) -> Result<(), Failure> {
        self.refuse_if_stopping()?;
        let Order { container: id, exec, mut process, stdio, attach, limit } = order;
        let container = self.containers.get(&id).ok_or_else(|| not_found(&id, None))?;
        let status = self.status(container);
        let first = self.processes.get(&container.process);
        let Some(first) = first.filter(|_| matches!(status, Status::Running | Status::Created)) else {
            return Err(wrong_state(format!("container {id} is {status}, not running")));
        };
        if container.ending.is_some() {
            return Err(wrong_state(format!("container {id} is being ended")));
        }
        let is_begun = |launching: &super::super::launching::Launching| {
            launching.container == id && launching.exec.as_ref() == Some(&exec)
        };
        if container.execs.contains_key(&exec) || self.launches.values().any(is_begun) {
            let message = format!("there is already a process {exec} in container {id}");
            return Err(Failure { kind: FailureKind::Exists, message });
        }
        container.profile.complete(&mut process);
        let (streams, theirs) = Prepared::new(stdio, id.clone(), Some(exec))?;
        let making = launch::begin_join(Joining {
            process: &process,
            filter: container.profile.filter.as_ref(),
            target: first.pidfd(),
            target_pid: first.pid,
            cgroup: &container.cgroup,
            stdio: theirs,
            die_with_parent: true,
            preserve_fds: 0,
        })?;
        let number = self.next_number();
        self.follow(number, making, streams, peer, attach, limit)
    }
}
