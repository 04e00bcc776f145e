//! The engine of this process as a runtime: the only place of this crate that knows it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::engine::Engine;
use ::engine::container::{ContainerFilter, ContainerUpdate, RemoveOptions};
use ::engine::event::{EventKind, EventQuery};
use ::engine::exec::ExecSpec;
use ::engine::image::{ImageFilter, Progress, PullOptions};
use ::engine::sandbox::SandboxFilter;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use offload::Threads;
use tracing::warn;

use super::{
    Answer, Attached, Connection, Container, ContainerConfig, ContainerEvent, ContainerId, ContainerStatus,
    Credentials, DiskUsage, EndOfInput, Error, ExecOutput, ExecRequest, Features, GroupUsage, Host,
    HostFacts, ImageStatus, LogLines, LogQuery, Machine, PodSandbox, PodSandboxConfig, PodSandboxId,
    PodSandboxStatus, Resources, Runtime, Usage, Version,
};
use crate::labels;
use convert::{error, to_container_id, to_sandbox_id};

mod container;
mod convert;
mod sandbox;
mod stream;

/// The engine, and what it calls the network of pods.
struct OfEngine {
    engine: Engine,
    pod_network: String,
    has_own_users: bool,
    has_selinux: bool,
    /// Threads for quotas and devices.
    disks: Threads,
}

/// Calls about quotas and devices at a time.
const DISKS: usize = 4;

impl OfEngine {
    /// What waits for disks and devices: others do not wait for it.
    fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> ::engine::Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        let engine = self.engine.clone();
        async move { self.disks.run(move || work(&engine)).await.map_err(error) }.boxed()
    }
}

impl Machine {
    /// The machine that this process is on, with its own engine as the runtime.
    pub fn of_engine(engine: Engine) -> Self {
        let network = engine.network().clone();
        let (has_own_users, has_selinux) =
            (engine.host_facts().has_own_users, engine.host_facts().has_selinux);
        // By its id: somebody else's may be called so too.
        let pod_network = network.network_pods().id.to_string();
        let of_engine = Arc::new(OfEngine {
            engine,
            pod_network,
            has_own_users,
            has_selinux,
            disks: Threads::new(DISKS),
        });
        Self { runtime: Arc::clone(&of_engine) as Arc<dyn Runtime>, host: of_engine, network }
    }
}

/// The filter of labels that lets through what belongs to one pod, or to any.
fn of_pod(pod: Option<&str>) -> Vec<String> {
    vec![pod.map_or_else(|| labels::POD_UID.to_owned(), |uid| format!("{}={uid}", labels::POD_UID))]
}

