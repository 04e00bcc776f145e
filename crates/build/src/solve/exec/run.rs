//! The container of a command.

use engine::container::{
    AttachFlags, ContainerSpec, HealthTest, Healthcheck, HostEntry, LogOptions, NetworkMode, RemoveOptions,
    Resources, SecretEnv, Ulimit, WaitCondition,
};
use engine::{ContainerId, Engine, OutputKind};
use llb::pb::{ExecOp, Meta, NetMode, SecurityMode};

use super::asked::Asked;
use super::mounts::{self, Held, Mounts};
use super::stubs::Stubs;
use crate::solve::event::LogEvent;
use crate::solve::operate::Said;
use crate::solve::schedule::Step;
use crate::solve::usage::Made;
use crate::solve::value::Chain;
use crate::solve::{SolveError, now};

/// What a host is called for commands that do not say.
const HOSTNAME: &str = "buildkitsandbox";

/// Ends and removes a command's container if the command is dropped in the middle; what it has mounted goes after
/// that.
pub(super) struct Running {
    engine: Engine,
    pub(super) id: ContainerId,
    held: Option<Held>,
    written: Vec<(i64, crate::solve::attach::Snapshot, Chain)>,
}

/// Runs a command, and makes layers of what it wrote.
pub(super) async fn run(step: &Step<'_>, exec: &ExecOp, asked: &Asked) -> Result<Made, SolveError> {
    let inner = &step.job.inner.solver.inner;
    let meta = exec.meta.clone().unwrap_or_default();
    // Before a place is taken: who waits for a cache waits for one that has a place, or gets it without anything
    // of this one's.
    let caches = mounts::caches(step, exec).await?;
    let _own_place = step.job.inner.commands.acquire().await;
    let _place = inner.commands.acquire().await;
    let mut made = mounts::prepare(step, exec, asked, caches).await?;
    let stubs = stubs(step, &made, &meta).await?;
    let spec = spec(step, exec, &meta, &mut made, asked)?;
    let Mounts { written, root, root_output, held, .. } = made;
    let (mut running, warnings) = create(&inner.engine, spec, held, written).await?;
    if let Some(followed) = step.followed {
        followed.say(Said::Began(running.id.clone(), warnings)).await;
    }
    let (code, out_of_memory) = watch(step, &running.id).await?;
    let wanted = if meta.valid_exit_codes.is_empty() { vec![0] } else { meta.valid_exit_codes.clone() };
    if !wanted.contains(&code) {
        if step.followed.is_some_and(|followed| followed.keeps_failed) {
            running.keep().await?;
        } else if step.job.inner.failed.is_wanted() {
            match outputs(step, &mut running, stubs, (root, root_output)).await {
                Ok(left) => step.job.inner.failed.keep(step, exec, &left),
                Err(error) => tracing::warn!(%error, "nothing is kept of a command that failed"),
            }
        } else if let Err(error) = running.remove().await {
            // It goes with the last that holds it.
            tracing::warn!(error = %base::error::chain(&error), "the container of a command that failed stays for now");
        }
        return Err(SolveError::Exit { process: meta.args.join(" "), code, out_of_memory });
    }
    let mut outputs = outputs(step, &mut running, stubs, (root, root_output)).await?;
    outputs.sort_by_key(|(number, _)| *number);
    Ok(Made { outputs: outputs.into_iter().map(|(_, chain)| chain).collect() })
}

/// Makes layers of what a command wrote that has ended, each with the number of the output that it is; its container
/// goes.
async fn outputs(
    step: &Step<'_>,
    running: &mut Running,
    stubs: Option<(Stubs, std::os::fd::OwnedFd)>,
    (root, root_output): (Chain, i64),
) -> Result<Vec<(i64, Chain)>, SolveError> {
    let inner = &step.job.inner.solver.inner;
    let mut outputs: Vec<(i64, Chain)> = Vec::new();
    if root_output != llb::SKIP_OUTPUT {
        let (store, id, cancel) =
            (inner.store.clone(), running.id.as_str().to_owned(), step.job.inner.cancel.clone());
        let below = root.clone();
        let stays = step.followed.is_some_and(|followed| followed.keeps);
        let sealed = step.job.blocking(move || {
            if let Some((stubs, tree)) = stubs {
                let upper = store.snapshot_get(&id)?.upper;
                stubs.take_back(&upper, &tree).map_err(SolveError::io("take mount points back"))?;
            }
            let layer = match stays {
                false => store.snapshot_seal(&id, &cancel)?,
                true => Some(store.snapshot_capture(&id, &cancel)?),
            };
            Ok::<_, SolveError>(match layer {
                Some(layer) => Chain::new(Some(layer)),
                None => below,
            })
        });
        outputs.push((root_output, sealed.await?));
    }
    let written = match step.followed.is_some_and(|followed| followed.keeps) {
        true => running.keep().await?,
        false => running.remove().await?,
    };
    for (output, snapshot, below) in written {
        let cancel = step.job.inner.cancel.clone();
        outputs.push((output, step.job.blocking(move || snapshot.seal(&below, &cancel)).await?));
    }
    Ok(outputs)
}

