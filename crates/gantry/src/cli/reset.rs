//! `gantry reset`: takes an instance away, with its containers, networks and files.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use base::{SystemClock, SystemRandom};
use engine::container::{ContainerFilter, RemoveOptions};
use engine::sandbox::SandboxFilter;

use crate::config::Config;

/// `--yes`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if !config.root.exists() {
        eprintln!("there is no instance at {}", config.root.display());
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.yes && !confirmed(config)? {
        eprintln!("nothing was removed");
        return Ok(ExitCode::FAILURE);
    }
    if !has_state(&config.root) {
        return remove_all(config);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(take_down(config))?;
    remove_all(config)
}

/// Whether an engine ever ran here: a start that failed leaves directories and nothing in the kernel.
fn has_state(root: &Path) -> bool {
    let filled =
        |name: &str| std::fs::read_dir(root.join(name)).is_ok_and(|mut entries| entries.next().is_some());
    ["containers", "sandboxes", "network"].into_iter().any(filled)
}

fn remove_all(config: &Config) -> anyhow::Result<ExitCode> {
    // A daemon with another root may be using the run directory.
    let _claim = engine::Claim::take(&config.root, &config.run)
        .map_err(|error| anyhow::Error::msg(error.full_message()))?;
    for directory in [&config.run, &config.root] {
        remove(directory)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn confirmed(config: &Config) -> anyhow::Result<bool> {
    anyhow::ensure!(
        std::io::stdin().is_terminal(),
        "this removes everything below {}: give --yes",
        config.root.display()
    );
    eprint!(
        "remove all containers, images, volumes and cluster state below {}? [y/N] ",
        config.root.display()
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Ends everything that runs. Fails while a daemon holds the root.
async fn take_down(config: &Config) -> anyhow::Result<()> {
    let mut wanted = crate::serve::engine_config(config)?;
    // It had others, perhaps, than those that are asked for now, which may be somebody else's.
    wanted.network.bip = net::Subnet::Preferably(config.bip.into());
    wanted.network.pod_cidr = net::Subnet::Preferably(config.pod_cidr.into());
    let opened = engine::Engine::open(wanted, Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    let engine = opened.await.map_err(|error| anyhow::Error::msg(error.full_message()))?;
    let everything = ContainerFilter { all: true, ..ContainerFilter::default() };
    for container in
        engine.container_list(&everything).map_err(|error| anyhow::Error::msg(error.full_message()))?
    {
        let options = RemoveOptions { force: true, volumes: false };
        if let Err(error) = engine.container_remove(&container.id, options).await {
            eprintln!("remove the container {}: {}", container.name, error.full_message());
        }
    }
    for sandbox in engine.sandbox_list(&SandboxFilter::default()) {
        if let Err(error) = engine.sandbox_remove(&sandbox.id).await {
            eprintln!("remove the sandbox {}: {}", sandbox.id, error.full_message());
        }
    }
    let network = engine.network().clone();
    engine.close().await;
    if let Err(error) = engine.cgroups_remove().await {
        eprintln!("remove the control groups: {}", error.full_message());
    }
    network.teardown().await.context("take the networks down")
}

/// Unmounts what is mounted below `directory` and removes it.
fn remove(directory: &Path) -> anyhow::Result<()> {
    base::mounts::take_away(directory)
        .with_context(|| format!("unmount what is below {}", directory.display()))?;
    match base::tree::remove(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
