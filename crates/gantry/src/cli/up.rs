//! `gantry up`: control plane and node in one process, in the foreground.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::Config;

/// Libraries that tell at the level `info` what is news to their authors only.
const QUIET: &str = "fjall=warn,lsm_tree=warn";

pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "gantry up makes namespaces, mounts and networks: run it as root"
    );
    // What is said later about the same target holds.
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.log))
        .with_context(|| format!("read the log filter `{}`", config.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    crate::modules::load()?;
    // One provider of cryptography for all of TLS, before anything uses it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        crate::serve::serve(config, stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}