/// Makes the container. It is somebody's from the beginning: if the command is dropped while it is made, it goes.
pub(super) async fn create(
    engine: &Engine,
    spec: ContainerSpec,
    held: Held,
    written: Vec<(i64, crate::solve::attach::Snapshot, Chain)>,
) -> Result<(Running, Vec<String>), SolveError> {
    let engine = engine.clone();
    let making = tokio::spawn(async move {
        match engine.container_create(spec).await {
            Ok(created) => {
                Ok((Running { engine, id: created.id, held: Some(held), written }, created.warnings))
            }
            Err(error) => {
                // What is mounted goes before what it is mounted from.
                drop(held);
                drop(written);
                Err(error)
            }
        }
    });
    // What nobody waits for any more is dropped when it is there, and so removed.
    let made = making.await.map_err(|_| SolveError::Failed("the engine is going".to_owned()))?;
    Ok(made?)
}

/// What is going to be made in the root file system to mount over, with the root as it is before.
async fn stubs(
    step: &Step<'_>,
    made: &Mounts,
    meta: &Meta,
) -> Result<Option<(Stubs, std::os::fd::OwnedFd)>, SolveError> {
    if made.root_output == llb::SKIP_OUTPUT || made.mounts.is_empty() {
        return Ok(None);
    }
    let (store, root) = (step.job.inner.solver.inner.store.clone(), made.root.clone());
    let targets: Vec<String> = made.mounts.iter().map(|mount| mount.target.clone()).collect();
    let parents = meta.remove_mount_stubs_recursive;
    step.job
        .blocking(move || {
            let tree = store.chain_mount(root.chain_id())?;
            let stubs = Stubs::of(&tree, targets.iter().map(String::as_str), parents);
            Ok(Some((stubs.map_err(SolveError::io("look for mount points"))?, tree)))
        })
        .await
}

/// The variables of a command that are secrets.
pub(super) fn secret_env(exec: &ExecOp, asked: &Asked) -> Result<Vec<String>, SolveError> {
    let mut env = Vec::new();
    for wanted in &exec.secretenv {
        let Some(value) = asked.secret(&wanted.id) else { continue };
        let value = String::from_utf8(value.to_vec()).map_err(|_| {
            SolveError::Invalid(format!("secret {} is no text, which a variable has to be", wanted.id))
        })?;
        env.push(format!("{}={value}", wanted.name));
    }
    Ok(env)
}

/// What the engine is told of a command.
pub(super) fn spec(
    step: &Step<'_>,
    exec: &ExecOp,
    meta: &Meta,
    made: &mut Mounts,
    asked: &Asked,
) -> Result<ContainerSpec, SolveError> {
    let mut extra_hosts = Vec::new();
    for host in &meta.extra_hosts {
        let address = match host.ip.as_str() {
            "host-gateway" => None,
            text => Some(text.parse().map_err(|_| SolveError::Invalid(format!("{text} is no address")))?),
        };
        extra_hosts.push(HostEntry { names: vec![host.host.clone()], address });
    }
    let parent = Some(meta.cgroup_parent.clone()).filter(|parent| !parent.is_empty());
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    // One that is made of an image is called by its id, as all others are.
    let image = step.followed.and_then(|followed| followed.image.as_ref());
    let mut spec = ContainerSpec {
        image: image.map(ToString::to_string).unwrap_or_default(),
        layers: image.is_none().then(|| made.root.chain_id().map(ToString::to_string).unwrap_or_default()),
        command: Some(meta.args.clone()),
        entrypoint: Some(Vec::new()),
        env: environment(meta, image.is_some()),
        secret_env: SecretEnv(secret_env(exec, asked)?),
        workdir: text(&meta.cwd),
        user: text(&meta.user),
        hostname: text(&meta.hostname).or_else(|| image.is_none().then(|| HOSTNAME.to_owned())),
        attach: AttachFlags { stdin: false, stdout: true, stderr: true },
        mounts: std::mem::take(&mut made.mounts),
        resources: resources(step, meta),
        read_only_rootfs: made.root_read_only,
        extra_hosts,
        cgroup_parent: parent.or_else(|| step.job.options().cgroup_parent.clone()),
        transient: true,
        healthcheck: Some(Healthcheck { test: HealthTest::Disabled, ..Healthcheck::default() }),
        log: Some(LogOptions { driver: "none".to_owned(), ..LogOptions::default() }),
        ..ContainerSpec::default()
    };
    spec.security.privileged = exec.security() == SecurityMode::Insecure;
    let other = step.followed.and_then(|followed| followed.network.clone());
    spec.namespaces.network = match (exec.network(), other) {
        (NetMode::Unset, other) => other.unwrap_or(NetworkMode::Bridge),
        (NetMode::Host, _) => NetworkMode::Host,
        (NetMode::None, _) => NetworkMode::None,
    };
    Ok(spec)
}