impl Runtime for OfEngine {
    fn version(&self) -> Version {
        Version { name: "gantry".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    fn features(&self) -> Features {
        Features {
            apparmor: ::engine::host::has_apparmor(),
            selinux: self.has_selinux,
            user_namespaces: self.has_own_users,
            recursive_read_only_mounts: true,
            storage_limits: self.engine.can_limit_storage(),
        }
    }

    fn run_pod_sandbox(&self, config: PodSandboxConfig) -> Answer<'_, PodSandboxId> {
        async move {
            let spec = sandbox::spec(config, &self.pod_network);
            let id = self.engine.sandbox_create(spec).await.map_err(error)?;
            Ok(PodSandboxId(id.to_string()))
        }
        .boxed()
    }

    fn stop_pod_sandbox<'a>(&'a self, id: &'a PodSandboxId) -> Answer<'a, ()> {
        async move { self.engine.sandbox_stop(&to_sandbox_id(id)?).await.map_err(error) }.boxed()
    }

    fn remove_pod_sandbox<'a>(&'a self, id: &'a PodSandboxId) -> Answer<'a, ()> {
        async move { self.engine.sandbox_remove(&to_sandbox_id(id)?).await.map_err(error) }.boxed()
    }

    fn pod_sandbox_status<'a>(&'a self, id: &'a PodSandboxId) -> Answer<'a, PodSandboxStatus> {
        async move {
            let found = self.engine.sandbox_inspect(&to_sandbox_id(id)?).map_err(error)?;
            Ok(PodSandboxStatus { id: id.clone(), ready: found.ready, addresses: found.addresses.clone() })
        }
        .boxed()
    }

    fn list_pod_sandbox<'a>(&'a self, pod: Option<&'a str>) -> Answer<'a, Vec<PodSandbox>> {
        async move {
            let found = self.engine.sandbox_list(&SandboxFilter { labels: of_pod(pod), ready: None });
            Ok(found.iter().filter_map(|sandbox| sandbox::listed(sandbox)).collect())
        }
        .boxed()
    }

    fn create_container<'a>(
        &'a self,
        sandbox: &'a PodSandboxId,
        config: ContainerConfig,
    ) -> Answer<'a, ContainerId> {
        async move {
            let (pod, name) = (config.pod.clone(), config.name.clone());
            let spec = container::spec(config, to_sandbox_id(sandbox)?)?;
            let created = self.engine.container_create(spec).await.map_err(error)?;
            for warning in &created.warnings {
                warn!(pod = %format_args!("{}/{}", pod.namespace, pod.name), container = name, warning, "container created");
            }
            Ok(ContainerId(created.id.to_string()))
        }
        .boxed()
    }

    fn keeps_storage_limits<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, bool> {
        async move { self.engine.container_keeps_limits(&to_container_id(id)?).map_err(error) }.boxed()
    }

    fn start_container<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        async move { self.engine.container_start(&to_container_id(id)?).await.map_err(error) }.boxed()
    }

    fn stop_container<'a>(&'a self, id: &'a ContainerId, grace: Duration) -> Answer<'a, ()> {
        async move { self.engine.container_stop(&to_container_id(id)?, None, Some(grace)).await.map_err(error) }
            .boxed()
    }

    fn remove_container<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        async move {
            let options = RemoveOptions { force: false, volumes: true };
            self.engine.container_remove(&to_container_id(id)?, options).await.map_err(error)
        }
        .boxed()
    }

    fn list_containers<'a>(&'a self, pod: &'a str) -> Answer<'a, Vec<Container>> {
        async move {
            let filter =
                ContainerFilter { all: true, labels: of_pod(Some(pod)), ..ContainerFilter::default() };
            let found = self.engine.container_list(&filter).map_err(error)?;
            Ok(found.iter().filter_map(|container| container::listed(container)).collect())
        }
        .boxed()
    }

    fn container_status<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ContainerStatus> {
        async move {
            let found = self.engine.container_inspect(&to_container_id(id)?).map_err(error)?;
            Ok(container::status(&found))
        }
        .boxed()
    }

    fn update_container_resources<'a>(&'a self, id: &'a ContainerId, resources: Resources) -> Answer<'a, ()> {
        async move {
            let update =
                ContainerUpdate { resources: convert::resources(resources), ..ContainerUpdate::default() };
            self.engine.container_update(&to_container_id(id)?, update).await.map(drop).map_err(error)
        }
        .boxed()
    }

    fn update_pod_sandbox_resources<'a>(
        &'a self,
        id: &'a PodSandboxId,
        resources: Resources,
    ) -> Answer<'a, ()> {
        async move {
            let resources = convert::resources(resources);
            self.engine.sandbox_update(&to_sandbox_id(id)?, resources).await.map_err(error)
        }
        .boxed()
    }

    fn container_stats<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, Usage> {
        async move {
            let found = self.engine.container_stats(&to_container_id(id)?).await.map_err(error)?;
            Ok(convert::usage(&found))
        }
        .boxed()
    }

    fn container_layer<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, PathBuf> {
        async move { self.engine.container_layer(&to_container_id(id)?).map_err(error) }.boxed()
    }

    fn removals_done(&self) -> BoxFuture<'_, ()> {
        self.engine.removals_done().boxed()
    }

    fn pod_sandbox_stats<'a>(&'a self, id: &'a PodSandboxId) -> Answer<'a, GroupUsage> {
        async move {
            let found = self.engine.sandbox_usage(&to_sandbox_id(id)?).await.map_err(error)?;
            Ok(convert::group_usage(found))
        }
        .boxed()
    }

    fn container_events(&self) -> BoxStream<'static, Result<ContainerEvent, Error>> {
        let query = EventQuery {
            kinds: vec![EventKind::Container],
            actions: ["die", "start", "oom"].map(str::to_owned).to_vec(),
            labels: of_pod(None),
            ..EventQuery::default()
        };
        let event = |event: ::engine::Result<::engine::event::Event>| async move {
            match event {
                Ok(mut event) => Some(Ok(ContainerEvent { pod: event.attributes.remove(labels::POD_UID)? })),
                Err(missed) => Some(Err(error(missed))),
            }
        };
        self.engine.events(query).filter_map(event).boxed()
    }

    fn container_logs<'a>(&'a self, id: &'a ContainerId, query: LogQuery) -> Answer<'a, LogLines> {
        async move {
            let id = to_container_id(id)?;
            let lines = self.engine.container_logs(&id, stream::log_query(&query)).await.map_err(error)?;
            Ok(stream::log_lines(lines))
        }
        .boxed()
    }

    fn exec_sync<'a>(
        &'a self,
        id: &'a ContainerId,
        command: Vec<String>,
        timeout: Option<Duration>,
        limit: usize,
    ) -> Answer<'a, ExecOutput> {
        async move {
            let spec = ExecSpec { command, ..ExecSpec::default() };
            let ran = self.engine.exec_run(&to_container_id(id)?, spec, timeout, limit).await;
            let ::engine::exec::ExecOutput { exit_code, stdout, stderr } = ran.map_err(error)?;
            Ok(ExecOutput { exit_code, stdout, stderr })
        }
        .boxed()
    }

    fn exec<'a>(&'a self, id: &'a ContainerId, request: ExecRequest) -> Answer<'a, Attached> {
        async move {
            let spec = stream::exec_spec(request);
            let exec = self.engine.exec_create(&to_container_id(id)?, spec).await.map_err(error)?;
            let started = self.engine.exec_start(&exec, None).await.map_err(error)?;
            Ok(stream::attached(started, EndOfInput::Closes))
        }
        .boxed()
    }

    fn attach<'a>(&'a self, id: &'a ContainerId, stdin: bool) -> Answer<'a, Attached> {
        async move {
            let id = to_container_id(id)?;
            let attached = self.engine.container_attach(&id, stdin).await.map_err(error)?;
            let spec = &self.engine.container_inspect(&id).map_err(error)?.spec;
            // As CRI's runtimes do: a terminal has no end of input that could be passed on.
            let closes = spec.stdin_once && !spec.tty;
            let at_end = if closes { EndOfInput::Closes } else { EndOfInput::Leaves };
            Ok(stream::attached(attached, at_end))
        }
        .boxed()
    }

    fn port_forward<'a>(
        &'a self,
        id: &'a PodSandboxId,
        port: u16,
    ) -> BoxFuture<'a, std::io::Result<Box<dyn Connection>>> {
        async move {
            let id = to_sandbox_id(id).map_err(std::io::Error::other)?;
            let connection = self.engine.sandbox_connect(&id, port).await?;
            Ok(Box::new(connection) as Box<dyn Connection>)
        }
        .boxed()
    }

    fn pull_image<'a>(&'a self, image: &'a str, credentials: Option<Credentials>) -> Answer<'a, ()> {
        async move {
            let options = PullOptions { auth: credentials.map(convert::auth), ..PullOptions::default() };
            let mut progress = self.engine.image_pull(image, options).map_err(error)?;
            while let Some(step) = progress.next().await {
                if let Progress::Done { .. } = step.map_err(error)? {
                    break;
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn image_status<'a>(&'a self, image: &'a str) -> Answer<'a, Option<ImageStatus>> {
        async move {
            match self.engine.image_inspect(image) {
                Ok(found) => Ok(Some(convert::image(found))),
                Err(missing) if missing.kind() == ::engine::Kind::NotFound => Ok(None),
                Err(other) => Err(error(other)),
            }
        }
        .boxed()
    }

    fn list_images(&self) -> Answer<'_, Vec<ImageStatus>> {
        async move {
            let found = self.engine.image_list(&ImageFilter::default()).map_err(error)?;
            Ok(found.into_iter().map(convert::image).collect())
        }
        .boxed()
    }
}

impl Host for OfEngine {
    fn facts(&self) -> HostFacts {
        let facts = self.engine.host_facts();
        HostFacts {
            kernel: facts.kernel,
            operating_system: facts.operating_system,
            os: facts.os,
            architecture: facts.architecture,
            cpus: facts.cpus,
            memory: facts.memory,
        }
    }

    fn limit_group<'a>(&'a self, group: &'a str, resources: Resources) -> Answer<'a, ()> {
        async move { self.engine.group_apply(group, convert::resources(resources)).await.map_err(error) }
            .boxed()
    }

    fn group_stats<'a>(&'a self, group: &'a str) -> Answer<'a, GroupUsage> {
        async move {
            let found = self.engine.group_usage(group).await.map_err(error)?;
            Ok(convert::group_usage(found))
        }
        .boxed()
    }

    fn limit_directory<'a>(&'a self, directory: &'a Path, bytes: u64) -> Answer<'a, Option<u32>> {
        let directory = directory.to_owned();
        self.on_disk(move |engine| engine.storage_limit(&directory, bytes))
    }

    fn change_limit(&self, limit: u32, bytes: u64) -> Answer<'_, ()> {
        self.on_disk(move |engine| engine.storage_limit_change(limit, bytes))
    }

    fn release_limit(&self, limit: u32) -> Answer<'_, ()> {
        self.on_disk(move |engine| engine.storage_limit_release(limit))
    }

    fn limit_usage(&self, limit: u32) -> Answer<'_, Option<DiskUsage>> {
        self.on_disk(move |engine| {
            let usage = engine.storage_limit_usage(limit)?;
            Ok(usage.map(|(bytes, files)| DiskUsage { bytes, files }))
        })
    }

    fn attach_file<'a>(&'a self, file: &'a Path) -> Answer<'a, PathBuf> {
        let file = file.to_owned();
        self.on_disk(move |engine| engine.file_attach(&file))
    }

    fn file_lengthened<'a>(&'a self, file: &'a Path) -> Answer<'a, ()> {
        let file = file.to_owned();
        self.on_disk(move |engine| engine.file_lengthened(&file))
    }

    fn users_of<'a>(&'a self, path: &'a Path) -> Answer<'a, Vec<String>> {
        let path = path.to_owned();
        self.on_disk(move |engine| engine.path_users(&path))
    }

    fn detach_file<'a>(&'a self, file: &'a Path) -> Answer<'a, ()> {
        let file = file.to_owned();
        self.on_disk(move |engine| engine.file_detach(&file))
    }
}
