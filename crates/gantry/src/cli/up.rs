//! `gantry up`: control plane and node in one process, in the foreground.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, ConfigError};
use crate::reload;
use crate::runtimes::Runtimes;

/// Runs the daemon; `again` reads the configuration as it is by then.
pub(super) fn run(
    config: &Config,
    again: &dyn Fn() -> Result<Config, ConfigError>,
) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "gantry up makes namespaces, mounts and networks: run it as root"
    );
    crate::log::start(&config.log, std::env::var("JOURNAL_STREAM").ok().as_deref())?;
    base::panics::watch(|panic| {
        let place = panic.place.as_deref().unwrap_or_default();
        tracing::error!(place, message = panic.message, "panic");
    });
    crate::modules::load()?;
    // One provider of cryptography for all of TLS, before anything uses it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime::memory::configure();
    let runtimes = Runtimes::start().context("start the runtimes")?;
    let api = runtimes.api();
    runtimes.run(async {
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        crate::serve::serve(config, &api, stop, |engine| reload::run(config, again, hangup, engine)).await
    })?;
    Ok(ExitCode::SUCCESS)
}
