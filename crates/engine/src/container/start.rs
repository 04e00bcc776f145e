//! Starting a container.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::Rootfs;
use runtime::held::HeldNamespace;
use runtime::shim::descriptors::Descriptors;
use runtime::shim::protocol::{LogSpec, Request, Stdio, StopSpec};
use runtime::spec::{NamespaceKind, Spec};

use super::life::Input;
use super::record::ContainerRecord;
use super::spec::{NamespaceMode, NetworkMode};
use super::view::Status;
use super::{devices, mounts};
use crate::engine::Engine;
use crate::error::{Context, Error, Kind, Result};
use crate::id::ContainerId;
use crate::id_blocks::IdBlock;
use crate::registry::{AnySandbox, ContainerCell};
use crate::rootfs::RootFs;
use crate::shim::{LAUNCH, MARGIN, Shim};
use crate::spec::{self, Joined, Surroundings};
use crate::state;
use crate::users;
use crate::work::{blocking, foreign};

impl Engine {
    /// Starts a container. [`crate::Kind::NotModified`] where it runs already; a program that
    /// cannot be started gives an error with its exit code (126, 127).
    pub async fn container_start(&self, id: &ContainerId) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        // The operation goes on although the caller may go away: half a start helps nobody.
        let engine = self.clone();
        self.detached(async move {
            let _operation = cell.operation.lock().await;
            match cell.status() {
                Status::Running => {
                    return Err(Error::not_modified(format!("container {} is already running", cell.id)));
                }
                Status::Paused => {
                    return Err(Error::conflict("cannot start a paused container, try unpause instead"));
                }
                Status::Removing | Status::Dead => {
                    return Err(Error::conflict("container is marked for removal and cannot be started"));
                }
                Status::Created | Status::Exited | Status::Restarting => {}
            }
            engine.start_locked(&cell, false).await
        })
        .await
    }

    /// Starts a container whose operation lock is held.
    pub(crate) async fn start_locked(&self, cell: &Arc<ContainerCell>, by_policy: bool) -> Result<()> {
        let begun = async {
            let pid = self.try_start(cell).await?;
            cell.change(|record| {
                record.boot.clone_from(&self.inner.boot);
                record.health = None;
            });
            let effects = self.step(cell, &Input::Started { pid, at: self.inner.clock.now(), by_policy })?;
            if !by_policy {
                self.flush_life(cell).await?;
            }
            Ok(effects)
        };
        let started = base::panics::catch_async(begun).await;
        cell.end_start();
        let started = started.unwrap_or_else(|panic| {
            tracing::error!(container = %cell.id, %panic, "the start of a container panicked");
            Err(Error::internal("the start met a fault of the daemon (a panic); its log tells where"))
        });
        match started {
            Ok(effects) => {
                cell.tell(|_| {});
                self.perform(cell, effects);
                self.watch_health(cell);
                Ok(())
            }
            // What is not written down must not run: nobody would find it again.
            Err(error) => Err(self.start_failed(cell, error, by_policy).await),
        }
    }

    /// Takes back what a failed start left; gives the error back.
    async fn start_failed(&self, cell: &Arc<ContainerCell>, error: Error, by_policy: bool) -> Error {
        self.take_down(cell).await;
        let code = error.exit_code().unwrap_or(125);
        let message = error.full_message();
        // Who attached beforehand sees the streams end.
        cell.waiting.lock().clear();
        let exit = crate::stream::ExitStatus { code, error: Some(message.clone()) };
        let input = Input::StartFailed { code, message, at: self.inner.clock.now(), by_policy };
        let effects = self.step_of_fact(cell, &input);
        cell.tell(|pulse| {
            pulse.exits += 1;
            pulse.last_exit = exit;
        });
        self.perform(cell, effects);
        error
    }

    async fn try_start(&self, cell: &Arc<ContainerCell>) -> Result<u32> {
        let record = cell.record();
        let host_network = self.is_in_host_network(cell);
        let mut joined = self.joined(cell).await?;
        // A reaper is made with the sandbox, and the container is made to live with it.
        let with_reaper = record.spec.init && cell.sandbox.is_of_one();
        let early = if with_reaper { Some(self.bring_up(cell).await?) } else { None };
        if let Some(shim) = &early {
            joined.sandbox_pid = shared_processes(shim)?;
        }
        let files = self.files_directory(cell)?;
        let engine = self.clone();
        let bundle = self.inner.layout.bundle(&cell.id);
        let (spec_record, spec_bundle) = (Arc::clone(&record), bundle.clone());
        let places = super::create::places(&record.spec);
        let prepare = move || engine.write_bundle(&spec_record, spec_bundle, joined, host_network, files);
        let prepared = async {
            if places.is_empty() { blocking(prepare).await } else { foreign(places, prepare).await }
        };
        // The sandbox comes up while the container's configuration is made.
        let (shim, prepared) = if let Some(shim) = early {
            (Ok(shim), prepared.await)
        } else if !cell.sandbox.is_of_one() {
            (self.sandbox_shim(cell), prepared.await)
        } else {
            tokio::join!(self.bring_up(cell), prepared)
        };
        let shim = shim?;
        let (document, descriptors) = prepared?;
        if record.spec.namespaces.ipc == NamespaceMode::Shareable {
            let size = record.spec.shm_size.unwrap_or(runtime::defaults::SHM_SIZE);
            self.make_shared_memory(&cell.sandbox.id, size).await?;
        }
        // Only now is all of it there: the sandbox's files are written while it comes up.
        let opened = bundle.clone();
        let descriptors = blocking(move || open_rest(&document, &opened, descriptors)).await?;
        self.run_in(cell, &shim, bundle, descriptors).await
    }

    /// Writes the container's OCI bundle; gives the configuration, and what of the host is open for it already.
    fn write_bundle(
        &self,
        record: &ContainerRecord,
        bundle: PathBuf,
        joined: Joined,
        host_network: bool,
        files: PathBuf,
    ) -> Result<(Spec, Descriptors)> {
        let root = RootFs::read_only(&record.layers)?;
        let identity =
            users::look_up_for(std::os::fd::AsFd::as_fd(&root), &record.resolved.user, &record.spec)?;
        drop(root);
        let mut around = Surroundings {
            identity,
            mounts: mounts::prepare(self, record, &files)?,
            devices: devices::of_container(&record.spec)?,
            block_devices: devices::block_numbers(&record.spec.resources)?,
            cgroup: self.cgroup_of(record),
            joined,
            host_network,
            descriptors: self.inner.config.descriptors,
            apparmor: None,
            quotas: self.can_limit_storage(),
            users: self.users_of(record)?,
            sysctls: Default::default(),
        };
        if let Some(sandbox) = &record.spec.sandbox
            && !host_network
        {
            around.sysctls.clone_from(&self.inner.registry.sandbox(sandbox)?.spec.sysctls);
        }
        let host = crate::apparmor::Host::get();
        if let Some(profile) = host.profile(&record.spec.security)? {
            host.ensure(profile)?;
            around.apparmor = Some(profile.to_owned());
        }
        let (document, descriptors) = spec::generate(&record.spec, &record.resolved, around)?;
        state::make_directory(&bundle, 0o700)?;
        document
            .save(&bundle.join("config.json"))
            .map_err(|source| Error::internal("write the container's bundle").with_source(source))?;
        Ok((document, descriptors))
    }

    /// Makes and starts the container in `shim`; returns its first process.
    async fn run_in(
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
            path: self.log_path(&record),
            max_size: record.resolved.log.max_size.unwrap_or(0),
            max_files: record.resolved.log.max_files.unwrap_or(1),
        });
        if let Some(directory) = log.as_ref().and_then(|log| log.path.parent()) {
            state::make_directory(directory, 0o755)?;
        }
        let limit = u64::try_from(LAUNCH.as_millis()).ok();
        let create = Request::CreateContainer {
            container: container.clone(),
            bundle,
            rootfs: Rootfs::Overlay {
                lower: record.layers.lower.clone(),
                upper: Some(record.layers.upper.clone()),
                work: Some(record.layers.work.clone()),
                volatile: false,
                mapped: self.users_of(&record)?.is_some(),
            },
            stdio: Stdio {
                terminal: record.spec.tty,
                stdin: record.spec.stdin_open,
                stdin_once: record.spec.stdin_once,
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
        started.map_err(|error: Error| explain(error, &record.resolved.args))
    }

    /// How a container stops where only its shim is left to say so.
    fn stop_spec(&self, cell: &ContainerCell) -> Result<StopSpec> {
        let (signal, grace) = super::stop::how(cell, None, None)?;
        let milliseconds = |grace: std::time::Duration| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        Ok(StopSpec {
            signal: Some(signal),
            grace: Some(grace.map_or(u64::MAX, milliseconds)),
            keep: Some(self.inner.layout.container(&cell.id)),
        })
    }

    /// The ids of the users of a container whose sandbox has users of its own. That sandbox has a block:
    /// without one the container must not run, least of all as the host's users.
    pub(super) fn users_of(&self, record: &ContainerRecord) -> Result<Option<IdBlock>> {
        let Some(sandbox) = &record.spec.sandbox else { return Ok(None) };
        if !self.inner.registry.sandbox(sandbox)?.spec.own_users {
            return Ok(None);
        }
        let block = self.inner.id_blocks.of(sandbox);
        block.map(Some).ok_or_else(|| {
            Error::internal(format!("sandbox {sandbox} has users of its own, but no ids for them"))
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

    /// Whose namespaces a container uses besides its own.
    async fn joined(&self, cell: &Arc<ContainerCell>) -> Result<Joined> {
        let record = cell.record();
        let modes = &record.spec.namespaces;
        let mut joined = Joined {
            pid: self.namespace_of(&modes.pid, NamespaceKind::Pid).await?,
            ipc: self.namespace_of(&modes.ipc, NamespaceKind::Ipc).await?,
            uts: self.namespace_of(&modes.uts, NamespaceKind::Uts).await?,
            user: self.namespace_of(&modes.user, NamespaceKind::User).await?,
            cgroup: self.namespace_of(&modes.cgroup, NamespaceKind::Cgroup).await?,
            ..Joined::default()
        };
        if let AnySandbox::Shared(shared) = &cell.sandbox {
            let of = &shared.spec;
            joined.sandbox_ipc = !of.host_ipc;
            joined.sandbox_uts = of.network != crate::sandbox::SandboxNetwork::Host;
            joined.host_pid = of.host_pid;
            joined.shared_memory =
                Some(if of.host_ipc { "/dev/shm".into() } else { self.shared_memory(&cell.sandbox.id) });
            if of.own_users {
                let users = self.sandbox_shim(cell)?.handle.user_namespace();
                joined.user = Some(users.context(|| "find the sandbox's user namespace".to_owned())?);
            }
            if of.share_pid {
                let shim = self.sandbox_shim(cell)?;
                joined.sandbox_pid = shared_processes(&shim)?;
            }
        }
        match &modes.ipc {
            NamespaceMode::Shareable => joined.shared_memory = Some(self.shared_memory(&cell.sandbox.id)),
            NamespaceMode::Container(other) => joined.shared_memory = Some(self.memory_of(other)?),
            _ => {}
        }
        Ok(joined)
    }

    /// The directory that is the `/dev/shm` of another container.
    fn memory_of(&self, other: &ContainerId) -> Result<PathBuf> {
        let cell = self.inner.registry.get(other)?;
        if let AnySandbox::Shared(shared) = &cell.sandbox
            && !shared.spec.host_ipc
        {
            return Ok(self.shared_memory(&cell.sandbox.id));
        }
        match &cell.record().spec.namespaces.ipc {
            NamespaceMode::Shareable => Ok(self.shared_memory(&cell.sandbox.id)),
            NamespaceMode::Host => Ok("/dev/shm".into()),
            NamespaceMode::Container(third) if third != other => self.memory_of(third),
            _ => Err(Error::invalid(format!(
                "failed to join IPC namespace: container {other}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            ))),
        }
    }

    async fn namespace_of(&self, mode: &NamespaceMode, kind: NamespaceKind) -> Result<Option<HeldNamespace>> {
        let NamespaceMode::Container(other) = mode else { return Ok(None) };
        let other = self.inner.registry.get(other)?;
        let not_running = || {
            let kind = kind.file().to_ascii_uppercase();
            Error::conflict(format!(
                "failed to join {kind} namespace: cannot join {kind} of a non running container: {}",
                other.id
            ))
        };
        let held = self.running_process(&other).await?.ok_or_else(not_running)?;
        held.namespace(kind).map(Some).map_err(|source| not_running().with_source(source))
    }

    /// Whether a container is in the host's network, directly or by way of another.
    pub(crate) fn is_in_host_network(&self, cell: &ContainerCell) -> bool {
        if let AnySandbox::Shared(shared) = &cell.sandbox {
            return shared.spec.network == crate::sandbox::SandboxNetwork::Host;
        }
        match &cell.record().spec.namespaces.network {
            NetworkMode::Host => true,
            NetworkMode::Container(other) => {
                self.inner.registry.get(other).is_ok_and(|other| self.is_in_host_network(&other))
            }
            _ => false,
        }
    }

    /// A container's cgroup, from the root of the hierarchy.
    pub(crate) fn cgroup_of(&self, record: &ContainerRecord) -> PathBuf {
        let own = PathBuf::from("/").join(&self.inner.config.instance);
        let asked = |parent: &Option<String>| {
            let parent = parent.as_deref().filter(|parent| !parent.is_empty())?;
            Some(PathBuf::from("/").join(parent.trim_start_matches('/')))
        };
        let of_sandbox = record.spec.sandbox.as_ref().map(|sandbox| {
            let of = self.inner.registry.sandbox(sandbox).ok();
            self.sandbox_group(sandbox, of.as_deref().map(|shared| &*shared.spec))
        });
        asked(&record.spec.cgroup_parent).or(of_sandbox).unwrap_or(own).join(record.id.as_str())
    }

    /// Where a container's log is.
    pub(crate) fn log_path(&self, record: &ContainerRecord) -> PathBuf {
        match &record.resolved.log.path {
            Some(path) => path.clone(),
            None => self.inner.layout.container(&record.id).join("container.log"),
        }
    }
}

/// Refuses to let a shim of an older version find a part of a volume by its path, which others may
/// change: it takes nothing that is handed over open.
fn check_shim(shim: &Shim, record: &ContainerRecord) -> Result<()> {
    use super::spec::MountSource::{Bind, Volume};
    let of_a_part = |mount: &super::spec::Mount| {
        matches!(&mount.source, Bind { subpath: Some(_), .. } | Volume { subpath: Some(_), .. })
    };
    if shim.version < runtime::shim::protocol::WITH_DESCRIPTORS && record.spec.mounts.iter().any(of_a_part) {
        return Err(Error::conflict(format!(
            "the sandbox of container {} was started by an older version, which cannot mount a part of a volume safely: remove it and make it anew",
            record.id
        )));
    }
    Ok(())
}

/// Opens what a configuration names on the host and is not open yet.
fn open_rest(document: &Spec, bundle: &Path, mut descriptors: Descriptors) -> Result<Descriptors> {
    let opened = descriptors.complete(document, bundle);
    opened.context(|| "open what is mounted into the container".to_owned())?;
    Ok(descriptors)
}

/// The process namespace that the containers of a sandbox share, if they do.
fn shared_processes(shim: &Shim) -> Result<Option<HeldNamespace>> {
    shim.handle.process_namespace().context(|| "find the sandbox's process namespace".to_owned())
}

/// Says which program could not be started, in the words that Docker's command line looks for.
fn explain(error: Error, args: &[String]) -> Error {
    let Some(code @ (126 | 127)) = error.exit_code() else { return error };
    let detail = error.full_message();
    let program = args.first().map(String::as_str).unwrap_or_default();
    let message = if detail.contains("exec: ") {
        detail
    } else if code == 126 {
        format!("exec: \"{program}\": permission denied: {detail}")
    } else if program.contains('/') {
        format!("exec: \"{program}\": stat {program}: no such file or directory")
    } else {
        format!("exec: \"{program}\": executable file not found in $PATH")
    };
    Error::new(
        Kind::Invalid,
        format!("failed to create task for container: unable to start container process: {message}"),
    )
    .with_exit_code(code)
}
