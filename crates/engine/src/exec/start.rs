//! Starting a further process.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runtime::shim::protocol::{Request, Response, Stdio};
use runtime::spec::Process;

use super::ExecCell;
use crate::engine::Engine;
use crate::error::{Error, Fact, Kind, NO_RIGHT, Result};
use crate::id::ExecId;
use crate::rootfs::RootFs;
use crate::shim::{self, Client, Connection, LAUNCH, MARGIN};
use crate::spec;
use crate::stream::{Attached, TerminalSize};
use crate::users;
use crate::work::foreign;

impl Engine {
    /// Starts a prepared process and attaches to it; drop the streams to let it run alone. `size` is that
    /// of its terminal, in place of the one that it was prepared with.
    pub async fn exec_start(&self, id: &ExecId, size: Option<TerminalSize>) -> Result<Attached> {
        let cell = self.exec_cell(id)?;
        {
            let mut progress = cell.progress.lock();
            if progress.started {
                return Err(Fact::ExecStarted { id: id.to_string() }.into());
            }
            progress.started = true;
        }
        let command = cell.spec.told();
        self.emit(&cell.container, format!("exec_start: {command}"), &[("execID", id.to_string())]);
        self.exec_launch(&cell, size, LAUNCH).await
    }

    /// Starts a process that is marked as started; `limit` is how long it may take to its program.
    pub(super) async fn exec_launch(
        &self,
        cell: &Arc<ExecCell>,
        size: Option<TerminalSize>,
        limit: Duration,
    ) -> Result<Attached> {
        let Client { attached, side } = Client::new(cell.spec.attach.stdin);
        let mut unowned = Unowned { engine: self, cell, may_run: true };
        // What is looked up in the container's files may take for ever too.
        let connected = tokio::time::timeout(limit + MARGIN, self.exec_connect(cell, size, limit)).await;
        let connected =
            connected.unwrap_or_else(|_| Err(Error::unavailable("the process did not begin in time")));
        // Its shim has said what became of it, unless it did not answer.
        unowned.may_run = connected.as_ref().is_err_and(|error| error.kind() == Kind::Unavailable);
        drop(unowned);
        match connected {
            Ok((connection, pid)) => {
                cell.progress.lock().pid = Some(pid);
                cell.begun.notify_waiters();
                let (engine, cell) = (self.clone(), Arc::clone(cell));
                let closing = self.inner.closing.clone();
                self.spawn(async move {
                    tokio::select! {
                        () = shim::pump(connection, side, |status| engine.exec_ended(&cell, status)) => {}
                        () = closing.cancelled() => {}
                    }
                });
                Ok(attached)
            }
            Err(error) => {
                let mut progress = cell.progress.lock();
                progress.exit_code = Some(error.exit_code().unwrap_or(NO_RIGHT));
                progress.ended = Some(self.inner.clock.elapsed());
                drop(progress);
                cell.begun.notify_waiters();
                Err(error)
            }
        }
    }

    async fn exec_connect(
        &self,
        cell: &Arc<ExecCell>,
        size: Option<TerminalSize>,
        limit: Duration,
    ) -> Result<(Connection, u32)> {
        let container = &cell.container;
        let shim = container.shim()?;
        let process = self.exec_process(cell, size).await?;
        let request = Request::Exec {
            container: container.id.to_string(),
            exec: cell.id.to_string(),
            process,
            stdio: Stdio {
                terminal: cell.spec.tty,
                stdin: cell.spec.attach.stdin,
                stdin_once: true,
                backlog: 0,
                log: None,
            },
            attach: Some(shim::streams(cell.spec.attach.stdin)),
            limit: u64::try_from(limit.as_millis()).ok(),
        };
        let mut connection = shim.connect().await?;
        let answer = shim.ask(&mut connection, &request, limit + MARGIN).await;
        match answer.map_err(explain)? {
            Response::Pid(pid) => Ok((connection, pid)),
            other => Err(shim::unexpected(&other)),
        }
    }