fn environment(meta: &Meta, has_name: bool) -> Vec<String> {
    let mut env = meta.env.clone();
    let has = |env: &[String], name: &str| env.iter().any(|line| line.split('=').next() == Some(name));
    if let Some(proxies) = &meta.proxy_env {
        for (name, value) in [
            ("HTTP_PROXY", &proxies.http_proxy),
            ("HTTPS_PROXY", &proxies.https_proxy),
            ("FTP_PROXY", &proxies.ftp_proxy),
            ("NO_PROXY", &proxies.no_proxy),
            ("ALL_PROXY", &proxies.all_proxy),
        ] {
            for name in [name.to_owned(), name.to_lowercase()] {
                if !value.is_empty() && !has(&env, &name) {
                    env.push(format!("{name}={value}"));
                }
            }
        }
    }
    // What a container is given of its own accord, a command of a build is not.
    if !has_name && !has(&env, "HOSTNAME") {
        env.push("HOSTNAME".to_owned());
    }
    env
}

fn resources(step: &Step<'_>, meta: &Meta) -> Resources {
    let ulimits = meta.ulimit.iter();
    let ulimits =
        ulimits.map(|limit| Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard });
    let mut resources = Resources { ulimits: ulimits.collect(), ..Resources::default() };
    if let Some(limits) = &step.vertex.metadata.linux_resources {
        let positive = |number: i64| Some(number).filter(|number| *number != 0);
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        resources.memory = positive(limits.memory);
        resources.memory_swap = positive(limits.memory_swap);
        resources.cpu_shares = Some(limits.cpu_shares).filter(|shares| *shares != 0);
        resources.cpu_period = Some(limits.cpu_period).filter(|period| *period != 0);
        resources.cpu_quota = positive(limits.cpu_quota);
        resources.cpuset_cpus = text(&limits.cpuset_cpus);
        resources.cpuset_mems = text(&limits.cpuset_mems);
    }
    resources
}

/// Starts a container, passes on what it writes, and waits for its end: with what, and whether memory was short.
async fn watch(step: &Step<'_>, id: &ContainerId) -> Result<(i32, bool), SolveError> {
    let engine = &step.job.inner.solver.inner.engine;
    let mut attached = engine.container_attach(id, false).await?;
    engine.container_start(id).await?;
    while let Some(piece) = attached.output.next().await {
        let (kind, bytes) = piece?;
        let stream = if matches!(kind, OutputKind::Stdout) { 1 } else { 2 };
        let vertex = step.vertex.digest.clone();
        step.tell(LogEvent { vertex, stream, bytes, at: now() }).await;
    }
    // Its root file system is free only when the engine has seen its end.
    let status = engine.container_wait(id, WaitCondition::NotRunning)?.await?;
    let out_of_memory = engine.container_inspect(id).is_ok_and(|view| view.state.oom_killed);
    Ok((status.code, out_of_memory))
}

impl Running {
    /// Makes the container of a command that has ended one like any other; all that it had mounted goes.
    async fn keep(&mut self) -> Result<Vec<(i64, crate::solve::attach::Snapshot, Chain)>, SolveError> {
        self.engine.container_keep(&self.id).await?;
        self.held.take();
        Ok(std::mem::take(&mut self.written))
    }

    /// Removes the container of a command that has ended, and all that it had mounted but what was written.
    pub(super) async fn remove(
        &mut self,
    ) -> Result<Vec<(i64, crate::solve::attach::Snapshot, Chain)>, SolveError> {
        self.engine.container_remove(&self.id, RemoveOptions { force: true, volumes: true }).await?;
        self.held.take();
        Ok(std::mem::take(&mut self.written))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let (engine, id) = (self.engine.clone(), self.id.clone());
        let written = std::mem::take(&mut self.written);
        let removal = async move {
            let removed = engine.container_remove(&id, RemoveOptions { force: true, volumes: true }).await;
            if let Err(error) = removed
                && error.kind() != engine::Kind::NotFound
            {
                tracing::warn!(container = %id, error = %base::error::chain(&error), "a step's container stays");
            }
            drop((held, written));
        };
        // Without a runtime the engine is going, and its next opening removes the container.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(removal);
        }
    }
}
