//! Making a container in its shim, and starting its program.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use runtime::Rootfs;
use runtime::shim::descriptors::Descriptors;
use runtime::shim::protocol::{LogSpec, Request, Stdio, StopSpec};

use crate::container::{ContainerRecord, stop};
use crate::engine::Engine;
use crate::error::{Context, Error, Result};
use crate::registry::ContainerCell;
use crate::shim::{LAUNCH, MARGIN, Shim};
use crate::state;
use crate::work::in_place;

impl Engine {
    /// Makes and starts the container in `shim`; returns its first process.
    pub(super) async fn run_in(
        &self,
        cell: &Arc<ContainerCell>,
        shim: &Arc<Shim>,
        bundle: PathBuf,
        descriptors: Descriptors,
    ) -> Result<u32> {
        let record = cell.record();
        check_shim(shim, &record)?;
        let container = cell.id.to_string();
        let log = record.resolved.log.is_kept().then(|| LogSpec {
            path: self.inner.places.log(&record),
            max_size: record.resolved.log.max_size.unwrap_or(0),
            max_files: record.resolved.log.max_files.unwrap_or(1),
            json: record.resolved.log.is_json(),
        });
        if let Some(directory) = log.as_ref().and_then(|log| log.path.parent()) {
            state::make_directory(directory, 0o755)?;
        }
        self.forget_end(cell)?;
        let limit = u64::try_from(LAUNCH.as_millis()).ok();
        let create = Request::CreateContainer {
            container: container.clone(),
            bundle,
            rootfs: Rootfs::Overlay {
                lower: record.layers.lower.clone(),
                upper: Some(record.layers.upper.clone()),
                work: Some(record.layers.work.clone()),
                volatile: false,
                mapped: self.users_of(&cell.sandbox)?.is_some(),
            },
            stdio: Stdio {
                terminal: record.spec.tty,
                stdin: record.spec.stdin_open,
                stdin_once: record.spec.stdin_once,
                backlog: record.spec.backlog,
                log,
            },
            descriptors: descriptors.names(),
            stop: Some(self.stop_spec(cell)?),
            limit,
        };
        let interrupted = cell.begin_start();
        let started = async {
            let mut connection = shim.connect().await?;
            shim.ask_with(&mut connection, &create, &descriptors, LAUNCH + MARGIN).await?;
            // The shim has its own by now.
            drop(descriptors);
            self.connect_waiting(cell, shim).await?;
            let start = Request::StartContainer { container, limit };
            match shim.ask(&mut connection, &start, LAUNCH + MARGIN).await? {
                runtime::shim::protocol::Response::Pid(pid) => Ok(pid),
                other => Err(crate::shim::unexpected(&other)),
            }
        };
        let started = tokio::select! {
            started = started => started,
            () = interrupted.cancelled() => {
                Err(Error::conflict(format!("the start of container {} was interrupted", cell.id)))
            }
        };
        started.map_err(explain)
    }

    /// Removes what its shim wrote down of an earlier end, so that what is there is of this start.
    fn forget_end(&self, cell: &ContainerCell) -> Result<()> {
        let end = self.inner.places.end(&cell.id, &cell.sandbox.id);
        match in_place(|| std::fs::remove_file(&end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context(|| format!("remove `{}`", end.display()))
            }
            _ => Ok(()),
        }
    }

    /// How a container stops where only its shim is left to say so.
    fn stop_spec(&self, cell: &ContainerCell) -> Result<StopSpec> {
        let (signal, grace) = stop::how(cell, None, None)?;
        let milliseconds = |grace: std::time::Duration| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        Ok(StopSpec {
            signal: Some(signal),
            grace: Some(grace.map_or(u64::MAX, milliseconds)),
            keep: Some(self.inner.places.container(&cell.id)),
        })
    }

    /// Connects those who attached before the start, so that nothing of the output is missed.
    async fn connect_waiting(&self, cell: &Arc<ContainerCell>, shim: &Arc<Shim>) -> Result<()> {
        let waiting: Vec<_> = std::mem::take(&mut *cell.waiting.lock());
        for client in waiting.into_iter().filter(|client| !client.pieces.is_closed()) {
            let connection = crate::shim::connect(shim, cell.id.as_str(), &client).await?;
            self.spawn_pump(connection, client);
        }
        Ok(())
    }
}

/// Refuses to let a shim of an older version find a part of a volume by its path, which others may
/// change: it takes nothing that is handed over open.
fn check_shim(shim: &Shim, record: &ContainerRecord) -> Result<()> {
    use crate::container::MountSource::{Bind, Image, Volume};
    let of_a_part = |mount: &crate::container::Mount| {
        matches!(
            &mount.source,
            Bind { subpath: Some(_), .. } | Volume { subpath: Some(_), .. } | Image { .. }
        )
    };
    if shim.version < runtime::shim::protocol::WITH_DESCRIPTORS && record.spec.mounts.iter().any(of_a_part) {
        return Err(Error::conflict(format!(
            "the sandbox of container {} was started by an older version, which cannot mount a part of a volume safely: remove it and make it anew",
            record.id
        )));
    }
    Ok(())
}

/// Says where in the making of a container its program could not be started, in the words that Docker's command
/// line looks for.
fn explain(error: Error) -> Error {
    let Some(code) = error.exit_code() else { return error };
    let detail = error.full_message();
    let message = format!("failed to create task for container: unable to start container process: {detail}");
    Error::new(error.kind(), message).with_exit_code(code)
}