    /// What the runtime is told of the process.
    pub(super) async fn exec_process(&self, cell: &ExecCell, size: Option<TerminalSize>) -> Result<Process> {
        let record = cell.container.record();
        let held = self.running_process(&cell.container).await?;
        let held = held.ok_or_else(|| cell.container.not_running())?;
        let user = cell
            .spec
            .user
            .clone()
            .filter(|user| !user.is_empty())
            .unwrap_or_else(|| record.resolved.user.clone());
        let of_container = Arc::clone(&record);
        let bundle = self.inner.places.bundle(&cell.container.id);
        // Its files may be those of somebody who does not answer, and keep whoever looks at them.
        let (identity, profile) = foreign([cell.container.id.to_string()], move || {
            let host = crate::apparmor::Host::get();
            let profile = if host.kernel { crate::apparmor::of_bundle(&bundle)? } else { None };
            // It may have been taken away since, the default one by an upgrade of the host's.
            profile.as_deref().map(|profile| host.ensure(profile)).transpose()?;
            let root = RootFs::of_process(&held, None)?;
            let identity = users::look_up_for(root.as_fd(), &user, &of_container.spec)?;
            Ok((identity, profile))
        })
        .await?;
        let mut security = record.spec.security.clone();
        security.privileged |= cell.spec.privileged;
        let names = spec::capability_names(&security)?;
        let workdir = cell.spec.workdir.clone().filter(|dir| !dir.is_empty());
        let mut base = vec![format!("HOSTNAME={}", record.resolved.hostname)];
        // Of those that run now; the others it had, perhaps.
        spec::overlay_env(&mut base, &self.link_env(&record).unwrap_or_default());
        spec::overlay_env(&mut base, &record.resolved.env);
        Ok(Process {
            terminal: cell.spec.tty,
            console_size: size.or(cell.spec.size).map(Into::into),
            user: identity.to_oci(),
            args: cell.spec.command.clone(),
            env: spec::exec_env(&base, &cell.spec.env, cell.spec.tty, &identity),
            cwd: PathBuf::from(workdir.unwrap_or_else(|| match record.resolved.workdir.as_str() {
                "" => "/".to_owned(),
                own => own.to_owned(),
            })),
            capabilities: Some(spec::capability_sets(&names, identity.uid)),
            no_new_privileges: record.spec.security.no_new_privileges,
            // The container's own, whatever privileges this process has. Where it is not said here, the
            // shim knows it.
            apparmor_profile: profile,
            // Joining a container is no way around its limits, nor to outlive it when memory runs out.
            rlimits: spec::rlimits(&record.spec.resources.ulimits, self.inner.config.descriptors)?,
            oom_score_adj: Some(record.spec.resources.oom_score_adj.unwrap_or_default()),
            ..Process::default()
        })
    }

    pub(super) fn exec_cell(&self, id: &ExecId) -> Result<Arc<ExecCell>> {
        self.inner
            .execs
            .read()
            .get(id)
            .cloned()
            .ok_or_else(|| Fact::NoExec { reference: id.to_string() }.into())
    }
}

/// A process that was asked for and may begin when nobody waits for it any more: it is ended.
struct Unowned<'a> {
    engine: &'a Engine,
    cell: &'a ExecCell,
    may_run: bool,
}

impl Drop for Unowned<'_> {
    fn drop(&mut self) {
        let Some(shim) = self.cell.container.sandbox.shim().filter(|_| self.may_run) else { return };
        let (container, exec) = (self.cell.container.id.to_string(), self.cell.id.to_string());
        self.engine.spawn(async move {
            // One that has not begun yet is ended by its shim, which sees that its asker has gone.
            if let Err(error) = shim.delete(&container, Some(&exec)).await {
                tracing::debug!(exec, error = %base::error::chain(&error), "end a process that nobody waits for");
            }
        });
    }
}

/// Says that it is a further process that could not be started, in the words that Docker's command line looks for.
fn explain(error: Error) -> Error {
    let Some(code) = error.exit_code() else { return error };
    let detail = error.full_message();
    let message =
        format!("OCI runtime exec failed: exec failed: unable to start container process: {detail}");
    Error::new(error.kind(), message).with_exit_code(code)
}
